"""Which answers of a token endpoint mean what. One row, one answer."""

import pytest

from made import REFRESH
from openfit_token._shared.secret import Secret
from openfit_token.errors import ClientRejected, LoginRejected, TokenError, Unavailable
from openfit_tokend.core.events import Kind
from openfit_tokend.core.oauth import Failure, meaning
from openfit_tokend.core.session import Login, Refresh

PAGE = b"<html><body>Bad Gateway</body></html>"
EMPTY = b""
REFUSING = (101, 400, 401, 402, 403, 409, 418, 422, 423, 499)


def error(word: str) -> bytes:
    return b'{"error": "%s", "error_description": "what it says"}' % word.encode()


def failure(status: int, body: bytes | None, request: Login | Refresh = REFRESH) -> Failure:
    given = meaning(request, "api", status, body)
    assert isinstance(given, Failure)
    return given


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (error("invalid_client"), Kind.CLIENT_REJECTED),
        (error("unauthorized_client"), Kind.CLIENT_REJECTED),
        (error("invalid_scope"), Kind.CLIENT_REJECTED),
        (error("unsupported_grant_type"), Kind.CLIENT_REJECTED),
        (error("invalid_grant"), Kind.GRANT_REJECTED),
        (error("invalid_request"), Kind.GRANT_REJECTED),
        (b'{"why": "\xfcber", "error": "invalid_grant"}', Kind.GRANT_REJECTED),  # Latin-1
        (b"\xef\xbb\xbf" + error("invalid_grant"), Kind.GRANT_REJECTED),
        (error("server_error"), Kind.UNCERTAIN),
        (error("temporarily_unavailable"), Kind.TRANSIENT),
        (error("slow_down"), Kind.TRANSIENT),
        (error("access_denied"), Kind.UNCLEAR),
        (error("INVALID_GRANT"), Kind.UNCLEAR),
        (error(""), Kind.UNCLEAR),
        (EMPTY, Kind.UNCLEAR),
        (b"\r\n ", Kind.UNCLEAR),
        (b"{}", Kind.UNCLEAR),
        (b"null", Kind.UNCLEAR),
        (b"[]", Kind.UNCLEAR),
        (b'["invalid_grant"]', Kind.UNCLEAR),
        (b'"invalid_grant"', Kind.UNCLEAR),
        (b'{"error": null}', Kind.UNCLEAR),
        (b'{"error": 7}', Kind.UNCLEAR),
        (b'{"error": ["invalid_grant"]}', Kind.UNCLEAR),
        (b'{"error": {"code": "invalid_grant"}}', Kind.UNCLEAR),
        (b'{"message": "invalid_grant"}', Kind.UNCLEAR),
        (PAGE, Kind.UNCLEAR),
        (b"invalid_grant", Kind.UNCLEAR),
        (b'{"error": "invalid_gra', Kind.UNCLEAR),
        (b"[" * 60_000, Kind.UNCLEAR),
        (None, Kind.UNCLEAR),
    ],
    ids=lambda value: repr(value)[:40],
)
@pytest.mark.parametrize("request_", [Login(), REFRESH], ids=["login", "refresh"])
def test_a_refusal_means_what_its_word_says_and_is_unclear_without_one(
    request_: Login | Refresh, body: bytes | None, kind: Kind
) -> None:
    kinds = {status: failure(status, body, request_).kind for status in REFUSING}

    assert kinds == dict.fromkeys(REFUSING, kind)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (300, Kind.TRANSIENT),
        (302, Kind.TRANSIENT),
        (307, Kind.TRANSIENT),
        (399, Kind.TRANSIENT),
        (404, Kind.TRANSIENT),
        (405, Kind.TRANSIENT),
        (407, Kind.TRANSIENT),
        (408, Kind.TRANSIENT),
        (413, Kind.TRANSIENT),
        (415, Kind.TRANSIENT),
        (425, Kind.TRANSIENT),
        (429, Kind.TRANSIENT),
        (500, Kind.UNCERTAIN),
        (501, Kind.UNCERTAIN),
        (502, Kind.UNCERTAIN),
        (503, Kind.TRANSIENT),
        (504, Kind.UNCERTAIN),
        (520, Kind.UNCERTAIN),
        (599, Kind.UNCERTAIN),
    ],
)
def test_the_status_of_who_read_no_form_or_failed_counts_whatever_its_body_says(
    status: int, kind: Kind
) -> None:
    for body in (error("invalid_grant"), error("invalid_client"), EMPTY, PAGE, None):
        given = failure(status, body)

        assert (given.kind, given.raises) == (kind, Unavailable), body
        assert str(status) in given.message


@pytest.mark.parametrize(
    ("request_", "word", "told"),
    [
        (Login(), "invalid_grant", LoginRejected),
        (Login(), "invalid_request", LoginRejected),
        (REFRESH, "invalid_grant", Unavailable),
        (Login(), "invalid_client", ClientRejected),
        (REFRESH, "invalid_scope", ClientRejected),
        (Login(), "server_error", Unavailable),
        (Login(), "slow_down", Unavailable),
        (Login(), "who_knows", Unavailable),
    ],
)
def test_a_caller_is_told_a_rejection_as_what_it_means_for_him(
    request_: Login | Refresh, word: str, told: type[TokenError]
) -> None:
    assert failure(400, error(word), request_).raises is told


def test_who_is_told_of_a_rejected_password_is_told_how_the_daemon_gets_to_see_another() -> None:
    hint = failure(400, error("invalid_grant"), Login()).hint

    assert hint is not None
    assert "openfit-tokend reload" in hint
    assert "openfit-tokend restart" in hint, "a reload sees no changed credential"
    assert hint.count("login") == hint.count("login --ask"), "else the same one is sent again"


@pytest.mark.parametrize("word", ["invalid_client", "invalid_grant", "server_error", "slow_down"])
def test_a_word_that_is_known_is_repeated(word: str) -> None:
    assert word in failure(400, error(word)).message


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 429, 500, 503])
@pytest.mark.parametrize("body", [error("hunter2"), b"hunter2", b'{"hunter2": "hunter2"}'])
def test_nothing_else_that_a_server_says_is_repeated_since_it_may_echo_a_secret(
    status: int, body: bytes
) -> None:
    for request in (Login(), REFRESH):
        assert "hunter2" not in repr(failure(status, body, request))


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (302, EMPTY),
        (404, PAGE),
        (418, EMPTY),
        (400, PAGE),
        (400, EMPTY),
        (400, error("invalid_client")),
        (400, error("invalid_grant")),
    ],
)
def test_what_a_person_can_mend_has_a_hint(status: int, body: bytes) -> None:
    assert failure(status, body, Login()).hint


def test_a_wrong_url_looks_like_a_404_and_says_so() -> None:
    given = failure(404, PAGE)

    assert given == Failure(
        Kind.TRANSIENT,
        Unavailable,
        "the token server answered 404: no token endpoint is there",
        "check environment, id_server or token_url: a wrong URL looks like this",
    )


@pytest.mark.parametrize("word", ["unauthorized_client", "unsupported_grant_type"])
def test_a_login_that_the_server_no_longer_allows_is_told_in_words_of_its_own(word: str) -> None:
    told = failure(400, error(word), Login())

    assert told.message.endswith(f"doesn't let this client log in with a password: {word}")
    assert told.kind is Kind.CLIENT_REJECTED  # so it counts as no rejected password
    assert told.hint != failure(400, error("invalid_client"), Login()).hint
    after = meaning(Login(), "api", 400, error(word), worked=True)
    assert isinstance(after, Failure)
    assert after.message.endswith(f"no longer lets this client log in with a password: {word}")
    for way in (told, after):
        assert "openfit-token login --refresh-token --profile {profile}" in str(way.hint)
    for request in (REFRESH, Login(insisted=True, given=Secret("r"))):
        assert "with a password" not in failure(400, error(word), request).message

"""The emulator's model of IdentityServer, by itself: what is refused, counted and revoked."""

import base64
import json

import pytest

from emulators import CLIENT_ID, PASSWORD, USERNAME, login_form, refresh_form
from openfit_emulator.identity import (
    DAY,
    FORBIDDEN_CLIENT,
    IdentityServer,
    Issued,
    Refused,
    Rules,
)

NOW = 1_800_000_000.25
WRONG = login_form(password="wrong")
REJECTED = "invalid_username_or_password"


def server(rules: Rules | None = None) -> IdentityServer:
    return IdentityServer(rules or Rules(), {USERNAME: PASSWORD, "other": "other"}, "http://here")


def issued(answer: Issued | Refused) -> Issued:
    assert isinstance(answer, Issued)
    return answer


def renewal(tokens: Issued) -> dict[str, str]:
    assert tokens.refresh_token is not None
    return refresh_form(tokens.refresh_token)


def test_without_offline_access_there_is_no_refresh_token() -> None:
    tokens = issued(server().token(login_form(scope="OpenFitApi"), NOW))

    assert (tokens.refresh_token, tokens.scope) == (None, "OpenFitApi")


def test_an_access_token_looks_like_identity_servers() -> None:
    tokens = issued(server(Rules(token_lifetime=60)).token(login_form(), NOW))

    header, payload, signature = tokens.access_token.split(".")
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    assert json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))["alg"] == "RS256"
    assert len(base64.urlsafe_b64decode(signature + "==")) == 256
    assert 900 < len(tokens.access_token) < 1050
    assert (claims["iat"], claims["exp"]) == (1_800_000_000, 1_800_000_060)
    assert (claims["client_id"], claims["iss"]) == (CLIENT_ID, "http://here")


def test_two_access_tokens_are_never_the_same() -> None:
    identity = server()

    first = issued(identity.token(login_form(), NOW))
    second = issued(identity.token(login_form(), NOW))

    assert first.access_token != second.access_token


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"client_id": ""}, "invalid_client"),
        ({"client_id": "nobody"}, "invalid_client"),
        ({"client_id": FORBIDDEN_CLIENT}, "unauthorized_client"),
        ({"grant_type": ""}, "unsupported_grant_type"),
        ({"grant_type": "magic"}, "unsupported_grant_type"),
        ({"scope": ""}, "invalid_scope"),
        ({"scope": "OpenFitApi secrets"}, "invalid_scope"),
    ],
)
def test_client_grant_and_scope_come_before_the_password_and_cost_no_count(
    changes: dict[str, str], error: str
) -> None:
    identity = server()

    answer = identity.token(login_form(password="wrong", **changes), NOW)

    assert isinstance(answer, Refused)
    assert answer.error == error
    assert [user.failed for user in identity.users()] == [0, 0]


def test_a_wrong_password_is_counted() -> None:
    identity = server()

    answer = identity.token(WRONG, NOW)

    assert answer == Refused("invalid_grant", "wrong_password", REJECTED)
    assert [user.failed for user in identity.users()] == [1, 0]


def test_an_unknown_user_is_answered_like_a_wrong_password() -> None:
    answer = server().token(login_form(username="nobody"), NOW)

    assert answer == Refused("invalid_grant", "unknown_user", REJECTED)


def test_user_names_have_no_case() -> None:
    issued(server().token(login_form(username=USERNAME.upper()), NOW))


def test_what_is_too_long_is_refused_uncounted() -> None:
    identity = server()

    assert identity.token(login_form(password="x" * 101), NOW) == Refused(
        "invalid_grant", "malformed"
    )
    assert [user.failed for user in identity.users()] == [0, 0]


def test_a_success_resets_the_count() -> None:
    identity = server(Rules(lockout_after=2))

    for _ in range(3):
        identity.token(WRONG, NOW)
        issued(identity.token(login_form(), NOW))


def test_the_count_has_no_clock() -> None:
    identity = server(Rules(lockout_after=2))

    identity.token(WRONG, NOW)
    identity.token(WRONG, NOW + 365 * DAY)

    assert isinstance(identity.token(login_form(), NOW + 365 * DAY), Refused)


def test_a_locked_account_answers_the_right_password_like_a_wrong_one_until_the_lock_ends() -> None:
    identity = server(Rules(lockout_after=5, lockout_seconds=300))
    for _ in range(5):
        identity.token(WRONG, NOW)

    locked = identity.token(login_form(), NOW + 299)
    open_again = identity.token(login_form(), NOW + 300)

    assert locked == Refused("invalid_grant", "locked", REJECTED)
    assert isinstance(open_again, Issued)


def test_tries_while_locked_neither_count_nor_prolong_the_lock() -> None:
    identity = server(Rules(lockout_after=1, lockout_seconds=300))
    identity.token(WRONG, NOW)

    identity.token(WRONG, NOW + 200)

    issued(identity.token(login_form(), NOW + 300))


def test_a_lock_concerns_one_account() -> None:
    identity = server(Rules(lockout_after=1))
    identity.token(WRONG, NOW)

    issued(identity.token(login_form(username="other", password="other"), NOW))


def test_without_a_limit_nothing_locks() -> None:
    identity = server(Rules(lockout_after=0))
    for _ in range(20):
        identity.token(WRONG, NOW)

    issued(identity.token(login_form(), NOW))


def test_unlocking_forgets_wrong_passwords() -> None:
    identity = server(Rules(lockout_after=1))
    identity.token(WRONG, NOW)

    identity.unlock(USERNAME)

    issued(identity.token(login_form(), NOW))


def test_a_refresh_token_works_once() -> None:
    identity = server()
    first = issued(identity.token(login_form(), NOW))

    second = issued(identity.token(renewal(first), NOW))

    assert second.refresh_token != first.refresh_token
    assert identity.token(renewal(first), NOW) == Refused("invalid_grant", "spent")
    issued(identity.token(renewal(second), NOW))


def test_reuse_ends_the_session_where_the_rules_say_so() -> None:
    identity = server(Rules(reuse_revokes=True))
    first = issued(identity.token(login_form(), NOW))
    second = issued(identity.token(renewal(first), NOW))
    stranger = issued(identity.token(login_form(), NOW))

    identity.token(renewal(first), NOW)

    assert identity.token(renewal(second), NOW) == Refused("invalid_grant", "spent")
    issued(identity.token(renewal(stranger), NOW))


def test_refresh_tokens_live_30_days_from_the_login_whatever_is_refreshed() -> None:
    identity = server()
    first = issued(identity.token(login_form(), NOW))
    second = issued(identity.token(renewal(first), NOW + 29 * DAY))

    assert identity.token(renewal(second), NOW + 30 * DAY) == Refused("invalid_grant", "expired")


def test_a_refresh_needs_the_client_and_a_refresh_token() -> None:
    identity = server()

    assert identity.token({**refresh_form("x"), "client_id": ""}, NOW) == Refused(
        "invalid_client", "client"
    )
    assert identity.token(refresh_form(""), NOW) == Refused("invalid_request", "malformed")
    assert identity.token(refresh_form("x"), NOW) == Refused("invalid_grant", "unknown")


def test_a_locked_account_and_a_new_password_leave_sessions_alone() -> None:
    identity = server()
    first = issued(identity.token(login_form(), NOW))
    identity.lock(USERNAME, NOW)
    identity.set_password(USERNAME, "another")

    issued(identity.token(renewal(first), NOW))


def test_an_access_token_dies_at_its_whole_second() -> None:
    identity = server(Rules(token_lifetime=60))
    tokens = issued(identity.token(login_form(), 1000.75))

    assert identity.bearer(tokens.access_token, 1059.99) == USERNAME
    assert identity.bearer(tokens.access_token, 1060.0) is None


def test_a_refresh_ends_the_old_access_token_only_where_the_rules_say_so() -> None:
    for dies, alive in ((False, USERNAME), (True, None)):
        identity = server(Rules(old_access_dies=dies))
        first = issued(identity.token(login_form(), NOW))

        second = issued(identity.token(renewal(first), NOW))

        assert identity.bearer(first.access_token, NOW) == alive
        assert identity.bearer(second.access_token, NOW) == USERNAME


def test_revoking_a_user_concerns_no_other() -> None:
    identity = server()
    mine = issued(identity.token(login_form(), NOW))
    other = issued(identity.token(login_form(username="other", password="other"), NOW))

    identity.revoke_refresh(USERNAME)
    identity.revoke_access(USERNAME)

    assert identity.token(renewal(mine), NOW) == Refused("invalid_grant", "spent")
    assert identity.bearer(mine.access_token, NOW) is None
    assert identity.bearer(other.access_token, NOW) == "other"
    issued(identity.token(renewal(other), NOW))


def test_expired_access_tokens_are_forgotten() -> None:
    identity = server(Rules(token_lifetime=1))

    for second in range(1000):
        identity.token(login_form(scope="OpenFitApi"), NOW + second)

    assert len(identity._access) <= 3  # pyright: ignore[reportPrivateUsage] -- nothing else shows it


def test_nothing_that_is_formatted_shows_a_password_or_token() -> None:
    identity = server()
    tokens = issued(identity.token(login_form(), NOW))

    text = repr([tokens, *identity.users(), identity.token(WRONG, NOW)])

    assert tokens.access_token not in text
    assert str(tokens.refresh_token) not in text
    assert PASSWORD not in text

"""`openfit-token inspect`: what a token says of itself, whatever that is, and never the token."""

import json
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_daemon import FakeDaemon, always, failing, token_fields
from openfit_token._cli import run
from openfit_token._cli.inspect import described, read
from openfit_token.errors import Unavailable
from processes import OPENFIT_TOKEN, environment

HEADER = b'{"alg": "RS256", "typ": "at+jwt"}'
SIGNATURE = "c2lnbmF0dXJlLW9mLXRoZS10b2tlbg"
NOW = 1795827600.0
"""2026-11-28 01:00:00Z."""
FRAGMENT = 12
"""Characters: so much of a secret is as good as a part of it."""
UNVERIFIED = "Nothing was verified: this is what the token says of itself."
NO_JWT = (
    "openfit-token: not a JWT: the token isn't three parts in base64url, of which two are JSON objects\n"
    "  that is no error: only the API has to understand a token\n"
)

Inspect = Callable[..., tuple[int, str, str]]
"""Runs the command at a daemon with this token; gives exit status, standard output and error."""


@pytest.fixture
def inspect(place: Path, capsys: pytest.CaptureFixture[str]) -> Iterator[Inspect]:
    with FakeDaemon(place / "s", always({})) as daemon:

        def inspect(token: str, *words: str) -> tuple[int, str, str]:
            daemon.behaviour = always(token_fields(access_token=token))
            status = run(["inspect", "--socket", daemon.path, *words])
            out, err = capsys.readouterr()
            assert parts_of(token, out + err) == set()
            return status, out, err

        yield inspect


def encoded(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()


def jwt(payload: bytes, header: bytes = HEADER) -> str:
    return f"{encoded(header)}.{encoded(payload)}.{SIGNATURE}"


def parts_of(token: str, printed: str) -> set[str]:
    """Return the fragments of a token that are in what was printed."""
    fragments = {token[at : at + FRAGMENT] for at in range(len(token) - FRAGMENT + 1)}
    seen = {printed[at : at + FRAGMENT] for at in range(len(printed) - FRAGMENT + 1)}
    return fragments & seen


def shown(claims: object) -> list[str]:
    """Return the lines of the claims, told at NOW."""
    lines = list(described(read(jwt(json.dumps(claims).encode())), NOW))
    return lines[lines.index("claims") + 1 :]


def test_header_and_claims_are_shown_and_that_nothing_was_verified(inspect: Inspect) -> None:
    token = jwt(b'{"iss": "https://id.example", "level": 3, "admin": true, "mail": null}')

    assert inspect(token) == (
        0,
        (
            "the current token of main, id id-a\n"
            f"{UNVERIFIED}\n"
            "\n"
            "header\n"
            '  alg  "RS256"\n'
            '  typ  "at+jwt"\n'
            "\n"
            "claims\n"
            '  iss    "https://id.example"\n'
            "  level  3\n"
            "  admin  true\n"
            "  mail   null\n"
        ),
        "",
    )


def test_json_has_what_the_token_says_and_that_it_isnt_verified(inspect: Inspect) -> None:
    claims = {"exp": 1795830120, "aud": ["a", "b"], "own": {"x": [1.5, None]}, "é": "\x7f\x1b"}

    status, out, err = inspect(jwt(json.dumps(claims).encode()), "--json")

    assert (status, err, out.count("\n")) == (0, "", 1)
    assert out.isascii()
    assert json.loads(out) == {
        "v": 1,
        "profile": "main",
        "id": "id-a",
        "verified": False,
        "header": {"alg": "RS256", "typ": "at+jwt"},
        "claims": claims,
    }


@pytest.mark.parametrize(
    ("claim", "value", "words"),
    [
        ("exp", 1795830120, "2026-11-28 01:42:00Z, in 42 min"),
        ("iat", 1795827599, "2026-11-28 00:59:59Z, 1 s ago"),
        ("nbf", 1795827600, "2026-11-28 01:00:00Z, 0 s ago"),
        ("auth_time", 1795738500.75, "2026-11-27 00:15:00Z, 24 h 45 min ago"),
        ("exp", 253402300799, "9999-12-31 23:59:59Z, in 2912111 d 22 h"),
    ],
)
def test_a_moment_is_told_in_words(claim: str, value: float, words: str) -> None:
    assert shown({claim: value}) == [f"  {claim}  {words}"]


@pytest.mark.parametrize(
    "value", [True, None, "soon", "1795830120", 0, -1, 253402300800, 10**99, 1e300, [1795830120]]
)
def test_what_is_no_moment_is_shown_as_it_is(value: object) -> None:
    assert shown({"exp": value}) == [f"  exp  {json.dumps(value)}"]


def test_a_number_of_another_claim_is_no_moment() -> None:
    assert shown({"uid": 1795830120}) == ["  uid  1795830120"]


def test_long_lists_and_objects_have_a_line_for_each_item() -> None:
    roles = [f"role-of-the-user-{number}" for number in range(3)]

    assert shown({"realm": {"roles": roles, "none": []}, "short": {"a": [1]}}) == [
        "  realm  {",
        '           "roles": [',
        '             "role-of-the-user-0",',
        '             "role-of-the-user-1",',
        '             "role-of-the-user-2"',
        "           ],",
        '           "none": []',
        "         }",
        '  short  {"a": [1]}',
    ]


def test_claims_dont_control_the_terminal_and_dont_look_like_other_claims(
    inspect: Inspect,
) -> None:
    nasty = "\x1b[2J\x9b31m\u202e\u2028\x85\r\n  exp  never\ud800"
    claims = {nasty: nasty, "in": {nasty: [nasty]}, "text": '"quoted"'}

    status, out, err = inspect(jwt(json.dumps(claims).encode()))

    assert (status, err) == (0, "")
    assert out.replace("\n", "").isprintable()
    assert len(out.splitlines()) == out.count("\n")
    assert "\n  exp" not in out
    assert out.count(r"31m\u202e\u2028\x85\r\n  exp  never\ud800") == 4
    assert '"\\"quoted\\""\n' in out


def test_names_that_print_alike_are_both_shown() -> None:
    assert shown({"a\n": 1, "a\\n": 2}) == ["  a\\n  1", "  a\\n  2"]


def test_what_a_locale_lacks_is_escaped(place: Path) -> None:
    token = jwt('{"name": "Zoë"}'.encode())
    with FakeDaemon(place / "s", always(token_fields(access_token=token))) as daemon:
        done = subprocess.run(
            [*OPENFIT_TOKEN, "inspect", "--socket", daemon.path],
            env=environment(PYTHONIOENCODING="ascii", PYTHONUTF8="0", LC_ALL="C"),
            capture_output=True,
            check=True,
        )

    assert b'  name  "Zo\\xeb"\n' in done.stdout


ENCRYPTED = "eyJhbGciOiJkaXIifQ..iv.text.tag"
ODD = [
    *(b"", b"no", b"[]", b'"text"', b"null", b'{"a": 1', b'{"a": "\xff"}', b"\xff\xfe{\0}\0"),
    *(b'{"a": NaN}', b'{"a": -Infinity}', b'{"a": 1e400}', b'{"a": ' + b"9" * 5000 + b"}"),
]


@pytest.mark.parametrize(
    "token",
    [
        *("token-a", "a.b", "A1B2" * 16, "a.b.c.d", ".e30.x", "e30..x", "a b.c.d", ENCRYPTED),
        f"{encoded(HEADER)}.abcde.{SIGNATURE}",
        *map(jwt, ODD),
        *(jwt(b"{}", part) for part in ODD),
    ],
    ids=range(9 + 2 * len(ODD)),
)
def test_a_token_that_isnt_a_jwt_is_said_to_be_none_and_nothing_of_it_repeated(
    inspect: Inspect, token: str
) -> None:
    assert inspect(token) == (65, "", NO_JWT)


def test_claims_that_are_nested_too_deeply_are_no_fault_of_the_program(inspect: Inspect) -> None:
    """How deep is too deep is up to Python: 3.14 reads these."""
    status, out, error = inspect(jwt(b'{"a": ' + b"[" * 20000 + b"]" * 20000 + b"}"))

    assert (status, error) == ((65, NO_JWT) if not out else (0, ""))


def test_an_unsigned_token_is_shown_like_any_other(inspect: Inspect) -> None:
    status, out, _ = inspect(jwt(b"{}", b'{"alg": "none"}').removesuffix(SIGNATURE))

    assert status == 0
    assert '  alg  "none"\n' in out


def test_the_options_and_the_environment_are_those_of_get(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFIT_PROFILE", "env")
    with FakeDaemon(place / "s", always(token_fields(access_token=jwt(b"{}")))) as daemon:
        assert run(["inspect", "--socket", daemon.path, "--wait", "2s"]) == 0
        assert run(["--profile", "p", "inspect", "--socket", daemon.path]) == 0
        daemon.behaviour = failing(Unavailable("down", "wait"))
        capsys.readouterr()
        assert run(["inspect", "--socket", daemon.path, "--json"]) == 75

    assert [params for _, params in daemon.calls[:2]] == [
        {"profile": "env", "wait": 2.0},
        {"profile": "p", "wait": 30.0},
    ]
    assert capsys.readouterr() == ("", "openfit-token: down\n  wait\n")


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**30), 10**30)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec=None)),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
_CLAIMS = st.dictionaries(st.sampled_from(["exp", "iat", "nbf", "sub"]) | st.text(), _JSON)


def test_all_claims_come_out_as_they_are_and_as_lines_that_control_nothing(
    inspect: Inspect,
) -> None:
    @given(_CLAIMS)
    def each(claims: object) -> None:
        token = jwt(json.dumps(claims).encode())

        status, out, err = inspect(token)
        assert (status, err) == (0, "")
        assert out.replace("\n", "").isprintable()
        assert out.splitlines()[1] == UNVERIFIED
        _, as_json, _ = inspect(token, "--json")
        assert as_json.removesuffix("\n").isprintable()
        assert json.loads(as_json)["claims"] == claims

    each()


_PIECES = st.sampled_from([b"{", b"}", b"[", b"]", b'"a"', b":", b",", b"1", b"e9", b"\xff", b" "])


def test_whatever_bytes_the_parts_hold_the_command_ends_in_words(inspect: Inspect) -> None:
    @given(st.binary() | st.lists(_PIECES).map(b"".join))
    def each(part: bytes) -> None:
        for token in (jwt(part), jwt(b"{}", part)):
            status, out, err = inspect(token)

            assert status in (0, 65)
            assert (out == "") == (status == 65)
            assert (out + err).replace("\n", "").isprintable()

    each()

"""The command `openfit-token`, word for word."""

import io
import json
import subprocess
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Protocol

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fake_daemon import FakeDaemon, Request, always, failing, silent, token_fields
from openfit_token import __version__
from openfit_token._cli import run as run_words
from openfit_token._cli.command_line.orders import parse
from openfit_token._cli.get import FORMATS, get, quick
from openfit_token._cli.terminal import WrongUsage, printable
from openfit_token._shared.durations import duration
from openfit_token.errors import (
    BY_CODE,
    BadRequest,
    Internal,
    LoginRejected,
    NoSuchProfile,
    TokenError,
    Unavailable,
)
from openfit_tokend.cli import main as run_daemons

Outcome = tuple[int, str, str]
"""Exit status, standard output, standard error."""


class Run(Protocol):
    def __call__(self, *words: str, typed: bytes = b"") -> Outcome: ...


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    def run(*words: str, typed: bytes = b"") -> Outcome:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(typed), encoding="utf-8"))
        status = run_words(list(words))
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.mark.parametrize(
    ("words", "printed"),
    [
        ((), "token-a\n"),
        (("get",), "token-a\n"),
        (("get", "--format", "raw"), "token-a\n"),
        (("--format=header",), "Authorization: Bearer token-a\n"),
        (("get", "--format", "curl"), 'header = "Authorization: Bearer token-a"\n'),
        (
            ("get", "--format", "env"),
            (
                "OPENFIT_ACCESS_TOKEN='token-a'\n"
                "OPENFIT_API_URL='https://api.openfit.care'\n"
                "OPENFIT_EXPIRES_AT='1893456000'\n"
            ),
        ),
    ],
)
def test_get_prints_the_token_in_the_format_asked_for(
    place: Path, run: Run, words: tuple[str, ...], printed: str
) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        assert run(*words, "--socket", daemon.path) == (0, printed, "")


def test_json_has_all_fields_and_a_version(place: Path, run: Run) -> None:
    degraded = {"code": "UNAVAILABLE", "message": "connection refused"}
    with FakeDaemon(place / "s", always(token_fields(degraded=degraded, new_key=1))) as daemon:
        status, printed, _ = run("get", "--format", "json", "--socket", daemon.path)

    assert status == 0
    assert json.loads(printed) == {"v": 1, **token_fields(degraded=degraded)}
    assert printed.count("\n") == 1


def test_env_survives_a_shells_eval_whatever_it_holds(place: Path, run: Run) -> None:
    nasty = """it's $(touch x) `id` "\\" ; exit"""
    with FakeDaemon(place / "s", always(token_fields(api_url=nasty))) as daemon:
        _, printed, _ = run("get", "--format", "env", "--socket", daemon.path)

    script = f'{printed}printf %s "$OPENFIT_API_URL"'
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, text=True)
    assert done.stdout == nasty


def test_curls_quoting_is_heeded(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields(access_token='a"b\\c'))) as daemon:
        _, printed, _ = run("get", "--format", "curl", "--socket", daemon.path)

    assert printed == 'header = "Authorization: Bearer a\\"b\\\\c"\n'


def test_get_passes_its_options_on(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        run("--profile", "p", "--min-ttl", "60", "--wait=2.5", "--socket", daemon.path)

    assert daemon.calls == [("get_token", {"profile": "p", "min_ttl": 60.0, "wait": 2.5})]


def test_the_environment_names_the_profile_where_the_option_doesnt(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFIT_PROFILE", "env")
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        for words in (["get"], ["--profile", "opt"], ["--profile="], ["refresh"], ["logout"]):
            run(*words, "--socket", daemon.path)

    assert [params["profile"] for _, params in daemon.calls] == ["env", "opt", "", "env", "env"]


_WORDS = st.sampled_from(
    [
        *("get", "--", "-h", "-", "", "p", "a b", "--bogus", "--profile", "--min-ttl", "--wait"),
        *("--socket", "--format", "--wai", "--profile=", "--profile=p", "--profile=-p", "-5"),
        *(
            "--min-ttl=5",
            "--min-ttl=-5",
            "--wait=301",
            "--wait=nan",
            "--socket=",
            "--socket=/s",
            "30",
            "1e3",
        ),
        *(
            "inf",
            "x",
            *FORMATS,
            *(f"--format={form}" for form in FORMATS),
            "--format=xml",
            "\udcff",
        ),
    ]
)


@given(st.lists(_WORDS, max_size=7))
def test_the_quick_look_reads_what_argparse_reads(words: list[str]) -> None:
    options = quick(words)

    if options is not None:
        order = parse(words)
        assert isinstance(order, partial)
        assert (order.func, order.args) == (get, options)


@pytest.mark.parametrize(
    "words",
    [
        "",
        "get",
        "--profile p",
        "get --profile=p",
        "get --min-ttl 60 --wait 5",
        "get --socket /s --format header",
        "--socket=/s --format=env",
    ],
)
def test_the_common_forms_take_the_quick_look(words: str) -> None:
    assert quick(words.split()) is not None


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0),
        ("1.5", 1.5),
        ("90s", 90.0),
        ("2m", 120.0),
        ("0.05h", 180.0),
        ("0s", 0.0),
    ],
)
@pytest.mark.parametrize("words", ["get", "get --format=raw --profile=p --profile=p"])
def test_durations_have_units_and_plain_numbers_are_seconds(
    place: Path, run: Run, text: str, seconds: float, words: str
) -> None:
    """Read the quick way, and by argparse: it takes the options that are given twice."""
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        run(*words.split(), "--socket", daemon.path, "--min-ttl", text, "--wait", text)

    params = daemon.calls[0][1]
    assert (params["min_ttl"], params["wait"]) == (seconds, seconds)


@pytest.mark.parametrize("text", ["m", "1 m", "1.m", ".5m", "-1m", "1M", "1ms", "1m30s", "٣m", ""])
def test_what_is_no_duration_is_said_to_be_none(run: Run, text: str) -> None:
    status, _, err = run("get", f"--min-ttl={text}")

    assert status == 64
    assert f"{text!r} is not a duration, such as 90, 90s, 10m or 1h" in err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (
            "get --wait 6m",
            "argument --wait: '6m' is not a duration of at most 5m, such as 30, 30s or 2m",
        ),
        ("get --bogus", "unrecognized arguments: --bogus"),
        ("get extra", "unrecognized arguments: extra"),
        ("get --profile", "argument --profile: expected one argument"),
        (
            "get --wait 301",
            "argument --wait: '301' is not a duration of at most 5m, such as 30, 30s or 2m",
        ),
        (
            "get --wait -1",
            "argument --wait: '-1' is not a duration of at most 5m, such as 30, 30s or 2m",
        ),
        (
            "get --wait nan",
            "argument --wait: 'nan' is not a duration of at most 5m, such as 30, 30s or 2m",
        ),
        (
            "get --min-ttl soon",
            "argument --min-ttl: 'soon' is not a duration, such as 90, 90s, 10m or 1h",
        ),
        (
            "get --min-ttl inf",
            "argument --min-ttl: 'inf' is not a duration, such as 90, 90s, 10m or 1h",
        ),
        ("get --socket=", "argument --socket: the path is empty"),
        ("status --socket=", "argument --socket: the path is empty"),
        ("get --format xml", "argument --format: 'xml' is not one of raw, header, json, env, curl"),
        ("get --prof x", "unrecognized arguments: --prof x"),
        ("get --profile \udcff", r"argument --profile: '\udcff' is not valid text"),
        ("status --format json", "unrecognized arguments: --format json"),
        ("logout --wait 3", "unrecognized arguments: --wait 3"),
    ],
)
def test_a_wrong_command_line_ends_with_64_and_says_why(
    run: Run, words: str, complaint: str
) -> None:
    status, out, err = run(*words.split())

    first, second = err.splitlines()
    assert (status, out) == (64, "")
    assert first == f"openfit-token: {complaint}"
    assert second.startswith("  see: openfit-token")


def test_an_unknown_command_names_those_there_are(run: Run) -> None:
    status, out, err = run("stauts")

    assert (status, out) == (64, "")
    first, second = err.splitlines()
    assert first.startswith("openfit-token: there is no command stauts: choose from get, status, ")
    assert second == "  see: openfit-token --help"


def test_common_options_may_stand_before_the_command(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        assert run("--socket", daemon.path, "--profile=p", "refresh", "--wait", "1")[0] == 0

    assert daemon.calls == [("refresh", {"profile": "p", "wait": 1.0})]


COMMANDS = (
    *("get", "refresh", "refuse", "exec", "login", "logout", "status", "inspect", "doctor"),
    "completion",
)


@pytest.mark.parametrize(
    "words", [("--help",), ("-h",), *((command, "--help") for command in COMMANDS)]
)
def test_help_goes_to_standard_output(run: Run, words: tuple[str, ...]) -> None:
    status, out, err = run(*words)

    assert (status, err) == (0, "")
    assert out.startswith("usage: openfit-token")
    assert all(len(line) <= 80 for line in out.splitlines())


def test_the_help_shows_examples_and_exit_statuses(run: Run) -> None:
    _, out, _ = run("--help")

    assert "openfit-token curl --" in out
    assert all(
        f"\n  {status}" in out or f"  {status} " in out for status in (64, 69, 70, 74, 77, 78)
    )


@pytest.mark.parametrize("command", COMMANDS)
def test_each_commands_help_shows_examples_and_exit_statuses(run: Run, command: str) -> None:
    _, out, _ = run(command, "--help")

    assert "\nexample" in out
    assert f"openfit-token {command}" in out.partition("\nexample")[2] or command == "get"
    assert "\nexit status:" in out


def test_the_help_of_get_says_that_env_isnt_exported(run: Run) -> None:
    _, out, _ = run("get", "--help")

    assert 'set -a; eval "$(openfit-token get --min-ttl 10m --format env)"; set +a' in out


@pytest.mark.parametrize(
    "word",
    [
        *("run", "check", "reload", "restart", "fleet-key", "init", "install", "uninstall"),
        *("emulator", "demo"),
    ],
)
def test_the_daemons_words_are_sent_to_the_daemons_command(run: Run, word: str) -> None:
    assert run("--socket", "/s", word, "--config", "x") == (
        64,
        "",
        (
            f"openfit-token: {word} is a command of openfit-tokend, the daemon\n"
            f"  openfit-tokend {word}\n"
        ),
    )


@pytest.mark.parametrize("word", [*COMMANDS[:-1], "watch"])
def test_the_clients_words_are_sent_to_the_clients_command(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run_daemons([word])

    told = f"openfit-tokend: {word} is a command of the client, openfit-token\n  openfit-token {word}\n"
    assert (ended.value.code, capsys.readouterr().err) == (64, told)


def test_the_version_is_told(run: Run) -> None:
    assert run("--version") == (0, f"openfit-token {__version__}\n", "")


@pytest.mark.parametrize("kind", BY_CODE.values(), ids=BY_CODE.keys())
def test_an_error_of_the_daemon_gives_its_exit_status(
    place: Path, run: Run, kind: type[TokenError]
) -> None:
    with FakeDaemon(place / "s", failing(kind("it failed", "do this"))) as daemon:
        outcome = run("get", "--wait", "0", "--socket", daemon.path)

    assert outcome == (kind.exit_status, "", "openfit-token: it failed\n  do this\n")


def test_an_unknown_code_is_a_fault_of_the_daemon(place: Path, run: Run) -> None:
    class Unheard(Internal):
        code = "UNHEARD_OF"

    with FakeDaemon(place / "s", failing(Unheard("what?"))) as daemon:
        assert run("get", "--socket", daemon.path) == (70, "", "openfit-token: what?\n")


@pytest.mark.parametrize(
    ("hint", "after", "second"),
    [
        (None, None, ""),
        (None, float("inf"), ""),
        (None, 11.2, "  try again in 12 s\n"),
        ("see its log", 240.0, "  see its log; try again in 4 min\n"),
    ],
)
def test_an_error_says_when_to_try_again(
    place: Path, run: Run, hint: str | None, after: float | None, second: str
) -> None:
    with FakeDaemon(place / "s", failing(Unavailable("down", hint, after))) as daemon:
        _, _, err = run("get", "--socket", daemon.path)

    assert err == f"openfit-token: down\n{second}"


def test_no_daemon_ends_with_69_and_says_how_to_start_it(place: Path, run: Run) -> None:
    assert run("get", "--socket", f"{place}/s") == (
        69,
        "",
        (
            f"openfit-token: no daemon: there is no {place}/s\n"
            "  start it: `systemctl start openfit-tokend`, or `openfit-tokend run`\n"
        ),
    )


def test_garbage_ends_with_76(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", lambda request: request.peer.send(b"garbage")) as daemon:
        status, out, err = run("get", "--socket", daemon.path)

    assert (status, out) == (76, "")
    assert err.startswith("openfit-token: the daemon's answer breaks the protocol")


def test_a_daemons_text_cant_command_the_terminal(place: Path, run: Run) -> None:
    nasty = LoginRejected("no\x1b[2J\nroot# \x9b31m\u202eevil", "\x07hint\r")
    with FakeDaemon(place / "s", failing(nasty)) as daemon:
        _, _, err = run("get", "--socket", daemon.path)

    assert err == ("openfit-token: no\\x1b[2J\\nroot# \\x9b31m\\u202eevil\n  \\x07hint\\r\n")


def test_refresh_prints_the_new_token(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields("b"))) as daemon:
        outcome = run("refresh", "--format", "header", "--socket", daemon.path)

    assert outcome == (0, "Authorization: Bearer token-b\n", "")
    assert daemon.calls == [("refresh", {"wait": 30.0})]


def test_refuse_takes_an_id(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields("b"))) as daemon:
        assert run("refuse", "0123456789abcdef", "--socket", daemon.path) == (0, "token-b\n", "")

    assert daemon.calls == [("refuse", {"id": "0123456789abcdef", "wait": 30.0})]


@pytest.mark.parametrize("command", ["get", "refresh", "status", "watch", "exec", "logout"])
def test_a_profile_in_the_environment_that_is_no_text_is_wrong_usage(
    run: Run, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("OPENFIT_PROFILE", "\udcff")

    assert run(command, *(["--", "true"] if command == "exec" else [])) == (
        64,
        "",
        "openfit-token: $OPENFIT_PROFILE: '\\udcff' is not valid text\n",
    )


def test_watch_leaves_a_daemon_that_does_not_answer(
    place: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_token._client.changes._ANSWER", 0.1)
    with FakeDaemon(place / "s", silent) as daemon:
        status, out, err = run("watch", "--socket", daemon.path, "--", "true")

    assert (status, out) == (69, "")
    assert err.startswith("openfit-token: the daemon doesn't answer\n")


def test_refuse_says_that_the_token_was_replaced_before(place: Path, run: Run) -> None:
    old = token_fields("b", obtained_at=1700000000.0)
    with FakeDaemon(place / "s", always(old)) as daemon:
        assert run("refuse", "0123456789abcdef", "--socket", daemon.path) == (
            0,
            "token-b\n",
            "openfit-token: that token is no longer the current one; printing the current one\n",
        )


def test_refuse_takes_the_token_itself_on_standard_input(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields("b"))) as daemon:
        run("refuse", "--socket", daemon.path, typed=b"token-a\n")

    assert daemon.calls == [("refuse", {"id": sha256(b"token-a").hexdigest()[:16], "wait": 30.0})]


@pytest.mark.parametrize("mistaken", ["eyJhbGciOi.token-a", "token-a", "0123456789abcdef0", ""])
def test_refuse_takes_no_token_for_an_id_and_does_not_show_it(run: Run, mistaken: str) -> None:
    status, out, err = run("refuse", mistaken)

    assert (status, out) == (64, "")
    assert err == (
        "openfit-token: refuse: that is not an id of 16 hex digits\n"
        '  pass the token itself on standard input: printf %s "$TOKEN" | openfit-token refuse\n'
    )


def test_refuse_without_any_token_is_wrong_usage(run: Run) -> None:
    assert run("refuse") == (
        64,
        "",
        (
            "openfit-token: refuse: which token?"
            " Pass its id, or the token itself on standard input\n"
            '  for example: printf %s "$TOKEN" | openfit-token refuse\n'
        ),
    )


def test_login_orders_a_login_and_shows_no_token(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        outcome = run("login", "--socket", daemon.path)

    assert outcome == (0, "main: logged in, a token for 60 min\n", "")
    assert daemon.calls == [("login", {"wait": 30.0})]


@pytest.mark.parametrize("typed", [b"p\xc3\xa4ss word \n", b"p\xc3\xa4ss word "])
def test_login_ask_takes_one_line_of_input_as_the_password(
    place: Path, run: Run, typed: bytes
) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        assert run("login", "--ask", "--socket", daemon.path, typed=typed)[0] == 0

    assert daemon.calls == [("login", {"password": "p\xe4ss word ", "wait": 30.0})]


def test_login_takes_a_refresh_token_like_a_password_and_says_that_it_is_the_daemons(
    place: Path, run: Run
) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        outcome = run("login", "--refresh-token", "--socket", daemon.path, typed=b"r1\n")

    told = "the refresh token is the daemon's now: whoever else has it must forget it\n"
    assert outcome == (0, f"main: logged in, a token for 60 min\n{told}", "")
    assert daemon.calls == [("login", {"refresh_token": "r1", "wait": 30.0})]


def test_a_daemon_that_takes_no_refresh_token_yet_says_so_and_the_token_is_not_shown(
    place: Path, run: Run
) -> None:
    """What one says that was made before there were any."""
    older = BadRequest("login has no parameter 'refresh_token'", "it takes password, profile, wait")
    with FakeDaemon(place / "s", failing(older)) as daemon:
        status, out, err = run("login", "--refresh-token", "--socket", daemon.path, typed=b"r1r1\n")

    assert (status, out) == (76, "")
    assert err == f"openfit-token: {older.message}\n  {older.hint}\n"


@pytest.mark.parametrize(
    ("typed", "complaint"),
    [
        (b"", "no password was given"),
        (b"\n", "no password was given"),
        (b"x" * 101, "longer than 100 characters"),
        (b"\xff\n", "not valid text"),
    ],
)
def test_a_password_that_cant_be_one_is_never_sent(
    place: Path, run: Run, typed: bytes, complaint: str
) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        status, out, err = run("login", "--ask", "--socket", daemon.path, typed=typed)

    assert (status, out, daemon.calls) == (64, "", [])
    assert complaint in err


@pytest.mark.parametrize(
    ("profiles", "added"),
    [
        (
            {"main": {"expires_in": 600.0, "session_began_at": 1.0, "logins_left": 2}},
            (
                "; the session goes on, its token is good for 10 min"
                "; 2 more may fail before no login is sent for some time"
            ),
        ),
        (
            {"main": {"expires_in": 600.0, "session_began_at": None, "logins_left": None}},
            "; the token held is good for 10 min",
        ),
        (
            {"main": {"expires_in": None, "session_began_at": None, "logins_left": 0}},
            "",
        ),
        ({"a": {}, "b": {}}, ""),
    ],
)
def test_a_rejected_login_says_what_goes_on_and_what_is_left(
    place: Path, run: Run, profiles: object, added: str
) -> None:
    def answer(request: Request) -> None:
        if request.method == "login":
            request.error(LoginRejected("wrong password", "store the right one"))
        else:
            request.result({"profiles": profiles})

    with FakeDaemon(place / "s", answer) as daemon:
        outcome = run("login", "--socket", daemon.path)

    told = f"openfit-token: wrong password\n  store the right one{added}\n"
    assert outcome == (77, "", told)


def test_a_login_whose_outcome_is_all_that_can_be_learnt_says_that(place: Path, run: Run) -> None:
    rejecting = failing(LoginRejected("wrong password", "store the right one"))
    with FakeDaemon(place / "s", rejecting) as daemon:
        outcome = run("login", "--socket", daemon.path)

    assert outcome == (77, "", "openfit-token: wrong password\n  store the right one\n")


def test_logout_says_so(place: Path, run: Run) -> None:
    with FakeDaemon(place / "s", always({})) as daemon:
        assert run("logout", "--socket", daemon.path) == (0, "logged out\n", "")
        assert run("logout", "--profile", "p", "--socket", daemon.path) == (
            0,
            "p: logged out\n",
            "",
        )


def test_a_failed_order_is_told_like_any_error(place: Path, run: Run) -> None:
    def refuse(request: Request) -> None:
        request.error(NoSuchProfile(f"there is no profile {request.params['profile']}"))

    with FakeDaemon(place / "s", refuse) as daemon:
        outcome = run("logout", "--profile", "p", "--socket", daemon.path)

    assert outcome == (78, "", "openfit-token: there is no profile p\n")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-1, "0 s"),
        (11.2, "12 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "119 min"),
        (7260, "2 h 1 min"),
        (30 * 86400 + 3600, "30 d 1 h"),
    ],
)
def test_durations_are_told_in_two_units_at_most(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@given(st.text())
def test_whatever_is_printable_is_one_line_without_controls(text: str) -> None:
    assert printable(text).isprintable()


def test_a_command_line_is_an_order_or_wrong_usage() -> None:
    with pytest.raises(WrongUsage):
        parse(["get", "--wait"])

"""`openfit-token doctor` at a real daemon: each link broken, named, mended as it says, and well.

The links up to the daemon's answer are in tests/client/test_cli_doctor.py.
"""

import io

import pytest

import diagnosis
from daemons import (
    Fields,
    RunningDaemon,
    fresh_daemon,
    prepared_daemon,
    profile,
    running_daemon,
    write_secret,
)
from diagnosis import Diagnosis, Examine
from emulators import CLIENT_ID, PASSWORD, running_emulator
from failures import outcome, secrets_in
from openfit_token._cli import run as run_words
from openfit_token._cli.doctor.profiles import MISSING, WRONG_CLIENT, WRONG_LOGIN, WRONG_URL
from openfit_token.errors import ConfigRejected
from ports import free_port
from raw_server import raw_server, response, sending

pytestmark = pytest.mark.system

WRONG = "wrong horse"
TROUBLES = (
    *("wrong", "client", "required", "out", "refused", "elsewhere", "named", "tls", "missing"),
    "none",
)


doctor = pytest.fixture(diagnosis.doctor)
main = pytest.fixture(fresh_daemon, scope="module")
"""A daemon that is well; each test leaves it so."""


def examine(doctor: Examine, daemon: RunningDaemon, *words: str) -> Diagnosis:
    """Have the doctor look at a daemon; whatever it says, it tells no secret."""
    found = doctor("--socket", str(daemon.socket), *words)
    assert secrets_in(found.printed) == []
    return found


def user(name: str) -> str:
    return f"{name}@example.org"


def table(url: str, name: str, **changes: str) -> str:
    """Return a profile with a login, and so a budget, of its own."""
    return profile(url, name, **({"username": f'"{user(name)}"'} | changes))


def settled(daemon: RunningDaemon, *names: str) -> dict[str, Fields]:
    """Await that these profiles have had their first answer."""
    states = ("fresh", "retrying", "down", "locked", "logged_out")
    return {
        name: daemon.await_state(
            *states, *(("empty",) if name in ("missing", "none") else ()), name=name
        )
        for name in names
    }


def test_each_trouble_of_a_login_is_named_costs_nothing_and_is_mended_as_the_fix_says(
    doctor: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {user(name): PASSWORD for name in TROUBLES}
    page = response("404 Not Found", b"<html>no</html>")
    lacking = response("400 Bad Request", b'{"error": "invalid_request"}')
    with (
        running_emulator(users=users) as emulator,
        raw_server(sending(page)) as elsewhere,
        raw_server(sending(lacking)) as lacks,
        prepared_daemon() as daemon,
    ):
        wrong, missing = daemon.directory / "wrong", daemon.directory / "missing"
        write_secret(wrong, WRONG)
        url = emulator.url
        at = {
            "refused": f"http://127.0.0.1:{free_port()}",
            "elsewhere": elsewhere.url,
            "required": lacks.url,
            "named": "https://openfit.invalid",
            "tls": url.replace("http:", "https:"),
        }
        special = {
            "wrong": {"password_file": f'"{wrong}"'},
            "client": {"client_id": '"somebody else"'},
            "missing": {"password_file": f'"{missing}"'},
            "none": {"password_file": ""},
        }
        daemon.write_config(
            *(table(at.get(name, url), name, **special.get(name, {})) for name in TROUBLES)
        )
        daemon.start()
        settled(daemon, *TROUBLES)
        daemon.call("logout", profile="out")
        requests = emulator.state().token_requests

        told = {name: examine(doctor, daemon, "--profile", name) for name in TROUBLES}

        assert emulator.state().token_requests == requests
        assert {name: each.status for name, each in told.items()} == {
            "wrong": 77,
            "client": 78,
            "required": 77,
            "out": 77,
            "refused": 75,
            "elsewhere": 75,
            "named": 75,
            "tls": 75,
            "missing": 78,
            "none": 78,
        }
        assert {name: each.of(name).cause for name, each in told.items()} == {
            "wrong": WRONG_LOGIN,
            "client": WRONG_CLIENT,
            "required": MISSING,
            "out": "",
            "refused": "",
            "elsewhere": WRONG_URL,
            "named": WRONG_URL,
            "tls": WRONG_URL,
            "missing": "",
            "none": "",
        }
        fixes = {name: each.of(name).fix for name, each in told.items()}
        assert "openfit-tokend reload" in fixes["wrong"]
        assert "client_id from support@openfit.care" in fixes["client"]
        assert fixes["out"].endswith(": openfit-token login --profile out")
        assert "openfit-token login --ask --profile none, or --refresh-token" in fixes["none"]
        assert "HTTPS_PROXY" in fixes["refused"]
        for name in ("refused", "elsewhere", "named", "tls"):
            assert "`openfit-tokend check --network`" in fixes[name]
        assert str(missing) in told["missing"].of("missing").text

        # Do as it says
        wrong.write_text(PASSWORD)
        write_secret(missing, PASSWORD)
        right = special | {"client": {"client_id": f'"{CLIENT_ID}"'}}
        daemon.write_config(*(table(url, name, **right.get(name, {})) for name in TROUBLES))
        assert (
            daemon.run("openfit-tokend", "reload", "--socket", str(daemon.socket)).returncode == 0
        )
        path = str(daemon.socket)
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(PASSWORD.encode())))
        for name in ("out", "none"):
            words = fixes[name].partition("openfit-token ")[2].partition(",")[0].split()
            assert run_words([*words, "--socket", path]) == 0
        for name in TROUBLES:
            daemon.await_state("fresh", name=name)
        mended = {name: examine(doctor, daemon, "--profile", name) for name in TROUBLES}
        assert {name: each.status for name, each in mended.items()} == dict.fromkeys(TROUBLES, 0)


def test_the_profile_that_is_meant_is_looked_up_as_the_daemon_would(
    doctor: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    users = {user("a"): PASSWORD, user("b"): PASSWORD}
    with running_emulator(users=users) as emulator:
        tables = [table(emulator.url, name) for name in ("a", "b")]
        with running_daemon(*tables) as daemon:
            settled(daemon, "a", "b")
            found = examine(doctor, daemon)
            assert (found.status, found.troubles) == (78, [("FAIL", "profile")])
            served = [daemon.profile_status(name)["counters"]["served"] for name in ("a", "b")]
            assert served == [0, 0]

            monkeypatch.setenv("OPENFIT_PROFILE", "c")
            found = examine(doctor, daemon)
            assert (found.status, found.troubles) == (78, [("FAIL", "profile")])
            assert found.of("profile").text == "there is no profile 'c' (named by $OPENFIT_PROFILE)"
            assert (
                found.of("profile").fix
                == "name one of these: a, b; or ask the administrator for it"
            )

            monkeypatch.setenv("OPENFIT_PROFILE", "b")
            found = examine(doctor, daemon)
            assert (found.status, found.of("profile").text) == (0, "b ($OPENFIT_PROFILE)")
            monkeypatch.delenv("OPENFIT_PROFILE")

            daemon.write_config('default_profile = "a"', *tables)
            daemon.call("reload")
            found = examine(doctor, daemon)
            assert (found.status, found.troubles) == (0, [])


def test_a_refused_reload_is_a_warning_until_one_is_taken(
    doctor: Examine, main: RunningDaemon
) -> None:
    right = main.config.read_text()
    main.config.write_text(f"sockett = 1\n{right}")
    assert isinstance(outcome(lambda: main.call("reload")), ConfigRejected)
    found = examine(doctor, main)
    assert (found.status, found.troubles) == (0, [("WARN", "config")])
    assert "sockett" in found.of("config").text
    assert "openfit-tokend check" in found.of("config").fix

    main.config.write_text(right)
    main.call("reload")
    assert examine(doctor, main).troubles == []


def test_a_stale_token_in_the_environment_is_told_and_never_shown(
    doctor: Examine, main: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = main.call("get_token")
    monkeypatch.setenv("OPENFIT_ACCESS_TOKEN", token["access_token"])
    found = examine(doctor, main)
    assert (found.of("variables").kind, found.troubles) == (" OK ", [])

    monkeypatch.setenv("OPENFIT_ACCESS_TOKEN", "an-old-one")
    monkeypatch.setenv("OPENFIT_EXPIRES_AT", "1000000000")
    monkeypatch.setenv("OPENFIT_API_URL", "https://user:hunter2@elsewhere.example/")
    found = examine(doctor, main)
    assert (found.status, found.troubles) == (0, [("WARN", "variables")] * 2)
    assert "it ended" in found.of("variables").text
    assert found.of("variables").fix.startswith("unset OPENFIT_ACCESS_TOKEN;")
    assert found.findings[-1].cause == WRONG_URL
    assert "hunter2" not in found.printed
    assert "an-old-one" not in found.printed

    monkeypatch.delenv("OPENFIT_ACCESS_TOKEN")
    monkeypatch.setenv("OPENFIT_API_URL", f"{token['api_url']}/")
    assert examine(doctor, main).troubles == []


def test_a_profile_without_a_stored_password_lives_on_one_that_was_asked_for(
    doctor: Examine,
) -> None:
    def login(password: str) -> tuple[int, str, str]:
        done = daemon.run("openfit-token", "login", "--ask", stdin=f"{password}\n")
        return done.returncode, done.stdout, done.stderr

    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url, password_file="")) as daemon,
    ):
        daemon.await_state("empty")
        status, _, told = login(WRONG)
        assert (status, "; 2 more may fail before" in told) == (77, True)
        assert "session goes on" not in told

        status, said, _ = login(PASSWORD)
        assert (status, said.startswith("main: logged in, a token for ")) == (0, True)
        assert examine(doctor, daemon).status == 0

        rejected = [login(f"{WRONG} {number}") for number in range(2)]
        assert [status for status, _, _ in rejected] == [77, 77]
        assert all("the session goes on, its token is good for" in told for _, _, told in rejected)
        assert "; 1 more may fail before" in rejected[0][2]
        assert "more may fail before" not in rejected[1][2]
        found = examine(doctor, daemon)
        assert (found.status, found.troubles) == (0, [("WARN", "main")])
        warning = next(each for each in found.findings if each.kind == "WARN")
        assert warning.text.startswith(
            "0 more logins may be rejected before the daemon sends no more"
        )
        assert "the next is possible in " in warning.text

        status, _, told = login(PASSWORD)
        assert (status, "the session goes on" in told) == (75, True)
        assert emulator.state().login_requests == 4


def test_the_installed_command_says_it_with_its_exit_status(main: RunningDaemon) -> None:
    done = main.run("openfit-token", "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    assert f"[ OK ] socket         {main.socket} ($OPENFIT_TOKEN_SOCKET)\n" in done.stdout

    main.call("logout")
    done = main.run("openfit-token", "doctor")
    assert (done.returncode, done.stderr) == (77, "")
    assert "[FAIL] main           logged_out, no token: " in done.stdout
    assert "       fix: to log it in again: openfit-token login --profile main\n" in done.stdout
    main.call("login")

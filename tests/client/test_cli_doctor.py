"""`openfit-token doctor` up to the daemon's answer: each link broken, named, mended as it says."""

import os
from collections.abc import Callable, Mapping
from grp import getgrgid
from pathlib import Path

import pytest

from daemons import NOBODY, needs_root
from diagnosis import Diagnosis, Examine
from diagnosis import doctor as doctor_of
from fake_daemon import Behaviour, FakeDaemon, Request, dropping, failing, silent
from openfit_token import __version__
from openfit_token._cli.doctor import answers
from openfit_token._cli.doctor.profiles import MISSING, WRONG_CLIENT, WRONG_LOGIN, WRONG_URL, cause
from openfit_token._cli.terminal import printable
from openfit_token._client import paths
from openfit_token.errors import NoSuchMethod, NoSuchProfile, NotAllowed, Overloaded
from users import being

OTHERS: int = 100
"""A group that the tests' process isn't in: `users`."""
PROFILE: dict[str, object] = {
    "state": "fresh",
    "health": {"condition": "well", "ready": True, "problems": []},
    "expires_in": 2520.0,
    "api_url": "https://api.openfit.care",
    "id": "0123456789abcdef",
    "logins_left": 3,
    "counters": {},
}


def ill(condition: str, *problems: object, **changed: object) -> dict[str, object]:
    """Return a profile that something is wrong with."""
    return PROFILE | {"health": {"condition": condition, "problems": list(problems)}} | changed


@pytest.fixture
def doctor(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Examine:
    monkeypatch.setenv("PATH", str(place))  # the machine's own systemd is none of this
    return doctor_of(capsys)


@pytest.fixture
def impatient(doctor: Examine, monkeypatch: pytest.MonkeyPatch) -> Examine:
    """Return a doctor who waits a fifth of a second for an answer."""
    monkeypatch.setattr(answers, "_PATIENCE", 0.2)
    return doctor


def babbling(request: Request) -> None:
    """Answer as a web server would."""
    request.peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def well(
    hello: Mapping[str, object] | None = None,
    profiles: object = None,
    fleet: object = None,
    **by_method: Behaviour,
) -> Behaviour:
    """Return the behaviour of a daemon that is well, but for the changes."""
    told: dict[str, object] = {
        "name": "openfit-tokend",
        "version": __version__,
        "protocol": 1,
        "pid": 7,
        "uptime": 60.0,
        "profiles": ["main"],
    }
    status = {"v": 1, "config_error": None, "profiles": profiles or {"main": PROFILE}}
    if fleet is not None:
        status["fleet"] = fleet

    def answer(request: Request) -> None:
        if request.method in by_method:
            by_method[request.method](request)
        elif request.method == "hello":
            request.result(told | dict(hello or {}))
        else:
            request.result(status)

    return answer


def test_a_chain_that_holds_is_all_ok(place: Path, doctor: Examine) -> None:
    with FakeDaemon(place / "s", well()) as daemon:
        found = doctor("--socket", daemon.path)

    assert (found.status, found.troubles) == (0, [])
    assert [each.link for each in found.findings] == [
        *("socket", "rights", "owner", "daemon", "profile", "main"),
    ]
    assert found.of("socket").text == f"{daemon.path} (--socket)"
    assert found.of("profile").text == "main (the only one that you may use)"
    assert found.printed.endswith("6 ok. No login was attempted.\n")


@pytest.mark.parametrize("digits", [400, 5000])
def test_an_end_that_is_no_time_is_not_told(
    place: Path, doctor: Examine, monkeypatch: pytest.MonkeyPatch, digits: int
) -> None:
    monkeypatch.setenv("OPENFIT_ACCESS_TOKEN", "an-old-one")
    monkeypatch.setenv("OPENFIT_EXPIRES_AT", "9" * digits)
    with FakeDaemon(place / "s", well()) as daemon:
        found = doctor("--socket", daemon.path)

    assert found.troubles == [("WARN", "variables")]
    assert found.of("variables").text == "OPENFIT_ACCESS_TOKEN holds another than the current token"


# Which socket


def test_no_daemon_at_all_says_where_it_was_looked_for_and_how_to_start_it(
    place: Path, doctor: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", f"{place}/system/socket")
    found = doctor()
    assert (found.status, found.troubles) == (69, [("FAIL", "socket")])
    assert f"{place}/openfit-tokend/socket" in found.of("socket").text
    assert "systemctl start openfit-tokend" in found.of("socket").fix
    assert "by --socket or $OPENFIT_TOKEN_SOCKET" in found.of("socket").fix

    (place / "openfit-tokend").mkdir()
    with FakeDaemon(place / "openfit-tokend" / "socket", well()):
        found = doctor()

    assert found.status == 0
    assert found.of("socket").text.endswith("(your own daemon's)")


def test_a_variable_that_names_no_socket_is_to_be_unset(
    place: Path, doctor: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", f"{place}/socket")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{place}/none")
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", f"{place}/old")
    with FakeDaemon(place / "socket", well()):
        found = doctor()
        assert (found.status, found.troubles) == (69, [("FAIL", "socket")])
        assert found.of("socket").text == f"{place}/old ($OPENFIT_TOKEN_SOCKET) isn't there"
        assert found.of("socket").fix.startswith("unset OPENFIT_TOKEN_SOCKET (there is ")

        monkeypatch.delenv("OPENFIT_TOKEN_SOCKET")
        found = doctor()

    assert (found.status, found.of("socket").text) == (0, f"{place}/socket (the machine's)")


def test_a_file_a_directory_and_a_dangling_link_are_no_sockets(
    place: Path, doctor: Examine
) -> None:
    (place / "file").touch()
    (place / "link").symlink_to(place / "nothing")

    told = [doctor("--socket", str(place / name)) for name in ("file", "", "link")]

    assert [each.status for each in told] == [69, 69, 69]
    assert [each.of("socket").text.split(") ")[1] for each in told] == [
        "is a file, no socket",
        "is a directory, no socket",
        "is a link to nothing",
    ]


def test_two_daemons_are_warned_of_and_naming_one_settles_it(
    place: Path, doctor: Examine, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "openfit-tokend").mkdir()
    machines = f"{place}/socket"
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", machines)
    with (
        FakeDaemon(place / "openfit-tokend" / "socket", well()),
        FakeDaemon(place / "socket", well()),
    ):
        found = doctor()
        assert (found.status, found.troubles) == (0, [("WARN", "daemons")])
        assert found.of("daemons").fix.endswith(f"export OPENFIT_TOKEN_SOCKET={machines}")

        monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", machines)
        assert doctor().troubles == []


def test_a_socket_that_nobody_listens_at_says_so(place: Path, doctor: Examine) -> None:
    daemon = FakeDaemon(place / "s", well())
    daemon.start()
    daemon.stop()
    found = doctor("--socket", daemon.path)
    assert (found.status, found.troubles) == (69, [("FAIL", "daemon")])
    assert "isn't running" in found.of("daemon").text

    with daemon:
        assert doctor("--socket", daemon.path).status == 0


# Rights and trust


@needs_root
def test_a_socket_of_a_group_names_the_group_to_join(place: Path, doctor: Examine) -> None:
    place.chmod(0o755)
    with FakeDaemon(place / "s", well()) as daemon:
        os.chown(daemon.path, 0, OTHERS)
        Path(daemon.path).chmod(0o660)
        with being(NOBODY):
            found = doctor("--socket", daemon.path)
            assert (found.status, found.troubles) == (69, [("FAIL", "rights")])
            name = getgrgid(OTHERS).gr_name
            assert f"root:{name}, mode 0660" in found.of("rights").text
            assert f"`sudo usermod -aG {name} " in found.of("rights").fix

        with being(NOBODY):
            os.seteuid(0)
            os.setgroups([OTHERS])
            os.seteuid(NOBODY)
            assert doctor("--socket", daemon.path).status == 0


@needs_root
def test_a_directory_that_keeps_the_caller_out_is_named(place: Path, doctor: Examine) -> None:
    with FakeDaemon(place / "s", well()) as daemon:
        Path(daemon.path).chmod(0o666)
        with being(NOBODY):
            found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (69, [("FAIL", "rights")])
        assert f"because of {place}" in found.of("rights").text

        place.chmod(0o711)
        with being(NOBODY):
            assert doctor("--socket", daemon.path).status == 0


@needs_root
def test_a_stranger_who_listens_is_not_trusted_until_the_directory_is_that_users(
    place: Path, doctor: Examine
) -> None:
    place.chmod(0o755)
    (run := place / "run").mkdir()
    run.chmod(0o777)
    daemon = FakeDaemon(run / "s", well())
    with being(NOBODY):
        daemon.start()
    try:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (77, [("FAIL", "owner")])
        assert found.of("owner").fix == f"chmod go-w {run}"

        run.chmod(0o755)
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (77, [("FAIL", "owner")])
        assert "a directory of theirs" in found.of("owner").fix

        os.chown(run, NOBODY, NOBODY)
        found = doctor("--socket", daemon.path)
    finally:
        daemon.stop()

    assert found.status == 0
    assert "nobody, whose directory it is, listens there" in found.of("owner").text


# The daemon's answer


@pytest.mark.parametrize(
    ("behaviour", "status", "told"),
    [
        (silent, 69, "it hangs"),
        (dropping, 69, "it closed the connection"),
        (babbling, 76, "no openfit-tokend: the daemon's answer breaks the protocol"),
        (failing(NoSuchMethod("there is no hello")), 76, "no openfit-tokend: there is no hello"),
        (failing(Overloaded("too many connections", "close some")), 75, "too many connections"),
        (well({"name": "another"}), 76, "calls itself 'another'"),
        (well({"protocol": 2}), 76, "it speaks protocol 2, this client speaks 1"),
    ],
)
def test_an_answer_that_is_none_of_our_daemons_is_told_apart(
    place: Path, impatient: Examine, behaviour: Behaviour, status: int, told: str
) -> None:
    doctor = impatient
    with FakeDaemon(place / "s", behaviour) as daemon:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (status, [("FAIL", "daemon")])
        assert told in found.of("daemon").text
        assert found.of("daemon").fix

        daemon.behaviour = well()
        assert doctor("--socket", daemon.path).status == 0


def test_another_version_is_a_warning(place: Path, doctor: Examine) -> None:
    with FakeDaemon(place / "s", well({"version": "9.9"})) as daemon:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (0, [("WARN", "version")])
        assert found.of("version").text == f"the daemon is 9.9, this client {__version__}"


def test_a_fleets_store_that_cant_be_reached_is_a_warning(place: Path, doctor: Examine) -> None:
    problem = {"code": "UNAVAILABLE", "message": "it is away", "hint": "start it"}
    with FakeDaemon(place / "s", well(fleet={"member": "a", "store": problem})) as daemon:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (0, [("WARN", "fleet")])
        assert (found.of("fleet").text, found.of("fleet").fix) == ("it is away", "start it")

        daemon.behaviour = well(fleet={"member": "a", "store": None})
        assert (
            doctor("--socket", daemon.path).of("fleet").text
            == "this is a, and the store is reached"
        )


def test_a_profile_that_is_not_for_the_caller_is_a_matter_of_allow_lists(
    place: Path, doctor: Examine
) -> None:
    refusing = well(status=failing(NotAllowed("you may not use etl")))
    with FakeDaemon(place / "s", refusing) as daemon:
        found = doctor("--profile", "etl", "--socket", daemon.path)

    assert (found.status, found.troubles) == (77, [("FAIL", "profile")])
    assert found.of("profile").text == "you may not use etl (named by --profile)"
    assert "allow_users" in found.of("profile").fix


def test_a_hung_status_is_told_too(place: Path, impatient: Examine) -> None:
    with FakeDaemon(place / "s", well(status=silent)) as daemon:
        found = impatient("--socket", daemon.path)

    assert (found.status, found.troubles) == (69, [("FAIL", "daemon")])


def test_of_several_profiles_one_must_be_named_or_be_the_default(
    place: Path, doctor: Examine
) -> None:
    both = {"a": PROFILE, "b": PROFILE}
    none = failing(NoSuchProfile("none is the default"))
    with FakeDaemon(place / "s", well(profiles=both, get_token=none)) as daemon:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (78, [("FAIL", "profile")])
        assert "default_profile" in found.of("profile").fix

        daemon.behaviour = well(profiles=both)
        assert doctor("--socket", daemon.path).status == 0
    asked = [params for method, params in daemon.calls if method == "get_token"]
    assert asked == [{"min_ttl": -1.0, "wait": 0.0}] * 2  # what is refused in any case


def test_an_outage_under_a_live_token_is_a_warning_that_ends_with_it(
    place: Path, doctor: Examine
) -> None:
    error = {"code": "UNAVAILABLE", "message": "the token server can't be reached: no connection"}
    retrying = ill("well", error, state="retrying")
    with FakeDaemon(place / "s", well(profiles={"main": retrying})) as daemon:
        found = doctor("--socket", daemon.path)
        assert (found.status, found.troubles) == (0, [("WARN", "main")])
        assert "a token for 42 min" in found.of("main").text
        assert "`openfit-tokend check --network`" in found.of("main").fix

        daemon.behaviour = well()
        assert doctor("--socket", daemon.path).troubles == []


@pytest.mark.parametrize(
    ("degraded", "status"), [("UNAVAILABLE", 75), ("LOGIN_REJECTED", 77), ("BUDGET_SPENT", 75)]
)
def test_a_degraded_profile_fails_though_it_serves(
    place: Path, doctor: Examine, degraded: str, status: int
) -> None:
    profile = ill("degraded", {"code": degraded, "message": "it failed"})
    with FakeDaemon(place / "s", well(profiles={"main": profile})) as daemon:
        found = doctor("--socket", daemon.path)

    assert (found.status, found.troubles) == (status, [("FAIL", "main")])


def test_the_exit_status_is_that_of_the_first_link_that_failed(
    place: Path, doctor: Examine
) -> None:
    down = ill("down", {"code": "UNAVAILABLE"}, state="down", expires_in=None)
    none = failing(NoSuchProfile("none is the default"))
    behaviour = well(profiles={"a": PROFILE, "b": down}, get_token=none)
    with FakeDaemon(place / "s", behaviour) as daemon:
        found = doctor("--socket", daemon.path)

    assert (found.status, found.troubles) == (78, [("FAIL", "profile"), ("FAIL", "b")])


def test_a_first_login_under_way_is_to_be_waited_for(place: Path, doctor: Examine) -> None:
    profile = ill("pending", state="logging_in", expires_in=None)
    with FakeDaemon(place / "s", well(profiles={"main": profile})) as daemon:
        found = doctor("--socket", daemon.path)

    assert (found.status, found.of("main").fix) == (75, "wait a little, and look again")


def test_nothing_from_the_daemon_commands_the_terminal(place: Path, doctor: Examine) -> None:
    problem = {"code": "\x1b", "message": "\x1b]0;x\x07", "hint": "\r\n\x9b"}
    nasty = ill("down", problem, state="down\x1b[2J", expires_in=None)
    with FakeDaemon(place / "s", well({"version": "\x1b[1m"}, {"main": nasty})) as daemon:
        found = doctor("--socket", daemon.path)

    assert found.printed.replace("\n", "") == printable(found.printed.replace("\n", ""))


# What a problem is called on the vendor's page


@pytest.mark.parametrize(
    ("code", "message", "called"),
    [
        ("CLIENT_REJECTED", "the token server rejected the client: invalid_client", WRONG_CLIENT),
        ("CLIENT_REJECTED", "… unauthorized_client", WRONG_CLIENT),
        ("CLIENT_REJECTED", "… invalid_scope", MISSING),
        ("CLIENT_REJECTED", "… no longer lets this client …: unauthorized_client", None),
        ("LOGIN_REJECTED", "… rejected user name or password: invalid_grant", WRONG_LOGIN),
        ("LOGIN_REJECTED", "… rejected user name or password: invalid_request", MISSING),
        ("UNAVAILABLE", "the token server answered 404: no token endpoint is there", WRONG_URL),
        ("UNAVAILABLE", "the token server answered 302: redirects are not followed", WRONG_URL),
        ("UNAVAILABLE", "… can't be reached: its name can't be resolved", WRONG_URL),
        ("UNAVAILABLE", "the token server answered 503: it is busy", None),
        ("SECRET_UNAVAILABLE", "password_file /x: isn't there", None),
    ],
)
def test_the_vendors_four_causes_are_named(code: str, message: str, called: str | None) -> None:
    assert cause({"code": code, "message": message}) == called


# The service


@pytest.fixture
def systemctl(place: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Put a systemctl in front of $PATH that says what a test wants."""
    monkeypatch.setenv("PATH", str(place), prepend=os.pathsep)

    def says(text: str) -> None:
        program = place / "systemctl"
        program.write_text(f"#!/bin/sh\nprintf '%s' '{text}'\n")
        program.chmod(0o755)

    return says


def unit(active: str, pid: int = 0, result: str = "success", load: str = "loaded") -> str:
    return f"LoadState={load}\nActiveState={active}\nResult={result}\nMainPID={pid}\n"


def test_a_unit_that_failed_is_named_with_its_journal(
    place: Path, systemctl: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    systemctl(unit("failed", result="exit-code"))
    found = doctor_of(capsys)("--socket", f"{place}/s")
    assert found.troubles == [("FAIL", "socket"), ("FAIL", "service")]
    assert found.of("service").text == "openfit-tokend.service is failed (exit-code)"
    assert "journalctl -u openfit-tokend" in found.of("service").fix
    assert "systemctl reset-failed openfit-tokend" in found.of("service").fix

    systemctl(unit("active", pid=7))
    with FakeDaemon(place / "s", well()) as daemon:
        found = doctor_of(capsys)("--socket", daemon.path)
    assert (found.status, found.troubles) == (0, [])
    assert found.of("service").text == "openfit-tokend.service is active, pid 7"


@pytest.mark.parametrize(
    ("says", "kinds"),
    [
        (unit("active", pid=8), [("WARN", "service")]),
        (unit("inactive"), [("WARN", "service")]),
        (unit("inactive", load="not-found"), []),
        ("System has not been booted with systemd", []),
        ("", []),
    ],
)
def test_a_unit_that_isnt_who_answers_is_warned_of(
    place: Path,
    systemctl: Callable[[str], None],
    capsys: pytest.CaptureFixture[str],
    says: str,
    kinds: list[tuple[str, str]],
) -> None:
    systemctl(says)
    with FakeDaemon(place / "s", well()) as daemon:
        found: Diagnosis = doctor_of(capsys)("--socket", daemon.path)

    assert (found.status, found.troubles) == (0, kinds)

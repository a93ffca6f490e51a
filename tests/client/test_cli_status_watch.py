"""`openfit-token status` where somebody looks: colours, narrow windows, and `--watch`."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always
from openfit_token._cli import run as run_words
from openfit_token._cli.status.table import described
from processes import environment
from terminals import Terminal

pytestmark = pytest.mark.system

NOW = 1893456000.0
PATIENCE = 10.0
WIDE = 90
QUICK = [
    *(sys.executable, "-c"),
    "import openfit_token._cli as c, openfit_token._cli.status.repeated as r; r._EACH = 0.05; c.main()",
]
"""The command, which looks oftener than each second."""
UP = re.compile(r"\x1b\[(\d+)A")


def profile(
    state: str = "fresh", condition: str = "well", *problems: object, **changed: object
) -> dict[str, object]:
    return {
        "state": state,
        "health": {"condition": condition, "ready": True, "problems": list(problems)},
        "environment": "test",
        "expires_in": 2520.0,
        "refresh_at": NOW + 2220,
        "last_success_at": NOW - 1080,
        "logins_left": 3,
    } | changed


def status(**profiles: object) -> dict[str, object]:
    return {
        "v": 1,
        "version": "0.1.0",
        "started_at": NOW,
        "socket": "/run/openfit-tokend/socket",
        "connections": 3,
        "requests": 7,
        "config_error": None,
        "profiles": profiles,
    }


LOCKED = profile(
    "locked",
    "locked",
    {
        "code": "LOGIN_REJECTED",
        "message": "the token server rejected user name or password: invalid_grant",
        "hint": "store the right password and reload, or: openfit-token login",
    },
    expires_in=None,
    refresh_at=None,
)


def on_terminal(
    path: str,
    *words: str,
    columns: int = WIDE,
    rows: int = 24,
    more: Mapping[str, str] | None = None,
) -> Terminal:
    """Run `openfit-token status` on a terminal of its own."""
    own = {"OPENFIT_TOKEN_SOCKET": path, "TERM": "xterm", "NO_COLOR": ""} | dict(more or {})
    inherited = environment(**own)
    for name in ("COLUMNS", "LINES"):
        inherited.pop(name, None)
    return Terminal([*QUICK, "status", *words], inherited, columns=columns, rows=rows)


def shown(
    place: Path,
    found: Mapping[str, object],
    columns: int = WIDE,
    more: Mapping[str, str] | None = None,
) -> str:
    with (
        FakeDaemon(place / "s", always(found)) as daemon,
        on_terminal(daemon.path, columns=columns, more=more) as terminal,
    ):
        return terminal.read_until(None).replace("\r\n", "\n")


def test_a_terminal_is_shown_the_states_in_colours(place: Path) -> None:
    retrying = profile("retrying")
    told = shown(place, status(a=profile(), b=retrying, c=LOCKED))

    assert "\x1b[1mSTATE   \x1b[0m" in told
    assert "a        test         \x1b[32mfresh   \x1b[0m  42 min" in told
    assert "b        test         \x1b[33mretrying\x1b[0m" in told
    assert "c        test         \x1b[31mlocked  \x1b[0m" in told


@pytest.mark.parametrize("more", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_is_shown_none(place: Path, more: dict[str, str]) -> None:
    assert "\x1b" not in shown(place, status(a=profile(), c=LOCKED), more=more)


def test_a_pipe_gets_no_colours_and_whole_lines(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    with FakeDaemon(place / "s", always(status(c=LOCKED))) as daemon:
        assert run_words(["status", "--socket", daemon.path]) == 77

    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "\n  the token server rejected user name or password: invalid_grant\n" in out


@pytest.mark.parametrize("columns", [30, 40, 50, 60, 70, 79])
def test_nothing_is_wider_than_the_window(place: Path, columns: int) -> None:
    lines = shown(place, status(main=profile(), c=LOCKED), columns, {"NO_COLOR": "1"}).splitlines()

    assert max(map(len, lines)) <= columns
    assert any(line.startswith("PROFILE") and "STATE" in line for line in lines)
    assert "openfit-token login" in " ".join(line.strip() for line in lines)


def test_a_narrow_window_leaves_out_what_matters_least() -> None:
    found = status(main=profile())
    headings = [described(found, NOW, width).splitlines()[-2] for width in (80, 60, 45, 30, 25)]

    assert [each.split("  ")[-1].strip() for each in headings] == [
        *("LOGINS LEFT", "NEXT REFRESH", "TOKEN LEFT", "STATE", "STATE"),
    ]
    assert ["ENVIRONMENT" in each for each in headings] == [True, True, True, True, False]


def test_watch_paints_each_picture_over_the_one_before(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(status(main=profile()))) as daemon,
        on_terminal(daemon.path, "--watch") as terminal,
    ):
        first = terminal.read_until("3\r\n")
        daemon.behaviour = always(status(main=LOCKED))
        second = terminal.read_until("openfit-token login\r\n")
        daemon.behaviour = always(status(main=profile()))
        third = terminal.read_until("3\r\n")
        os.kill(terminal.pid, signal.SIGINT)
        assert terminal.read_until(None).strip() == ""
        assert terminal.hang_up() == -signal.SIGINT

    assert UP.findall(first) == []
    assert [int(found.group(1)) for found in map(UP.search, (second, third)) if found] == [
        first.count("\n"),
        second.count("\n"),
    ]


def test_watch_on_a_low_window_shows_what_fits(place: Path) -> None:
    many = {f"p{number}": profile() for number in range(50)}
    with (
        FakeDaemon(place / "s", always(status(**many))) as daemon,
        on_terminal(daemon.path, "--watch", rows=10) as terminal,
    ):
        assert terminal.read_until("\x1b[9A").count("\n") == 9


def test_watch_says_that_the_daemon_is_gone_and_goes_on_when_it_is_back(place: Path) -> None:
    daemon = FakeDaemon(place / "s", always(status(main=profile())))
    with daemon, on_terminal(daemon.path, "--watch") as terminal:
        terminal.read_until("3\r\n")
        daemon.stop()
        terminal.read_until("it isn't running")
        daemon.start()
        terminal.read_until("3\r\n")


def test_watch_for_programs_is_a_line_each_and_ends_with_its_pipe(place: Path) -> None:
    with (
        FakeDaemon(place / "s", always(status(main=profile()))) as daemon,
        subprocess.Popen(
            [*QUICK, "status", "--watch", "--json"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["v"] for _ in range(2)] == [1, 1]
        process.stdout.close()
        assert process.wait(PATIENCE) == 74
        assert process.stderr is not None
        assert process.stderr.read() == b""


def test_watch_needs_a_daemon_to_begin_with(place: Path) -> None:
    assert run_words(["status", "--watch", "--socket", f"{place}/s"]) == 69

"""What is printed at a terminal of 80 columns: lines that end between words, and a log for people."""

import os
import re
import sys
from pathlib import Path

import pytest

from daemons import prepared_daemon, profile
from emulators import running_emulator
from processes import OPENFIT_TOKEN
from terminals import Terminal

pytestmark = pytest.mark.system

COLUMNS = 80
TOKEND = (sys.executable, "-m", "openfit_tokend")
FAULTS = "id_server: must begin with https:// (http:// is for localhost, 127.0.0.0/8 and ::1)"
START = "`systemctl start openfit-tokend`, or `openfit-tokend run`"


def without_colours(text: str) -> str:
    return re.sub(r"\x1b\[\d+m", "", text)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((*OPENFIT_TOKEN, "get"), START),
        ((*OPENFIT_TOKEN, "doctor"), START),
        ((*TOKEND, "check"), FAULTS),
        ((*TOKEND, "run"), FAULTS),
    ],
    ids=["get", "doctor", "check", "run"],
)
def test_lines_end_between_words(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[profiles.main]\nid_server = "http://example.org"\n')
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "OPENFIT_TOKEN_SOCKET": "/nowhere/socket",
        "OPENFIT_TOKEND_CONFIG": str(config),
    }
    with Terminal(words, variables) as terminal:
        terminal.end()

    shown = without_colours(terminal.shown)
    assert said in " ".join(shown.split())
    long = [line for line in shown.splitlines() if len(line) > COLUMNS]
    assert [line for line in long if " " in line.strip()] == [], "words stay whole, such as paths"


def test_check_wraps_its_verdicts_below_their_beginning() -> None:
    with prepared_daemon(profile("https://127.0.0.1:9")) as daemon:
        daemon.password.unlink()
        command = (*TOKEND, "check", "--config", str(daemon.config))
        with Terminal(command, daemon.environment) as terminal:
            terminal.end()

    shown = without_colours(terminal.shown).splitlines()
    assert [line for line in shown if len(line) > COLUMNS and " " in line[22:]] == []
    failed = next(at for at, line in enumerate(shown) if line.startswith("[FAIL]"))
    assert shown[failed + 1].startswith(("       fix: ", " " * 22))


def test_run_logs_in_words_that_end_with_the_events_name() -> None:
    with (
        running_emulator() as emulator,
        prepared_daemon(profile(emulator.url), password="wrong") as daemon,
    ):
        command = (*TOKEND, "run", "--config", str(daemon.config), "--socket", str(daemon.socket))
        with Terminal(command, daemon.environment) as terminal:
            terminal.read_until("event=login_failed)")
            terminal.read_until("store the right password")
            terminal.answer("", "\x03")
            terminal.end()

    assert re.search(
        r"^\d\d:\d\d:\d\d started, version .* \(event=started\)\r$", terminal.shown, re.MULTILINE
    )
    assert re.search(
        r"^\d\d:\d\d:\d\d ERROR main: login failed: the token server rejected",
        terminal.shown,
        re.MULTILINE,
    )
    assert "\r\n    store the right password" in terminal.shown

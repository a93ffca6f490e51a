"""What the log writes, and to whom: real sockets in journald's place."""

import array
import fcntl
import json
import logging
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.host import log
from openfit_tokend.host import log_journal as journal

LARGE = "x" * 1_000_000
"""More than a datagram can carry."""


def parsed(data: bytes) -> dict[str, str]:
    """Read one entry as journald does; a field twice, or a torn one, fails."""
    fields: dict[str, str] = {}
    while data:
        line, _, rest = data.partition(b"\n")
        name, equals, value = line.partition(b"=")
        if not equals:
            size = int.from_bytes(rest[:8], "little")
            value, rest = rest[8 : 8 + size], rest[8 + size :]
            assert rest[:1] == b"\n"
            rest = rest[1:]
        assert name.decode() not in fields
        fields[name.decode()] = value.decode()
        data = rest
    return fields


class Journald:
    """A socket in the place of journald's, and one in the place of its end of our stderr."""

    def __init__(self, directory: Path) -> None:
        self.path = str(directory / "socket")
        self._entries = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._entries.bind(self.path)
        self._lines, self.stderr = socket.socketpair()
        for end in (self._entries, self._lines):
            end.settimeout(0)

    def entry(self) -> dict[str, str]:
        """Return the next entry, which must be there."""
        data, rights, _flags, _address = self._entries.recvmsg(1 << 20, socket.CMSG_SPACE(4))
        return parsed(data or _file_in(rights))

    def lines(self) -> list[str]:
        """Return what came by stderr since the last look."""
        data = b""
        try:
            while more := self._lines.recv(1 << 20):
                data += more
        except BlockingIOError:
            pass
        return data.decode().splitlines()

    def is_silent(self) -> bool:
        """Return whether no entry is there."""
        try:
            self._entries.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        return False

    def fill(self) -> int:
        """Send entries until no more fit; give how many did."""
        count = 0
        while journal.send(journal.entry(6, "filler", "filler", {}), self.path):
            count += 1
        return count

    def fill_stderr(self) -> None:
        """Write to stderr until no more fits."""
        try:
            while self.stderr.send(b"x" * 100 + b"\n", socket.MSG_DONTWAIT):
                pass
        except BlockingIOError:
            pass

    def close(self) -> None:
        """Be dead: the socket's file stays, as after a crash."""
        for end in (self._entries, self._lines, self.stderr):
            end.close()


def _file_in(rights: list[tuple[int, int, bytes]]) -> bytes:
    """Return the content of the file that was handed over; it must be sealed."""
    ((level, kind, data),) = rights
    assert (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS)
    (descriptor,) = array.array("i", data)
    with os.fdopen(descriptor, "rb") as file:
        assert fcntl.fcntl(file, fcntl.F_GET_SEALS) & 0b1111 == 0b1111
        file.seek(0)
        return file.read()


@pytest.fixture
def journald() -> Iterator[Journald]:
    with TemporaryDirectory(prefix="oft-") as directory:
        journald = Journald(Path(directory))
        yield journald
        journald.close()


@pytest.fixture
def set_up(journald: Journald, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Set the log up as in a service, whose stderr leads to journald."""
    logger = logging.getLogger("openfit_tokend")
    for name in ("level", "propagate"):
        monkeypatch.setattr(logger, name, getattr(logger, name))
    monkeypatch.setattr(logger, "handlers", list(logger.handlers))
    monkeypatch.setattr(logging, "raiseExceptions", logging.raiseExceptions)
    status = os.fstat(journald.stderr.fileno())
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")

    with journald.stderr.makefile("w") as stderr:

        def set_up(form: str = "text") -> None:
            with monkeypatch.context() as patch:
                patch.setattr(sys, "stderr", stderr)
                log.set_up("info", form, journald.path)

        yield set_up
        for handler in logger.handlers:
            handler.close()


class TestJournal:
    @pytest.fixture(autouse=True)
    def _as_service(self, set_up: Callable[..., None]) -> None:
        set_up()

    def test_an_event_is_one_entry_with_each_of_its_fields(self, journald: Journald) -> None:
        log.info("token_obtained", profile="main", expires_in=3599.5, hint=None)

        assert journald.entry() == {
            "MESSAGE": "event=token_obtained profile=main expires_in=3599.500",
            "PRIORITY": "6",
            "SYSLOG_IDENTIFIER": "openfit-tokend",
            "EVENT": "token_obtained",
            "PROFILE": "main",
            "EXPIRES_IN": "3599.500",
        }
        assert journald.is_silent()
        assert journald.lines() == []

    def test_each_level_has_its_priority(self, journald: Journald) -> None:
        log.info("a")
        log.warning("b")
        log.error("c")

        assert [journald.entry()["PRIORITY"] for _ in range(3)] == ["6", "4", "3"]

    @pytest.mark.parametrize(
        "value",
        [
            "x\nPRIORITY=0\nMESSAGE=forged\n_UID=0",
            "\n",
            "x\n\n\nMESSAGE=forged\n",
            "=",
            "a=b=c",
            "x\n\x10\0\0\0\0\0\0\0",
            "\0",
            "\udcff",
        ],
    )
    def test_no_value_can_become_a_field_of_its_own(self, journald: Journald, value: str) -> None:
        log.error("login_failed", reason=value)

        entry = journald.entry()
        assert entry.keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EVENT", "REASON"}
        assert entry["REASON"] == value.replace("\udcff", "\\udcff")
        assert (entry["PRIORITY"], entry["EVENT"]) == ("3", "login_failed")
        assert "\n" not in entry["MESSAGE"]

    def test_a_name_with_a_meaning_of_its_own_is_not_taken(self, journald: Journald) -> None:
        fields = {"message": "m", "unit": "u", "priority": 0, "errno": 1, "syslog_pid": 1}

        log.info("forged", **fields, code="UNAVAILABLE")

        entry = journald.entry()
        assert (entry["PRIORITY"], entry["EVENT"], entry["CODE"]) == ("6", "forged", "UNAVAILABLE")
        assert entry["MESSAGE"].startswith("event=forged message=m unit=u")
        assert entry["OPENFIT_MESSAGE"] == "m"
        assert entry["OPENFIT_UNIT"] == "u"
        assert entry.keys().isdisjoint({"UNIT", "ERRNO", "SYSLOG_PID"})

    def test_a_name_that_journald_trusts_is_left_out(self, journald: Journald) -> None:
        log.info("forged", **{"_uid": 0, "1st": 1, "ü": 1, "x" * 65: 1, "a=b\nc": 1})

        assert journald.entry().keys() == {"MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER", "EVENT"}

    def test_a_traceback_is_a_field_and_the_message_stays_one_line(
        self, journald: Journald
    ) -> None:
        try:
            int("of ours")
        except ValueError:
            log.exception("internal_fault", profile="main")

        entry = journald.entry()
        assert entry["TRACEBACK"].splitlines()[-1].startswith("ValueError: invalid literal")
        assert "\n" not in entry["MESSAGE"]

    def test_what_no_datagram_can_carry_is_handed_over_in_a_sealed_file(
        self, journald: Journald
    ) -> None:
        log.error("reload_refused", faults=LARGE)

        assert journald.entry()["FAULTS"] == LARGE
        assert journald.lines() == []

    def test_a_full_socket_is_not_waited_for(self, journald: Journald) -> None:
        count = journald.fill()

        log.warning("refresh_failed", profile="main")

        assert journald.lines() == ["<4>event=refresh_failed profile=main"]
        assert {journald.entry()["EVENT"] for _ in range(count)} == {"filler"}
        assert journald.is_silent()

    def test_a_full_socket_takes_no_large_entry_either(self, journald: Journald) -> None:
        journald.fill()

        log.warning("refresh_failed", reason=LARGE)

        (line,) = journald.lines()
        assert line.startswith("<4>event=refresh_failed reason=xxx")
        assert len(line) < 40_000

    def test_where_stderr_is_full_too_events_are_lost_and_counted(self, journald: Journald) -> None:
        count = journald.fill()
        journald.fill_stderr()

        log.info("first")
        log.info("second", profile="main")
        journald.lines()
        log.info("third")
        log.info("fourth")

        assert journald.lines() == ["<6>event=third lost=2", "<6>event=fourth"]
        assert {journald.entry()["EVENT"] for _ in range(count)} == {"filler"}

    def test_the_count_of_the_lost_is_a_field(self, journald: Journald) -> None:
        count = journald.fill()
        journald.fill_stderr()
        log.info("first")
        for _ in range(count):
            journald.entry()

        log.info("second")
        log.info("third")

        assert journald.entry()["LOST"] == "1"
        assert "LOST" not in journald.entry()

    def test_a_dead_journald_stops_nobody(self, journald: Journald) -> None:
        journald.close()

        log.info("first")
        log.info("second")

    def test_without_a_socket_stderr_has_priorities(self, journald: Journald) -> None:
        Path(journald.path).unlink()

        log.error("login_failed", profile="main", reason="a\nb")

        assert journald.lines() == [r'<3>event=login_failed profile=main reason="a\nb"']

    def test_a_fault_in_a_value_stops_nobody(self, journald: Journald) -> None:
        class Faulty:
            def __str__(self) -> str:
                raise ValueError

        log.info("first", value=Faulty())
        log.info("second")

        assert journald.entry()["EVENT"] == "second"

    def test_no_descriptor_is_left_open(self, journald: Journald) -> None:
        def opened() -> int:
            return len(list(Path("/proc/self/fd").iterdir()))

        before = opened()
        log.info("small")
        log.info("large", value=LARGE)
        journald.fill()
        log.info("large", value=LARGE)

        assert opened() == before


def test_json_stays_json_on_stderr(journald: Journald, set_up: Callable[..., None]) -> None:
    set_up("json")

    log.info("token_obtained", profile="main")
    log.flush()

    (line,) = journald.lines()
    fields = json.loads(line)
    assert (fields["event"], fields["profile"], fields["level"]) == (
        "token_obtained",
        "main",
        "info",
    )
    assert journald.is_silent()


def test_a_stderr_that_is_not_journalds_gets_plain_lines(
    journald: Journald, set_up: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOURNAL_STREAM", "1:1")
    set_up()

    log.info("token_obtained", profile="main")
    log.flush()

    (line,) = journald.lines()
    assert re.fullmatch(r"time=\S+ level=info event=token_obtained profile=main", line)
    assert journald.is_silent()


@given(st.dictionaries(st.text("abcde_", min_size=1, max_size=8), st.text(), max_size=4), st.text())
def test_an_entry_says_just_what_it_was_given(fields: dict[str, str], message: str) -> None:
    entry = parsed(journal.entry(6, "event", message, fields))

    own = {"MESSAGE": message, "PRIORITY": "6", "SYSLOG_IDENTIFIER": "openfit-tokend"}
    given = {name.upper(): value for name, value in fields.items()}
    assert entry.items() >= (own | {"EVENT": "event"}).items()
    assert {name: value for name, value in entry.items() if name not in own | {"EVENT": ""}} == {
        name: value for name, value in given.items() if not name.startswith("_")
    }

"""Where the log goes: to journald by its socket, or as lines to standard error.

Nothing waits for a reader of the log. An event that finds no room is counted, and the next event
that finds some says how many were `lost`.
"""

import json
import logging
import os
import select
import socket
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from math import isfinite
from queue import SimpleQueue
from threading import Event, Thread
from typing import Final, final

from openfit_token._shared.durations import duration
from openfit_token._shared.one_line import one_line
from openfit_tokend.host import log_journal

MAX_BACKLOG: Final = 256 * 1024
"""Bytes of lines that may wait to be written: some thousand lines."""
FLUSH_TIME: Final = 1.0
"""Seconds in which the last lines can be written when the daemon ends."""
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""syslog's number for each level: what journald reads from `<N>` at the beginning of a line."""
_AT_ONCE: Final = int(socket.MSG_DONTWAIT)
_MAX_LINE: Final = 32 * 1024
"""Characters of a line sent to journald over stderr: a socket with room takes that many at once."""


def handler(form: str, stderr: int, journal_socket: str) -> logging.Handler:
    """Return the handler for a form, `text` or `json`.

    Text goes to journald if stderr leads there, and has words for a person at a terminal.
    """
    if form == "json":
        return _Lines(_json_line, stderr)
    if os.isatty(stderr):
        return _Lines(_persons_line, stderr)
    return _Journal(journal_socket, stderr) if _is_journal(stderr) else _Lines(_text_line, stderr)


def _is_journal(fd: int) -> bool:
    """Return whether a descriptor leads to journald ($JOURNAL_STREAM, systemd.exec(5))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


def _fields(record: logging.LogRecord) -> dict[str, object]:
    given: dict[str, object] = getattr(record, "fields", {})
    present = {name: value for name, value in given.items() if value is not None}
    if record.exc_info:
        present["traceback"] = logging.Formatter().formatException(record.exc_info)
    return present


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _text(event: str, fields: Mapping[str, object]) -> str:
    named = {"event": event, **fields}
    return " ".join(f"{name}={_quoted(value)}" for name, value in named.items())


def _text_line(record: logging.LogRecord, fields: Mapping[str, object]) -> str:
    text = _text(record.getMessage(), fields)
    return f"time={_time(record)} level={record.levelname.lower()} {text}"


def _json_line(record: logging.LogRecord, fields: Mapping[str, object]) -> str:
    about = {"time": _time(record), "level": record.levelname.lower(), "event": record.getMessage()}
    return json.dumps({**about, **fields}, default=str)


def _persons_line(record: logging.LogRecord, fields: Mapping[str, object]) -> str:
    """Return lines for a person: the time here, the profile, what happened, and below it what to do."""
    event, traceback = record.getMessage(), str(fields.get("traceback", ""))
    told = {name: _spoken(name, value) for name, value in fields.items() if name != "traceback"}
    at = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
    level = "" if record.levelno <= logging.INFO else f"{record.levelname} "
    profile = f"{told.pop('profile')}: " if "profile" in told else ""
    message = f": {told.pop('message')}" if "message" in told else ""
    below = [
        *([told.pop("hint")] if "hint" in told else []),
        *map(one_line, traceback.splitlines()),
    ]
    rest = "".join(f", {name.replace('_', ' ')} {value}" for name, value in told.items())
    said = f"{at} {level}{profile}{event.replace('_', ' ')}{message}{rest} (event={event})"
    return "\n".join([said, *(f"    {each}" for each in below)])


def _spoken(name: str, value: object) -> str:
    if isinstance(value, float) and name.endswith("_in") and isfinite(value):
        return duration(value)
    return one_line(_plain(value))


def _plain(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _quoted(value: object) -> str:
    text = _plain(value)
    plain = text.isprintable() and text and not set(text) & set(' "=\\')
    return text if plain else json.dumps(text)


@final
class LineWriter:
    """Writes lines to a descriptor in a thread of its own; the descriptor stays the caller's.

    A pipe that nobody reads, a stopped terminal or a disk that hangs holds up this thread alone.
    O_NONBLOCK wouldn't do: it affects every process that shares the descriptor, and not files. Only
    one thread at a time may call `put`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._queue: SimpleQueue[bytes | Event | None] = SimpleQueue()
        self._taken = 0  # bytes; written only by the caller of `put`
        self._written = 0  # bytes; written only by the thread, as is `failed`
        self.failed = 0
        """Lines that couldn't be written."""
        Thread(target=self._work, name="log", daemon=True).start()

    def put(self, line: bytes) -> bool:
        """Queue a line and return whether there was room for it."""
        if self._taken - self._written >= MAX_BACKLOG:
            return False
        self._taken += len(line)
        self._queue.put(line)
        return True

    def flush(self, limit: float) -> None:
        """Wait until everything queued so far is written, at most `limit` seconds."""
        reached = Event()
        self._queue.put(reached)
        reached.wait(limit)

    def close(self) -> None:
        """End the thread once it has written what is queued."""
        self._queue.put(None)

    def _work(self) -> None:
        while (item := self._queue.get()) is not None:
            if isinstance(item, Event):
                item.set()
                continue
            try:
                self._write(item)
            except OSError:  # the reader has gone, or the disk is full
                self.failed += 1
            self._written += len(item)

    def _write(self, data: bytes) -> None:
        while data:
            try:
                data = data[os.write(self._descriptor, data) :]
            except BlockingIOError:  # another process set O_NONBLOCK
                writable = select.poll()
                writable.register(self._descriptor, select.POLLOUT)
                writable.poll()


class _Bounded(logging.Handler):
    """Passes events on without waiting, and counts those that found no room."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0  # since the start
        self._reported = 0  # of these

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lost = self.lost()
            more = {"lost": lost - self._reported} if lost > self._reported else {}
            if self.take(record, _fields(record) | more):
                self._reported = lost
            else:
                self._dropped += 1
        except Exception:  # noqa: BLE001 -- a bug in logging must not end what is being logged
            self.handleError(record)

    def lost(self) -> int:
        """Return the number of events lost since the start."""
        return self._dropped

    def take(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        """Pass an event on and return whether there was room for it."""
        raise NotImplementedError


class _Lines(_Bounded):
    """Writes lines to stderr, wherever it leads."""

    def __init__(
        self, form: Callable[[logging.LogRecord, Mapping[str, object]], str], stderr: int
    ) -> None:
        super().__init__()
        self._form = form
        self._writer = LineWriter(stderr)

    def take(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        line = f"{self._form(record, fields)}\n"
        return self._writer.put(line.encode(errors="backslashreplace"))

    def lost(self) -> int:
        return self._dropped + self._writer.failed

    def flush(self) -> None:
        self._writer.flush(FLUSH_TIME)

    def close(self) -> None:
        self._writer.close()
        super().close()


class _Journal(_Bounded):
    """Sends events to journald: over its socket, or over stderr if that fails."""

    def __init__(self, path: str, stderr: int) -> None:
        super().__init__()
        self._path = path
        self._stderr = socket.socket(fileno=stderr)  # for MSG_DONTWAIT: others may share it

    def take(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        event = record.getMessage()
        priority, text = _PRIORITIES[record.levelno], _text(event, fields)
        plain = {name: _plain(value) for name, value in fields.items()}
        sent = log_journal.send(log_journal.entry(priority, event, text, plain), self._path)
        return sent or self._send(f"<{priority}>{text[:_MAX_LINE]}\n")

    def _send(self, line: str) -> bool:
        try:
            self._stderr.send(line.encode(errors="backslashreplace"), _AT_ONCE)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._stderr.detach()  # it stays open
        super().close()

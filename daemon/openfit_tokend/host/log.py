"""The log: one event a line, as `key=value` or JSON, on stderr. Never a secret.

Where stderr leads to journald, an event goes to its own socket, with each field by name.

Levels: DEBUG each hand-out, INFO each token replacement and each operator's call, WARNING what
heals by itself, ERROR what needs a person. Values come from settings and servers, so that they are
quoted: nothing that is logged can begin a line of its own.

Whoever reads the log, or doesn't, holds nobody up: what finds no room is counted, and the next event
that finds some says how many were `lost`.
"""

import json
import logging
import os
import socket
import sys
from collections.abc import Callable, Hashable, Mapping
from datetime import UTC, datetime
from typing import Final

from openfit_tokend.core import log_limits
from openfit_tokend.core.log_limits import Window
from openfit_tokend.host import clock, journal
from openfit_tokend.host.line_writer import LineWriter

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

_FLUSH_TIME: Final = 1.0
"""Seconds in which the last lines can be written when the daemon ends."""
_limits: dict[str, Window] = {}
"""By event."""

_LOGGER: Final = logging.getLogger("openfit_tokend")
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
"""Characters of a line that journald gets by stderr: a socket that has room takes so much at once."""


def set_up(level: str, form: str, journal_socket: str = journal.SOCKET) -> None:
    """Let events of this level and above go out. Call once, before anything is logged."""
    logging.raiseExceptions = False  # a full disk behind stderr must not end a daemon
    stderr = sys.stderr.fileno()
    if form != "json" and _is_journal(stderr):
        _LOGGER.handlers[:] = [_Journal(journal_socket, stderr)]
    else:
        _LOGGER.handlers[:] = [_Lines(_json_line if form == "json" else _text_line, stderr)]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False


def flush() -> None:
    """Wait until what was logged is written, but not for a reader who doesn't read."""
    for handler in _LOGGER.handlers:
        handler.flush()


def debug(event: str, **fields: object) -> None:
    """Log what interests only who looks for a fault."""
    if _LOGGER.isEnabledFor(logging.DEBUG):
        _log(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    """Log what happened as it should."""
    _log(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log what went wrong and is being mended."""
    _log(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log what needs a person."""
    _log(logging.ERROR, event, fields)


def shows(level: int) -> bool:
    """Return whether events of this level of `logging` go out."""
    return _LOGGER.isEnabledFor(level)


def limited(event: str, key: Hashable, **fields: object) -> None:
    """Log a warning that others can provoke, within the limits of `admit`.

    The next line says how many were suppressed.
    """
    suppressed = admit(event, key)
    if suppressed is not None:
        warning(event, **fields, suppressed=suppressed or None)


def admit(event: str, key: Hashable, burst: int = 1) -> int | None:
    """Return how many lines of an event were suppressed before this one; None: it is to be, too.

    `key`: who provokes it. See `log_limits.admit`.
    """
    window = _limits.get(event, Window())
    _limits[event], suppressed = log_limits.admit(window, key, burst, clock.boot())
    return suppressed


def exception(event: str, **fields: object) -> None:
    """Log a fault of ours, with the traceback of the exception being handled."""
    _LOGGER.exception(event, extra={"fields": fields})  # noqa: LOG004 -- callers are handlers


def _log(level: int, event: str, fields: Mapping[str, object]) -> None:
    _LOGGER.log(level, event, extra={"fields": fields})


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


class _Bounded(logging.Handler):
    """Hands events on without waiting for anybody, and counts those that found no room."""

    def __init__(self) -> None:
        super().__init__()
        self._dropped = 0  # since the start
        self._said = 0  # of these

    def emit(self, record: logging.LogRecord) -> None:
        try:
            lost = self.lost()
            more = {"lost": lost - self._said} if lost > self._said else {}
            if self.take(record, _fields(record) | more):
                self._said = lost
            else:
                self._dropped += 1
        except Exception:  # noqa: BLE001 -- a fault of ours in a log line must not end what it tells of
            self.handleError(record)

    def lost(self) -> int:
        """Return the number of events that were lost since the start."""
        return self._dropped

    def take(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        """Hand an event on, and return whether there was room for it."""
        raise NotImplementedError


class _Lines(_Bounded):
    """Writes lines to stderr, wherever that leads."""

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
        self._writer.flush(_FLUSH_TIME)

    def close(self) -> None:
        self._writer.close()
        super().close()


class _Journal(_Bounded):
    """Tells journald: by its socket, else by stderr, else never."""

    def __init__(self, path: str, stderr: int) -> None:
        super().__init__()
        self._path = path
        self._stderr = socket.socket(fileno=stderr)  # for MSG_DONTWAIT: it may be others' too

    def take(self, record: logging.LogRecord, fields: Mapping[str, object]) -> bool:
        event = record.getMessage()
        priority, text = _PRIORITIES[record.levelno], _text(event, fields)
        plain = {name: _plain(value) for name, value in fields.items()}
        sent = journal.send(journal.entry(priority, event, text, plain), self._path)
        return sent or self._send(f"<{priority}>{text[:_MAX_LINE]}\n")

    def _send(self, line: str) -> bool:
        try:
            self._stderr.send(line.encode(errors="backslashreplace"), _AT_ONCE)
        except OSError:
            return False
        return True

    def close(self) -> None:
        self._stderr.detach()  # it stays the process's
        super().close()


def _plain(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _quoted(value: object) -> str:
    text = _plain(value)
    plain = text.isprintable() and text and not set(text) & set(' "=\\')
    return text if plain else json.dumps(text)

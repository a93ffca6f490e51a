"""The log: one event a line, as `key=value` or JSON, on stderr. Never a secret.

Where stderr leads to journald, an event goes to its own socket, with each field by name.

Levels: DEBUG each hand-out, INFO each token replacement and each operator's call, WARNING what
heals by itself, ERROR what needs a person. Values come from settings and servers, so that they are
quoted: nothing that is logged can begin a line of its own.
"""

import json
import logging
import os
import select
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from typing import Final, TextIO

from openfit_tokend.io import clock, journal

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

LIMIT: Final = 10.0
"""Seconds between two lines of one kind that the same client provoked."""
_MAX_KEYS: Final = 1000
_limits: dict[tuple[str, object], tuple[float, int]] = {}

_LOGGER: Final = logging.getLogger("openfit_tokend")
_PRIORITIES: Final = {
    logging.DEBUG: 7,
    logging.INFO: 6,
    logging.WARNING: 4,
    logging.ERROR: 3,
    logging.CRITICAL: 2,
}
"""syslog's number for each level: what journald reads from `<N>` at the beginning of a line."""
_MAX_LINE: Final = 32 * 1024
"""Characters of a line that journald gets by stderr: a socket that has room takes so much at once."""


def set_up(level: str, form: str, journal_socket: str = journal.SOCKET) -> None:
    """Let events of this level and above go out. Call once, before anything is logged."""
    logging.raiseExceptions = False  # a full disk behind stderr must not end a daemon
    handler: logging.Handler = logging.StreamHandler(sys.stderr)
    if form == "json":
        handler.setFormatter(_Json())
    elif _is_journal(sys.stderr.fileno()):
        handler = _Journal(journal_socket, sys.stderr)
    else:
        handler.setFormatter(_Text())
    _LOGGER.handlers[:] = [handler]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False


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
    """Tell whether events of this level of `logging` go out."""
    return _LOGGER.isEnabledFor(level)


def limited(event: str, key: object, **fields: object) -> None:
    """Log a warning that a client can provoke: at once, and then once in LIMIT seconds for each key.

    The next line says how many were suppressed. So a flood can't fill the disk.
    """
    suppressed = admit(event, key)
    if suppressed is not None:
        warning(event, **fields, suppressed=suppressed or None)


def admit(event: str, key: object, burst: int = 1) -> int | None:
    """Tell whether one more line may be logged: `burst` in LIMIT seconds for each event and key.

    Gives how many were suppressed before it; None: this one is to be suppressed.
    """
    now = clock.boot()
    if len(_limits) > _MAX_KEYS:
        _limits.clear()
    until, seen = _limits.get((event, key), (-inf, 0))
    if now < until:
        _limits[event, key] = (until, seen + 1)
        return 0 if seen < burst else None
    _limits[event, key] = (now + LIMIT, 1)
    return max(0, seen - burst)


def exception(event: str, **fields: object) -> None:
    """Log a fault of ours, with the traceback of the exception being handled."""
    _LOGGER.exception(event, extra={"fields": fields})  # noqa: LOG004 -- callers are handlers


def _log(level: int, event: str, fields: Mapping[str, object]) -> None:
    _LOGGER.log(level, event, extra={"fields": fields})


def _is_journal(fd: int) -> bool:
    """Tell whether a descriptor leads to journald ($JOURNAL_STREAM, systemd.exec(5))."""
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


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = _text(record.getMessage(), _fields(record))
        return f"time={_time(record)} level={record.levelname.lower()} {text}"


class _Journal(logging.Handler):
    """Tells journald: by its socket, else by stderr, else never; but never waits for it."""

    def __init__(self, path: str, stderr: TextIO) -> None:
        super().__init__()
        self._path = path
        self._stderr = stderr
        self._lost = 0  # events that neither way took, since the last one that went out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._tell(record)
        except Exception:  # noqa: BLE001 -- a fault of ours in a log line must not end what it tells of
            self.handleError(record)

    def _tell(self, record: logging.LogRecord) -> None:
        event, fields = record.getMessage(), _fields(record)
        if self._lost:
            fields["lost"] = self._lost
        priority, text = _PRIORITIES[record.levelno], _text(event, fields)
        plain = {name: _plain(value) for name, value in fields.items()}
        sent = journal.send(journal.entry(priority, event, text, plain), self._path)
        self._lost = 0 if sent or self._write(f"<{priority}>{text}") else self._lost + 1

    def _write(self, line: str) -> bool:
        """Write to stderr if that has room, as it mostly has; a line may be cut."""
        writable = select.poll()
        writable.register(self._stderr, select.POLLOUT)
        try:
            if writable.poll(0) != [(self._stderr.fileno(), select.POLLOUT)]:
                return False
            self._stderr.write(f"{line[:_MAX_LINE]}\n")
            self._stderr.flush()
        except OSError:
            return False
        return True


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname.lower()}
        return json.dumps({**fields, "event": record.getMessage(), **_fields(record)}, default=str)


def _plain(value: object) -> str:
    return f"{value:.3f}" if isinstance(value, float) else str(value)


def _quoted(value: object) -> str:
    text = _plain(value)
    plain = text.isprintable() and text and not set(text) & set(' "=\\')
    return text if plain else json.dumps(text)

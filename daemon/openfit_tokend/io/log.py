"""The log: stderr, one event a line, as `key=value` or JSON. Never a secret.

Levels: DEBUG each hand-out, INFO each token replacement and each operator's call, WARNING what
heals by itself, ERROR what needs a person. Values come from settings and servers, so that they are
quoted: nothing that is logged can begin a line of its own.
"""

import json
import logging
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from math import inf
from typing import Final

from openfit_tokend.io import clock

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


def set_up(level: str, form: str) -> None:
    """Let events of this level and above go to stderr. Call once, before anything is logged."""
    logging.raiseExceptions = False  # a full disk behind stderr must not end a daemon
    handler = logging.StreamHandler(sys.stderr)
    journal = _is_journal(sys.stderr.fileno())
    handler.setFormatter(_Json() if form == "json" else _Text(journal=journal))
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


def limited(event: str, key: object, **fields: object) -> None:
    """Log a warning that a client can provoke: at once, and then once in LIMIT seconds for each key.

    The next line says how many were suppressed. So a flood can't fill the disk.
    """
    now = clock.boot()
    if len(_limits) > _MAX_KEYS:
        _limits.clear()
    until, suppressed = _limits.get((event, key), (-inf, 0))
    if now < until:
        _limits[event, key] = (until, suppressed + 1)
        return
    _limits[event, key] = (now + LIMIT, 0)
    warning(event, **fields, suppressed=suppressed or None)


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


class _Text(logging.Formatter):
    def __init__(self, *, journal: bool) -> None:
        super().__init__()
        self._journal = journal

    def format(self, record: logging.LogRecord) -> str:
        fields = {"event": record.getMessage(), **_fields(record)}
        text = " ".join(f"{name}={_quoted(value)}" for name, value in fields.items())
        if self._journal:  # it has the time, and the level as a priority
            return f"<{_PRIORITIES[record.levelno]}>{text}"
        return f"time={_time(record)} level={record.levelname.lower()} {text}"


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        fields = {"time": _time(record), "level": record.levelname.lower()}
        return json.dumps({**fields, "event": record.getMessage(), **_fields(record)}, default=str)


def _quoted(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}"
    text = str(value)
    plain = text.isprintable() and text and not set(text) & set(' "=\\')
    return text if plain else json.dumps(text)

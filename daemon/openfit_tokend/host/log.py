"""The log: one event per line, as `key=value` or JSON, on stderr. Never a secret.

Where stderr leads to journald, an event goes to journald's own socket, with each field by its name.

Levels: DEBUG each request for a token, INFO each token replaced and who gets it first, WARNING what
recovers by itself, ERROR what needs a person. Values come from settings and servers, so they are
quoted: nothing logged can start a line of its own.
"""

import logging
import sys
from collections.abc import Hashable, Mapping
from typing import Final

from openfit_tokend.core.callers import log_limits
from openfit_tokend.core.callers.log_limits import Window
from openfit_tokend.host import clock, log_journal, log_output

LEVELS: Final = ("debug", "info", "warning", "error")
FORMATS: Final = ("text", "json")

_LOGGER: Final = logging.getLogger("openfit_tokend")
_LOGGER.addHandler(logging.NullHandler())  # commands say in words what the daemon logs
_limits: dict[str, Window] = {}
"""By event."""


def set_up(level: str, form: str, journal_socket: str = log_journal.SOCKET) -> None:
    """Log events of this level and above. Call it once, before anything is logged."""
    logging.raiseExceptions = False  # a full disk behind stderr must not end a daemon
    _LOGGER.handlers[:] = [log_output.handler(form, sys.stderr.fileno(), journal_socket)]
    _LOGGER.setLevel(level.upper())
    _LOGGER.propagate = False


def flush() -> None:
    """Wait until what was logged is written, but not for a reader that doesn't read."""
    for handler in _LOGGER.handlers:
        handler.flush()


def debug(event: str, **fields: object) -> None:
    """Log what matters only for debugging."""
    if _LOGGER.isEnabledFor(logging.DEBUG):
        _log(logging.DEBUG, event, fields)


def info(event: str, **fields: object) -> None:
    """Log what went as expected."""
    _log(logging.INFO, event, fields)


def warning(event: str, **fields: object) -> None:
    """Log what went wrong and recovers by itself."""
    _log(logging.WARNING, event, fields)


def error(event: str, **fields: object) -> None:
    """Log what needs a person."""
    _log(logging.ERROR, event, fields)


def shows(level: int) -> bool:
    """Return whether events of this level (as in `logging`) are logged."""
    return _LOGGER.isEnabledFor(level)


def limited(event: str, key: Hashable, **fields: object) -> None:
    """Log a warning that others can provoke, within the limits of `admit`.

    The next such line says how many were suppressed.
    """
    suppressed = admit(event, key)
    if suppressed is not None:
        warning(event, **fields, suppressed=suppressed or None)


def admit(event: str, key: Hashable, burst: int = 1) -> int | None:
    """Return how many lines of an event were suppressed before this one; None: suppress this too.

    `key`: who provokes it. See `log_limits.admit`.
    """
    window = _limits.get(event, Window())
    _limits[event], suppressed = log_limits.admit(window, key, burst, clock.boot())
    return suppressed


def exception(event: str, **fields: object) -> None:
    """Log an internal error, with the traceback of the exception being handled."""
    _LOGGER.exception(event, extra={"fields": fields})  # noqa: LOG004 -- callers are handlers


def _log(level: int, event: str, fields: Mapping[str, object]) -> None:
    _LOGGER.log(level, event, extra={"fields": fields})

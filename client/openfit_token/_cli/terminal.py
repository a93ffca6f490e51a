"""Texts for people, on a terminal that obeys control characters, from sources that may contain some."""

import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from math import isfinite
from typing import TextIO

from openfit_token._shared.durations import duration
from openfit_token._shared.one_line import one_line
from openfit_token.errors import TokenError

_COLOURS = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33, "cyan": 36}


class WrongUsage(TokenError):
    """The command line, or what was typed, isn't valid."""

    exit_status = 64


def printable(text: object) -> str:
    """Return a text as one line that standard output can take, in this locale too."""
    return one_line(text, getattr(sys.stdout, "encoding", None) or "ascii")


def moment(unix: float | None) -> str:
    """Return a time in UTC, of ISO 8601; "?" for none, and for one that no calendar has."""
    if unix is None:
        return "?"
    try:
        return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "?"


def columns(stream: TextIO | None) -> int | None:
    """Return how many columns the terminal has that a stream leads to; None: it leads to none."""
    if stream is None or not stream.isatty():
        return None
    from shutil import get_terminal_size  # noqa: PLC0415 -- a daemon's log leads to none

    return get_terminal_size().columns


def wrapped(text: str, width: int | None, first: str = "", rest: str | None = None) -> list[str]:
    """Return a text as lines that fit into a window. Words stay whole: some are commands.

    `first`, `rest`: what the first line begins with, and the others; without `rest` they begin alike.
    """
    if width is None:
        return [f"{first}{text}"]
    from textwrap import TextWrapper  # noqa: PLC0415 -- same

    rest = first if rest is None else rest
    wrapper = TextWrapper(
        width=max(width, len(first) + 1, len(rest) + 1),
        initial_indent=first,
        subsequent_indent=rest,
        break_long_words=False,
        break_on_hyphens=False,
    )
    return wrapper.wrap(text) or [first]


def complaint(error: TokenError, width: int | None = None) -> str:
    """Return what failed and why, and then what to do. `width`: the window's."""
    advice: list[str] = []
    if error.hint:
        advice.append(printable(error.hint))
    if error.retry_after is not None and isfinite(error.retry_after):
        advice.append(f"try again in {duration(error.retry_after)}")
    lines = wrapped(f"openfit-token: {printable(error.message)}", width)
    if advice:
        lines += wrapped("; ".join(advice), width, "  ")
    return "".join(f"{line}\n" for line in lines)


def complain(error: TokenError) -> None:
    """Print an error to standard error."""
    _tell(complaint(error, columns(sys.stderr)))


def remark(text: str) -> None:
    """Print a remark to standard error."""
    _tell(f"openfit-token: {text}\n")


def _tell(lines: str) -> None:
    if sys.stderr is None:
        return  # `2>&-` closed it
    with suppress(OSError):  # the exit status still tells
        sys.stderr.write(lines)
        sys.stderr.flush()


def on_terminal() -> bool:
    """Return whether standard output is a terminal."""
    return sys.stdout is not None and sys.stdout.isatty()


def in_colour() -> bool:
    """Return whether to use colours on standard output (https://no-color.org)."""
    return on_terminal() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def painted(text: str, colour: str) -> str:
    """Return a text in a colour, for a terminal."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m"

"""Output for people: at most 80 columns except for commands, in colour on a terminal, in ASCII if need be."""

import sys
from textwrap import wrap
from typing import Final

from openfit_emulator.demo.promises import Promise
from openfit_token._cli.output import put
from openfit_token._cli.terminal import in_colour, painted, printable
from openfit_tokend.host import clock

COLUMNS: Final = 80
_LABEL: Final = 19
"""Columns of a timeline's line before its text: the time, and the actor."""
_SPECIAL: Final = "✓✗…█░"
_PLAIN: Final = str.maketrans({"✓": "ok", "✗": "NO", "…": "..", "█": "#", "░": "."})


class Screen:
    """Standard output. Every line is written immediately.

    All methods raise OutputFailed if it is full or closed, or its reader has gone.
    """

    def __init__(self) -> None:
        self._began = clock.boot()
        self._coloured = in_colour()
        self._encoding = sys.stdout.encoding
        self._ascii = printable(_SPECIAL) != _SPECIAL

    def text(self, text: str = "", colour: str = "") -> None:
        """Print lines; wrap those that are too long."""
        for line in text.split("\n"):
            for part in wrap(line, COLUMNS, subsequent_indent="  ") or [""]:
                self._put(self._painted(part, colour))

    def commands(self, text: str) -> None:
        """Print lines to be copied, without wrapping."""
        for line in text.split("\n"):
            self._put(line)

    def event(self, who: str, text: str, colour: str = "") -> None:
        """Print a line of the timeline: the time, the actor, the event."""
        first, *more = wrap(self._plain(text), COLUMNS - _LABEL)
        time = self._painted(f"{clock.boot() - self._began:6.1f} s", "dim")
        self._put(f"{time}  {who:<8} {self._painted(first, colour)}")
        for line in more:
            self._put(" " * _LABEL + self._painted(line, colour))

    def gauge(self, share: float, cells: int) -> str:
        """Return a bar that is full at 1 and empty at 0."""
        full = max(0, min(cells, round(share * cells)))
        return self._plain("█" * full + "░" * (cells - full))

    def promise(self, promise: Promise) -> None:
        """Print a line of the summary: the mark, the promise, the figures."""
        mark = self._plain("✓" if promise.kept else "✗")
        colour = "green" if promise.kept else "red"
        self._put(f"  {self._painted(f'{mark:<2}', colour)} {self._painted(promise.text, 'bold')}")
        for line in wrap(self._plain(promise.figures), COLUMNS - 5):
            self._put(f"     {line}")

    def _plain(self, text: str) -> str:
        text = text.translate(_PLAIN) if self._ascii else text
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def _painted(self, text: str, colour: str) -> str:
        return painted(text, colour) if self._coloured and colour else text

    def _put(self, line: str) -> None:
        put(f"{line}\n")

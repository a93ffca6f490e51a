"""A person at a terminal: reads what is shown, and types.

with Terminal(["openfit-tokend", "init"], environment) as terminal:
    ... terminal.answer("client_id", "one\\n"), terminal.end(), terminal.shown ...
"""

import codecs
import os
import pty
import select
import subprocess
import termios
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from daemons import PATIENCE

SILENCE = 3 * PATIENCE
"""Seconds without a word: pip says nothing while it installs, on a busy machine for long."""


class Terminal:
    """A terminal with a command running in it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        environment: dict[str, str],
        directory: Path | None = None,
        *,
        columns: int = 0,
        rows: int = 0,
    ) -> None:
        """Start the command, which leads a session of its own; 0: a terminal of unknown size."""
        self.shown = ""
        self._read = 0
        self._decode = codecs.getincrementaldecoder("utf-8")().decode
        """A read may end within a character."""
        ours, theirs = pty.openpty()
        termios.tcsetwinsize(theirs, (rows, columns))
        self._ours = os.fdopen(ours, "r+b", buffering=0)
        self._process = subprocess.Popen(
            ["/usr/bin/setsid", "--ctty", *command],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment,
            cwd=directory,
        )
        os.close(theirs)

    def answer(self, question: str, line: str) -> None:
        """Wait for a question and type the answer."""
        self.read_until(question)
        self._ours.write(line.encode())

    def read_until(self, words: str | None) -> str:
        """Wait for words, or None: the end. Return what came after those that were awaited before."""
        begin = self._read
        while words is None or words not in self.shown[begin:]:
            ready, _, _ = select.select([self._ours], [], [], SILENCE)
            assert ready, f"silence after:\n{self.shown}"
            try:
                read = self._ours.read(4096)
            except OSError:  # the other side has ended
                read = b""
            if not read:
                assert words is None, self.shown
                return self.shown[begin:]
            self.shown += self._decode(read)
        self._read = self.shown.index(words, begin) + len(words)
        return self.shown[begin : self._read]

    def end(self) -> int:
        """Read the rest, and return the exit status."""
        self.read_until(None)
        return self.hang_up()

    @property
    def pid(self) -> int:
        """Return the pid of the command."""
        return self._process.pid

    def close(self) -> None:
        """Close the terminal without waiting for what runs in it."""
        self._ours.close()

    def hang_up(self) -> int:
        """Close the terminal, which ends what runs in it, and return the exit status."""
        self.close()
        return self._process.wait(PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hang_up()

"""What is said of a link, and how it is printed."""

from dataclasses import dataclass
from typing import Final, Literal, final

from openfit_token.cli.output import put
from openfit_token.cli.terminal import in_colour, painted, printable

_WIDTH: Final = 12
"""Columns of a link's name."""
_COLOURS: Final = {" OK ": "green", "WARN": "yellow", "FAIL": "red"}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of one link.

    Attributes:
        kind: the word in brackets.
        link: its name.
        text: what was found.
        fix: what to do about it.
        cause: what the vendor's page calls this.
        status: the exit status, of one that failed.
    """

    kind: Literal[" OK ", "WARN", "FAIL"]
    link: str
    text: str
    fix: str | None = None
    cause: str | None = None
    status: int = 0


def ok(link: str, text: str) -> Verdict:
    """Return the verdict on a link that holds."""
    return Verdict(" OK ", link, text)


def warn(link: str, text: str, fix: str, cause: str | None = None) -> Verdict:
    """Return the verdict on a link that holds, but shouldn't be left so."""
    return Verdict("WARN", link, text, fix, cause)


def fail(link: str, text: str, fix: str, status: int, cause: str | None = None) -> Verdict:
    """Return the verdict on a link that is broken."""
    return Verdict("FAIL", link, text, fix, cause, status)


@final
class Report:
    """Prints verdicts as they come.

    Attributes:
        status: the exit status of the first that failed; 0 while none has.
    """

    def __init__(self) -> None:
        self.status = 0
        self._colours = in_colour()
        self._kinds: list[str] = []

    def say(self, verdict: Verdict) -> None:
        """Print a verdict, and what to do."""
        self._kinds.append(verdict.kind)
        self.status = self.status or verdict.status
        kind = painted(verdict.kind, _COLOURS[verdict.kind]) if self._colours else verdict.kind
        lines = f"[{kind}] {printable(verdict.link):<{_WIDTH}} {printable(verdict.text)}\n"
        if verdict.cause:
            lines += f"       cause: {printable(verdict.cause)}\n"
        if verdict.fix:
            lines += f"       fix: {printable(verdict.fix)}\n"
        put(lines)

    def end(self) -> None:
        """Print what the verdicts come to."""
        words = {" OK ": "ok", "WARN": "warning", "FAIL": "failed"}
        counts = [
            f"{self._kinds.count(kind)} {word}"
            for kind, word in words.items()
            if kind in self._kinds
        ]
        put(f"{', '.join(counts)}. No login was attempted.\n")

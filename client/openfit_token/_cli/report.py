"""A report of what was looked at: a verdict on each thing, and what they come to.

`doctor` prints one, and so does `openfit-tokend check`.
"""

import sys
from typing import Final, Literal, final

from openfit_token._cli.output import put
from openfit_token._cli.terminal import columns, in_colour, painted, printable, wrapped
from openfit_token._shared.frozen import frozen

_WIDTH: Final = 14
"""Columns of a name."""
_INDENT: Final = " " * len("[FAIL] ")
_COLOURS: Final = {" OK ": "green", "WARN": "yellow", "FAIL": "red"}


@frozen
class Verdict:
    """What was found in one place.

    Attributes:
        kind: the word in brackets.
        subject: what was looked at, in a word or two.
        text: what was found.
        fix: what to do about it.
        cause: what the vendor's page calls this.
        status: the exit status, of a failure.
    """

    kind: Literal[" OK ", "WARN", "FAIL"]
    subject: str
    text: str
    fix: str | None = None
    cause: str | None = None
    status: int = 0


def ok(subject: str, text: str) -> Verdict:
    """Return the verdict on what is well."""
    return Verdict(" OK ", subject, text)


def warn(subject: str, text: str, fix: str | None, cause: str | None = None) -> Verdict:
    """Return the verdict on what works, but shouldn't be left so."""
    return Verdict("WARN", subject, text, fix, cause)


def fail(
    subject: str, text: str, fix: str | None, status: int, cause: str | None = None
) -> Verdict:
    """Return the verdict on what is broken."""
    return Verdict("FAIL", subject, text, fix, cause, status)


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
        """Print a verdict and what to do.

        Raises:
            OutputFailed: it can't be written.
        """
        self._kinds.append(verdict.kind)
        self.status = self.status or verdict.status
        width = columns(sys.stdout)
        head = f"[{verdict.kind}] {printable(verdict.subject):<{_WIDTH}} "
        first, *more = wrapped(printable(verdict.text), width, head, " " * len(head))
        if self._colours:
            first = first.replace(verdict.kind, painted(verdict.kind, _COLOURS[verdict.kind]), 1)
        lines = [first, *more]
        for word, text in (("cause: ", verdict.cause), ("fix: ", verdict.fix)):
            if text:
                lines += wrapped(
                    printable(text), width, f"{_INDENT}{word}", _INDENT + " " * len(word)
                )
        put("".join(f"{line}\n" for line in lines))

    def end(self, *, login: bool) -> None:
        """Print how many verdicts there are of each kind, and that no login was attempted if so."""
        words = {" OK ": "ok", "WARN": "warning", "FAIL": "failed"}
        counts = [
            f"{self._kinds.count(kind)} {word}"
            for kind, word in words.items()
            if kind in self._kinds
        ]
        put(f"{', '.join(counts)}.{'' if login else ' No login was attempted.'}\n")

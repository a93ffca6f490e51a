"""The report of `openfit-token doctor`, parsed for tests."""

import re
from collections.abc import Callable
from typing import Final, NamedTuple

import pytest

from openfit_token._cli import run as run_words

_VERDICT: Final = re.compile(r"\[( OK |WARN|FAIL)\] (\S+) +(.*)")


class Finding(NamedTuple):
    """One verdict. `fix` and `cause` are "" where there are none."""

    kind: str
    link: str
    text: str
    fix: str = ""
    cause: str = ""


class Diagnosis(NamedTuple):
    """All verdicts, with the exit status and the output."""

    status: int
    findings: list[Finding]
    printed: str

    def of(self, link: str) -> Finding:
        """Return the first verdict on a link."""
        return next(each for each in self.findings if each.link == link)

    @property
    def troubles(self) -> list[tuple[str, str]]:
        """Return the kind and link of each verdict that isn't OK."""
        return [(each.kind, each.link) for each in self.findings if each.kind != " OK "]


Examine = Callable[..., Diagnosis]
"""Runs the doctor with these arguments."""


def diagnosis(status: int, printed: str) -> Diagnosis:
    """Parse the output of the doctor."""
    findings: list[Finding] = []
    *lines, summary = printed.splitlines()
    for line in lines:
        if verdict := _VERDICT.fullmatch(line):
            findings.append(Finding(*verdict.groups()))
            continue
        what, text = line.removeprefix("       ").split(": ", 1)
        findings[-1] = findings[-1]._replace(**{what: text})
    assert summary.endswith(". No login was attempted.")
    return Diagnosis(status, findings, printed)


def doctor(capsys: pytest.CaptureFixture[str]) -> Examine:
    """Return a function that runs the doctor in this process."""

    def examine(*words: str) -> Diagnosis:
        capsys.readouterr()
        status = run_words(["doctor", *words])
        printed, complaints = capsys.readouterr()
        assert complaints == ""
        return diagnosis(status, printed)

    return examine

"""What all tests share."""

import os
import sys

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("dev", deadline=None)
settings.load_profile("ci" if os.environ.get("CI") else "dev")

MAY_BE_SKIPPED = ("root may read everything", "needs root", "needs Python 3.11:")
"""Reasons that no installed package can mend."""


_skipped: list[str] = []


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_BE_SKIPPED):
            _skipped.append(f"{report.nodeid}: {reason}")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With OPENFIT_NO_SKIPS set, fail when a test was skipped that could run here."""
    if os.environ.get("OPENFIT_NO_SKIPS") and _skipped:
        lines = "\n".join(f"must not be skipped here: {each}" for each in _skipped)
        print(f"\n{lines}", file=sys.stderr)  # noqa: T201 -- beside pytest's own report
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

"""What all tests share."""

import os
import re
import signal
import sys
import tempfile
from collections.abc import Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer  # pyright: ignore[reportMissingTypeStubs] -- it has none
from xdist.scheduler import LoadScopeScheduling  # pyright: ignore[reportMissingTypeStubs] -- same

from minder import minded

LONG_FORMS = bool(os.environ.get("OPENFIT_LONG_FORMS"))
"""Whether to run what an ordinary run leaves out, or does in a short form: .ci/run wants it."""
settings.register_profile("long", derandomize=True, deadline=None, max_examples=200)
settings.register_profile("short", deadline=None, max_examples=30)
settings.load_profile("long" if LONG_FORMS else "short")

if len(tempfile.gettempdir()) > 20:
    # Sockets are made below it, and a socket's path has at most 107 bytes.
    os.environ["TMPDIR"] = tempfile.tempdir = "/tmp"  # noqa: S108 -- each file there is made by tempfile or pytest

# Else each program that is started compiles all that it imports, which takes longer than the rest of its start.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts a job in the background so, and each program would inherit it: Ctrl-C is tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _usual_surroundings() -> Iterator[None]:
    """What is shown and made doesn't depend on the terminal and the umask of whoever runs the tests."""
    umask = os.umask(0o022)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        with minded():
            yield
    os.umask(umask)


MAY_BE_SKIPPED = (
    "root may read everything",
    "needs root",
    "needs Python 3.",
    "needs IPv6",
    "needs an account",
)
"""Reasons that no installed package can mend."""
TOGETHER = re.compile(
    r"tests/service/|tests/system/test_(?:container|second_terminal)\.py|tests/packaging/test_(?:any_path|deb)\.py"
    r"|tests/docs/test_generated\.py"
    r"|tests/packaging/test_installed\.py.*\[\d+\.\d+"
)
"""What tests of one worker have in common, since it takes long to make, or there is one for all."""


class _Apart(LoadScopeScheduling):
    """Gives each test to whichever worker is free, but those that share something to one.

    (Not by the mark `xdist_group`: it goes by a private attribute that pytest 9.2 has no more.)
    """

    def _split_scope(self, nodeid: str) -> str:
        found = TOGETHER.search(nodeid)
        return nodeid if found is None else re.sub(r"::.*\[", "[", found[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run two more than there are processors: half of the time the tests wait."""
    return len(os.sched_getaffinity(0)) + 2


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _Apart(config, log)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `long`, unless the long forms are wanted; begin with what is slow.

    So no worker begins something slow when all others are at their end.
    """
    long = [] if LONG_FORMS else [each for each in items if each.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [each for each in items if each not in set(long)]
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


_skipped: dict[str, str] = {}
"""The reasons by test; here those of the workers too."""


def _note(report: pytest.TestReport | pytest.CollectReport) -> None:
    if report.skipped and isinstance(report.longrepr, tuple):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not reason.startswith(MAY_BE_SKIPPED):
            _skipped[report.nodeid] = reason


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _note(report)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    _note(report)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: object) -> None:
    """Take over what a worker (pytest-xdist) skipped as a whole: it tells of it only here."""
    _skipped.update(getattr(node, "workeroutput", {}).get("skipped", {}))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """With OPENFIT_NO_SKIPS set, fail when a test was skipped that could run here."""
    output: dict[str, object] | None = getattr(session.config, "workeroutput", None)
    if output is not None:
        output["skipped"] = _skipped
    elif os.environ.get("OPENFIT_NO_SKIPS") and _skipped:
        lines = "\n".join(
            f"must not be skipped here: {each}: {_skipped[each]}" for each in _skipped
        )
        print(f"\n{lines}", file=sys.stderr)  # noqa: T201 -- beside pytest's own report
        session.exitstatus = pytest.ExitCode.TESTS_FAILED

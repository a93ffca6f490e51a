"""What all tests share."""

import gc
import os
import re
import signal
import sys
import tempfile
from collections.abc import Generator, Iterator

import pytest
from hypothesis import settings
from xdist.remote import Producer  # pyright: ignore[reportMissingTypeStubs] -- it has none
from xdist.scheduler import LoadScopeScheduling  # pyright: ignore[reportMissingTypeStubs] -- same

from minder import minded

LONG_FORMS = bool(os.environ.get("OPENFIT_LONG_FORMS"))
"""Whether to run what an ordinary run leaves out, or does in a short form: .ci/run wants it."""
settings.register_profile("long", derandomize=True, deadline=None, max_examples=100)
settings.register_profile("short", deadline=None, max_examples=20)
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
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        # By nohup, and each program would inherit it: hang-ups are tested.
        signal.signal(signal.SIGHUP, _do_nothing)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TERM", "xterm")
        patch.delenv("NO_COLOR", raising=False)
        with minded():
            yield
    os.umask(umask)


def _do_nothing(_signal: int, _frame: object) -> None:
    pass


MAY_BE_SKIPPED = (
    "root may read everything",
    "needs root",
    "needs Python 3.",
    "needs IPv6",
    "needs an account",
)
"""Reasons that no installed package can mend."""
ONE_BY_ONE = re.compile(
    r"tests/(?:core/test_simulation|daemon/test_whole|system/test_(?:demo|main_job|recipes))\.py"
)
"""Files whose tests are long and have nothing in common."""
IN_ONE_PLACE = re.compile(r"tests/service/|tests/packaging/test_installed\.py.*\[\d+\.\d+")
"""What tests of several files, or with one parameter, have in common: it takes long to make."""
ENGINE = re.compile(r"\[(?:etcd|postgresql)\b")


class _ByFile(LoadScopeScheduling):
    """Gives a file to whichever worker is free, so that what its tests share is made once.

    (Not by the mark `xdist_group`: it goes by a private attribute that pytest 9.2 has no more.)
    """

    def _split_scope(self, nodeid: str) -> str:
        if (found := IN_ONE_PLACE.search(nodeid)) is not None:
            return re.sub(r"::.*\[", "[", found[0])
        if ONE_BY_ONE.match(nodeid):
            return nodeid
        engine = ENGINE.search(nodeid)
        return nodeid.partition("::")[0] + ("" if engine is None else engine[0])


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Run more than there are processors: most of the time the tests wait."""
    processors = len(os.sched_getaffinity(0))
    return min(3 * processors, processors + 6)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    return _ByFile(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect no garbage meanwhile: it takes two of five seconds."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked `long`, unless the long forms are wanted; begin with what is slow.

    So no worker begins something slow when all others are at their end. What boots a systemd comes
    first of all: it is one after the other.
    """
    long = [] if LONG_FORMS else [each for each in items if each.get_closest_marker("long")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [each for each in items if each not in set(long)]
    items.sort(key=lambda item: [item.get_closest_marker(it) is None for it in ("service", "slow")])


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

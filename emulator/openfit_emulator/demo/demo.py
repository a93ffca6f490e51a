"""The command `openfit-tokend demo`."""

import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager
from importlib.util import find_spec
from types import FrameType
from typing import Final, NoReturn

from openfit_emulator.demo.fleet import Fleet
from openfit_emulator.demo.play import Play
from openfit_emulator.demo.screen import Screen
from openfit_emulator.demo.solo import Solo
from openfit_emulator.demo.stage import Stage
from openfit_emulator.demo.store import Store, find_store
from openfit_emulator.failure import Failed
from openfit_token.testing import NotStarted
from openfit_tokend.host import package

BROKEN: Final = 1
"""Exit status if a promise was broken."""


def demo(*, forever: bool, fleet: bool = False) -> int:
    """Run the demo and return the exit status. `forever`: go on after the last act, until Ctrl-C.

    `fleet`: another one, with three daemons and a database.

    Raises:
        Failed: a process doesn't start.
        OutputFailed: the output can't be written.
        KeyboardInterrupt: Ctrl-C before the end of the last act. Nothing is left behind.
        SystemExit: the same for SIGTERM or SIGHUP.
    """
    try:
        store = _store() if fleet else None
        with _ended_by_signals(), Stage() as stage:
            if store is None:
                play: Play = Solo(stage, Screen(), forever=forever)
            else:
                play = Fleet(stage, Screen(), store)
            return 0 if play.run() else BROKEN
    except NotStarted as error:
        what, _, log = str(error).partition("\n")
        raise Failed(what, log) from error


def _store() -> Store:
    """Return the store. Raises: NotStarted: there is none, or its extra is missing."""
    store = find_store()
    missing = [name for name in store.packages if find_spec(name) is None]
    if missing:
        what = f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing"
        raise NotStarted(f"{what}: run {package.again(store.extra)}")
    return store


@contextmanager
def _ended_by_signals() -> Generator[None]:
    """Let SIGTERM and SIGHUP unwind the stack as Ctrl-C does, so that everything is cleaned up."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        sys.exit(128 + number)  # as shells report it

    wanted = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.signal(each, end) for each in wanted]
    try:
        yield
    finally:
        for each, handler in zip(wanted, before, strict=True):
            signal.signal(each, handler)

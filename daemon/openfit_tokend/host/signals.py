"""What the signals that a daemon gets mean. It imports little: `run` needs it before all else.

SIGHUP by hand means a reload. But a terminal that closes sends it too, and what was started there
is expected to end with it: that is told apart by whether the terminal is still there.
"""

import os
import signal
from dataclasses import dataclass
from typing import Final

_TERMINAL: Final = "/dev/tty"
"""The process's own terminal, whichever it is (tty(4)); it can't be opened once that is gone."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """The terminal in which the daemon was started, if it is to end with that."""

    minded: bool

    @property
    def is_gone(self) -> bool:
        """Return whether the daemon was started in a terminal that has closed."""
        return self.minded and not _has_terminal()


NO_TERMINAL: Final = Terminal(minded=False)
"""There is none; or SIGHUP was ignored at the start, as nohup(1) does: it may close."""


def hold_back_hangups() -> Terminal:
    """Keep a SIGHUP that comes from now on until `mind_hangups`, and return the terminal.

    Without this it would end the process, as its default action, until the daemon is ready for it.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return Terminal(minded=not ignored and _has_terminal())


def mind_hangups() -> None:
    """Let SIGHUP come, also one that was held back. Call it when a handler is there."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def wanted() -> list[signal.Signals]:
    """Return the signals to be handled.

    A SIGINT that was ignored at the start stays so: a shell without job control starts what runs in
    the background like that, so that Ctrl-C is for the foreground alone.
    """
    stops = [signal.SIGTERM, signal.SIGHUP]
    ignored = signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    return stops if ignored else [*stops, signal.SIGINT]


def _has_terminal() -> bool:
    try:
        os.close(os.open(_TERMINAL, os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError:
        return False
    return True

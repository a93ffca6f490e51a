"""What signals mean to the daemon. Imports little, since `run` needs it first.

A SIGHUP sent by hand means a reload. But a terminal that closes sends one too, and a process started
there is expected to end with it. Whether the terminal still exists tells the two apart.
"""

import os
import signal
from typing import Final

from openfit_token._shared.frozen import frozen

_TERMINAL: Final = "/dev/tty"
"""The process's own terminal, whichever it is (tty(4)). Once that is gone it can't be opened."""


@frozen
class Terminal:
    """The terminal in which the daemon was started, if the daemon is to end with it."""

    minded: bool

    @property
    def is_gone(self) -> bool:
        """Return whether the daemon was started in a terminal that has closed."""
        return self.minded and not _has_terminal()


NO_TERMINAL: Final = Terminal(minded=False)
"""There is none; or SIGHUP was ignored at the start, as nohup(1) does: it may close."""


def hold_back_hangups() -> Terminal:
    """Hold back any SIGHUP until `mind_hangups`, and return the terminal.

    Otherwise a SIGHUP during the start would end the process, which is its default action.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    ignored = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return Terminal(minded=not ignored and _has_terminal())


def mind_hangups() -> None:
    """Let SIGHUP through, including one held back. Call it once a handler is set."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})


def wanted() -> list[signal.Signals]:
    """Return the signals to be handled.

    A SIGINT that was ignored at the start stays ignored: a shell without job control starts background
    processes that way, so that Ctrl-C reaches only the foreground.
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

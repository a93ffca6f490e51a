"""What the clients of a fleet see: which token each host hands out, from when on."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from daemons import RunningDaemon, Wire
from openfit_tokend.host import clock

_PAUSE = 0.02
"""Seconds between two calls."""


class Seen:
    """The tokens that were handed out."""

    def __init__(self) -> None:
        self.gaps: list[str] = []
        """Answers that were no token."""
        self._first: dict[str, dict[int, float]] = {}

    def note(self, host: int, token: str, now: float) -> None:
        """Note that a host hands this token out."""
        self._first.setdefault(token, {}).setdefault(host, now)

    def delays(self) -> list[float]:
        """Return for each new token and each host how much later than the first it had it.

        The first token is left out: all had it before anybody looked.
        """
        return [
            moment - min(moments)
            for moments in [[*each.values()] for each in [*self._first.values()][1:]]
            for moment in moments
            if moment > min(moments)
        ]


@contextmanager
def watched(hosts: Sequence[RunningDaemon]) -> Generator[Seen]:
    """Ask each of these hosts for its token all the time, without waiting."""
    seen, enough = Seen(), Event()

    def ask(number: int, wire: Wire) -> None:
        while not enough.wait(_PAUSE):
            answer = wire.call("get_token", wait=0)
            if answer.result is None:
                seen.gaps.append(f"host {number}: {answer.error}")
            else:
                seen.note(number, str(answer.result["id"]), clock.boot())

    wires = [each.wire() for each in hosts]
    threads = [Thread(target=ask, args=each) for each in enumerate(wires)]
    for thread in threads:
        thread.start()
    try:
        yield seen
    finally:
        enough.set()
        for thread in threads:
            thread.join()
        for wire in wires:
            wire.close()

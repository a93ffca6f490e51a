"""When a fault meets a request: WHEN in `NAME[=ARGUMENT][@WHEN]`. No I/O, no clock.

WHEN says which requests a fault meets:

    (nothing)     the next token request; several such faults wait in line, one for each request
    @2  @2-5  @2- the second token request since the start; a range of them; from it on
    @refresh:2    the same, counting only refreshes (or `login:`)
    @10s-20s      from 10 s to 20 s after the start (@10s-: from then on)
    @*            always (@login:*, @refresh:*: all of a kind)

Faults counted in token requests affect only these. `@*` and time windows affect every request to the
identity server, discovery and revocation too, but never /api or /admin.
"""

import math
import re
from typing import Final

from openfit_token._shared.frozen import frozen

_WHEN: Final = re.compile(
    r"(?:(?P<grant>login|refresh):)?(?:(?P<all>\*)|(?P<first>\d+)(?P<range>-(?P<last>\d*))?)"
    r"|(?P<start>\d+(?:\.\d+)?)s-(?:(?P<end>\d+(?:\.\d+)?)s)?"
)


@frozen
class Next:
    """The next token request."""


@frozen
class Counted:
    """Token requests by number, from 1. `grant` "" counts both kinds together."""

    grant: str
    first: int
    last: float


@frozen
class Window:
    """A time window in seconds since the start: from `start` to before `end`."""

    start: float
    end: float


When = Next | Counted | Window


@frozen
class Fault:
    """What goes wrong, and when. `text` is the fault as written."""

    name: str
    argument: str
    when: When
    text: str


@frozen
class Arrival:
    """A token request: its number among all, and among those with its grant ("" for none)."""

    number: int
    grant: str
    grant_number: int


def parse_when(text: str, when: str) -> When:
    """Parse the WHEN of a fault. Raises: ValueError: `text`, the whole fault, is invalid."""
    match = _WHEN.fullmatch(when)
    if match is None:
        raise ValueError(f"{text!r}: after @ comes 2, 2-5, 2-, login:2, refresh:2-, 10s-20s or *")
    part = match.groupdict()
    if part["all"]:
        return Counted(part["grant"], 1, math.inf) if part["grant"] else Window(0.0, math.inf)
    if part["start"] is not None:
        start, end = float(part["start"]), float(part["end"] or math.inf)
        if start >= end:
            raise ValueError(f"{text!r}: a window ends after its start")
        return Window(start, end)
    first = int(part["first"])
    last = first if part["range"] is None else float(part["last"] or math.inf)
    if not 1 <= first <= last:
        raise ValueError(f"{text!r}: requests are counted from 1")
    return Counted(part["grant"] or "", first, last)


class Script:
    """The faults that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after the others."""
        self._faults.append(fault)

    def forget(self, text: str | None) -> None:
        """Forget a fault, if it is still to come; None: all of them."""
        if text is None:
            self._faults.clear()
        elif text in self.texts():
            del self._faults[self.texts().index(text)]

    def texts(self) -> list[str]:
        """Return the faults as written, without those used up by a request."""
        return [fault.text for fault in self._faults]

    def take(self, arrival: Arrival | None, elapsed: float) -> tuple[Fault, ...]:
        """Return the faults that affect a request, and remove those for only one request.

        `arrival` None: it is no token request. `elapsed`: seconds since the start.
        """
        affecting = [fault for fault in self._faults if _affects(fault.when, arrival, elapsed)]
        waiting = (i for i, fault in enumerate(self._faults) if isinstance(fault.when, Next))
        first = next(waiting, None)
        if arrival is not None and first is not None:
            affecting.append(self._faults.pop(first))
        return tuple(affecting)


def _affects(when: When, arrival: Arrival | None, elapsed: float) -> bool:
    match when:
        case Window(start, end):
            return start <= elapsed < end
        case Counted(grant, first, last) if arrival is not None:
            if grant not in ("", arrival.grant):
                return False
            return first <= (arrival.grant_number if grant else arrival.number) <= last
        case Next() | Counted():
            return False

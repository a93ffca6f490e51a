"""Faults by name: `NAME[=ARGUMENT][@WHEN]`. No I/O, no clock.

WHEN says which requests a fault meets:

    (nothing)     the next token request; several such faults wait in line, one a request
    @2  @2-5  @2- the second token request since the start; a range of them; from it on
    @refresh:2    the same, among refreshes alone (or `login:`)
    @10s-20s      from 10 s to 20 s after the start (@10s-: from then on)
    @*            always (@login:*, @refresh:*: all of a kind)

What is counted in token requests meets these alone. `@*` and windows of time meet every request to
the identity server, discovery and revocation too; never /api or /admin.

Of the faults that meet one request, the first that replaces or spoils the answer is played; `slow`,
`lockout`, `revoked`, `expires-in` and `clock-skew` come in addition.
"""

import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

RUBBISH: Final = (
    "not-json",
    "list",
    "no-token",
    "null-token",
    "number-token",
    "crlf-token",
    "nested",
    "huge",
)
"""The odd bodies of the fault `rubbish`."""
WORDS: Final = (
    "server_error",
    "temporarily_unavailable",
    "slow_down",
    "invalid_request",
    "invalid_client",
    "invalid_grant",
    "invalid_scope",
    "unauthorized_client",
    "unsupported_grant_type",
)
"""The OAuth errors that are faults too, answered without acting."""
_WHEN: Final = re.compile(
    r"(?:(?P<grant>login|refresh):)?(?:(?P<all>\*)|(?P<first>\d+)(?P<range>-(?P<last>\d*))?)"
    r"|(?P<start>\d+(?:\.\d+)?)s-(?:(?P<end>\d+(?:\.\d+)?)s)?"
)


@dataclass(frozen=True, slots=True)
class Next:
    """The next token request."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Token requests by their number, from 1; `grant` "" counts both kinds together."""

    grant: str
    first: int
    last: float


@dataclass(frozen=True, slots=True)
class Window:
    """Seconds since the start: from `start`, before `end`."""

    start: float
    end: float


When = Next | Counted | Window


@dataclass(frozen=True, slots=True)
class Fault:
    """What goes wrong, and when. `text` is as it was written."""

    name: str
    argument: str
    when: When
    text: str


@dataclass(frozen=True, slots=True)
class Arrival:
    """A token request: its number among all, and among those of its grant ("" is no grant)."""

    number: int
    grant: str
    grant_number: int


@dataclass(frozen=True, slots=True)
class Kind:
    """A name that may be given. `default` None: an argument is required."""

    summary: str
    fits: Callable[[str], bool] = lambda text: not text
    default: str | None = ""


def _seconds(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", text))


def _seconds_or_none(text: str) -> bool:
    return not text or _seconds(text)


def _offset(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d+", text))


def _status(text: str) -> bool:
    return text in ("400", "401", "403")


def _acted(text: str) -> bool:
    return text in ("", "acted")


def _word(error: str) -> Kind:
    return Kind(f"{{'error': '{error}'}} with this status, without acting", _status, "400")


KINDS: Final = {
    "reset": Kind("the connection is reset before the server acts"),
    "hang": Kind("no answer, without acting; broken off after these seconds", _seconds_or_none),
    "slow": Kind("acts and answers after these seconds, also if the client left", _seconds, None),
    "lost-answer": Kind("acts, then breaks off without an answer"),
    "half-answer": Kind("acts, sends half of the announced body, closes"),
    "stall-header": Kind("acts, stops within the header (broken off after)", _seconds_or_none),
    "stall-body": Kind("acts, stops within the body (broken off after)", _seconds_or_none),
    "error-500": Kind("an HTML page, without acting; `=acted`: after acting", _acted),
    "error-502": Kind("the same", _acted),
    "error-503": Kind("the same", _acted),
    "error-504": Kind("the same", _acted),
    "429": Kind("with Retry-After of these seconds, without acting", _seconds, "5"),
    "503": Kind("the same", _seconds, "5"),
    "404": Kind("an HTML page, without acting"),
    "html": Kind("status 200 and an HTML page, without acting"),
    "redirect": Kind("status 302 to another page, without acting"),
    "unclear": Kind("an empty body with this status, without acting", _status, "403"),
    "rubbish": Kind(
        f"acts, answers 200 with an odd body: {', '.join(RUBBISH)}",
        RUBBISH.__contains__,
        "not-json",
    ),
    "expires-in": Kind("acts, `expires_in` is this JSON value or text, or `absent`", bool, None),
    "client-rejected": Kind("invalid_client, without acting"),
    "lockout": Kind("the account is locked first"),
    "revoked": Kind("all refresh tokens are revoked first"),
    "clock-skew": Kind("the Date header is off by these seconds", _offset, "3600"),
    **{word: _word(word) for word in WORDS},
}
"""Every fault by its name."""


def parse(text: str) -> Fault:
    """Read one fault. Raises: ValueError: it isn't one; the text says why."""
    what, at, when = text.partition("@")
    name, equals, argument = what.partition("=")
    kind = KINDS.get(name)
    if kind is None:
        raise ValueError(f"{text!r}: no fault {name!r}; there are {', '.join(KINDS)}")
    if not equals:
        if kind.default is None:
            raise ValueError(f"{text!r}: write {name}=…: {kind.summary}")
        argument = kind.default
    if not kind.fits(argument):
        raise ValueError(f"{text!r}: {argument!r} doesn't fit {name}: {kind.summary}")
    return Fault(name, argument, _parse_when(text, when) if at else Next(), text)


def expires_in(argument: str) -> object:
    """Give what `expires-in=ARGUMENT` puts into the answer."""
    try:
        # A parsed JSON value is as untyped as the answer it goes into.
        return json.loads(argument)
    except ValueError:
        return argument


def _parse_when(text: str, when: str) -> When:
    match = _WHEN.fullmatch(when)
    if match is None:
        raise ValueError(f"{text!r}: after @ comes 2, 2-5, 2-, login:2, refresh:2-, 10s-20s or *")
    part = match.groupdict()
    if part["start"] is not None:
        return Window(float(part["start"]), float(part["end"] or math.inf))
    grant = part["grant"] or ""
    if part["all"]:
        return Counted(grant, 1, math.inf) if grant else Window(0.0, math.inf)
    first = int(part["first"])
    last = first if part["range"] is None else float(part["last"] or math.inf)
    return Counted(grant, first, last)


class Script:
    """Own the faults that are still to come."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        """Add a fault after the others."""
        self._faults.append(fault)

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

    def texts(self) -> list[str]:
        """Give the faults as they were written; those that waited for one request are gone."""
        return [fault.text for fault in self._faults]

    def take(self, arrival: Arrival | None, elapsed: float) -> tuple[Fault, ...]:
        """Give the faults that meet a request (None: no token request) `elapsed` s after start."""
        met = [fault for fault in self._faults if _meets(fault.when, arrival, elapsed)]
        if arrival is not None:
            waiting = [fault for fault in self._faults if isinstance(fault.when, Next)][:1]
            met += waiting
            self._faults = [fault for fault in self._faults if fault not in waiting]
        return tuple(met)


def _meets(when: When, arrival: Arrival | None, elapsed: float) -> bool:
    match when:
        case Window(start, end):
            return start <= elapsed < end
        case Counted(grant, first, last) if arrival is not None:
            if grant not in ("", arrival.grant):
                return False
            return first <= (arrival.grant_number if grant else arrival.number) <= last
        case Next() | Counted():
            return False

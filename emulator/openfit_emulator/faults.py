"""Faults by name: `NAME[=ARGUMENT][@WHEN]`. No I/O, no clock.

WHEN says which requests a fault meets:

    (nothing)     the next token request; several such faults wait in line, one for each request
    @2  @2-5  @2- the second token request since the start; a range of them; from it on
    @refresh:2    the same, counting only refreshes (or `login:`)
    @10s-20s      from 10 s to 20 s after the start (@10s-: from then on)
    @*            always (@login:*, @refresh:*: all of a kind)

Faults counted in token requests affect only these. `@*` and time windows affect every request to the
identity server, discovery and revocation too, but never /api or /admin.

If several faults affect one request, the first that replaces or spoils the response is applied;
`slow`, `lockout`, `revoked`, `expires-in` and `clock-skew` apply in addition.
"""

import json
import math
import re
from collections.abc import Callable
from difflib import get_close_matches
from typing import Final

from openfit_token._shared.frozen import frozen

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
"""The malformed bodies of the fault `rubbish`."""
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
"""OAuth errors that are also faults: the server returns them without acting."""
LONGEST: Final = 300
"""Characters of a fault: more than any needs, and fewer than could nest JSON too deeply to be parsed."""
_INDENT: Final = " " * 26
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


@frozen
class Kind:
    """A kind of fault. `takes` shows its argument; `default` None: an argument is required."""

    summary: str
    takes: str = ""
    fits: Callable[[str], bool] = lambda text: not text
    default: str | None = ""


def _seconds(text: str) -> bool:
    return bool(re.fullmatch(r"\d+(\.\d+)?", text))


def _seconds_or_none(text: str) -> bool:
    return not text or _seconds(text)


def _offset(text: str) -> bool:
    return bool(re.fullmatch(r"-?\d{1,9}", text))


def _status(text: str) -> bool:
    return text in ("400", "401", "403")


def _acted(text: str) -> bool:
    return text in ("", "acted")


def _json(text: str) -> bool:
    try:
        # A text may have half of a surrogate pair, which can't be sent.
        json.dumps(expires_in(text), allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return bool(text)


def _stall(summary: str) -> Kind:
    return Kind(f"{summary}; closes after SECONDS", "[=SECONDS]", _seconds_or_none)


def _page(status: str) -> Kind:
    return Kind(f"status {status}, HTML; doesn't act unless `=acted`", "[=acted]", _acted)


def _later(status: str) -> Kind:
    return Kind(f"status {status}, Retry-After (5), doesn't act", "[=SECONDS]", _seconds, "5")


def _word(error: str) -> Kind:
    return Kind(f"the OAuth error {error}, doesn't act", "[=STATUS]", _status, "400")


KINDS: Final = {
    "reset": Kind("connection reset, doesn't act"),
    "hang": _stall("no answer, doesn't act"),
    "slow": Kind("acts after SECONDS, even if the client left", "=SECONDS", _seconds, None),
    "lost-answer": Kind("acts, disconnects without an answer"),
    "half-answer": Kind("acts, sends half of the body, disconnects"),
    "stall-header": _stall("acts, stops within the header"),
    "stall-body": _stall("acts, stops within the body"),
    "error-400": _page("400"),
    "error-500": _page("500"),
    "error-502": _page("502"),
    "error-503": _page("503"),
    "error-504": _page("504"),
    "429": _later("429"),
    "503": _later("503"),
    "404": Kind("status 404, HTML, doesn't act"),
    "html": Kind("status 200, HTML, doesn't act"),
    "redirect": Kind("status 302, doesn't act"),
    "unclear": Kind(
        "an empty body, status 403 or STATUS, doesn't act", "[=STATUS]", _status, "403"
    ),
    "rubbish": Kind(
        f"acts, 200 with a malformed body:\n{_INDENT}{', '.join(RUBBISH[:5])},"
        f"\n{_INDENT}{', '.join(RUBBISH[5:])}",
        "[=BODY]",
        RUBBISH.__contains__,
        "not-json",
    ),
    "expires-in": Kind("acts, `expires_in` is this JSON, text, or absent", "=VALUE", _json, None),
    "client-rejected": Kind("invalid_client, doesn't act"),
    "lockout": Kind("locks the account (if unknown: all), then acts"),
    "revoked": Kind("revokes all refresh tokens, then acts"),
    "clock-skew": Kind("acts, the Date is off (3600)", "[=SECONDS]", _offset, "3600"),
    **{word: _word(word) for word in WORDS},
}
"""Every fault by its name."""


def parse(text: str) -> Fault:
    """Parse a fault. Raises: ValueError: it is invalid; the message says why."""
    if len(text) > LONGEST:
        raise ValueError(f"a fault has at most {LONGEST} characters")
    what, at, when = text.partition("@")
    name, equals, argument = what.partition("=")
    kind = KINDS.get(name)
    if kind is None:
        near = get_close_matches(name, KINDS, n=1)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ValueError(f"{text!r}: there is no fault {name!r}{hint}")
    if not equals:
        if kind.default is None:
            raise ValueError(f"{text!r}: write {name}{kind.takes}: {kind.summary}")
        argument = kind.default
    if not kind.fits(argument):
        raise ValueError(f"{text!r}: {argument!r} is invalid in {name}{kind.takes}: {kind.summary}")
    return Fault(name, argument, _parse_when(text, when) if at else Next(), text)


def expires_in(argument: str) -> object:
    """Return the value that `expires-in=ARGUMENT` puts into the response."""
    try:
        # A parsed JSON value is as untyped as the response it goes into.
        return json.loads(argument)
    except ValueError:
        return argument


def _parse_when(text: str, when: str) -> When:
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

    def clear(self) -> None:
        """Forget all faults."""
        self._faults.clear()

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

"""The faults `NAME[=ARGUMENT][@WHEN]`: what they are called, what they take, and what they do.

If several faults affect one request, the first that replaces or spoils the response is applied;
`slow`, `lockout`, `revoked`, `expires-in` and `clock-skew` apply in addition.
"""

import json
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Final, cast

from anyio import move_on_after

from openfit_emulator.answers import JSON, json_answer, oauth_error
from openfit_emulator.script import Fault, Next, parse_when
from openfit_emulator.wire import Answer, Connection, Ended
from openfit_token._shared.frozen import frozen

LONGEST: Final = 300
"""Characters of a fault: more than any needs, and fewer than could nest JSON too deeply to be parsed."""
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
_BEGUN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: applicat"
_NESTED: Final = 60_000
"""Brackets: far beyond the recursion limit of any parser that recurses."""
_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Not what you asked for</h1></body></html>\n"
_INDENT: Final = " " * 26
_SECONDS: Final = r"\d+(\.\d+)?"
_STATUS: Final = "40[013]"

Fields = Mapping[str, object]
Act = Callable[[], Answer]
"""Lets the server act on a request; returns its good response, or an OAuth error."""
Send = Callable[[Connection], Awaitable[None]]
"""Sends a response, or a part of one."""


@frozen
class Kind:
    """A kind of fault. `takes` shows its argument; `default` None: an argument is required.

    `fits` is the argument's pattern. `respond` gets the argument, and returns the response; the server
    acts only if `respond` lets it. A fault without it is applied where the server acts.
    """

    summary: str
    takes: str = ""
    fits: str = ""
    default: str | None = ""
    respond: Callable[[str, Act], Answer | Send] | None = None


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
    if not (re.fullmatch(kind.fits, argument) and _can_be_sent(_value(argument))):
        raise ValueError(f"{text!r}: {argument!r} is invalid in {name}{kind.takes}: {kind.summary}")
    return Fault(name, argument, parse_when(text, when) if at else Next(), text)


def response(faults: Sequence[Fault], act: Act) -> Answer | Send:
    """Let the server act, unless a fault prevents it; return its response as the faults make it."""

    def acted() -> Answer:
        answer = act()
        for fault in faults:
            if fault.name == "expires-in" and answer.status == 200:  # noqa: PLR2004 -- an error has none
                answer = _with("expires_in", _value(fault.argument))(_fields(answer))
        return answer

    for fault in faults:
        respond = KINDS[fault.name].respond
        if respond is not None:
            return respond(fault.argument, acted)
    return acted()


def _can_be_sent(value: object) -> bool:
    """Return whether a value is JSON's: no infinite number, no text with half of a surrogate pair."""
    try:
        json.dumps(value, allow_nan=False, ensure_ascii=False).encode()
    except ValueError:
        return False
    return True


def _value(argument: str) -> object:
    """Return the value that `expires-in=ARGUMENT` puts into the response."""
    try:
        # A parsed JSON value is as untyped as the response it goes into.
        return json.loads(argument)
    except ValueError:
        return argument


# What they do


async def _reset(connection: Connection) -> None:
    connection.reset()
    raise Ended


async def _disconnect(_: Connection) -> None:
    raise Ended


def _lost(_: str, act: Act) -> Send:
    act()
    return _disconnect


def _halved(_: str, act: Act) -> Send:
    answer = act()

    async def send(connection: Connection) -> None:
        await connection.half(answer)
        connection.finish()
        raise Ended

    return send


def _stalled(seconds: str, begun: bytes | Answer = b"") -> Send:
    """Send bytes or half of a body, then nothing until the client leaves, or the seconds are over."""

    async def send(connection: Connection) -> None:
        if isinstance(begun, Answer):
            await connection.half(begun)
        else:
            await connection.write(begun)
        with move_on_after(float(seconds) if seconds else None):
            await connection.gone()
        raise Ended

    return send


def _stalled_header(seconds: str, act: Act) -> Send:
    act()
    return _stalled(seconds, _BEGUN)


def _html(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, _PAGE, {"Content-Type": "text/html; charset=utf-8", **(headers or {})})


def _fields(answer: Answer) -> Fields:
    # The emulator's own response: a JSON object, or nothing.
    return cast("Fields", json.loads(answer.body or b"{}"))


def _with(name: str, value: object) -> Callable[[Fields], Answer]:
    """Return what answers with another value of a field, or without it if that is "absent"."""

    def answer(fields: Fields) -> Answer:
        rest = {each: known for each, known in fields.items() if each != name}
        return json_answer(rest if value == "absent" else {**rest, name: value})

    return answer


def _with_crlf(fields: Fields) -> Answer:
    token = f"{fields.get('access_token', 'token')}\r\nX-Injected: yes"
    return json_answer({**fields, "access_token": token})


def _raw(body: str) -> Callable[[Fields], Answer]:
    return lambda _: Answer(200, body.encode(), JSON)


RUBBISH: Final[Mapping[str, Callable[[Fields], Answer | Send]]] = {
    "not-json": _raw('{"access_token": "cut of'),
    "list": _raw('["access_token", "expires_in"]'),
    "no-token": _with("access_token", "absent"),
    "null-token": _with("access_token", None),
    "number-token": _with("access_token", 12_345),
    "crlf-token": _with_crlf,
    "nested": _raw("[" * _NESTED),
    "huge": lambda _: Connection.flood,
}
"""The malformed bodies of the fault `rubbish`."""
_BODIES: Final = tuple(RUBBISH)


# The table


def _stall(summary: str, respond: Callable[[str, Act], Send]) -> Kind:
    return Kind(f"{summary}; closes after SECONDS", "[=SECONDS]", f"({_SECONDS})?", respond=respond)


def _page(status: int) -> Kind:
    def respond(argument: str, act: Act) -> Answer:
        if argument == "acted":
            act()
        return _html(status)

    summary = f"status {status}, HTML; doesn't act unless `=acted`"
    return Kind(summary, "[=acted]", "(acted)?", respond=respond)


def _later(status: int) -> Kind:
    return Kind(
        f"status {status}, Retry-After (5), doesn't act",
        "[=SECONDS]",
        _SECONDS,
        "5",
        lambda seconds, _: _html(status, {"Retry-After": seconds}),
    )


def _word(error: str) -> Kind:
    return Kind(
        f"the OAuth error {error}, doesn't act",
        "[=STATUS]",
        _STATUS,
        "400",
        lambda status, _: oauth_error(error, status=int(status)),
    )


KINDS: Final[Mapping[str, Kind]] = {
    "reset": Kind("connection reset, doesn't act", respond=lambda _, __: _reset),
    "hang": _stall("no answer, doesn't act", lambda seconds, _: _stalled(seconds)),
    "slow": Kind("acts after SECONDS, even if the client left", "=SECONDS", _SECONDS, None),
    "lost-answer": Kind("acts, disconnects without an answer", respond=_lost),
    "half-answer": Kind("acts, sends half of the body, disconnects", respond=_halved),
    "stall-header": _stall("acts, stops within the header", _stalled_header),
    "stall-body": _stall(
        "acts, stops within the body", lambda seconds, act: _stalled(seconds, act())
    ),
    **{f"error-{status}": _page(status) for status in (400, 500, 502, 503, 504)},
    "429": _later(429),
    "503": _later(503),
    "404": Kind("status 404, HTML, doesn't act", respond=lambda _, __: _html(404)),
    "html": Kind("status 200, HTML, doesn't act", respond=lambda _, __: _html(200)),
    "redirect": Kind(
        "status 302, doesn't act",
        respond=lambda _, __: Answer(302, headers={"Location": "/account/login"}),
    ),
    "unclear": Kind(
        "an empty body, status 403 or STATUS, doesn't act",
        "[=STATUS]",
        _STATUS,
        "403",
        lambda status, _: Answer(int(status)),
    ),
    "rubbish": Kind(
        f"acts, 200 with a malformed body:\n{_INDENT}{', '.join(_BODIES[:5])},"
        f"\n{_INDENT}{', '.join(_BODIES[5:])}",
        "[=BODY]",
        "|".join(RUBBISH),
        "not-json",
        lambda body, act: RUBBISH[body](_fields(act())),
    ),
    "expires-in": Kind("acts, `expires_in` is this JSON, text, or absent", "=VALUE", ".+", None),
    "lockout": Kind("locks the account (if unknown: all), then acts"),
    "revoked": Kind("revokes all refresh tokens, then acts"),
    "clock-skew": Kind("acts, the Date is off (3600)", "[=SECONDS]", r"-?\d{1,9}", "3600"),
    **{word: _word(word) for word in WORDS},
    "client-rejected": Kind(
        "invalid_client, doesn't act", respond=lambda _, __: oauth_error("invalid_client")
    ),
}
"""Every fault by its name."""

"""The response of each fault, by name.

A fault is in _INSTEAD (the server doesn't act), in _AFTER (it has acted, and its response is spoiled),
or in neither: then it is applied where the server acts.
"""

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, cast

from anyio import move_on_after

from openfit_emulator.faults import WORDS, Fault, expires_in
from openfit_emulator.wire import Answer, Connection, Ended

NO_STORE: Final = {"Cache-Control": "no-store, no-cache, max-age=0", "Pragma": "no-cache"}
PAGES: Final = (400, 500, 502, 503, 504)
"""The statuses of the faults `error-STATUS`."""
_BEGUN: Final = b"HTTP/1.1 200 OK\r\nContent-Type: applicat"
NESTED: Final = 60_000
"""Brackets: far beyond the recursion limit of any parser that recurses."""
_PAGE: Final = b"<!DOCTYPE html><html><body><h1>Not what you asked for</h1></body></html>\n"

Fields = Mapping[str, object]
Send = Callable[[Connection], Awaitable[None]]
"""Sends a response, or a part of one."""


def instead(fault: Fault) -> Answer | Send | None:
    """Return the response of a fault that keeps the server from acting; None for any other fault."""
    if fault.argument == "acted":
        return None
    make = _INSTEAD.get(fault.name)
    return make(fault.argument) if make else None


def spoiled(faults: Iterable[Fault], answer: Answer) -> Answer | Send:
    """Return the response of a server that has acted, as changed by the faults."""
    for fault in faults:
        if fault.name == "expires-in":
            answer = _expires_in(fault.argument, answer)
    first = next((fault for fault in faults if fault.name in _AFTER), None)
    return _AFTER[first.name](first.argument, answer) if first else answer


def json_answer(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Answer:
    """Return a response with a JSON body."""
    return _json(json.dumps(value, ensure_ascii=False, separators=(",", ":")), status, headers)


def oauth_error(error: str, description: str | None = None, *, status: int = 400) -> Answer:
    """Return an error response (RFC 6749, section 5.2)."""
    more = {} if description is None else {"error_description": description}
    return json_answer({"error": error, **more}, status, NO_STORE)


def _json(text: str, status: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, text.encode(), {"Content-Type": "application/json", **(headers or {})})


def _html(status: int, headers: Mapping[str, str] | None = None) -> Answer:
    return Answer(status, _PAGE, {"Content-Type": "text/html; charset=utf-8", **(headers or {})})


def _page(status: int) -> Callable[[str], Answer]:
    return lambda _: _html(status)


def _later(status: int) -> Callable[[str], Answer]:
    return lambda seconds: _html(status, {"Retry-After": seconds})


def _word(error: str) -> Callable[[str], Answer]:
    return lambda status: oauth_error(error, status=int(status))


async def _reset(connection: Connection) -> None:
    connection.reset()
    raise Ended


async def _lost(_: Connection) -> None:
    raise Ended


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


def _halved(answer: Answer) -> Send:
    async def send(connection: Connection) -> None:
        await connection.half(answer)
        connection.finish()
        raise Ended

    return send


_INSTEAD: Final[Mapping[str, Callable[[str], Answer | Send]]] = {
    "reset": lambda _: _reset,
    "hang": _stalled,
    **{f"error-{status}": _page(status) for status in PAGES},
    "404": _page(404),
    "html": _page(200),
    "429": _later(429),
    "503": _later(503),
    "redirect": lambda _: Answer(302, headers={"Location": "/account/login"}),
    "unclear": lambda status: Answer(int(status)),
    "client-rejected": lambda _: oauth_error("invalid_client"),
    **{word: _word(word) for word in WORDS},
}


def _acted_page(status: int) -> Callable[[str, Answer], Answer]:
    return lambda _, __: _html(status)


def _expires_in(argument: str, answer: Answer) -> Answer:
    if answer.status != 200:  # noqa: PLR2004 -- an error has no such field
        return answer
    value = expires_in(argument)
    rest = {name: v for name, v in _fields(answer).items() if name != "expires_in"}
    return json_answer(rest if value == "absent" else {**rest, "expires_in": value})


_AFTER: Final[Mapping[str, Callable[[str, Answer], Answer | Send]]] = {
    "lost-answer": lambda _, __: _lost,
    "half-answer": lambda _, answer: _halved(answer),
    "stall-header": lambda seconds, _: _stalled(seconds, _BEGUN),
    "stall-body": _stalled,
    **{f"error-{status}": _acted_page(status) for status in PAGES},
    "rubbish": lambda kind, answer: _RUBBISH[kind](_fields(answer)),
}


def _fields(answer: Answer) -> Fields:
    # The emulator's own response: a JSON object, or nothing.
    return cast("Fields", json.loads(answer.body or b"{}"))


def _with_token(value: object) -> Callable[[Fields], Answer]:
    return lambda fields: json_answer({**fields, "access_token": value})


def _without_token(fields: Fields) -> Answer:
    return json_answer({name: v for name, v in fields.items() if name != "access_token"})


def _with_crlf(fields: Fields) -> Answer:
    token = f"{fields.get('access_token', 'token')}\r\nX-Injected: yes"
    return json_answer({**fields, "access_token": token})


def _raw(body: str) -> Callable[[Fields], Answer]:
    return lambda _: _json(body)


_RUBBISH: Final[Mapping[str, Callable[[Fields], Answer | Send]]] = {
    "not-json": _raw('{"access_token": "cut of'),
    "list": _raw('["access_token", "expires_in"]'),
    "no-token": _without_token,
    "null-token": _with_token(None),
    "number-token": _with_token(12_345),
    "crlf-token": _with_crlf,
    "nested": _raw("[" * NESTED),
    "huge": lambda _: Connection.flood,
}

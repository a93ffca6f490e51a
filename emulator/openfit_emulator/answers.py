"""The response of each fault, by name.

A fault is in _INSTEAD (the server doesn't act), in _AFTER (it has acted, and its response is spoiled),
or in neither: then it is applied where the server acts.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from openfit_emulator.faults import WORDS, Fault, expires_in
from openfit_emulator.wire import BrokenOff, Flood, Halved, Stalled

OK: Final = 200
NO_STORE: Final = {"Cache-Control": "no-store, no-cache, max-age=0", "Pragma": "no-cache"}
NESTED: Final = 60_000
"""Brackets: far beyond the recursion limit of any parser that recurses."""
_PAGE: Final = "<!DOCTYPE html><html><body><h1>Not what you asked for</h1></body></html>\n"

Fields = Mapping[str, object]


def instead(fault: Fault) -> Response | None:
    """Return the response of a fault that keeps the server from acting; None for any other fault."""
    if fault.argument == "acted":
        return None
    make = _INSTEAD.get(fault.name)
    return make(fault.argument) if make else None


def spoiled(faults: Iterable[Fault], answer: Response) -> Response:
    """Return the response of a server that has acted, as changed by the faults."""
    for fault in faults:
        if fault.name == "expires-in":
            answer = _expires_in(fault.argument, answer)
    first = next((fault for fault in faults if fault.name in _AFTER), None)
    return _AFTER[first.name](first.argument, answer) if first else answer


def oauth_error(error: str, description: str | None = None, *, status: int = 400) -> Response:
    """Return an error response (RFC 6749, section 5.2)."""
    more = {} if description is None else {"error_description": description}
    return JSONResponse({"error": error, **more}, status, NO_STORE)


def _page(status: int) -> Callable[[str], Response]:
    return lambda _: HTMLResponse(_PAGE, status)


def _later(status: int) -> Callable[[str], Response]:
    return lambda seconds: HTMLResponse(_PAGE, status, {"Retry-After": seconds})


def _word(error: str) -> Callable[[str], Response]:
    return lambda status: oauth_error(error, status=int(status))


_INSTEAD: Final[Mapping[str, Callable[[str], Response]]] = {
    "reset": lambda _: BrokenOff(reset=True),
    "hang": lambda seconds: Stalled("nothing", seconds),
    "error-400": _page(400),
    "error-500": _page(500),
    "error-502": _page(502),
    "error-503": _page(503),
    "error-504": _page(504),
    "404": _page(404),
    "html": _page(OK),
    "429": _later(429),
    "503": _later(503),
    "redirect": lambda _: RedirectResponse("/account/login", 302),
    "unclear": lambda status: Response(status_code=int(status)),
    "client-rejected": lambda _: oauth_error("invalid_client"),
    **{word: _word(word) for word in WORDS},
}


def _acted_page(status: int) -> Callable[[str, Response], Response]:
    return lambda _, __: HTMLResponse(_PAGE, status)


def _expires_in(argument: str, answer: Response) -> Response:
    if answer.status_code != OK:
        return answer
    value = expires_in(argument)
    rest = {name: v for name, v in _fields(answer).items() if name != "expires_in"}
    return JSONResponse(rest if value == "absent" else {**rest, "expires_in": value})


def _rubbish(kind: str, answer: Response) -> Response:
    return _RUBBISH[kind](_fields(answer))


_AFTER: Final[Mapping[str, Callable[[str, Response], Response]]] = {
    "lost-answer": lambda _, __: BrokenOff(reset=False),
    "half-answer": lambda _, answer: Halved(answer),
    "stall-header": lambda seconds, _: Stalled("header", seconds),
    "stall-body": lambda seconds, answer: Stalled("body", seconds, answer),
    "error-400": _acted_page(400),
    "error-500": _acted_page(500),
    "error-502": _acted_page(502),
    "error-503": _acted_page(503),
    "error-504": _acted_page(504),
    "rubbish": _rubbish,
}


def _fields(answer: Response) -> Fields:
    # The emulator's own response: a JSON object, or nothing.
    return cast("Fields", json.loads(bytes(answer.body) or b"{}"))


def _with_token(value: object) -> Callable[[Fields], Response]:
    return lambda fields: JSONResponse({**fields, "access_token": value})


def _without_token(fields: Fields) -> Response:
    return JSONResponse({name: v for name, v in fields.items() if name != "access_token"})


def _with_crlf(fields: Fields) -> Response:
    token = f"{fields.get('access_token', 'token')}\r\nX-Injected: yes"
    return JSONResponse({**fields, "access_token": token})


def _raw(body: str) -> Callable[[Fields], Response]:
    return lambda _: Response(body, media_type="application/json")


_RUBBISH: Final[Mapping[str, Callable[[Fields], Response]]] = {
    "not-json": _raw('{"access_token": "cut of'),
    "list": _raw('["access_token", "expires_in"]'),
    "no-token": _without_token,
    "null-token": _with_token(None),
    "number-token": _with_token(12_345),
    "crlf-token": _with_crlf,
    "nested": _raw("[" * NESTED),
    "huge": lambda _: Flood(),
}

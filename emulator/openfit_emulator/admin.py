"""The admin endpoint: JSON for tests and demos, on the same loopback address.

    GET    /admin/state
    POST   /admin/faults    {"fault": "lost-answer@2"}      DELETE /admin/faults
    POST   /admin/password  {"username": …, "password": …}
    POST   /admin/lock      {"username": …}                 without it: all users
    POST   /admin/unlock    {"username": …}
    POST   /admin/revoke    {"username": …, "kind": "refresh" | "access"}
    POST   /admin/lifetime  {"seconds": 60}

It answers 204, or 400 with {"error": text}, and never shows a password or token. A POST must have a
JSON content type, which a web page can't send to another server without permission.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Final, cast

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from openfit_emulator.emulated import Emulator
from openfit_emulator.endpoints import Endpoint, dated, read_body

LONGEST_LIFETIME: Final = 30 * 86_400
"""Seconds. No token server issues tokens that live longer."""

Fields = Mapping[str, object]
Order = Callable[[Emulator, Fields], None]


def routes(emulator: Emulator) -> list[Route]:
    """Return the routes of the admin endpoint."""

    async def state(_: Request) -> Response:
        return dated(emulator, JSONResponse(asdict(emulator.state())))

    async def clear(_: Request) -> Response:
        emulator.clear_faults()
        return dated(emulator, Response(status_code=204))

    return [
        Route("/admin/state", state),
        Route("/admin/faults", clear, methods=["DELETE"]),
        *(Route(f"/admin/{name}", _post(emulator, o), methods=["POST"]) for name, o in _ORDERS),
    ]


def _post(emulator: Emulator, order: Order) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        try:
            order(emulator, await _fields(request))
        except (ValueError, LookupError) as error:
            answer: Response = JSONResponse({"error": str(error.args[0])}, 400)
        else:
            answer = Response(status_code=204)
        return dated(emulator, answer)

    return endpoint


async def _fields(request: Request) -> Fields:
    """Return the JSON object of a request. Raises: ValueError: there is none."""
    body = await read_body(request)
    if not request.headers.get("Content-Type", "").startswith("application/json") or body is None:
        raise ValueError("send a short JSON object as application/json")
    try:
        value: object = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        raise ValueError("this isn't JSON") from None
    if not isinstance(value, dict):
        raise ValueError("this isn't a JSON object")  # noqa: TRY004 -- a wrong value, not a wrong call
    # A JSON object's keys are strings; its values are checked where they are used.
    return cast("dict[str, object]", value)


def _text(fields: Fields, name: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise ValueError(f"{name}: a text is needed")
    return value


def _user(fields: Fields) -> str | None:
    return _text(fields, "username") if "username" in fields else None


def _fault(emulator: Emulator, fields: Fields) -> None:
    emulator.fault(_text(fields, "fault"))


def _password(emulator: Emulator, fields: Fields) -> None:
    emulator.set_password(_text(fields, "username"), _text(fields, "password"))


def _lock(emulator: Emulator, fields: Fields) -> None:
    emulator.lock(_user(fields))


def _unlock(emulator: Emulator, fields: Fields) -> None:
    emulator.unlock(_user(fields))


def _revoke(emulator: Emulator, fields: Fields) -> None:
    match fields.get("kind", "refresh"):
        case "refresh":
            emulator.revoke_refresh(_user(fields))
        case "access":
            emulator.revoke_access(_user(fields))
        case _:
            raise ValueError("kind: refresh or access")


def _lifetime(emulator: Emulator, fields: Fields) -> None:
    seconds = fields.get("seconds")
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_LIFETIME:
        raise ValueError(f"seconds: a whole number from 1 to {LONGEST_LIFETIME}")
    emulator.set_lifetime(seconds)


_ORDERS: Final[tuple[tuple[str, Order], ...]] = (
    ("faults", _fault),
    ("password", _password),
    ("lock", _lock),
    ("unlock", _unlock),
    ("revoke", _revoke),
    ("lifetime", _lifetime),
)

"""The admin endpoint: JSON for tests and demos, on the same loopback address.

    GET    /admin/state
    POST   /admin/faults    {"fault": "lost-answer@2"}
    POST   /admin/forget    {"fault": "lost-answer@2"}      without it: all faults, as DELETE /admin/faults
    POST   /admin/password  {"username": …, "password": …}
    POST   /admin/lock      {"username": …}                 without it: all users
    POST   /admin/unlock    {"username": …}
    POST   /admin/revoke    {"username": …, "kind": "refresh" | "access"}
    POST   /admin/lifetime  {"seconds": 60}

It answers 204, or 400 with {"error": text}, and never shows a password or token. A POST must have a
JSON content type, which a web page can't send to another server without permission.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Final, cast

from openfit_emulator.answers import json_answer
from openfit_emulator.emulated import Emulator
from openfit_emulator.wire import Answer, Request
from openfit_token._cli.get import valid_text

LONGEST_LIFETIME: Final = 30 * 86_400
"""Seconds. No token server issues tokens that live longer."""

Fields = Mapping[str, object]


def answer(emulator: Emulator, request: Request) -> Answer:
    """Answer a request to the admin endpoint."""
    name = request.path.removeprefix("/admin/")
    match request.method, name:
        case "GET" | "HEAD", "state":
            return json_answer(asdict(emulator.state()))
        case "DELETE", "faults":
            emulator.script.forget(None)
            return Answer(204)
        case "POST", _:
            try:
                obey(emulator, name, _fields(request))
            except (ValueError, LookupError) as error:
                return json_answer({"error": str(error.args[0])}, 400)
            return Answer(204)
        case _:
            return Answer(404)


def obey(emulator: Emulator, name: str, fields: Fields) -> None:
    """Carry out an order.

    Raises:
        ValueError: it is none, or something in it is wrong.
        LookupError: no such user.
    """
    identity = emulator.identity
    user = _text_or_none(fields, "username")
    match name:
        case "faults":
            emulator.fault(_text(fields, "fault"))
        case "forget":
            emulator.script.forget(_text_or_none(fields, "fault"))
        case "password":
            identity.set_password(_text(fields, "username"), _text(fields, "password"))
        case "lock":
            identity.lock(user, emulator.now())
        case "unlock":
            identity.unlock(user)
        case "revoke":
            match fields.get("kind", "refresh"):
                case "refresh":
                    identity.revoke_refresh(user)
                case "access":
                    identity.revoke_access(user)
                case _:
                    raise ValueError("kind: refresh or access")
        case "lifetime":
            identity.rules = replace(identity.rules, token_lifetime=_lifetime(fields))
        case _:
            raise ValueError(f"there is no order {name!r}")


def _fields(request: Request) -> Fields:
    """Return the JSON object of a request. Raises: ValueError: there is none."""
    kind = request.headers.get("content-type", "")
    if not kind.startswith("application/json") or request.body is None:
        raise ValueError("send a short JSON object as application/json")
    try:
        value: object = json.loads(request.body or b"{}")
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
    return valid_text(value)


def _text_or_none(fields: Fields, name: str) -> str | None:
    return _text(fields, name) if name in fields else None


def _lifetime(fields: Fields) -> int:
    seconds = fields.get("seconds")
    if type(seconds) is not int or not 1 <= seconds <= LONGEST_LIFETIME:
        raise ValueError(f"seconds: a whole number from 1 to {LONGEST_LIFETIME}")
    return seconds

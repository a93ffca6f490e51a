"""What a support ticket needs, as text: versions, the configuration without secrets, the last requests.

All of it but the versions here comes from the daemon, which tells each caller what that one may know.
"""

import platform
from collections.abc import Iterator
from contextlib import closing
from typing import Final, cast

from openfit_token import __version__
from openfit_token._cli.get import profile_of
from openfit_token._cli.terminal import moment, printable
from openfit_token._client import calls, paths
from openfit_token._client.blocking import ask
from openfit_token._client.connection import Connection
from openfit_token._client.health import Answer, number, problems_of, profiles_of
from openfit_token.errors import ProtocolViolation, TokenError

_PATIENCE: Final = 5.0
"""Seconds for an answer that takes a healthy daemon less than a millisecond."""
_TOLD: Final = ("environment", "id_server", "api_url", "state", "username")


def report(profile: str | None, socket: str | None, now: float) -> str:
    """Return the report, as lines; `now` in Unix seconds."""
    return "".join(f"{printable(line)}\n" for line in _lines(profile, socket, now))


def _lines(profile: str | None, socket: str | None, now: float) -> Iterator[str]:
    yield f"Report of {moment(now)}. It contains no password and no token; read it before you send it."
    yield f"client: openfit-token {__version__}, Python {platform.python_version()}, {_system()}"
    try:
        with closing(Connection(paths.connect(socket))) as connection:
            call = calls.status(profile_of(profile), for_support=True)
            status = calls.fields(ask(connection, call, _PATIENCE))
            profiles = profiles_of(status)
    except (TokenError, OSError) as error:
        yield f"daemon: {error.message if isinstance(error, TokenError) else error}"
        return
    started = number(status.get("started_at"))
    yield f"daemon: openfit-tokend {status.get('version')}, started {moment(started)}"
    for name, each in profiles.items():
        yield from _profile(name, each)


def _profile(name: str, profile: Answer) -> Iterator[str]:
    yield f"profile {name}: {_pairs({key: profile.get(key) for key in _TOLD})}"
    configuration = calls.fields(profile.get("configuration") or {})
    if configuration:
        yield f"  configured: {_pairs(configuration)}"
    yield f"  since the start: {_pairs(calls.fields(profile.get('counters') or {}))}"
    for problem in problems_of(profile):
        at = moment(number(problem.get("at")))
        yield f"  problem: {at} {problem.get('code')}: {problem.get('message')}"
    sent = profile.get("sent")
    if not isinstance(sent, list):
        raise ProtocolViolation("the daemon doesn't tell what it sent: it has another version")
    for each in cast("list[object]", sent):
        request = calls.fields(each)
        status = request.get("status")
        outcome = request.get("message") or "a token"
        ids = _pairs(calls.fields(request.get("ids") or {}))
        yield (
            f"  sent: {moment(number(request.get('at')))} {request.get('kind')}:"
            f" {'no response' if status is None else status}, {outcome}{ids and '; '}{ids}"
        )


def _pairs(values: Answer) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items() if value is not None)


def _system() -> str:
    try:
        name = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        name = "an unknown distribution"
    return f"{name}, Linux {platform.release()} {platform.machine()}"

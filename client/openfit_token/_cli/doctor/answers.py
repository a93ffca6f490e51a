"""The links after the connection: a daemon of the right kind that answers, and the profile meant."""

import os
from collections.abc import Generator, Iterator
from dataclasses import field
from socket import AF_UNIX, socket
from time import perf_counter
from typing import cast

from openfit_token import __version__
from openfit_token._cli.get import profile_of
from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._cli.terminal import printable
from openfit_token._client import calls
from openfit_token._client.blocking import ask
from openfit_token._client.connection import Connection
from openfit_token._client.health import Answer, number, profiles_of
from openfit_token._shared.durations import duration
from openfit_token._shared.frozen import frozen
from openfit_token._shared.protocol import PROTOCOL
from openfit_token.errors import (
    DaemonUnreachable,
    NoSuchMethod,
    NoSuchProfile,
    NotAllowed,
    ProtocolViolation,
    TokenError,
)

_PATIENCE = 5.0
"""Seconds for an answer that takes a healthy daemon less than a millisecond."""
_SHOWN = 20
"""Names of profiles to show at most."""
_ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWERED = b"HTTP/1.1 200 "
_ANOTHER = "another program has this socket: name the daemon's by --socket or $OPENFIT_TOKEN_SOCKET"
_REPLACED = "something removed or replaced it; restart what makes it, its socket unit or the daemon"
_HANGS = (
    "its log may tell why: `journalctl -u openfit-tokend`; then `systemctl restart openfit-tokend`"
)


@frozen
class Found:
    """What the daemon answered: its process, and the profiles that the caller means."""

    pid: object
    profiles: dict[str, Answer] = field(default_factory=dict[str, Answer])


def asked(connection: Connection, option: str | None) -> Generator[Verdict, None, Found | None]:
    """Report how the daemon answers, and which profiles are meant; return None if no openfit-tokend answers."""
    hello = yield from _hello(connection)
    if hello is None:
        return None
    profiles: dict[str, Answer] = {}
    try:
        status = calls.fields(ask(connection, calls.status(profile_of(option)), _PATIENCE))
        profiles = profiles_of(status)
        yield from _http(status.get("http_socket"))
        yield from _configuration(status.get("config_error"))
        yield from _fleet(calls.fields(status.get("fleet") or {}))
        yield from _profile(connection, option, list(profiles))
    except (NoSuchProfile, NotAllowed) as error:
        yield _not_yours(option, hello, error)
    except (TokenError, OSError) as error:
        yield _no_answer(error)
    return Found(hello.get("pid"), profiles)


def _hello(connection: Connection) -> Generator[Verdict, None, Answer | None]:
    began = perf_counter()
    try:
        hello = calls.fields(ask(connection, calls.hello(), _PATIENCE))
    except (TokenError, OSError) as error:
        yield _no_answer(error)
        return None
    took = (perf_counter() - began) * 1000
    status = ProtocolViolation.exit_status
    if hello.get("name") != "openfit-tokend":
        text = f"what answers calls itself {str(hello.get('name'))[:40]!r}, not openfit-tokend"
        yield fail("daemon", text, _ANOTHER, status)
        return None
    if hello.get("protocol") != PROTOCOL:
        text = f"it speaks protocol {hello.get('protocol')}, this client speaks {PROTOCOL}"
        yield fail("daemon", text, "install the same release of both", status)
        return None
    version, up = hello.get("version"), number(hello.get("uptime"))
    yield ok(
        "daemon",
        f"openfit-tokend {version} answers in {took:.1f} ms, pid {hello.get('pid')},"
        f" up {'?' if up is None else duration(up)}",
    )
    if version != __version__:
        yield warn(
            "version",
            f"the daemon is {version}, this client {__version__}",
            "after an upgrade: `openfit-tokend restart`; else upgrade the older one",
        )
    return hello


def _no_answer(error: TokenError | OSError) -> Verdict:
    match error:
        case ProtocolViolation() | NoSuchMethod():
            return fail("daemon", f"no openfit-tokend: {error.message}", _ANOTHER, 76)
        case TokenError():
            fix = error.hint or _HANGS
            return fail("daemon", error.message, fix, error.exit_status)
        case TimeoutError():
            text = f"it doesn't answer within {_PATIENCE:.0f} s: it hangs"
        case _:
            text = f"it closed the connection: {error.strerror or 'no reason is known'}"
    return fail("daemon", text, _HANGS, DaemonUnreachable.exit_status)


def _http(path: object) -> Iterator[Verdict]:
    """Report whether the HTTP socket, if there is one, answers the caller."""
    if path is None:
        return
    place = printable(path)
    try:
        answers = _answers_http(str(path))
    except OSError as error:
        gone = isinstance(error, FileNotFoundError | ConnectionRefusedError)
        fix = _REPLACED if gone else "its unit or socket_mode and socket_group say who may connect"
        yield warn("http", f"{place} can't be used: {error.strerror or 'no answer'}", fix)
        return
    if answers:
        yield ok("http", f"{place} answers HTTP")
    else:
        yield warn("http", f"what answers at {place} isn't openfit-tokend", _HANGS)


def _answers_http(path: str) -> bool:
    """Return whether a socket answers that all is well. Raises OSError if nobody answers."""
    with socket(AF_UNIX) as asking:
        asking.settimeout(_PATIENCE)
        asking.connect(path)
        asking.sendall(_ASKED)
        return asking.recv(len(_ANSWERED)) == _ANSWERED


def _configuration(error: object) -> Iterator[Verdict]:
    if error is None:
        return
    first, *more = str(error).splitlines() or ["?"]
    count = f" (and {len(more)} more)" if more else ""
    yield warn(
        "config",
        f"the last reload was refused, the old configuration is in force: {first}{count}",
        "`openfit-tokend check` names all faults; mend them, then: openfit-tokend reload",
    )


def _fleet(fleet: Answer) -> Iterator[Verdict]:
    """Report on the fleet's store, if there is a fleet."""
    if not fleet:
        return
    problem = calls.fields(fleet.get("store") or {})
    if not problem:
        yield ok("fleet", f"this is {fleet.get('member')}, and the store is reached")
        return
    hint = problem.get("hint")
    yield warn("fleet", str(problem.get("message")), None if hint is None else str(hint))


def _profile(connection: Connection, option: str | None, names: list[str]) -> Iterator[Verdict]:
    """Report which profile a call uses that names this one, or none."""
    named_by = _named_by(option)
    match names:
        case [name] if named_by is not None:
            yield ok("profile", f"{name} ({named_by})")
        case [name]:
            yield ok("profile", f"{name} (the only one that you may use)")
        case []:
            fix = "an administrator: see allow_users and allow_groups in the configuration"
            yield fail("profile", "there is none that you may use", fix, NotAllowed.exit_status)
        case _ if _has_default(connection):
            yield ok("profile", f"none is named, so the daemon's default of {_some(names)}")
        case _:
            yield fail(
                "profile",
                f"none is named, there are several, and none is the default: {_some(names)}",
                "name one by --profile or $OPENFIT_PROFILE, or set default_profile in the"
                " configuration",
                NoSuchProfile.exit_status,
            )


def _has_default(connection: Connection) -> bool:
    """Return whether the daemon has a default profile.

    Asked by a call that it refuses in either case, so that nothing happens.
    """
    try:
        ask(connection, calls.get_token(None, -1.0, 0.0), _PATIENCE)
    except (NoSuchProfile, NotAllowed):
        return False
    except (TokenError, OSError):
        pass
    return True


def _not_yours(option: str | None, hello: Answer, error: NoSuchProfile | NotAllowed) -> Verdict:
    text = f"{error.message} (named by {_named_by(option)})"
    if isinstance(error, NotAllowed):
        fix = error.hint or "an administrator can put you into allow_users or allow_groups of it"
        return fail("profile", text, fix, error.exit_status)
    names = cast("list[object]", hello.get("profiles") or [])
    there = _some([str(name) for name in names]) or "none is yours"
    fix = f"name one of these: {there}; or ask the administrator for it"
    return fail("profile", text, fix, error.exit_status)


def _named_by(option: str | None) -> str | None:
    if option is not None:
        return "--profile"
    return "$OPENFIT_PROFILE" if os.environ.get("OPENFIT_PROFILE") else None


def _some(names: list[str]) -> str:
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")

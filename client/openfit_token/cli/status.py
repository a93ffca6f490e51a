"""`openfit-token status`: how the daemon and its profiles are, for people, programs and probes."""

import json
from math import isfinite
from time import time  # noqa: TID251 -- the daemon tells moments; people want "in 5 min"

from openfit_token.blocking import TokenClient
from openfit_token.calls import fields
from openfit_token.cli.get import profile_of
from openfit_token.cli.output import put
from openfit_token.cli.terminal import duration, printable

WELL = 0
NOT_NOW = 75
"""A profile has no live token, or is about to have none."""
OPERATOR_NEEDED = 77
"""A profile is locked or logged out."""

_HEADINGS = ("PROFILE", "STATE", "TOKEN LEFT", "NEXT REFRESH", "LAST SUCCESS", "LOGINS LEFT")
_NOTHING = "-"


def status(profile: str | None, socket: str | None, *, as_json: bool) -> int:
    """Print the daemon's status, and give the exit status that tells how well it is."""
    with TokenClient(profile_of(profile), socket) as client:
        found = client.status()
    verdict = judge(found)
    put(json.dumps({"v": 1, **found}) + "\n" if as_json else described(found, time()))
    return verdict


def judge(found: dict[str, object]) -> int:
    """Give the exit status: the worst of all profiles."""
    profiles = fields(found.get("profiles")).values()
    return max((_judge_profile(fields(profile)) for profile in profiles), default=WELL)


def _judge_profile(profile: dict[str, object]) -> int:
    if profile.get("state") in ("locked", "logged_out"):
        return OPERATOR_NEEDED
    left = _number(profile.get("expires_in"))
    if left is None or left <= 0 or profile.get("degraded") is not None:
        return NOT_NOW
    return WELL


def described(found: dict[str, object], now: float) -> str:
    """Give a status as lines for people.

    Args:
        found: the daemon's answer.
        now: Unix seconds.
    """
    profiles = {name: fields(it) for name, it in fields(found.get("profiles")).items()}
    rows = [_HEADINGS, *(_row(name, profile, now) for name, profile in profiles.items())]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    table = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines = [_header(found, now), *_configuration(found)]
    if profiles:
        lines += ["", table[0]]
    for line, profile in zip(table[1:], profiles.values(), strict=True):
        lines += [line, *_trouble(profile, now)]
    return "".join(f"{line}\n" for line in lines)


def _header(found: dict[str, object], now: float) -> str:
    started = _number(found.get("started_at"))
    up = _NOTHING if started is None else duration(now - started)
    version, socket, connections, requests = (
        printable(found.get(name, _NOTHING))
        for name in ("version", "socket", "connections", "requests")
    )
    return (
        f"openfit-tokend {version}, up {up}, {socket},"
        f" connections {connections}, requests {requests}"
    )


def _configuration(found: dict[str, object]) -> list[str]:
    error = found.get("config_error")
    if error is None:
        return []
    faults = [f"  {printable(line)}" for line in _message(error).splitlines()]
    return ["the last reload was refused, the old configuration is in force:", *faults]


def _message(error: object) -> str:
    return error if isinstance(error, str) else str(fields(error).get("message"))


def _row(name: str, profile: dict[str, object], now: float) -> tuple[str, ...]:
    left = _number(profile.get("expires_in"))
    refresh = _number(profile.get("refresh_at"))
    success = _number(profile.get("last_success_at"))
    logins = profile.get("logins_left")
    return (
        printable(name),
        printable(profile.get("state", _NOTHING)),
        _NOTHING if left is None else duration(left),
        _NOTHING if refresh is None else f"in {duration(refresh - now)}",
        _NOTHING if success is None else f"{duration(now - success)} ago",
        _NOTHING if logins is None else printable(logins),
    )


def _trouble(profile: dict[str, object], now: float) -> list[str]:
    """Give the lines below a profile: what happened, and what to do. None if it is well."""
    if _judge_profile(profile) == WELL and profile.get("state") != "retrying":
        return []
    error = fields(profile.get("last_error") or profile.get("degraded") or {})
    lines: list[str] = []
    if error:
        at = _number(error.get("at"))
        when = "" if at is None else f" ({duration(now - at)} ago)"
        lines.append(f"  {printable(error.get('message'))}{when}")
        if error.get("hint") is not None:
            lines.append(f"  {printable(error['hint'])}")
    elif profile.get("state") == "logged_out":
        lines.append("  an operator logged it out; `openfit-token login` logs in again")
    possible = _number(profile.get("login_possible_at"))
    if possible is not None and possible > now:
        lines.append(f"  a login is possible in {duration(possible - now)}")
    return lines


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and isfinite(value) else None

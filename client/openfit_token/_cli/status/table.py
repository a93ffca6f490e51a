"""A status as lines for people: a table, and below each profile with a problem what to do."""

import sys
from collections.abc import Iterable, Sequence
from typing import Final

from openfit_token._cli.terminal import columns, in_colour, painted, printable, wrapped
from openfit_token._client.calls import fields
from openfit_token._client.health import (
    NOT_NOW,
    OPERATOR_NEEDED,
    WELL,
    Answer,
    judge_profile,
    number,
    problems_of,
    profiles_of,
)
from openfit_token._shared.durations import duration

_HEADINGS: Final = (
    *(
        "PROFILE",
        "ENVIRONMENT",
        "STATE",
        "TOKEN LEFT",
        "NEXT REFRESH",
        "LAST SUCCESS",
        "LAST LOGIN",
    ),
    "LOGINS LEFT",
)
_STATE: Final = 2
"""The column that is coloured."""
_LEFT_OUT: Final = (5, 6, 7, 4, 3, 1)
"""The columns to leave out in a narrow window, in this order."""
_GAP: Final = "  "
_NOTHING: Final = "-"
_COLOURS: Final = {WELL: "green", NOT_NOW: "yellow", OPERATOR_NEEDED: "red"}


def for_this_terminal(found: Answer, now: float) -> str:
    """Return a status as standard output can show it."""
    return described(found, now, columns(sys.stdout), colours=in_colour())


def described(found: Answer, now: float, width: int | None = None, *, colours: bool = False) -> str:
    """Return a status as lines for people.

    Args:
        found: the daemon's answer.
        now: Unix seconds.
        width: columns of the window; None: as many as it takes.
        colours: whether to use them.
    """
    profiles = profiles_of(found)
    lines = _wrapped([_header(found, now)], "", width)
    lines += _configuration(found, width)
    lines += _fleet(found, width)
    if profiles:
        rows = [_HEADINGS, *(_row(name, profile, now) for name, profile in profiles.items())]
        paint = ["bold", *(_colour(profile) for profile in profiles.values())]
        heading, *table = _table(rows, paint if colours else None, width)
        lines += ["", heading]
        for line, profile in zip(table, profiles.values(), strict=True):
            lines += [line, *_wrapped(_trouble(profile, now), "  ", width)]
    return "".join(f"{line}\n" for line in lines)


def _header(found: Answer, now: float) -> str:
    started = number(found.get("started_at"))
    up = _NOTHING if started is None else duration(now - started)
    version, socket, connections, requests = (
        printable(found.get(name, _NOTHING))
        for name in ("version", "socket", "connections", "requests")
    )
    http = found.get("http_socket")
    also = "" if http is None else f" and {printable(http)} (HTTP)"
    return (
        f"openfit-tokend {version}, up {up}, {socket}{also},"
        f" connections {connections}, requests {requests}"
    )


def _configuration(found: Answer, width: int | None) -> list[str]:
    error = found.get("config_error")
    if error is None:
        return []
    head = "the last reload was refused, the old configuration is in force:"
    faults = [printable(line) for line in str(error).splitlines()]
    return [*_wrapped([head], "", width), *_wrapped(faults, "  ", width)]


def _fleet(found: Answer, width: int | None) -> list[str]:
    problem = fields(fields(found.get("fleet") or {}).get("store") or {})
    return _wrapped([printable(problem["message"])], "", width) if "message" in problem else []


def _row(name: str, profile: Answer, now: float) -> tuple[str, ...]:
    left = number(profile.get("expires_in"))
    refresh = number(profile.get("refresh_at"))
    success = number(profile.get("last_success_at"))
    login = number(profile.get("session_began_at"))
    logins = profile.get("logins_left")
    return (
        printable(name),
        printable(profile.get("environment", _NOTHING)),
        printable(profile.get("state", _NOTHING)),
        _NOTHING if left is None else duration(left),
        _NOTHING if refresh is None else f"in {duration(refresh - now)}",
        _NOTHING if success is None else f"{duration(now - success)} ago",
        _NOTHING if login is None else f"{duration(now - login)} ago",
        _NOTHING if logins is None else printable(logins),
    )


def _colour(profile: Answer) -> str:
    verdict = judge_profile(profile)
    return "yellow" if profile.get("state") == "retrying" else _COLOURS[verdict]


def _table(
    rows: Sequence[Sequence[str]], paint: Sequence[str] | None, width: int | None
) -> list[str]:
    """Return rows as lines with their columns aligned; `paint`: the colour of each."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    shown = _columns(widths, width)
    lines: list[str] = []
    for at, row in enumerate(rows):
        cells = [row[column].ljust(widths[column]) for column in shown]
        cells[-1] = cells[-1].rstrip()
        if paint is not None and at == 0:
            cells = [painted(cell, paint[at]) for cell in cells]
        elif paint is not None:
            cells[_STATE] = painted(cells[_STATE], paint[at])
        lines.append(_GAP.join(cells))
    return lines


def _columns(widths: Sequence[int], width: int | None) -> list[int]:
    """Return the columns that fit into a window."""
    columns = list(range(len(widths)))
    for least in _LEFT_OUT:
        whole = sum(widths[column] for column in columns) + len(_GAP) * (len(columns) - 1)
        if width is None or whole <= width:
            break
        columns.remove(least)
    return columns


def _trouble(profile: Answer, now: float) -> list[str]:
    """Return the lines below a profile: what happened, and what to do. None if it is healthy."""
    lines: list[str] = []
    for problem in problems_of(profile):
        at = number(problem.get("at"))
        when = "" if at is None else f" ({duration(now - at)} ago)"
        lines.append(f"{printable(problem.get('message'))}{when}")
        if problem.get("hint") is not None:
            lines.append(printable(problem["hint"]))
    possible = number(profile.get("login_possible_at"))
    if possible is not None and possible > now and judge_profile(profile) != WELL:
        lines.append(f"a login is possible in {duration(possible - now)}")
    return lines


def _wrapped(texts: Iterable[str], indent: str, width: int | None) -> list[str]:
    return [line for text in texts for line in wrapped(text, width, indent)]

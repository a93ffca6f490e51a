"""The status line that `systemctl status` shows.

It stays short with any number of profiles, is one line whatever servers and settings say, and holds
no secret and no user name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from openfit_token._shared.one_line import one_line
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    Idle,
    Session,
    State,
    last_error,
    live,
    state,
)

NAMED: Final = 3
"""Profiles that are named: all of them up to this number, else those in trouble."""
MAX_NAME: Final = 40
"""Characters of a profile's name that are shown."""
MAX_REASON: Final = 120
"""Characters of a reason that are shown."""

_WELL: Final = frozenset({State.FRESH, State.REFRESHING, State.LOGGING_IN})
_WORDS: Final = {State.LOGGING_IN: "logging in", State.LOGGED_OUT: "logged out"}

Named = tuple[str, Session, Problem | None]
"""A profile's name, its session, and why nothing can be requested for it, if so."""


def in_words(profiles: Sequence[Named], now: float, shown: Callable[[float], str]) -> str:
    """Return the line; `shown` formats a moment for people."""
    if len(profiles) <= NAMED:
        parts = [_standing(each, now, shown) for each in profiles]
    else:
        parts = [_counted(profiles, now), *_troubled(profiles, now)]
        if (due := _next_refresh(profiles)) < inf:
            parts.insert(1, f"next refresh {shown(due)}")
    count = "1 profile" if len(profiles) == 1 else f"{len(profiles)} profiles"
    return f"{count}: {'; '.join(parts)}" if parts else "no profiles"


def _standing(named: Named, now: float, shown: Callable[[float], str]) -> str:
    name, session, blocked = named
    word = state(session, now)
    text = f"{_cut(name, MAX_NAME)} {_WORDS.get(word, word)}"
    if blocked is not None and live(session, now):
        text += ", degraded"
    if isinstance(session.doing, Idle) and live(session, now):
        text += f", next refresh {shown(session.doing.due)}"
    elif isinstance(session.doing, Idle) and session.failures:
        text += f", next try {shown(session.doing.due)}"
    return text if word in _WELL and blocked is None else text + _reason(session, blocked)


def _counted(profiles: Iterable[Named], now: float) -> str:
    """Return how many profiles are in each state, in the order of State."""
    counts = Counter(state(session, now) for _, session, _ in profiles)
    return ", ".join(f"{counts[word]} {_WORDS.get(word, word)}" for word in State if counts[word])


def _troubled(profiles: Iterable[Named], now: float) -> list[str]:
    """Return a part for each of the first profiles in trouble."""
    ill = [
        (each, word)
        for each in profiles
        if (word := state(each[1], now)) not in _WELL or each[2] is not None
    ]
    named = [
        f"{_cut(name, MAX_NAME)} {_WORDS.get(word, word)}{_reason(session, blocked)}"
        for (name, session, blocked), word in ill[:NAMED]
    ]
    more = len(ill) - len(named)
    return [*named, f"and {more} more"] if more else named


def _next_refresh(profiles: Iterable[Named]) -> float:
    dues = (
        s.doing.due for _, s, _ in profiles if s.access is not None and isinstance(s.doing, Idle)
    )
    return min(dues, default=inf)


def _reason(session: Session, blocked: Problem | None) -> str:
    problem = last_error(session) or blocked
    return "" if problem is None else f": {_cut(problem.message, MAX_REASON)}"


def _cut(text: str, most: int) -> str:
    """Return a text as one line, shortened: a line feed would start another assignment."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"

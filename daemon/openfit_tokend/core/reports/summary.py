"""The status line that `systemctl status` shows.

It stays short with any number of profiles, is one line whatever servers and settings say, and holds
no secret and no user name.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from math import inf
from typing import Final

from openfit_token._shared.one_line import one_line
from openfit_tokend.core.reports.health import Health
from openfit_tokend.core.session import Idle, Session, State

NAMED: Final = 3
"""Profiles that are named: all of them up to this number, else those in trouble."""
MAX_NAME: Final = 40
"""Characters of a profile's name that are shown."""
MAX_REASON: Final = 120
"""Characters of a reason that are shown."""

_WORDS: Final = {State.LOGGING_IN: "logging in", State.LOGGED_OUT: "logged out"}

Named = tuple[str, Session, Health]
"""A profile's name, its session, and how it is."""


def in_words(profiles: Sequence[Named], local_time: Callable[[float], str]) -> str:
    """Return the line; `local_time` formats a moment for people."""
    if len(profiles) <= NAMED:
        parts = [_standing(each, local_time) for each in profiles]
    else:
        parts = [_counted(profiles), *_troubled(profiles)]
        if (due := _next_refresh(profiles)) < inf:
            parts.insert(1, f"next refresh {local_time(due)}")
    count = "1 profile" if len(profiles) == 1 else f"{len(profiles)} profiles"
    return f"{count}: {'; '.join(parts)}" if parts else "no profiles"


def _standing(named: Named, local_time: Callable[[float], str]) -> str:
    _, session, health = named
    text = ""
    if isinstance(session.doing, Idle) and health.ready:
        text = f", next refresh {local_time(session.doing.due)}"
    elif isinstance(session.doing, Idle) and session.failures:
        text = f", next try {local_time(session.doing.due)}"
    return f"{_named(named)}{text}{_reason(health)}"


def _counted(profiles: Iterable[Named]) -> str:
    """Return how many profiles are in each state, in the order of State."""
    counts = Counter(health.state for _, _, health in profiles)
    return ", ".join(f"{counts[word]} {_WORDS.get(word, word)}" for word in State if counts[word])


def _troubled(profiles: Iterable[Named]) -> list[str]:
    """Return a part for each of the first profiles in trouble."""
    ill = [each for each in profiles if each[2].problems]
    named = [f"{_named(each)}{_reason(each[2])}" for each in ill[:NAMED]]
    more = len(ill) - len(named)
    return [*named, f"and {more} more"] if more else named


def _next_refresh(profiles: Iterable[Named]) -> float:
    dues = (
        s.doing.due for _, s, _ in profiles if s.access is not None and isinstance(s.doing, Idle)
    )
    return min(dues, default=inf)


def _named(named: Named) -> str:
    name, _, health = named
    return f"{_cut(name, MAX_NAME)} {_WORDS.get(health.state, health.state)}"


def _reason(health: Health) -> str:
    return f": {_cut(health.problems[0].message, MAX_REASON)}" if health.problems else ""


def _cut(text: str, most: int) -> str:
    """Return a text as one line, shortened: a line feed would start another assignment."""
    line = one_line(text)
    return line if len(line) <= most else f"{line[: most - 1]}…"

"""What `notify_command` is told: a profile locked, down, or well again.

                 ┌──────────── RECOVERED ────────────┐
                 ▼                                   │
    WELL ──DOWN──▶ DOWN ──LOCKED──▶ LOCKED ──DOWN──▶ DOWN …

Between two tries a profile that is down is `logging_in` and then `down` again; a locked one with a
live token is `refreshing` now and then. So only what has settled counts, and it is compared with
what was told last, not with the state before: each try is no news, and the end of one is.

A command that failed has told nobody: it is run again, after a pause that grows, for about a day.
What holds by then is told, not what was missed.
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique
from math import inf
from typing import Final, assert_never

from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    Idle,
    Requesting,
    Session,
    State,
    last_error,
    state,
)

SPACING: Final = 10.0
"""Seconds from one run of a profile's command to the next, also to the first repetition."""
MAX_PAUSE: Final = 3600.0
"""Seconds between two runs that fail: each says so in the log."""
MAX_RUNS: Final = 32
"""Runs for one condition that fail: about a day, until which somebody will have looked."""


@unique
class Condition(StrEnum):
    """How a profile is, for a person who may have to get up. The values are told to the command."""

    WELL = "recovered"
    DOWN = "down"
    LOCKED = "locked"


@dataclass(frozen=True, slots=True)
class Notice:
    """What is to be told. `problem` None: it is well again."""

    condition: Condition
    state: State
    problem: Problem | None


def notice(session: Session, now: float) -> Notice | None:
    """Return how a profile is, as it would be told; None: nothing has settled, what was told holds."""
    word = state(session, now)
    problem = last_error(session)
    match word:
        case State.FRESH:
            return Notice(Condition.WELL, word, None)
        case State.LOCKED:
            return Notice(Condition.LOCKED, word, problem)
        case State.DOWN:
            return Notice(Condition.DOWN, word, problem)
        case State.EMPTY:  # with a problem: there is no password, and so no token
            return None if problem is None else Notice(Condition.DOWN, word, problem)
        case State.LOGGING_IN | State.REFRESHING | State.RETRYING | State.LOGGED_OUT:
            return None
        case _:
            assert_never(word)


@dataclass(frozen=True, slots=True)
class Failures:
    """Runs of the command in a row that failed to tell of one condition."""

    condition: Condition
    count: int


@dataclass(frozen=True, slots=True)
class Told:
    """What a profile's command has told, and when it was run last."""

    condition: Condition = Condition.WELL
    failures: Failures | None = None
    begun: float = -inf


def due_at(told: Told, notice: Notice | None) -> float:
    """Return when the command is to be run; inf: there is nothing that it should tell."""
    if notice is None or notice.condition is told.condition:
        return inf
    if told.failures is None or told.failures.condition is not notice.condition:
        return told.begun + SPACING
    if told.failures.count >= MAX_RUNS:
        return inf
    return told.begun + min(MAX_PAUSE, SPACING * 2.0 ** (told.failures.count - 1))


def after_run(told: Told, condition: Condition, begun: float, *, failed: bool) -> Told:
    """Return what is told after a run of the command for this condition."""
    if not failed:
        return Told(condition, None, begun)
    again = told.failures is not None and told.failures.condition is condition
    count = told.failures.count + 1 if told.failures is not None and again else 1
    return Told(told.condition, Failures(condition, count), begun)


def told_before(session: Session, now: float) -> Condition:
    """Return what must have been told last of a session that a restart interrupted.

    A try that was under way hides what had settled before it. A token that ended since, without a
    problem, was told of by nobody.
    """
    between = isinstance(session.doing, Requesting)
    settled = replace(session, doing=Idle(now)) if between else session
    found = notice(settled, now)
    return Condition.WELL if found is None or found.problem is None else found.condition

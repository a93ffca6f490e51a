"""When `notify_command` is run: a profile is locked, down, or has recovered.

                 ┌──────────── RECOVERED ────────────┐
                 ▼                                   │
    WELL ──DOWN──▶ DOWN ──LOCKED──▶ LOCKED ──DOWN──▶ DOWN …

A profile that is down is `logging_in` at each retry and then `down` again; a locked one with a live
token is `refreshing` now and then. So only settled states count, and they are compared with what
was reported last, not with the state before: a retry is no news.

A command that failed has told nobody: it is run again, after growing pauses, for about a day. It
reports the state at that time, not what was missed.
"""

from dataclasses import replace
from enum import StrEnum, unique
from math import inf
from typing import Final, assert_never

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import doubled
from openfit_tokend.core.session import (
    Idle,
    Requesting,
    Session,
    State,
    last_error,
    state,
)

SPACING: Final = 10.0
"""Seconds from one run of a profile's command to the next, including the first retry."""
MAX_PAUSE: Final = 3600.0
"""Seconds at most between two runs that fail: each failure is logged."""
MAX_RUNS: Final = 32
"""Failed runs for one condition: about a day, by which time somebody will have looked."""


@unique
class Condition(StrEnum):
    """How a profile is, for a person who may have to act. The command is told these values."""

    WELL = "recovered"
    DOWN = "down"
    LOCKED = "locked"


@frozen
class Notice:
    """What to report. `problem` None: the profile has recovered."""

    condition: Condition
    state: State
    problem: Problem | None


def notice(session: Session, now: float) -> Notice | None:
    """Return what to report of a profile; None: its state hasn't settled, the last report holds."""
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


@frozen
class Failures:
    """Failed runs of the command in a row, for one condition."""

    condition: Condition
    count: int


@frozen
class Told:
    """What a profile's command reported last, and when it was run last."""

    condition: Condition = Condition.WELL
    failures: Failures | None = None
    begun: float = -inf


def due_at(told: Told, notice: Notice | None) -> float:
    """Return when to run the command; inf: there is nothing to report."""
    if notice is None or notice.condition is told.condition:
        return inf
    if told.failures is None or told.failures.condition is not notice.condition:
        return told.begun + SPACING
    if told.failures.count >= MAX_RUNS:
        return inf
    return told.begun + doubled(SPACING, told.failures.count - 1, MAX_PAUSE)


def after_run(told: Told, condition: Condition, begun: float, *, failed: bool) -> Told:
    """Return what has been reported after a run of the command for this condition."""
    if not failed:
        return Told(condition, None, begun)
    again = told.failures is not None and told.failures.condition is condition
    count = told.failures.count + 1 if told.failures is not None and again else 1
    return Told(told.condition, Failures(condition, count), begun)


def told_before(session: Session, now: float) -> Condition:
    """Return what must have been reported last of a session that a restart interrupted.

    A request under way hides the settled state before it. A token that has ended since, without a
    problem, wasn't reported.
    """
    between = isinstance(session.doing, Requesting)
    settled = replace(session, doing=Idle(now)) if between else session
    found = notice(settled, now)
    return Condition.WELL if found is None or found.problem is None else found.condition

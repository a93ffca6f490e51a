"""When `notify_command` is run: a profile is locked, down, ending, degraded, or has recovered.

                 ┌──────────── RECOVERED ────────────┐
                 ▼                                   │
    WELL ──DOWN──▶ DOWN ──LOCKED──▶ LOCKED ──DOWN──▶ DOWN …

A profile that is down is `logging_in` at each retry and then `down` again; a locked one with a live
token is `refreshing` now and then. So only what has settled counts, and it is compared with what
was reported last, not with what was before: a retry is no news.

A command that failed has told nobody: it is run again, after growing pauses, for about a day. It
reports the state at that time, not what was missed.
"""

from dataclasses import replace
from math import inf
from typing import Final, assert_never

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.reports.health import Condition, Health, health
from openfit_tokend.core.schedule import Policy, doubled
from openfit_tokend.core.session import (
    Idle,
    Requesting,
    Session,
    State,
)

SPACING: Final = 10.0
"""Seconds from one run of a profile's command to the next, including the first retry."""
MAX_PAUSE: Final = 3600.0
"""Seconds at most between two runs that fail: each failure is logged."""
MAX_RUNS: Final = 32
"""Failed runs for one condition: about a day, by which time somebody will have looked."""


@frozen
class Notice:
    """What to report. `problem` None: the profile has recovered."""

    condition: Condition
    state: State
    problem: Problem | None


def notice(health: Health) -> Notice | None:
    """Return what to report of a profile; None: its state hasn't settled, the last report holds."""
    if not health.settled:
        return None
    problem = health.problems[0] if health.problems else None
    match health.condition:
        case Condition.WELL if problem is not None:
            return None
        case (
            Condition.WELL
            | Condition.DEGRADED
            | Condition.ENDING
            | Condition.DOWN
            | Condition.LOCKED
        ):
            return Notice(health.condition, health.state, problem)
        case Condition.PENDING | Condition.RETRYING | Condition.LOGGED_OUT:
            return None
        case _:
            assert_never(health.condition)


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


def told_before(session: Session, now: float, policy: Policy) -> Condition:
    """Return what must have been reported last of a session that a restart interrupted.

    A request under way hides the settled state before it. A token that has ended since, without a
    problem, wasn't reported.
    """
    between = isinstance(session.doing, Requesting)
    settled = replace(session, doing=Idle(now)) if between else session
    found = notice(health(settled, now, policy))
    return Condition.WELL if found is None or found.problem is None else found.condition

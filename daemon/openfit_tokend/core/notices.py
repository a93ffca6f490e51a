"""What `notify_command` is told: a profile locked, down, or well again.

                 ┌──────────── RECOVERED ────────────┐
                 ▼                                   │
    WELL ──DOWN──▶ DOWN ──LOCKED──▶ LOCKED ──DOWN──▶ DOWN …

Between two tries a profile that is down is `logging_in` and then `down` again; a locked one with a
live token is `refreshing` now and then. So only what has settled counts, and it is compared with
what was told last, not with the state before: each try is no news, and the end of one is.
"""

from dataclasses import dataclass, replace
from enum import StrEnum, unique
from typing import assert_never

from openfit_tokend.core.session import (
    Idle,
    Problem,
    Requesting,
    Session,
    State,
    last_error,
    state,
)


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
    """Give how a profile is, as it would be told; None: nothing has settled, what was told holds."""
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


def is_due(told: Condition, notice: Notice | None) -> bool:
    """Tell whether a notice says something new to who was told `told` last (at first: WELL)."""
    return notice is not None and notice.condition is not told


def told_before(session: Session, now: float) -> Condition:
    """Give what must have been told last of a session that a restart interrupted.

    A try that was under way hides what had settled before it. A token that ended since, without a
    problem, was told of by nobody.
    """
    between = isinstance(session.doing, Requesting)
    settled = replace(session, doing=Idle(now)) if between else session
    found = notice(settled, now)
    return Condition.WELL if found is None or found.problem is None else found.condition

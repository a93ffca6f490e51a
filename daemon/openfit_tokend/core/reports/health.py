"""How a profile is: the one answer to "is it well?".

`status` says it. Whoever else tells how a profile is, asked or unasked, reads it from here or from there.
"""

from enum import StrEnum, unique

from openfit_token._shared.frozen import frozen
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import Session, State, Stopped, last_error, live, state


@unique
class Condition(StrEnum):
    """How a profile is. The values are the protocol's."""

    WELL = "well"
    """A live token, and nothing that is known keeps it from being replaced."""
    PENDING = "pending"
    """No live token; a request for one is under way or due, and none has failed."""
    RETRYING = "retrying"
    """A live token that is due and couldn't be replaced; it is tried again."""
    DOWN = "down"
    """No live token, since something failed; it is tried again."""
    LOCKED = "locked"
    """An operator is needed; a live token may still be served."""
    LOGGED_OUT = "logged_out"
    """An operator logged it out."""


@frozen
class Health:
    """How a profile is, and why."""

    condition: Condition
    state: State
    ready: bool
    """A live token can be handed out."""
    problems: tuple[Problem, ...] = ()
    """What is wrong, the most urgent first. A profile that is well has one if its last request failed."""

    @property
    def degraded(self) -> Problem | None:
        """Return what a caller is told beside a live token."""
        ill = self.ready and self.condition is not Condition.WELL
        return self.problems[0] if ill and self.problems else None


def health(session: Session, now: float) -> Health:
    """Return how a profile is."""
    word, access = state(session, now), live(session, now)
    stopped = isinstance(session.doing, Stopped) and session.bar is not None
    error = session.bar.error if stopped and session.bar else last_error(session)
    problems = () if error is None else (error,)
    if word is State.LOGGED_OUT:
        return Health(Condition.LOGGED_OUT, word, ready=False, problems=problems)
    if word is State.LOCKED:
        return Health(Condition.LOCKED, word, access is not None, problems)
    if access is None:
        condition = Condition.DOWN if problems else Condition.PENDING
        return Health(condition, word, ready=False, problems=problems)
    if session.failures == 0:
        return Health(Condition.WELL, word, ready=True)
    condition = Condition.RETRYING if now >= access.due else Condition.WELL
    return Health(condition, word, ready=True, problems=problems)

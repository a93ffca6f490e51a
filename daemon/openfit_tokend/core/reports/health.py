"""How a profile is: the one answer to "is it well?".

`status` says it. Whoever else tells how a profile is, asked or unasked, reads it from here or from there.
"""

from collections.abc import Iterable
from enum import StrEnum, unique

from openfit_token._shared.frozen import frozen
from openfit_token.errors import BudgetSpent, ClientRejected, Unavailable
from openfit_tokend.core.problems import Problem, session_ends
from openfit_tokend.core.schedule import Policy, overdue, worn
from openfit_tokend.core.session import (
    Requesting,
    Session,
    State,
    Stopped,
    barred,
    last_error,
    live,
    state,
)


@unique
class Condition(StrEnum):
    """How a profile is. The values are the protocol's."""

    WELL = "well"
    """A live token, and nothing that is known keeps it from being replaced."""
    PENDING = "pending"
    """No live token; a request for one is under way or due, and none has failed."""
    RETRYING = "retrying"
    """A live token that is due and couldn't be replaced; it is tried again."""
    DEGRADED = "degraded"
    """A live token, and something is wrong that will matter unless somebody acts."""
    ENDING = "ending"
    """A live token, but the session has an end that nothing known will move: somebody has to act."""
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
    settled: bool
    """It isn't about to show whether it is otherwise: no request is under way, nor the planned login due."""
    problems: tuple[Problem, ...] = ()
    """What is wrong, the most urgent first. A profile that is well has one if its last request failed."""

    @property
    def degraded(self) -> Problem | None:
        """Return what a caller is told beside a live token."""
        ill = self.ready and self.condition is not Condition.WELL
        return self.problems[0] if ill and self.problems else None


def health(
    session: Session,
    now: float,
    policy: Policy,
    secret: Problem | None = None,
    others: Iterable[Problem] = (),
) -> Health:
    """Return how a profile is.

    `secret`: what is wrong with the stored password, if that is known; `others`: what else is wrong:
    with a fleet's row or store, or with what the profile keeps on disk.
    """
    word, access, failure = state(session, now), live(session, now), _failure(session, now)
    ending = _ending(session, now, policy, secret)
    ahead = (ending or _ahead(session, now, secret, failure), *others)
    first: tuple[Problem | None, ...] = (failure,)
    then = ahead
    match word:
        case State.LOGGED_OUT:
            condition = Condition.LOGGED_OUT
        case State.LOCKED:
            condition = Condition.LOCKED
        case _ if access is None:
            condition = Condition.PENDING if failure is None else Condition.DOWN
        case _ if failure is not None and now >= access.due:
            condition = Condition.RETRYING
        case _ if any(ahead):
            condition = Condition.DEGRADED if ending is None else Condition.ENDING
            first, then = ahead, first
        case _:
            condition = Condition.WELL
    problems = {problem.message: problem for problem in (*first, *then) if problem is not None}
    return Health(
        condition,
        word,
        ready=access is not None,
        settled=_settled(session, now, policy, secret),
        problems=tuple(problems.values()),
    )


def _failure(session: Session, now: float) -> Problem | None:
    """Return why there is no token, or why the last request brought none."""
    if isinstance(session.doing, Stopped) and session.bar is not None:
        return session.bar.error
    if live(session, now) is None:
        return last_error(session)
    return last_error(session) if session.failures else None


def _ahead(
    session: Session, now: float, secret: Problem | None, failure: Problem | None
) -> Problem | None:
    """Return what the next login will fail by, unless somebody acts; None: nothing that is known."""
    bar, cause = session.bar, secret
    if cause is None and bar is not None:
        spent = bar.error.raises is BudgetSpent and barred(session, now)
        cause = bar.error if spent or bar.error.raises is ClientRejected else None
    told = cause is not None and failure is not None and cause.raises is failure.raises
    return None if told else cause


def _ending(session: Session, now: float, policy: Policy, secret: Problem | None) -> Problem | None:
    """Return why the session ends, if its planned login failed and nothing known will change that."""
    bar, refresh = session.bar, session.refresh
    if refresh is None or not worn(refresh.since, now, policy):
        return None
    cause = secret or (None if bar is None else bar.error)
    if cause is None:
        return None
    if cause.raises is Unavailable and not overdue(refresh.since, now, policy):
        return None
    return session_ends(cause, refresh.since + policy.refresh_token_lifetime - now)


def _settled(session: Session, now: float, policy: Policy, secret: Problem | None) -> bool:
    refresh = session.refresh
    planned = refresh is not None and worn(refresh.since, now, policy)
    untried = planned and session.bar is None and secret is None
    return not (untried or isinstance(session.doing, Requesting))

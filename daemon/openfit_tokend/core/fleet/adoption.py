"""What becomes of a session when another daemon of the fleet has written one: a row of the table."""

from dataclasses import replace
from math import inf
from typing import Final, assert_never

from openfit_token._shared.secret import Secret
from openfit_tokend.core.choice import MAX_PACE, Step, rescheduled, rest, send
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import PAUSE, Policy
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    behind,
    is_logged_out,
    token_number,
    without_ended,
)

AHEAD: Final = 2.0
"""Seconds by which what has just been sent may seem to be yet to come: members of etcd differ."""
STAGGER: Final = 1.0
"""Seconds over which daemons spread what all of them could do at the same moment."""


def adopted(session: Session, shared: Session, moment: Moment, policy: Policy) -> Step:
    """Go on with what the fleet holds, in moments of this host.

    What is kept of one's own: an operator's order that wasn't sent yet, the wish of a client for
    another token than the one still held, a token that the fleet doesn't know of yet, and, until a
    newer one comes, that this host couldn't send its last request.
    """
    now = moment.now
    undated = _is_undated(session.access, shared.access, now)
    shared = without_ended(_bounded(shared, now), now)
    access = None if is_logged_out(shared) else _newer(session.access, shared.access)
    same = access is not None and session.access is not None and access.id == session.access.id
    after = replace(
        shared,
        access=access,
        number=max(session.number + 1, shared.number),  # what was begun here is void
        wanted=session.wanted and same,
        ended=max(session.ended, shared.ended),
    )
    newer = access is not None and access is not session.access and not same
    if session.unsent_until > -inf and not newer and not isinstance(shared.doing, Stopped):
        failures = max(session.failures, shared.failures)
        until = session.unsent_until
        after = replace(after, failures=failures, error=session.error, unsent_until=until)
    order = _order(session, after)
    match shared.doing:
        case Requesting(request):
            # What follows a refresh is insisted on: so an order that isn't stays as behind a login.
            as_login = isinstance(request, Login) or order == Login()
            other = Login() if as_login else request
            return replace(
                after, doing=Requesting(other) if order is None else behind(other, order)
            ), ()
        case Idle() | Stopped() if order is not None:
            return send(after, order)
        case Idle() if after.failures == 0 and access is not None and not undated:
            if same:
                return replace(after, doing=rest(after, now)), ()
            return rescheduled(after, moment, policy), ()
        case Idle(due):
            due = max(due, after.ended + PAUSE, now, after.unsent_until)
            return replace(after, doing=Idle(due + STAGGER * moment.chance)), ()
        case Stopped():
            return after, ()
        case _:
            assert_never(shared.doing)


def _bounded(shared: Session, now: float) -> Session:
    """Return what another clock timed, within bounds: somebody may have set that clock.

    What is past isn't to come, and nothing is put further off than the core ever puts it. Nobody knows
    how old a token is that is yet to be asked for: it is as good as ended.
    """
    doing, bar, access, refresh = shared.doing, shared.bar, shared.access, shared.refresh
    if _is_undated(None, access, now):
        access, doing = None, Idle(now) if isinstance(doing, Idle) else doing
    if isinstance(doing, Idle):
        doing = Idle(min(doing.due, now + MAX_PACE))
    if bar is not None and bar.until < inf:
        bar = replace(bar, until=min(bar.until, now + MAX_PACE))
    if access is not None:
        access = replace(access, sent=min(access.sent, now), obtained=min(access.obtained, now))
    if refresh is not None:
        refresh = replace(refresh, since=min(refresh.since, now))
    return replace(
        shared,
        doing=doing,
        access=access,
        refresh=refresh,
        bar=bar,
        ended=min(shared.ended, now),
    )


def _is_undated(own: AccessToken | None, shared: AccessToken | None, now: float) -> bool:
    """Return whether the fleet's token is newer than one's own, but nobody knows how old it is."""
    if shared is None or shared.sent <= now + AHEAD:
        return False
    return own is None or (own.id != shared.id and own.number <= shared.number)


def _newer(own: AccessToken | None, shared: AccessToken | None) -> AccessToken | None:
    """Return the newer of two tokens; of one that both hold, ours with the sooner end."""
    if own is None or shared is None:
        return own or shared
    if own.id == shared.id:
        return replace(own, sent=min(own.sent, shared.sent))
    return own if own.number > shared.number else shared


def _order(session: Session, after: Session) -> Login | None:
    """Return the login that was ordered here and is still to be sent."""
    match session.doing:
        case Requesting(Login(insisted=True), Login(given=Secret()) as order):  # the newer of two
            return order
        case Requesting(Login(insisted=True) as order):
            return order
        case _ if is_logged_out(after):  # that is the newer order; a reload orders none at all
            return None
        case Requesting(
            Login(), Login(given=None) as order
        ):  # ordered while this one was under way
            answered = token_number(after) > token_number(session) and after.failures == 0
            return None if answered else order
        case Requesting(login_after=Login() as order):
            return order
        case _:
            return None

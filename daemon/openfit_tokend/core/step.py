"""The table: what every event makes of every session. Total, pure.

The simplest way to think about a session is as two independent things:

- What it *holds*: an access token, a refresh token, and a bar (no automatic login before a moment).
  Each of them may be missing.
- What it is *doing*: idle until a moment, waiting for the answer of one request, or stopped until
  an operator acts.

    Idle ──── due, or wanted ───> Requesting ──── granted ────> Idle (until the token is due)
     ^                             │      │
     └──── failed: retry later ────┘      └── rejected, and no refresh token ──> Stopped
                                                                                   │
     Idle or Requesting <── an operator's login, a reload with a new secret ───────┘

What is held decides what callers get; what is being done decides what happens next. So every row
works in the same order: an access token that has ended is dropped, the event changes what is held,
and then one of a few things is next: send a refresh, send a login, or wait for a moment.
`choose` (in `choice.py`) has the usual preference: the refresh token, else a login, else wait for
the bar.

Most of this file is about failures, since a failed request may have been acted upon. Two tables say
what each kind of failure means: `_refresh_failed` for the refresh token, `_login_failed` for the
bar. Each row gives the whole answer, what is held and what is next.

Rules of this file:

1. *One request.* A request is sent only from here, with a new number; an answer counts only while
   its number is the session's and a request is under way.
2. *A refresh token is given up only when it was clearly rejected, replaced, logged out, or its
   identity changed*: never because an answer was lost.
3. *A rejected password isn't sent again automatically*: the bar holds, while the refresh token, if
   there is one, carries the session on.

The table doesn't say what to tell callers, or what to store: both follow from comparing the session
before a step with the one after it.
"""

from dataclasses import replace
from math import inf
from typing import Final, assert_never

from openfit_token.errors import BudgetSpent
from openfit_tokend.core import problems, schedule
from openfit_tokend.core.choice import (
    MAX_PACE,
    Step,
    choose,
    mended_at,
    rescheduled,
    rest,
    retry_at,
    send,
    send_refresh,
)
from openfit_tokend.core.events import (
    Adopted,
    Effect,
    Event,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    Revoke,
    ServerReached,
    Woken,
)
from openfit_tokend.core.fleet.adoption import adopted
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import PAUSE, Policy
from openfit_tokend.core.session import (
    MAX_UNCLEAR,
    AccessToken,
    Bar,
    Idle,
    Login,
    Refresh,
    RefreshToken,
    Requesting,
    Session,
    Stopped,
    barred,
    behind,
    client_rejected,
    is_logged_out,
    secret_missing,
    without_ended,
)

LOST_LOGIN_PACE: Final = 450.0
"""Seconds between logins whose answers get lost. Half the ledger's window, so that of its three
one stays for a clear answer or an operator."""
UNCLEAR_PACE: Final = 300.0
"""Seconds after the first login that was refused without a clear word; doubles to MAX_PACE."""
LOGIN_PACE: Final = 60.0
"""Seconds between logins that didn't reach the server, while the refresh token is tried too."""


def step(session: Session, event: Event, moment: Moment, policy: Policy) -> Step:
    """Return the session after an event, and the effects to carry out."""
    session = without_ended(session, moment.now)
    match event:
        case Woken():
            return _woken(session, moment, policy)
        case NewTokenWanted():
            return _new_token_wanted(session, moment, policy)
        case Granted(number) | Failed(number) if not _awaited(session, number):
            return session, _void(event)
        case Granted():
            return _granted(session, event, moment, policy)
        case Failed():
            return _failed(session, event, moment, policy)
        case LoginOrdered(given):
            return _login_ordered(session, Login(insisted=True, given=given))
        case LogoutOrdered():
            return _logged_out(session, moment.now)
        case Reconfigured(identity=True):
            return _with_new_identity(session, moment.now), ()
        case Reconfigured():
            return _reconfigured(session, event, moment, policy), ()
        case ServerReached():
            return _server_reached(session, moment, policy)
        case Adopted(shared):
            return adopted(session, shared, moment, policy)
        case _:
            assert_never(event)


# Time, and tokens that clients want


def _woken(session: Session, moment: Moment, policy: Policy) -> Step:
    match session.doing:
        case Idle(due) if moment.now >= due:
            return choose(session, moment.now, policy)
        case Idle() | Requesting() | Stopped():
            return session, ()
        case _:
            assert_never(session.doing)


def _new_token_wanted(session: Session, moment: Moment, policy: Policy) -> Step:
    if isinstance(session.doing, Stopped):
        return session, ()
    session = replace(session, wanted=True)
    if isinstance(session.doing, Idle) and session.failures == 0:  # else the backoff stays
        due = min(session.doing.due, rest(session, moment.now).due)
        session = replace(session, doing=Idle(due))
    return _woken(session, moment, policy)


def _server_reached(session: Session, moment: Moment, policy: Policy) -> Step:
    if isinstance(session.doing, Idle) and session.failures:
        due = min(session.doing.due, max(moment.now, session.ended + PAUSE))
        session = replace(session, doing=Idle(due), unsent_until=min(session.unsent_until, due))
    return _woken(session, moment, policy)


# Answers that bring a token, or come too late


def _awaited(session: Session, number: int) -> bool:
    return isinstance(session.doing, Requesting) and number == session.number


def _void(event: Granted | Failed) -> tuple[Effect, ...]:
    """Return the effects for an answer that nobody waits for any more: give the session back."""
    if isinstance(event, Granted) and event.grant.refresh_token is not None:
        return (Revoke(event.grant.refresh_token),)
    return ()


def _granted(session: Session, event: Granted, moment: Moment, policy: Policy) -> Step:
    now, grant = moment.now, event.grant
    assert isinstance(session.doing, Requesting)  # _awaited said so
    request, login_after = session.doing.request, session.doing.login_after
    if isinstance(request, Login):
        token = grant.refresh_token or request.given
        refresh = None if token is None else RefreshToken(token, since=event.sent)
        held = replace(session, refresh=refresh, bar=None, ended=now, unsent_until=-inf)
    else:
        assert session.refresh is not None  # it was sent, and nothing dropped it
        refresh = RefreshToken(grant.refresh_token or request.token, session.refresh.since)
        held = replace(session, refresh=refresh, ended=now, unsent_until=-inf)
    access = AccessToken(
        value=grant.access_token,
        id=grant.id,
        scope=grant.scope,
        number=event.number,
        sent=event.sent,
        lifetime=grant.lifetime,
        obtained=now,
        due=schedule.due(event.sent, grant.lifetime, now, moment.chance, policy),
    )
    if now >= access.expires:
        late = replace(held, failures=held.failures + 1, error=problems.ended_on_arrival(now))
        after = replace(late, doing=Idle(retry_at(late, None, moment, policy)))
    else:
        after = replace(
            held,
            doing=Idle(access.due),
            access=access,
            failures=0,
            error=held.bar.error if held.bar is not None and barred(held, now) else None,
            wanted=False,
        )
    if login_after is not None and (isinstance(request, Refresh) or login_after.given is not None):
        return send(after, login_after)
    return after, ()


# Failed requests


def _failed(session: Session, event: Failed, moment: Moment, policy: Policy) -> Step:
    assert isinstance(session.doing, Requesting)  # _awaited said so
    request, login_after = session.doing.request, session.doing.login_after
    if isinstance(request, Login) and request.given is not None:
        return _given_failed(replace(session, ended=moment.now), login_after, moment, policy)
    unsent = event.kind is Kind.SECRET_UNAVAILABLE or isinstance(event.kind, OverBudget)
    counted = not unsent or session.refresh is None  # a session that can go on hasn't failed
    failed = replace(
        session,
        failures=session.failures + counted,
        error=event.error,
        ended=session.ended if unsent else moment.now,
        unsent_until=-inf,
    )
    if event.kind is Kind.UNSENT:
        failed = replace(failed, unsent_until=retry_at(failed, event, moment, policy))
    if isinstance(request, Refresh):
        after, wait = _refresh_failed(failed, event, moment, policy)
        if login_after is not None:
            return send(after, login_after)
        if wait is None:
            return choose(after, moment.now, policy)
        return replace(after, doing=wait), ()
    bar, wait = _login_failed(failed, event, moment, policy)
    after = replace(failed, bar=bar)
    if login_after is not None and (
        login_after.given is not None or _another_secret_may_do(event.kind)
    ):
        return send(after, login_after)
    if wait is None:
        return _carry_on(after, session.failures, moment.now)
    return replace(after, doing=wait), ()


def _given_failed(
    session: Session, login_after: Login | None, moment: Moment, policy: Policy
) -> Step:
    """Go on as before: what became of a refresh token that was given says nothing of what is held."""
    if login_after is not None:
        return send(session, login_after)
    if session.refresh is None and barred(session, moment.now):
        return choose(session, moment.now, policy)
    return replace(session, doing=rest(session, moment.now)), ()


def _refresh_failed(
    session: Session, event: Failed, moment: Moment, policy: Policy
) -> tuple[Session, Idle | Stopped | None]:
    """Return the session after a failed refresh, and how long to wait; None: choose what is next."""
    now, token = moment.now, session.refresh
    assert token is not None  # it was sent, and nothing dropped it
    again = Idle(retry_at(session, event, moment, policy))
    match event.kind:
        case Kind.UNCERTAIN:
            return replace(session, refresh=replace(token, lost=token.lost + 1)), again
        case Kind.UNCLEAR:
            after = replace(session, refresh=replace(token, unclear=token.unclear + 1))
            log_in = token.unclear + 1 >= MAX_UNCLEAR and not barred(session, now)
            return after, None if log_in else again
        case Kind.GRANT_REJECTED:  # log in, also if a temporary bar held: the server answers
            return replace(session, refresh=None, bar=_ended_bar(session.bar, now)), None
        case Kind.CLIENT_REJECTED:
            return session, Idle(mended_at(session, now))
        case Kind.TRANSIENT | Kind.UNSENT | Kind.SECRET_UNAVAILABLE | OverBudget():
            return session, again
        case _:
            assert_never(event.kind)


def _ended_bar(bar: Bar | None, now: float) -> Bar | None:
    if bar is None or bar.until == inf or bar.error.raises is BudgetSpent:
        return bar
    return replace(bar, until=now)


def _login_failed(
    session: Session, event: Failed, moment: Moment, policy: Policy
) -> tuple[Bar | None, Idle | Stopped | None]:
    """Return the bar after a failed login, and how long to wait; None: the refresh token carries on.

    While a refresh token is held, the bar also keeps `choose` from preferring a login, so that the
    refresh token is tried meanwhile.
    """
    now, held, error = moment.now, session.refresh is not None, event.error
    old = session.bar if session.bar is not None and session.bar.until != inf else None
    count = old.count if old is not None else 0
    again = retry_at(session, event, moment, policy)
    match event.kind:
        case Kind.TRANSIENT | Kind.UNSENT if held:
            return Bar(max(now + LOGIN_PACE, again + PAUSE), error, count), Idle(again)
        case Kind.TRANSIENT | Kind.UNSENT:
            return old, Idle(again)
        case Kind.UNCERTAIN:
            until = again if count == 0 else now + LOST_LOGIN_PACE
            return Bar(until, error, count + 1), Idle(again if held else until)
        case Kind.UNCLEAR:
            until = now + schedule.doubled(UNCLEAR_PACE, count, MAX_PACE)
            return Bar(until, error, count + 1), Idle(again if held else until)
        case Kind.GRANT_REJECTED:
            return Bar(inf, error), None if held else Stopped()
        case Kind.CLIENT_REJECTED if held:
            return Bar(mended_at(session, now), error), None
        case Kind.CLIENT_REJECTED:
            return old, Idle(mended_at(session, now))
        case Kind.SECRET_UNAVAILABLE if held:
            return Bar(now + LOGIN_PACE, error, count), None
        case Kind.SECRET_UNAVAILABLE:
            return old, Idle(again)
        case OverBudget(known=True):
            return Bar(inf, problems.rejected_before(now)), None if held else Stopped()
        case OverBudget(until):
            assert until < inf  # only a known password is refused for ever
            until = max(until, now + PAUSE)
            return Bar(until, error, count), None if held else Idle(until)
        case _:
            assert_never(event.kind)


def _another_secret_may_do(kind: Kind | OverBudget) -> bool:
    """Return whether to send a login that was ordered meanwhile: it may use another secret."""
    match kind:
        case Kind.GRANT_REJECTED | Kind.SECRET_UNAVAILABLE | OverBudget(known=True):
            return True
        case _:
            return False


def _carry_on(session: Session, before: int, now: float) -> Step:
    """Continue with the refresh token: a failed login must not slow the session's clients down."""
    if session.access is not None and now < session.access.due and before == 0:
        rested = replace(session, failures=0)
        return replace(rested, doing=rest(rested, now)), ()
    return send_refresh(session)


# Orders


def _login_ordered(session: Session, order: Login) -> Step:
    if isinstance(session.doing, Requesting):
        return replace(session, doing=behind(session.doing.request, order)), ()
    return send(session, order)


def _logged_out(session: Session, now: float) -> Step:
    after = replace(
        session,
        doing=Stopped(),
        access=None,
        refresh=None,
        number=session.number + 1,
        failures=0,
        error=None,
        bar=Bar(inf, problems.logged_out(now)),
        wanted=False,
        unsent_until=-inf,
    )
    return after, () if session.refresh is None else (Revoke(session.refresh.value),)


def _with_new_identity(session: Session, now: float) -> Session:
    stays_out = isinstance(session.doing, Stopped) and is_logged_out(session)
    ended = now if isinstance(session.doing, Requesting) else session.ended
    return replace(
        session,
        doing=Stopped() if stays_out else Idle(max(now, ended + PAUSE)),
        access=None,
        refresh=None,
        number=session.number + 1,
        failures=0,
        error=None,
        bar=session.bar if stays_out else None,
        ended=ended,
        unsent_until=-inf,
    )


def _reconfigured(session: Session, event: Reconfigured, moment: Moment, policy: Policy) -> Session:
    """Return the session under new settings: maybe another secret, maybe another schedule."""
    lifted = session.bar is not None and not is_logged_out(session)
    after = replace(session, bar=None) if lifted else session
    match session.doing:
        case Requesting(Login(given=None) as request, None):
            return replace(after, doing=Requesting(request, Login()))
        case Requesting():
            return after
        case _ if (
            client_rejected(session)
            or secret_missing(session)
            or (lifted and session.refresh is None)
        ):
            due = max(moment.now, session.ended + PAUSE)
            return replace(after, doing=Idle(due), failures=0, error=None)
        case Idle() if session.failures == 0:
            after = replace(after, error=None)  # it was the bar's
            return rescheduled(after, moment, policy) if event.schedule else after
        case Idle() | Stopped():
            return after
        case _:
            assert_never(session.doing)

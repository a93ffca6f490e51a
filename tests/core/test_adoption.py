"""What becomes of a session when another daemon of the fleet has written one."""

from dataclasses import replace
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from made import (
    POLICY,
    REFRESH,
    access,
    failed,
    fresh,
    logging_in,
    moment,
    problem,
    refresh,
    refreshing,
    relogging_in,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected
from openfit_tokend.core.events import Adopted, Kind, Send
from openfit_tokend.core.fleet.row import taken_back
from openfit_tokend.core.moment import Moment
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    AccessToken,
    Bar,
    Doing,
    Idle,
    Login,
    Requesting,
    Session,
    Stopped,
    behind,
    is_logged_out,
    live,
    logged_out_session,
    new_session,
    token_number,
)
from openfit_tokend.core.step import step
from walks import CHANCES, GAPS, POLICIES, shared_sessions, walks

NOW = 100.0
LOCKED = Bar(inf, problem(LoginRejected))


def adopt(session: Session, shared: Session, chance: float = 0.0, now: float = NOW) -> Session:
    """Return the session after the adoption, in which nothing is sent."""
    after, effects = step(session, Adopted(shared), moment(now, chance), POLICY)
    assert effects == ()
    return after


def others() -> Session:
    """Return what another daemon has written: its login at 50 s brought a token of an hour."""
    token = access("b5", number=5, sent=50.0)
    return Session(Idle(token.due), token, refresh("s5", since=50.0), number=5, ended=50.0)


# What is held


def test_a_session_that_holds_nothing_adopts_all_that_the_fleet_holds() -> None:
    after = adopt(new_session(NOW), others())

    assert after == others()


def test_the_session_after_an_adoption_counts_on_from_the_higher_number() -> None:
    """So what was begun here is void, and the next claim is higher than all in the row."""
    assert adopt(replace(fresh(), number=2), others()).number == 5
    assert adopt(replace(fresh(), number=9), others()).number == 10


def test_a_newer_token_of_the_fleet_replaces_ours() -> None:
    assert adopt(fresh(), others()).access == others().access


def test_a_token_that_the_fleet_does_not_know_of_yet_is_kept() -> None:
    """It was brought by our own claim, and isn't written yet."""
    ours = replace(fresh(), access=access("a6", number=6, sent=90.0), number=6)

    after = adopt(ours, others())

    assert after.access == ours.access
    assert after.refresh == others().refresh


def test_a_token_is_kept_though_the_fleet_holds_none() -> None:
    assert adopt(fresh(), replace(others(), access=None)).access == fresh().access


def test_of_one_token_the_sooner_end_counts() -> None:
    """Moments of the row are inexact, on the safe side; and ours may be of a host that stood still."""
    session = fresh()
    token = access(sent=5.0, due=7.0)

    later = adopt(session, replace(session, access=token))
    sooner = adopt(replace(session, access=token), session)

    assert later.access == session.access
    assert sooner.access == replace(token, sent=0.0)


def test_a_logout_of_the_fleet_takes_the_token_too() -> None:
    after = adopt(fresh(), logged_out_session(90.0))

    assert after == replace(logged_out_session(90.0), number=2, ended=0.0)


def test_neither_an_ended_token_of_ours_nor_of_the_fleet_is_held() -> None:
    now = others().access.expires  # type: ignore[union-attr]  # it has one
    after = adopt(fresh(), replace(others(), failures=1), now=now)

    assert after.access is None


YET_TO_COME = Session(Idle(NOW + 3000.0), access("b5", number=5, sent=NOW + 500.0), number=5)
"""What the row says after the store's clock was set back."""


def test_a_token_of_unknown_age_is_replaced_at_once_and_not_served() -> None:
    after = adopt(new_session(NOW), YET_TO_COME)

    assert after == Session(Idle(NOW), number=5)


@pytest.mark.parametrize("number", [1, 5], ids=["older", "as new"])
def test_whoever_has_another_serves_that_until_it_is_replaced_at_once(number: int) -> None:
    own = replace(fresh(), access=access("ours", number=number))

    after = adopt(own, YET_TO_COME)

    assert (after.access, after.doing) == (own.access, Idle(NOW))


def test_whoever_has_a_newer_one_keeps_it() -> None:
    own = replace(fresh(), access=access("ours", number=6, due=NOW + 90.0))

    after = adopt(own, YET_TO_COME)

    assert (after.access, after.doing) == (own.access, Idle(NOW + 90.0))


def test_whoever_knows_its_age_keeps_it() -> None:
    known = replace(YET_TO_COME, access=access("b5", number=5, sent=50.0, due=NOW + 90.0))

    after = adopt(known, YET_TO_COME)

    assert (after.access, after.doing) == (known.access, Idle(NOW + 90.0))


def test_a_token_that_was_just_sent_may_seem_to_be_yet_to_come() -> None:
    """Members of etcd differ by that much."""
    token = access("b5", number=5, sent=NOW + 2.0)

    after = adopt(new_session(NOW), replace(others(), access=token))

    assert after.access is not None
    assert after.access.sent == NOW


# What a client wants


def test_a_wish_for_another_token_is_kept_while_the_token_is_the_same() -> None:
    session = replace(fresh(), wanted=True, ended=95.0)

    after = adopt(session, fresh())

    assert after == replace(session, doing=Idle(105.0), number=2)


def test_a_wish_is_fulfilled_by_a_newer_token() -> None:
    assert not adopt(replace(fresh(), wanted=True), others()).wanted


def test_a_wish_at_another_daemon_is_not_ours() -> None:
    assert adopt(fresh(), replace(fresh(), wanted=True)) == replace(fresh(), number=2)


# When the next request is


def test_the_due_of_a_new_token_is_drawn_by_our_own_policy() -> None:
    early = Policy(refresh_before=900.0)

    after, _ = step(new_session(NOW), Adopted(others()), moment(NOW, 0.5), early)

    assert after.doing == Idle(50.0 + 3600.0 - 900.0 * 1.05)


def test_a_token_that_is_held_already_keeps_its_due() -> None:
    session = fresh()

    assert adopt(session, replace(session, doing=Idle(200.0)), chance=0.9).doing == session.doing


def test_daemons_spread_what_all_of_them_could_do_next() -> None:
    failing = replace(others(), doing=Idle(130.0), failures=2, error=problem())

    assert adopt(fresh(), failing, chance=0.0).doing == Idle(130.0)
    assert adopt(fresh(), failing, chance=0.5).doing == Idle(130.5)


def test_what_is_due_already_is_begun_a_second_after_the_last_request() -> None:
    failing = replace(others(), doing=Idle(60.0), failures=2, error=problem(), ended=99.5)

    assert adopt(new_session(NOW), failing).doing == Idle(100.5)


def unsent() -> Session:
    """Return the usual session, past its token's `due`, of a host that couldn't send its refresh."""
    session = replace(refreshing(), number=4, failures=1)
    after, _ = step(session, failed(session, Kind.UNSENT, problem(at=3400.0)), PAST_DUE, POLICY)
    return after


PAST_DUE = moment(3400.0, 0.0)


def test_who_could_not_send_stands_back_whatever_others_write_that_could_not_either() -> None:
    assert unsent().doing == Idle(3401.0)
    assert unsent().unsent_until == 3401.0

    after = adopt(unsent(), replace(fresh(), number=5, doing=Idle(3400.0)), 0.5, now=3400.2)

    waits = Idle(3401.0 + 0.5)
    assert after == replace(unsent(), number=5, doing=waits)


def test_who_could_not_send_goes_on_with_what_others_got() -> None:
    token = access("b5", number=5, sent=3405.0)
    newer = Session(Idle(token.due), token, refresh("s5"), number=5, ended=3405.0)

    assert adopt(unsent(), newer, now=3406.0) == newer


def test_what_others_could_not_send_delays_nobody_else() -> None:
    session = replace(fresh(), number=3)

    taken = taken_back(replace(session, doing=Requesting(REFRESH)), 3400.0)

    assert adopt(session, taken, 0.9, now=3400.2) == replace(session, number=4)


# Requests


def test_a_request_of_another_daemon_is_waited_for() -> None:
    sent = replace(others(), doing=Requesting(REFRESH))

    assert adopt(fresh(), sent).doing == Requesting(REFRESH)


def test_the_login_of_another_daemon_is_not_insisted_on_here() -> None:
    """Nor is what was ordered there to follow it: its own daemon sends that."""
    sent = replace(others(), doing=Requesting(Login(insisted=True), login_after=Login()))

    assert adopt(fresh(), sent).doing == Requesting(Login())


@pytest.mark.parametrize("session", [refreshing(), logging_in()], ids=["refresh", "login"])
def test_a_request_that_was_not_sent_is_dropped(session: Session) -> None:
    assert adopt(session, others()).doing == others().doing


def test_where_the_fleet_is_stopped_so_is_each_of_its_daemons() -> None:
    stopped = Session(Stopped(), number=5, failures=1, error=LOCKED.error, bar=LOCKED)

    assert adopt(logging_in(), stopped) == stopped


# Orders

ORDERED = {
    "as a login": relogging_in(),
    "after a refresh": replace(
        refreshing(), doing=Requesting(REFRESH, login_after=Login(insisted=True))
    ),
}


@pytest.mark.parametrize("session", ORDERED.values(), ids=ORDERED)
@pytest.mark.parametrize("doing", [Idle(3300.0), Stopped()], ids=["idle", "stopped"])
def test_an_operators_login_is_sent_after_all(session: Session, doing: Doing) -> None:
    after, effects = step(session, Adopted(replace(others(), doing=doing)), moment(NOW), POLICY)

    assert effects == (Send(6, Login(insisted=True)),)
    assert after.doing == Requesting(Login(insisted=True))


@pytest.mark.parametrize("session", ORDERED.values(), ids=ORDERED)
@pytest.mark.parametrize("request_", [REFRESH, Login()], ids=["refresh", "login"])
def test_an_operators_login_follows_the_request_of_another_daemon(
    session: Session, request_: Login
) -> None:
    sent = replace(others(), doing=Requesting(request_))

    assert adopt(session, sent).doing == behind(request_, Login(insisted=True))


def test_a_login_of_another_daemon_that_brings_a_token_is_the_ordered_one() -> None:
    waiting = replace(fresh(), doing=Requesting(Login(), login_after=Login()))

    assert adopt(waiting, others()).doing == others().doing


@pytest.mark.parametrize(
    "ended",
    [replace(others(), access=access()), replace(others(), doing=Idle(120.0), failures=1)],
    ids=["no newer token", "a failure"],
)
def test_after_a_login_of_another_daemon_that_brings_none_ours_is_sent(ended: Session) -> None:
    """It may use another password."""
    waiting = replace(fresh(), doing=Requesting(Login(), login_after=Login()))

    _, effects = step(waiting, Adopted(ended), moment(NOW), POLICY)

    assert effects == (Send(6, Login()),)


def test_a_refresh_of_another_daemon_makes_no_operators_order_of_a_reloads() -> None:
    """A password that was rejected is sent again only where an operator insists."""
    reloaded = replace(fresh(), doing=Requesting(Login(), login_after=Login()))
    refreshed = replace(others(), access=access(), doing=Requesting(REFRESH))
    waiting = adopt(reloaded, refreshed)
    ended = replace(others(), doing=Stopped(), access=None, failures=1, bar=LOCKED)

    _, effects = step(waiting, Adopted(ended), moment(NOW), POLICY)

    assert effects == (Send(7, Login()),)


@pytest.mark.parametrize("request_", [REFRESH, Login()], ids=["refresh", "login"])
def test_a_logout_of_the_fleet_stands_against_a_login_that_was_to_follow_a_request(
    request_: Login,
) -> None:
    """Also one that no operator ordered: a reload has the secret tried again."""
    waiting = replace(fresh(), doing=behind(request_, Login(insisted=True)))

    after, effects = step(waiting, Adopted(logged_out_session(NOW)), moment(NOW), POLICY)

    assert (after.doing, effects) == (Stopped(), ())


# Clocks that were set


def test_nothing_that_was_is_to_come_and_nothing_is_put_off_for_hours() -> None:
    day = 86400.0
    token = access("b5", number=5, sent=NOW + 1.0, obtained=NOW + day)
    ahead = Session(
        Idle(NOW + day),
        token,
        refresh("s5", since=NOW + day),
        number=5,
        failures=1,
        error=problem(),
        bar=Bar(NOW + day, problem()),
        ended=NOW + day,
    )

    assert adopt(new_session(NOW), ahead) == replace(
        ahead,
        doing=Idle(NOW + 3600.0),
        access=replace(token, sent=NOW, obtained=NOW),
        refresh=refresh("s5", since=NOW),
        bar=Bar(NOW + 3600.0, problem()),
        ended=NOW,
    )


def test_a_bar_without_an_end_stays_one() -> None:
    assert adopt(fresh(), replace(others(), bar=LOCKED)).bar == LOCKED


# Over sessions as they are really reached


@st.composite
def adoptions(draw: st.DrawFn) -> tuple[Session, Session, Moment, Policy]:
    last = draw(walks())[-1]
    now = last.moment.now + draw(GAPS)
    shared = draw(shared_sessions(last.after, now))
    return last.after, shared, Moment(now, draw(CHANCES)), draw(POLICIES)


Adoption = tuple[Session, Session, Moment, Policy]


@given(adoptions())
def test_adopting_twice_is_adopting_once_apart_from_the_number(adoption: Adoption) -> None:
    session, shared, at, policy = adoption

    once, _ = step(session, Adopted(shared), at, policy)
    twice, _ = step(once, Adopted(shared), at, policy)

    if once.doing != Requesting(Login()) or isinstance(shared.doing, Requesting):
        assert replace(twice, number=0) == replace(once, number=0)


@given(adoptions())
def test_nothing_is_sent_but_an_operators_login_and_nothing_given_back(adoption: Adoption) -> None:
    session, shared, at, policy = adoption

    after, effects = step(session, Adopted(shared), at, policy)

    for effect in effects:
        assert isinstance(session.doing, Requesting)
        orders = [session.doing.login_after]
        if isinstance(session.doing.request, Login) and session.doing.request.insisted:
            orders.append(session.doing.request)
        assert effect in [Send(after.number, order) for order in orders if order is not None]
        assert not isinstance(shared.doing, Requesting)


def test_of_two_orders_the_refresh_token_that_was_given_later_is_sent() -> None:
    ordered, given = Login(insisted=True), Login(insisted=True, given=Secret("r9"))
    session = replace(new_session(NOW), doing=Requesting(ordered, given), number=1)

    after, effects = step(session, Adopted(others()), moment(NOW), POLICY)

    assert effects == (Send(after.number, given),)


@given(adoptions())
def test_an_order_survives_all_but_a_login_that_fulfils_it_and_a_logout(adoption: Adoption) -> None:
    session, shared, at, policy = adoption

    after, _ = step(session, Adopted(shared), at, policy)

    match session.doing:
        case Requesting(login_after=Login()) if after.doing == Stopped():
            assert is_logged_out(shared)
        case Requesting(Login(insisted=False), login_after=Login()):
            newer = token_number(after) > token_number(session)
            assert newer or isinstance(after.doing, Requesting)
        case Requesting(Login(insisted=True)) | Requesting(login_after=Login()):
            assert isinstance(after.doing, Requesting)
            request = after.doing.request
            assert after.doing.login_after or (isinstance(request, Login) and request.insisted)
        case _:
            assert not isinstance(after.doing, Requesting) or isinstance(shared.doing, Requesting)


@given(adoptions())
def test_a_live_token_gives_way_only_to_a_newer_one_or_a_logout(adoption: Adoption) -> None:
    session, shared, at, policy = adoption
    before = live(session, at.now)

    after, _ = step(session, Adopted(shared), at, policy)

    if before is not None and not is_logged_out(shared):
        assert isinstance(after.access, AccessToken)
        assert after.access.number >= before.number or after.access.id == before.id
        assert after.access.id != before.id or after.access.expires <= before.expires


@given(adoptions())
def test_what_the_clock_of_another_says_is_brought_into_bounds(adoption: Adoption) -> None:
    session, shared, at, policy = adoption

    after, _ = step(session, Adopted(shared), at, policy)

    assert after.ended <= at.now
    assert after.access is None or after.access.sent <= at.now
    assert after.refresh is None or after.refresh.since <= at.now
    assert after.bar is None or after.bar.until == inf or after.bar.until <= at.now + 3600.0
    if isinstance(after.doing, Idle):
        due = 0.0 if after.access is None else after.access.due
        assert after.doing.due <= max(at.now + 3601.0, due)

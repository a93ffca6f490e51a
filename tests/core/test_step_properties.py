"""Rules that hold for every session that can be reached, whatever happens to it.

That no event raises is part of each of them: every walk takes all of its steps.
"""

from dataclasses import replace
from math import inf

from hypothesis import given

from openfit_token.errors import LoggedOut
from openfit_tokend.core.callers.answers import (
    Get,
    LogIn,
    Refuse,
    Renew,
    answer,
    ended_login,
    token_for,
)
from openfit_tokend.core.events import (
    Adopted,
    Failed,
    Granted,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    OverBudget,
    Reconfigured,
    Revoke,
    Send,
    Woken,
)
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Refresh,
    Requesting,
    State,
    Stopped,
    barred,
    live,
    state,
    wake_at,
    without_ended,
)
from openfit_tokend.core.step import step
from walks import Taken, walks

Walk = tuple[Taken, ...]


# One request


@given(walks())
def test_a_request_is_sent_with_a_new_number_and_is_then_the_one_under_way(walk: Walk) -> None:
    for taken in walk:
        after = taken.after
        if taken.sends:
            assert isinstance(after.doing, Requesting)
            assert taken.effects == (Send(after.number, after.doing.request),)
            assert after.number > taken.before.number


@given(walks())
def test_a_number_never_goes_back_and_only_another_daemons_session_takes_more_than_one(
    walk: Walk,
) -> None:
    for taken in walk:
        grown = taken.after.number - taken.before.number
        assert grown in {0, 1} or (grown > 1 and isinstance(taken.event, Adopted))


@given(walks())
def test_a_request_under_way_goes_on_until_its_answer_a_logout_or_a_new_identity(
    walk: Walk,
) -> None:
    for taken in walk:
        match taken.before.doing, taken.event:
            case Requesting(request), Woken() | NewTokenWanted() | LoginOrdered():
                assert not taken.effects
                assert isinstance(taken.after.doing, Requesting)
                assert taken.after.doing.request == request
            case Requesting(request), Reconfigured(identity=False):
                assert isinstance(taken.after.doing, Requesting)
                assert taken.after.doing.request == request
            case _:
                pass


@given(walks())
def test_a_late_answer_changes_nothing_but_gives_back_its_refresh_token(walk: Walk) -> None:
    for taken in walk:
        if isinstance(taken.event, Granted | Failed) and not taken.answers:
            assert taken.after == without_ended(taken.before, taken.moment.now)
            assert all(isinstance(effect, Revoke) for effect in taken.effects)


@given(walks())
def test_a_login_is_sent_under_a_bar_only_where_one_was_ordered(walk: Walk) -> None:
    for taken in walk:
        for send in taken.sends:
            if isinstance(send.request, Login) and barred(taken.after, taken.moment.now):
                doing = taken.before.doing
                assert send.request.insisted or (
                    isinstance(doing, Requesting) and doing.login_after
                )


@given(walks())
def test_only_an_order_insists(walk: Walk) -> None:
    for taken in walk:
        for send in taken.sends:
            if send.request == Login(insisted=True):
                doing = taken.before.doing
                after_refresh = isinstance(doing, Requesting) and doing == Requesting(
                    doing.request, login_after=Login(insisted=True)
                )
                ordered = isinstance(taken.event, LoginOrdered) or after_refresh
                assert ordered or (doing == taken.after.doing and isinstance(taken.event, Adopted))


@given(walks())
def test_what_is_sent_as_a_refresh_is_the_refresh_token_held(walk: Walk) -> None:
    for taken in walk:
        doing = taken.after.doing
        if isinstance(doing, Requesting) and isinstance(doing.request, Refresh):
            assert taken.after.refresh is not None
            assert taken.after.refresh.value == doing.request.token


# What is held


@given(walks())
def test_a_refresh_token_is_given_up_only_when_rejected_replaced_logged_out_or_anothers(
    walk: Walk,
) -> None:
    """Another identity's; or the fleet holds another one."""
    for taken in walk:
        before, after = taken.before.refresh, taken.after.refresh
        if before is None or (after is not None and after.value == before.value):
            continue
        match taken.event:
            case Granted() | Failed(kind=Kind.GRANT_REJECTED):
                assert taken.answers
            case LogoutOrdered() | Adopted():
                pass
            case event:
                assert event == Reconfigured(identity=True)


@given(walks())
def test_a_live_access_token_is_kept_until_it_is_replaced_logged_out_or_anothers(
    walk: Walk,
) -> None:
    for taken in walk:
        before = live(taken.before, taken.moment.now)
        after = taken.after.access
        if before is None or (
            after is not None and replace(after, due=0.0) == replace(before, due=0.0)
        ):
            continue
        assert isinstance(taken.event, Granted | LogoutOrdered | Reconfigured | Adopted)


@given(walks())
def test_the_due_of_a_token_moves_only_at_a_reload(walk: Walk) -> None:
    for taken in walk:
        before, after = taken.before.access, taken.after.access
        if before is not None and after is not None and before.id == after.id:
            assert before.due == after.due or taken.event == Reconfigured(schedule=True)


@given(walks())
def test_no_step_leaves_a_token_that_has_ended(walk: Walk) -> None:
    for taken in walk:
        assert taken.after.access == live(taken.after, taken.moment.now)


@given(walks())
def test_stopped_means_a_bar_for_ever_and_no_refresh_token(walk: Walk) -> None:
    for taken in walk:
        after = taken.after
        for_ever = after.bar is not None and after.bar.until == inf
        if not isinstance(after.doing, Requesting):
            assert isinstance(after.doing, Stopped) == (for_ever and after.refresh is None)


@given(walks())
def test_only_an_operators_login_ends_a_logout_here_or_at_another_daemon(walk: Walk) -> None:
    for taken in walk:
        if state(taken.before, taken.moment.now) is State.LOGGED_OUT:
            stays = state(taken.after, taken.moment.now) is State.LOGGED_OUT
            assert stays != isinstance(taken.event, LoginOrdered) or isinstance(
                taken.event, Adopted
            )


# Time


@given(walks())
def test_woken_again_at_the_same_moment_changes_nothing(walk: Walk) -> None:
    for taken in walk:
        woken, _ = step(taken.after, Woken(), taken.moment, taken.policy)

        assert step(woken, Woken(), taken.moment, taken.policy) == (woken, ())
        assert wake_at(woken) > taken.moment.now


@given(walks())
def test_woken_before_the_moment_it_named_a_session_is_unchanged(walk: Walk) -> None:
    for taken in walk:
        if taken.moment.now < wake_at(taken.after):
            assert step(taken.after, Woken(), taken.moment, taken.policy) == (taken.after, ())


@given(walks())
def test_without_a_failure_a_request_starts_a_second_after_the_last_at_the_soonest(
    walk: Walk,
) -> None:
    for taken in walk:
        after = taken.after
        if isinstance(after.doing, Idle) and after.failures == 0:
            assert after.doing.due >= after.ended + 1.0


@given(walks())
def test_after_a_failure_the_next_try_is_within_the_backoff_or_the_bar(walk: Walk) -> None:
    for taken in walk:
        after, now = taken.after, taken.moment.now
        if isinstance(taken.event, Failed) and taken.answers and isinstance(after.doing, Idle):
            bar = 0.0 if after.bar is None or after.bar.until == inf else after.bar.until
            due = 0.0 if after.access is None else after.access.due
            assert now < after.doing.due <= max(now + 3600.0, bar + 1.0, due, after.ended + 600.0)


@given(walks())
def test_what_was_not_sent_leaves_the_time_of_the_last_request(walk: Walk) -> None:
    for taken in walk:
        match taken.event:
            case Failed(kind=Kind.SECRET_UNAVAILABLE | OverBudget()):
                assert taken.after.ended == taken.before.ended
            case Failed() | Granted() if taken.answers:
                assert taken.after.ended == taken.moment.now
            case Adopted():
                assert taken.before.ended <= taken.after.ended <= taken.moment.now
            case _:
                assert taken.after.ended in {taken.before.ended, taken.moment.now}


# Answers


@given(walks())
def test_nobody_is_given_a_token_that_will_not_do(walk: Walk) -> None:
    for taken in walk:
        now, session = taken.moment.now, taken.after
        for call in (Get(), Get(5.0), Get(1e6), Refuse("id-of-a1"), Renew(now)):
            token = token_for(session, call, now)
            if isinstance(token, AccessToken):
                assert now < token.expires
                assert not isinstance(call, Get) or token.expires - now >= (call.min_ttl or 0.0)
                assert not isinstance(call, Refuse) or token.id != call.id


@given(walks())
def test_a_live_token_is_given_at_once(walk: Walk) -> None:
    for taken in walk:
        now = taken.moment.now
        token = live(taken.after, now)
        assert token is None or answer(taken.after, Get(), now + 30.0, now) == token


@given(walks())
def test_nobody_waits_beyond_the_deadline(walk: Walk) -> None:
    for taken in walk:
        now, session = taken.moment.now, taken.after
        for call in (Get(), Get(1e6), Refuse("id-of-a1"), Renew(now), LogIn(session.number + 1)):
            assert answer(session, call, now, now) is not None


@given(walks())
def test_an_operators_login_ends_with_a_token_or_an_error_that_is_told(walk: Walk) -> None:
    for taken in walk:
        ended = ended_login(taken.before, taken.event, taken.after)
        if ended is not None:
            told = answer(taken.after, LogIn(ended.number), inf, taken.moment.now, ended)
            assert told == taken.after.access if ended.error is None else told is not None


@given(walks())
def test_people_can_be_told_how_things_stand(walk: Walk) -> None:
    for taken in walk:
        now, session = taken.moment.now, taken.after
        word = state(session, now)
        assert (word is State.LOGGED_OUT) == (
            isinstance(session.doing, Stopped)
            and session.bar is not None
            and session.bar.error.raises is LoggedOut
        )

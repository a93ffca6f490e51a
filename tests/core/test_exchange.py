"""What every event makes of a host's replica of a row: one host's side of all that a fleet does."""

from dataclasses import replace
from math import inf

import pytest

from made import (
    REFRESH,
    access,
    fresh,
    logging_in,
    problem,
    refresh,
    refreshing,
)
from openfit_tokend.core.budget import LATE, Attempt, Entry, Fingerprint, Ledger
from openfit_tokend.core.events import (
    Adopted,
    Failed,
    Kind,
    LoginOrdered,
    LogoutOrdered,
    OverBudget,
)
from openfit_tokend.core.fleet.clocks import moved
from openfit_tokend.core.fleet.exchange import is_void, owes
from openfit_tokend.core.fleet.messages import (
    Deny,
    Expired,
    Feed,
    GaveUp,
    Grant,
    Left,
    Ordered,
    PutOff,
    ReadRow,
    Release,
    RowRead,
    Unreached,
    WakeAt,
    WriteRow,
    Written,
)
from openfit_tokend.core.fleet.replica import Known
from openfit_tokend.core.fleet.row import SEND_BY, TERM, Claim, Row, Shared
from openfit_tokend.core.problems import not_needed
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    Idle,
    Login,
    Requesting,
    Session,
    is_logged_out,
    logged_out_session,
    new_session,
)
from replicas import AHEAD, KEY, NOW, ONE, SALT, Host, row_of, with_row

ATTEMPT = Attempt(900.0, ONE)
LOST = (Entry(NOW + LATE, lost=ONE),)
OTHERS = b"o" * 16
"""A claim of another host."""
AWAY = problem()


def others_refresh() -> Row:
    """Return a row in which another host has claimed the refresh of the usual session."""
    return row_of(refreshing(), Claim(OTHERS, "other"))


def others_login(attempt: Attempt = ATTEMPT) -> Row:
    """Return a row in which another host has claimed a login."""
    stored = replace(attempt, sent=attempt.sent + AHEAD)
    return row_of(logging_in(), Claim(OTHERS, "other", attempt=stored))


def entries(write: WriteRow) -> tuple[Entry, ...]:
    """Return the entries of a row's ledger in moments of the host."""
    return tuple(replace(each, at=each.at - AHEAD) for each in write.row.ledger.entries)


def about_to_refresh() -> Host:
    """Return a host that goes on from a row, and is about to refresh."""
    host = with_row(fresh(), row_of(fresh()))
    host.sessions[1] = refreshing()
    return host


# Reading


def test_a_row_in_doubt_is_read_before_anything_is_written() -> None:
    host = Host()
    host.join(new_session(NOW))

    assert host.turn() == (ReadRow(),)


def test_who_joins_goes_on_from_what_is_there() -> None:
    host = with_row(new_session(NOW), row_of(fresh()))

    assert host.fed == [Adopted(fresh())]


def test_a_token_that_is_adopted_ends_no_later_than_it_does_by_any_clock() -> None:
    host = with_row(new_session(NOW))
    host.unsure = 2.0

    host.read(row_of(fresh()))

    adopted, its = host.sessions[1].access, fresh().access
    assert adopted is not None
    assert its is not None
    assert adopted.expires == its.expires - host.unsure


def test_where_there_is_no_row_a_session_goes_on_as_it_is() -> None:
    assert with_row(refreshing()).fed == []


def test_what_is_known_already_is_not_adopted_again() -> None:
    row = row_of(fresh())
    host = with_row(new_session(NOW), row)

    host.read(row)

    assert len(host.fed) == 1


def test_two_profiles_of_one_identity_have_two_sessions() -> None:
    host = with_row(fresh(), None)
    host.join(fresh(), who=2)

    one, other = host.replica.participants.values()

    assert one.key == KEY != other.key


# A request of one's own


def test_a_request_goes_out_once_its_claim_is_written_and_not_for_long() -> None:
    host = about_to_refresh()
    claim, effects = host.want()
    assert effects == ()

    write = host.write()

    host.now += 3.0
    shared = write.row.sessions[KEY]
    assert shared.claim == Claim(claim, "us")
    assert shared.session.doing == Requesting(REFRESH)
    assert host.take(Written(write, host.now + AHEAD)) == (Grant(claim, NOW + SEND_BY),)


@pytest.mark.parametrize("answered", [True, False], ids=["a token", "a failure"])
def test_what_came_of_it_is_written_for_the_others(answered: bool) -> None:  # noqa: FBT001 -- a column of the table
    host = with_row(refreshing())
    host.claimed()
    host.now += 2.0

    assert host.ended(host.granted() if answered else host.failed(Kind.UNCERTAIN))

    write = host.write()
    shared = write.row.sessions[KEY]
    assert shared.claim is None
    assert shared.session.failures == (not answered)
    assert (shared.session.access is not None) == answered  # the older one is nobody else's
    assert owes(host.replica)
    host.written(write)
    assert not owes(host.replica)


def test_a_token_is_dated_no_later_than_its_claim_by_the_stores_clock() -> None:
    """No clock of a host that stood still meanwhile makes it live longer."""
    host = with_row(logging_in())
    host.want()
    host.take(Written(host.write(), NOW + AHEAD - 7.0))

    host.ended(host.granted())

    token = host.write().row.sessions[KEY].session.access
    assert token is not None
    assert token.sent == NOW + AHEAD - 7.0


def test_what_comes_to_pass_while_it_is_written_is_written_next() -> None:
    host = with_row(refreshing())
    host.claimed()
    host.ended(host.granted())
    write = host.write()
    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())

    host.written(write)

    assert is_logged_out(host.write().row.sessions[KEY].session)


def test_a_request_that_nobody_waits_for_any_more_is_not_claimed() -> None:
    host = with_row(refreshing())
    claim, _ = host.want()
    host.feed(1, LogoutOrdered())

    assert host.turn() == (Deny(claim, Failed(2, Kind.TRANSIENT, not_needed(NOW))),)


def test_one_that_ends_before_it_is_claimed_is_wanted_no_more() -> None:
    host = about_to_refresh()
    host.want()

    host.ended(host.failed(Kind.TRANSIENT))

    assert not host.replica.requests
    assert host.turn() == ()


def test_what_one_profile_writes_lets_the_others_of_its_row_be() -> None:
    host = with_row(fresh(), row_of(fresh()))
    host.join(logging_in(), who=2, key=b"2" * 32)
    host.read(host.replica.row)
    host.sessions[2] = logging_in()
    host.fed.clear()

    host.claimed(2)

    assert host.fed == []


def test_one_that_nobody_waits_for_once_it_is_claimed_is_taken_back() -> None:
    host = with_row(refreshing())
    claim, _ = host.want()
    write = host.write()
    host.feed(1, LogoutOrdered())

    effects = host.written(write)

    assert effects == (Deny(claim, Failed(2, Kind.TRANSIENT, not_needed(NOW))),)
    assert host.write().row.sessions[KEY].claim is None


@pytest.mark.parametrize(
    ("kind", "written"),
    [(Kind.UNSENT, False), (Kind.TRANSIENT, True)],
)
def test_what_was_not_sent_leaves_no_trace_and_its_host_stands_back(
    kind: Kind,
    written: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    host = about_to_refresh()
    host.claimed()
    host.ended(host.failed(kind))

    write = host.write()

    assert (write.row.sessions[KEY].session.failures > 0) == written
    host.written(write)
    assert isinstance(host.sessions[1].doing, Idle)
    assert host.sessions[1].failures == 1


def test_a_claim_whose_acknowledgement_was_lost_is_taken_back() -> None:
    host = with_row(logging_in())
    claim, _ = host.want()
    write = host.write()
    (denied,) = host.take(Unreached(AWAY))
    assert denied == Deny(claim, Failed(1, Kind.TRANSIENT, AWAY))
    host.ended(Failed(1, Kind.TRANSIENT, AWAY))
    host.fed.clear()

    host.read(write.row)

    assert host.fed == []
    taken_back = host.write()
    assert taken_back.row.sessions[KEY].claim is None
    assert taken_back.row.sessions[KEY].session == replace(
        logging_in(), doing=Idle(NOW + AHEAD), number=1
    )
    assert entries(taken_back) == ()  # it was never sent


# Requests of others


def test_who_comes_too_late_waits_for_the_other_and_goes_on_with_what_that_brings() -> None:
    host = about_to_refresh()
    claim, _ = host.want()
    host.write()  # it isn't taken

    host.read(others_refresh())

    assert host.turn() == (Deny(claim, Failed(2, Kind.TRANSIENT, not_needed(NOW))),)
    assert host.sessions[1].doing == Requesting(REFRESH)
    brought = Session(Idle(4300.0), access("b3", number=3, sent=NOW), refresh("r3"), number=3)
    host.read(row_of(brought))
    assert host.sessions[1].access == brought.access


def test_when_a_session_came_to_be_what_it_is_is_known() -> None:
    host = about_to_refresh()
    host.now += 10.0
    host.claimed()
    assert host.replica.participants[1].based_at == host.now

    host.now += 10.0
    host.read(others_refresh())
    assert host.replica.participants[1].based_at == host.now


def test_a_claim_stands_for_its_term_from_when_it_was_seen() -> None:
    host = with_row(fresh())

    effects = host.read(others_refresh())

    assert effects[0] == WakeAt(NOW + TERM, KEY, OTHERS)
    host.now += 30.0
    assert not [e for e in host.read(others_refresh()) if isinstance(e, WakeAt)]


def test_a_claim_that_nobody_heard_of_is_given_up_as_a_lost_use() -> None:
    host = with_row(fresh())
    host.read(others_refresh())
    host.now += TERM

    effects = host.take(Expired(KEY, OTHERS))

    assert effects[0] == GaveUp("other")
    assert host.sessions[1].refresh == refresh(lost=1)
    assert isinstance(host.sessions[1].doing, Idle)


def test_it_is_given_up_for_its_own_session_alone() -> None:
    host = with_row(fresh())
    other, none = b"2" * 32, b"3" * 32
    row = others_refresh()
    host.join(fresh(), who=2, key=other)
    host.join(new_session(NOW), who=3, key=none)
    there = Shared(moved(fresh(), AHEAD), None, "other", row.tag)
    host.read(replace(row, sessions={**row.sessions, other: there}))
    host.now += TERM
    before = host.sessions[2], host.sessions[3]

    effects = host.take(Expired(KEY, OTHERS))

    assert [effect.who for effect in effects if isinstance(effect, Feed)] == [1]
    assert (host.sessions[2], host.sessions[3]) == before


@pytest.mark.parametrize("early", [1.0, 0.0], ids=["before its term", "at its term"])
def test_it_is_taken_off_by_whoever_writes_next(early: float) -> None:
    host = with_row(fresh())
    host.read(others_refresh())
    host.now += TERM - early
    host.join(logging_in(), who=2, key=b"2" * 32)
    host.read(host.replica.row)
    host.sessions[2] = logging_in()
    host.want(2)

    write = host.write()

    assert write.took_over == (early == 0.0)
    assert (write.row.sessions[KEY].claim is None) == (early == 0.0)


def test_who_takes_off_an_ended_claim_tells_its_own_sessions_that_waited_for_it() -> None:
    host = with_row(fresh())
    host.read(others_refresh())
    host.join(logging_in(), who=2, key=b"2" * 32)
    host.read(host.replica.row)
    host.sessions[2] = logging_in()
    host.now += TERM
    host.want(2)

    host.written()

    assert isinstance(host.sessions[1].doing, Idle)


def test_who_joins_while_the_row_is_written_adopts_what_is_there() -> None:
    host = about_to_refresh()
    host.want()
    write = host.write()
    other = replace(fresh(), number=7)
    key = b"2" * 32
    row = replace(write.row, sessions={**write.row.sessions, key: Shared(other, None, "o", b"t")})
    host.join(new_session(NOW), who=2, key=key)

    host.take(Written(replace(write, row=row), NOW + AHEAD))

    assert host.sessions[2].number == 7


# A request that others gave up


@pytest.mark.parametrize(
    ("session", "then", "given_back"),
    [
        (refreshing(), fresh(), False),  # they may live on its family of tokens
        (refreshing(), logged_out_session(NOW), True),
        (logging_in(), fresh(), True),
        (logging_in(), logged_out_session(NOW), True),
    ],
    ids=["a refresh", "a refresh and a logout", "a login", "a login and a logout"],
)
def test_what_it_brings_is_nobodys(session: Session, then: Session, given_back: bool) -> None:  # noqa: FBT001 -- a column of the table
    """What nobody lives on is given back to the server: the session takes it as void."""
    host = with_row(session)
    host.claimed()
    late = host.granted()

    host.read(row_of(replace(then, number=9)))

    assert isinstance(host.fed[0], Failed)
    assert host.fed[0].kind is Kind.UNCERTAIN
    before = host.sessions[1]
    assert host.ended(late) == given_back
    assert host.sessions[1] == before
    assert host.replica.participants[1].untold is None


def test_what_came_to_pass_is_not_told_any_more_once_others_went_on_without_it() -> None:
    host = with_row(refreshing())
    host.claimed()
    host.ended(host.granted())

    host.read(row_of(replace(fresh(), number=7)))

    assert host.sessions[1].number == 7
    assert not owes(host.replica)


def test_a_login_counts_though_others_gave_it_up() -> None:
    host = with_row(logging_in())
    host.claimed()
    rejected = host.failed(Kind.GRANT_REJECTED)
    host.read(row_of(fresh()))

    host.ended(rejected)

    assert [each.clear for each in host.write().row.ledger.entries] == [True]


# Logins, and what they count as


def test_a_login_whose_claim_gives_way_counts_as_lost() -> None:
    host = with_row(fresh())
    host.read(others_login())
    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())

    assert entries(host.write()) == LOST


def test_a_login_whose_claim_is_over_counts_as_lost_once() -> None:
    host = with_row(fresh())
    host.read(others_login())
    host.now += TERM
    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())

    write = host.write()

    assert entries(write) == (Entry(host.now + LATE, lost=ONE),)
    assert write.took_over


def test_when_it_ends_after_all_what_was_counted_is_taken_back() -> None:
    host = with_row(logging_in())
    host.claimed()
    sent = host.failed(Kind.TRANSIENT)
    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())
    write = host.write()
    assert entries(write) == LOST
    host.written(write)

    host.ended(sent)

    assert entries(host.write()) == ()


def test_a_login_that_another_has_under_way_is_waited_for() -> None:
    host = with_row(logging_in())
    host.join(logging_in(), who=2, key=b"2" * 32)
    host.read(others_login())
    host.sessions[2] = logging_in()
    claim, _ = host.want(2, Fingerprint(2))

    assert host.turn() == (PutOff(claim),)


def test_a_login_whose_password_was_rejected_anywhere_is_not_sent() -> None:
    host = with_row(logging_in(), row_of(ledger=Ledger(rejected=(ONE,))))
    claim, _ = host.want()

    (denied,) = host.turn()

    assert isinstance(denied, Deny)
    assert denied.claim == claim
    assert denied.event.kind == OverBudget(inf, known=True)
    assert not owes(host.replica)


@pytest.mark.parametrize(
    ("kind", "insisted", "void"),
    [(Kind.GRANT_REJECTED, False, True), (Kind.GRANT_REJECTED, True, False), (None, False, False)],
)
def test_a_login_that_was_claimed_is_void_once_its_password_was_rejected(
    kind: Kind | None,
    insisted: bool,  # noqa: FBT001 -- a column of the table
    void: bool,  # noqa: FBT001 -- same
) -> None:
    host = with_row(logging_in())
    second = replace(logging_in(), doing=Requesting(Login(insisted=insisted)))
    host.join(second, who=2, key=b"2" * 32)
    host.read(row_of(ledger=Ledger(proven=(ONE,))))
    host.want(1)
    host.want(2)
    host.written()
    assert not is_void(host.replica, 2, host.sessions[2].number, NOW)

    host.ended(host.granted() if kind is None else host.failed(kind))

    assert is_void(host.replica, 2, host.sessions[2].number, NOW) is void
    host.written()
    assert is_void(host.replica, 2, host.sessions[2].number, NOW) is void
    assert not is_void(host.replica, 1, host.sessions[1].number, NOW), "it has ended"


def test_a_fingerprint_by_another_salt_is_made_anew_at_once() -> None:
    """Else a password that was rejected wouldn't be known by it."""
    host = with_row(logging_in(), row_of(ledger=Ledger(rejected=(ONE,))))
    claim, _ = host.want(fingerprint=Fingerprint(9), salt=b"x" * 16)

    assert host.turn() == (PutOff(claim, at_once=True),)


def test_each_login_is_counted_once_though_the_answer_to_its_write_was_lost() -> None:
    host = with_row(logging_in())
    host.claimed()
    host.ended(host.failed(Kind.GRANT_REJECTED))
    write = host.write()
    host.take(Unreached(AWAY))

    host.read(write.row)

    assert [each.clear for each in host.write().row.ledger.entries] == [True]


def test_a_settled_login_costs_nothing_more_though_its_claim_is_still_there() -> None:
    """Its profile was removed meanwhile."""
    row = others_login()
    host = with_row(fresh())
    host.read(replace(row, done=(OTHERS,)))
    host.now += TERM

    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())

    assert entries(host.write()) == ()


def test_a_login_under_way_is_not_lost_by_what_other_profiles_write() -> None:
    host = with_row(logging_in())
    host.join(refreshing(), who=2, key=b"2" * 32)
    host.read(others_login())
    host.sessions[2] = refreshing()
    host.want(2)

    write = host.write()

    assert write.row.sessions[KEY].claim == others_login().sessions[KEY].claim
    assert entries(write) == ()


def test_what_a_row_forgot_that_was_put_back_is_written_again() -> None:
    counted = Ledger(entries=(Entry(NOW - 60.0 + AHEAD, clear=True),), clear=1, rejected=(ONE,))
    host = with_row(fresh(), row_of(fresh(), ledger=counted))

    host.read(row_of(fresh()))

    write = host.write()
    assert write.row.ledger == counted


def test_a_row_begins_with_what_its_first_host_knows() -> None:
    host = Host(ledger=Ledger(entries=(Entry(NOW - 60.0, clear=True),), clear=1))
    host.join(logging_in())
    host.take(RowRead(None))
    host.want()

    write = host.write()

    assert (write.old_tag, write.row.salt) == (None, SALT)
    assert entries(write) == host.ledger.entries


def test_a_row_that_is_to_be_sealed_anew_is_written_though_nothing_came_to_pass() -> None:
    host = with_row(fresh(), row_of(fresh()))
    assert host.turn() == ()

    host.take(RowRead(host.replica.row, reseal=True))
    host.written()

    assert host.turn() == ()


# The store is away


def test_what_failed_while_the_store_was_away_delays_nothing_afterwards() -> None:
    row = row_of(fresh())
    host = with_row(fresh(), row)
    host.sessions[1] = replace(fresh(), failures=5, error=AWAY)

    host.take(Unreached(AWAY))
    host.take(RowRead(row))

    assert host.sessions[1] == replace(fresh(), number=2)


def test_but_a_row_that_is_not_taken_is_not_begun_anew_with_each_try() -> None:
    row = row_of(fresh())
    host = with_row(fresh(), row)

    host.take(Unreached(AWAY, resync=False))

    assert host.replica.known is Known.DOUBTED


@pytest.mark.parametrize("busy", [True, False], ids=["in flight", "at rest"])
def test_after_a_clock_was_set_the_row_is_adopted_anew_but_for_what_is_under_way(
    busy: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    host = with_row(refreshing())
    host.claimed()
    if not busy:
        host.ended(host.granted())
        host.written()
    fed = len(host.fed)

    host.read(host.replica.row, resync=True)

    assert (len(host.fed) == fed) is busy


# Logouts


def logged_out() -> Host:
    """Return a host at which a logout was ordered."""
    host = with_row(fresh(), row_of(fresh()))
    host.take(Ordered(1, LogoutOrdered()))
    host.feed(1, LogoutOrdered())
    return host


def test_what_a_logout_revokes_is_held_until_the_others_know() -> None:
    host = logged_out()
    host.join(fresh(), who=2, key=b"2" * 32)  # one that owes nothing
    host.read(host.replica.row)
    assert owes(host.replica)

    assert host.written() == (Release(1),)

    assert not owes(host.replica)


def test_a_logout_stands_against_a_login_of_who_did_not_know_of_it() -> None:
    host = logged_out()

    host.read(row_of(replace(fresh(), number=5)))

    assert host.fed[-1] == LogoutOrdered()
    assert is_logged_out(host.write().row.sessions[KEY].session)


def test_a_logout_whose_acknowledgement_was_lost_ends_no_later_login() -> None:
    host = logged_out()
    write = host.write()
    host.take(Unreached(AWAY))

    assert Release(1) in host.read(write.row)

    host.read(row_of(replace(fresh(), number=5)))
    assert host.sessions[1].access == fresh().access
    assert not owes(host.replica)


def test_a_login_takes_back_a_logout_that_nobody_heard_of() -> None:
    host = logged_out()

    host.take(Ordered(1, LoginOrdered()))
    host.feed(1, LoginOrdered())

    assert host.turn() == ()


def test_a_host_that_comes_later_stays_logged_out() -> None:
    host = with_row(new_session(NOW), row_of(logged_out_session(NOW)))

    assert is_logged_out(host.sessions[1])


# A profile that leaves


def left(session: Session) -> Host:
    """Return a host whose profile left while its request was in flight."""
    host = with_row(session)
    host.claimed()
    host.take(Left(1))
    return host


@pytest.mark.parametrize("session", [refreshing(), logging_in()], ids=["refresh", "login"])
def test_what_its_request_brings_is_the_fleets(session: Session) -> None:
    host = left(session)

    assert not host.ended(host.granted())

    shared = host.write().row.sessions[KEY].session
    assert shared.access is not None
    assert shared.access.id == f"id-of-a{session.number}"


def test_it_goes_once_all_is_told_and_wants_nothing_new() -> None:
    host = left(refreshing())
    claim, effects = host.want()
    assert effects == (Deny(claim, Failed(2, Kind.TRANSIENT, not_needed(NOW))),)
    host.turn()
    assert host.replica.participants

    host.ended(host.granted())
    host.written()
    host.turn()

    assert not host.replica.participants


def test_who_left_before_or_never_came_leaves_nothing_behind() -> None:
    host = left(refreshing())
    before = host.replica

    for who in (1, 2):  # by now the first has gone on without its keeper
        host.sessions[who] = fresh()
        assert host.take(Left(who)) == ()

    assert host.replica == before


def test_who_comes_back_waits_for_what_it_had_under_way() -> None:
    host = left(refreshing())
    host.join(new_session(NOW), who=2)
    host.read(host.replica.row)
    assert isinstance(host.sessions[2].doing, Requesting)
    assert host.turn() == ()

    host.ended(host.granted())
    host.written()

    assert host.sessions[2].access is not None
    assert host.sessions[2].access.id == "id-of-a2"


MONTH = Policy().refresh_token_lifetime


@pytest.mark.parametrize(
    ("session", "used", "stays"),
    [
        (fresh(), NOW - MONTH - 3300.0, False),
        (fresh(), NOW - MONTH - 3200.0, True),
        (logged_out_session(0.0), NOW - 2 * MONTH, True),
        (logging_in(), NOW - 2 * MONTH, True),
    ],
    ids=["left", "idle", "logged out", "claimed"],
)
def test_a_session_that_nobody_uses_any_more_leaves_the_row(
    session: Session,
    used: float,
    stays: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    claim = Claim(OTHERS, "other") if isinstance(session.doing, Requesting) else None
    host = Host()
    host.join(refreshing(), key=b"2" * 32)
    host.take(RowRead(row_of(moved(session, used), claim)))
    host.want()

    write = host.write()

    assert (KEY in write.row.sessions) == stays
    assert not write.took_over

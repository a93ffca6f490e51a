"""The promises, held over thousands of runs of a whole world round the core.

What is promised, what the world does, and how to run more of it: tests/support/simulation.
"""

from dataclasses import replace

import pytest

from openfit_tokend.core.events import Kind
from openfit_tokend.core.schedule import Policy
from shrinking import Failure
from simulation.faults import Fault
from simulation.plan import DAY, Act, Deed, Plan, hard_plan, long_plan
from simulation.promises.promise import Broken
from simulation.shrink import failure_of, shrunk, told
from simulation.story import Story
from simulation.world import World

HARD = range(0, 1000, 100)
YEARS = range(10)
MANY = 1
"""Of these, in the short form."""


def long_beyond(many: range) -> list[object]:
    """Return all of these, and have those beyond the first few run in the long form only."""
    rest = [pytest.param(each, marks=pytest.mark.long) for each in many[MANY:]]
    return [*many[:MANY], *rest]


def told_if_failed(plan: Plan) -> str:
    """Return the story of the smallest plan that fails as this one does; "" if it doesn't."""
    failure = failure_of(plan)
    return "" if failure is None else told(shrunk(failure))


@pytest.mark.slow
@pytest.mark.parametrize("first", long_beyond(HARD))
def test_all_promises_hold_in_short_hard_runs(first: int) -> None:
    for seed in range(first, first + 100):
        assert told_if_failed(hard_plan(seed)) == ""


@pytest.mark.slow
@pytest.mark.parametrize("year", long_beyond(YEARS))
def test_all_promises_hold_for_a_year_of_tokens_that_live_an_hour(year: int) -> None:
    assert told_if_failed(long_plan(year)) == ""


def quiet(seed: int = 1) -> Plan:
    """Return a run in which nothing happens but tokens of 16 s being replaced."""
    plan = hard_plan(seed)
    traits = replace(plan.traits, lifetime=16, rotates=True, gives_refresh_tokens=True)
    return replace(
        plan,
        duration=300.0,
        traits=traits,
        accounts=(0, 0),
        fault_rate=0.0,
        pause=2.0,
        latency=(0.05, 0.2),
        collisions=False,
        acts=(),
    )


def test_without_faults_there_is_no_gap_and_no_needless_request() -> None:
    world = World(quiet())

    world.run()

    assert world.witness.steps.gaps == 0
    assert world.witness.requests < 2 * 300.0 / 10.0
    assert world.server.lockouts == 0


@pytest.mark.parametrize("slowest", [14.0, 29.0])
def test_a_server_that_answers_as_slowly_as_it_can_in_time_or_too_late_costs_no_session(
    slowest: float,
) -> None:
    """A token of a minute is replaced 15 s before its end."""
    plan = quiet()
    plan = replace(
        plan,
        duration=3000.0,
        traits=replace(plan.traits, lifetime=60, life=DAY),
        policy=Policy(),
        latency=(slowest - 3.0, slowest),
        calm=False,
    )
    world = World(plan)

    world.run()

    held = [keeper.session.refresh for keeper in world.daemon.keepers]
    assert all(token is not None and token.since < 60.0 for token in held), held


def test_a_run_is_decided_by_its_seed() -> None:
    stories = [Story(), Story()]

    for story in stories:
        World(replace(hard_plan(5), duration=60.0), story).run()

    assert str(stories[0]) == str(stories[1]) != ""


def test_every_fault_is_taken_for_what_it_is() -> None:
    for fault in Fault:
        plan = replace(quiet(), fault_rate=0.5, faults=frozenset({fault}), calm=False)

        assert failure_of(plan) is None, fault


def test_what_a_fault_means_is_said_for_each_kind_a_server_can_cause() -> None:
    kinds = {fault.value.kind for fault in Fault}

    assert kinds == {
        None,
        Kind.TRANSIENT,
        Kind.UNSENT,
        Kind.UNCERTAIN,
        Kind.UNCLEAR,
        Kind.CLIENT_REJECTED,
    }


def test_a_failure_is_shrunk_to_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The rule that is broken here: nobody logs out."""

    def stays_logged_in(taken: object) -> None:
        if "LogoutOrdered" in repr(taken):
            raise Broken(0, "stays_logged_in", "nobody logs out", "somebody did")

    monkeypatch.setattr("simulation.promises.passwords.stays_logged_out", stays_logged_in)
    others = [Act(float(at), Deed.RELOAD, 0, 3.0) for at in range(10, 100, 10)]
    logout = Act(45.0, Deed.LOGOUT, 1, 1.0)
    plan = replace(quiet(), fault_rate=0.2, acts=(*others[:4], logout, *others[4:]))
    failure = failure_of(plan)
    assert failure is not None

    small = shrunk(failure)

    assert small.plan.acts == (logout,)
    assert small.plan.pause == small.plan.fault_rate == 0.0
    assert 0 in small.plan.absent
    assert small.plan.duration == 45.0


def test_a_failure_is_told_as_a_timeline() -> None:
    plan = replace(quiet(), duration=20.0)
    broken = Broken(4, "no_gap", "never a gap", "there was one")

    text = told(Failure(plan, broken, 20.0))

    assert "server         acts on request 1 of 0 (login hush-word-0-0): 200" in text
    assert "profile 1      Granted 1" in text
    assert text.endswith("promise 4 (no_gap): never a gap\n  there was one")


def test_typos_of_long_ago_and_a_reset_password_do_not_lock_the_account() -> None:
    """Three siblings lose their sessions at once, and all hold a password that was accepted."""
    plan = replace(
        quiet(),
        duration=2600.0,
        traits=replace(quiet().traits, lifetime=60),
        accounts=(0, 0, 0, 0),
        latency=(0.5, 0.9),
        acts=(
            Act(100.0, Deed.LOGIN_WRONG, 3, 2.0),
            Act(1500.0, Deed.SLOW, 0, 500.0),
            Act(1500.0, Deed.PASSWORD_RESET, 0, 5000.0),
        ),
        calm=False,
    )

    for seed in range(5):
        world = World(replace(plan, seed=seed))
        world.run()

        assert world.server.lockouts == 0

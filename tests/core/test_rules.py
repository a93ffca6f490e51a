"""The same world and promises, driven by hypothesis: it looks for orders of things no seed has.

The world judges each step by itself; a rule only says what happens next. Faults are those that
the rules name.
"""

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from openfit_tokend.core.schedule import Policy
from simulation.faults import Fault
from simulation.plan import DAY, Act, Deed, Plan, Traits
from simulation.story import Story
from simulation.world import World

PROFILES = 3
profiles = st.integers(0, PROFILES - 1)
faults = st.sampled_from(Fault)
BRIEF = st.sampled_from([0.0, 1.0, 5.0, 60.0, 450.0])
DEEDS = st.sampled_from([deed for deed in Deed if deed is not Deed.OUTAGE])
TRAITS = st.builds(
    Traits,
    lifetime=st.sampled_from([8, 20, 60]),
    life=st.sampled_from([120.0, 30 * DAY]),
    rotates=st.booleans(),
    reuse_revokes=st.booleans(),
    old_access_dies=st.booleans(),
    gives_refresh_tokens=st.booleans(),
    phase=st.sampled_from([0.0, 0.4]),
)


class Life(RuleBasedStateMachine):
    """One world. It raises Broken where a promise doesn't hold."""

    world: World

    @initialize(traits=TRAITS, accounts=st.sampled_from([(0, 0, 0), (0, 0, 1)]))
    def begin(self, traits: Traits, accounts: tuple[int, ...]) -> None:
        plan = Plan(
            seed=1,
            duration=0.0,
            traits=traits,
            policy=Policy(refresh_token_lifetime=traits.life),
            accounts=accounts,
            fault_rate=0.0,
            faults=frozenset(),
            pause=0.0,
            latency=(0.05, 0.2),
            slots=2,
            collisions=False,
            acts=(),
        )
        self.world = World(plan, Story())
        self.world.daemon.start()

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 5.0, 10.0, 60.0, 100.0, 450.0, 900.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.run_until(self.world.now + seconds)

    @rule(profile=profiles, fault=faults, seconds=BRIEF)
    def requests_fail(self, profile: int, fault: Fault, seconds: float) -> None:
        self.do(Act(0.0, Deed.OUTAGE, profile, seconds, fault))

    @rule(profile=profiles, deed=DEEDS, value=st.sampled_from([1.0, 2.0, 20.0]))
    def somebody_disturbs(self, profile: int, deed: Deed, value: float) -> None:
        self.do(Act(0.0, deed, profile, value))

    @rule(profile=profiles, calls=st.integers(1, 3))
    def clients_call(self, profile: int, calls: int) -> None:
        for _ in range(calls):
            self.world.callers.call(profile)

    @rule(profile=profiles)
    def a_client_refuses(self, profile: int) -> None:
        self.world.callers.refuse(profile)

    def do(self, act: Act) -> None:
        self.world.operators.do(replace(act, at=self.world.now))

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.calm()


Life.TestCase.settings = settings(stateful_step_count=30)
TestLife = Life.TestCase

"""One daemon, and what can happen to it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from whole.faults import FAULTS
from whole.plan import PLANS, Plan
from whole.seeds import Simulation
from whole.world import World


def _smaller(plan: Plan) -> Iterator[Plan]:
    if plan.fault_rate:
        yield replace(plan, fault_rate=0.0)
    if plan.users > 1:
        yield replace(plan, users=1)
    if plan.profiles > plan.accounts:
        yield replace(plan, profiles=plan.accounts)


DAEMON: Final = Simulation(World, PLANS, _smaller, FAULTS)

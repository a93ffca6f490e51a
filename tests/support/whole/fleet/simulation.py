"""A fleet, and what can happen to it."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from whole.fleet.faults import FAULTS
from whole.fleet.plan import PLANS, Plan
from whole.fleet.world import World
from whole.seeds import Simulation


def _smaller(plan: Plan) -> Iterator[Plan]:
    calm = replace(plan, fault_rate=0.0), replace(plan, store_loss=0.0, store_late=0.0)
    yield from (each for each in (*calm, replace(plan, slow_connect=0.0)) if each != plan)
    if plan.profiles > 1:
        yield replace(plan, profiles=1)
    if plan.hosts > 2:
        fewer = plan.hosts - 1
        moved = tuple(replace(act, host=act.host % fewer) for act in plan.acts)
        yield replace(plan, hosts=fewer, acts=moved)


FLEET: Final = Simulation(World, PLANS, _smaller, FAULTS)

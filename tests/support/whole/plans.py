"""The kinds of runs: what a seed makes of each."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from random import Random
from typing import Final

from simulation.faults import OUTAGES
from simulation.plan import DAY, Traits, hard_traits
from whole.clocks import Pause
from whole.plan import Act, Deed, Plan

FLEETS_OWN: Final = frozenset(
    (
        *(Deed.PAUSE_IN_CLAIM, Deed.KILL_IN_CLAIM, Deed.REMOVED_IN_CLAIM, Deed.CUT_STORE),
        *(Deed.CUT_SERVER, Deed.STORE_DOWN, Deed.STORE_SLOW, Deed.STORE_STEP, Deed.STORE_LOST),
        *(Deed.ROW_REFUSED, Deed.ROW_LOCKED, Deed.DEAF, Deed.KEYS),
    )
)
"""What happens to fleets only."""
ALONE: Final = tuple(deed for deed in Deed if deed not in FLEETS_OWN)
"""What happens to a daemon that is alone."""
RECONFIGURED: Final = frozenset((Deed.CHANGES, Deed.FAULTY_RELOAD, Deed.MOVE, Deed.HANG_UP))
"""What changes a configuration, which in a fleet has to be the same everywhere."""
RARE: Final = frozenset(
    (Deed.STORE_LOST, Deed.REMOVED_IN_CLAIM, Deed.ROW_REFUSED, Deed.ROW_LOCKED, Deed.KEYS)
)
"""What has kinds of runs of its own."""
SHARED: Final = tuple(deed for deed in Deed if deed not in RECONFIGURED | RARE)
"""What happens in any fleet."""
DRIFT: Final = 2e-4
TIMES: Final = (1.0, 1.0, 3.0, 6.0)
"""What a deed's value may be, mostly a number of times."""
VALUES: Final = (
    ({Deed.PAUSE, Deed.PAUSE_IN_CLAIM}, (2.0, 12.0, 40.0, 90.0, 400.0, 1100.0)),
    ({Deed.KILL, Deed.KILL_IN_CLAIM, Deed.KILL_IN_REQUEST}, (0.0, 0.5, 5.0, 60.0, 500.0)),
    ({Deed.RESTART, Deed.BLANK_RESTART, Deed.REBOOT}, (0.0, 0.5, 5.0, 60.0, 500.0)),
    ({Deed.CUT_STORE, Deed.STORE_DOWN, Deed.CUT_SERVER}, (3.0, 20.0, 100.0, 400.0)),
    ({Deed.DEAF, Deed.ROW_REFUSED}, (3.0, 20.0, 100.0, 400.0)),
    ({Deed.OUTAGE, Deed.SLOW, Deed.BAD_DEPLOY, Deed.STORE_SLOW}, (3.0, 15.0, 60.0, 200.0)),
    ({Deed.SECRET_GONE, Deed.DISK_FULL}, (3.0, 15.0, 60.0, 200.0)),
    ({Deed.FILES_HANG, Deed.DISK_HANGS}, (0.5, 5.0, 20.0, 100.0)),
    ({Deed.STORE_LOST}, (1.0, 1.0, 2.0, 5.0)),
    ({Deed.STORE_STEP}, (-3600.0, -30.0, -2.0, 2.0, 30.0, 3600.0)),
    ({Deed.PASSWORD, Deed.PASSWORD_RESET, Deed.TYPO_ALL}, (0.0, 1.0, 5.0, 60.0, 400.0)),
    ({Deed.RELOAD, Deed.SECRET_FIRST}, (0.0, 1.0, 5.0, 60.0, 400.0)),
    ({Deed.STORM}, (3.0, 20.0, 100.0)),
    ({Deed.REFUSALS}, (1.0, 3.0, 20.0)),
    ({Deed.LOGOUT}, (1.0, 10.0, 60.0, 200.0)),
)
"""What other values are drawn from: seconds, mostly."""


def hard_plan(seed: int) -> Plan:
    """Return fifteen minutes and more of a daemon that is alone, in which everything happens."""
    rng = _chance(seed)
    lifetime = rng.choice((20, 30, 60, 120))
    profiles = rng.choice((1, 1, 2, 3, 5, 8, 12, 30))
    duration = 840.0 + rng.uniform(0.0, 300.0)
    traits = Traits(
        lifetime=lifetime,
        life=rng.choice((30 * DAY, 600.0)),
        rotates=rng.random() < 0.9,
        reuse_revokes=rng.random() < 0.3,
        old_access_dies=rng.random() < 0.3,
        phase=rng.random(),
    )
    return Plan(
        seed=seed,
        duration=duration,
        traits=traits,
        profiles=profiles,
        accounts=rng.randint(1, min(5, profiles)),
        users=rng.choice((1, 2, 3)),
        pause=rng.choice((4.0, 10.0, 40.0)),
        latency=rng.choice(((0.01, 0.2), (0.05, 2.0), (0.0, 0.0))),
        fault_rate=rng.choice((0.0, 0.0, 0.05, 0.3)),
        acts=_acts(rng, _chosen(rng, ALONE, 16), duration, 1),
    )


def short_plan(seed: int) -> Plan:
    """Return a few minutes of a few profiles and very short tokens, in which much happens at once."""
    rng = _chance(seed)
    # At the server a token ends up to a second early: the daemon allows for that from 16 s on.
    lifetime, duration = rng.choice((16, 16, 16, 20, 30, 60)), rng.choice((100.0, 200.0, 300.0))
    profiles = rng.choice((1, 1, 2, 3))
    traits = hard_traits(rng, lifetime)
    margin = min(lifetime / 4, 25.0)
    return Plan(
        seed=seed,
        duration=duration,
        traits=traits,
        profiles=profiles,
        accounts=rng.randint(1, min(2, profiles)),
        pause=rng.choice((2.0, 5.0, 20.0)),
        latency=rng.choice(((0.01, 0.2), (0.05, 0.9), (0.0, 0.0), (margin, 2.0 * margin))),
        fault_rate=rng.choice((0.0, 0.05, 0.2, 0.5)),
        collisions=rng.random() < 0.05,
        life_is_known=True,
        acts=_acts(rng, _chosen(rng, ALONE, 14), duration, 1),
    )


def week_plan(seed: int) -> Plan:
    """Return a week of tokens that live an hour, with what happens in a bad one."""
    rng = _chance(seed)
    duration = 7 * DAY
    return Plan(
        seed=seed,
        duration=duration,
        traits=Traits(lifetime=3600, old_access_dies=rng.random() < 0.5, phase=rng.random()),
        profiles=5,
        accounts=2,
        users=2,
        pause=600.0,
        fault_rate=0.02,
        acts=_acts(rng, [rng.choice(ALONE) for _ in range(60)], duration, 1),
    )


def fleet_plan(seed: int) -> Plan:
    """Return a quarter of an hour and more of a fleet, in which everything happens."""
    rng = _chance(seed)
    hosts = rng.choice((2, 2, 3, 3, 4, 5, 8))
    duration = rng.choice((600.0, 900.0, 1500.0))
    traits = Traits(
        lifetime=rng.choice((20, 30, 60, 120, 400, 600)),
        life=rng.choice((30 * DAY, 30 * DAY, 900.0)),
        rotates=rng.random() < 0.9,
        reuse_revokes=rng.random() < 0.4,
        old_access_dies=rng.random() < 0.3,
        gives_refresh_tokens=rng.random() < 0.95,
        phase=rng.random(),
    )
    margin = rng.choice((300, 300, 8))
    return Plan(
        seed=seed,
        hosts=hosts,
        profiles=rng.choice((1, 1, 1, 2)),
        duration=duration,
        traits=traits,
        margins=(margin, 4) if rng.random() < 0.3 else (margin,),
        fault_rate=rng.choice((0.0, 0.0, 0.05, 0.2, 0.4)),
        pause=rng.choice((5.0, 20.0, 60.0)),
        latency=rng.choice(((0.01, 0.2), (0.05, 0.9), (0.5, 4.0))),
        store_latency=rng.choice(((0.0005, 0.005), (0.001, 0.1), (0.05, 1.5))),
        store_loss=rng.choice((0.0, 0.0, 0.02, 0.1)),
        store_late=rng.choice((0.0, 0.02)),
        slow_connect=rng.choice((0.0, 0.0, 0.1)),
        engine=rng.choice(("postgresql", "postgresql", "etcd")),
        drift=rng.choice((2e-5, 2e-4)),
        acts=_acts(rng, _chosen(rng, SHARED, 14), duration, hosts),
    )


def lossy_plan(seed: int) -> Plan:
    """Return a hard plan in which the store forgets writes, too."""
    rng, plan = _chance(seed * 31), fleet_plan(seed)
    lost = _acts(rng, [Deed.STORE_LOST] * rng.randint(1, 4), plan.duration, plan.hosts)
    return replace(plan, acts=_in_order((*plan.acts, *lost)))


def refused_plan(seed: int) -> Plan:
    """Return a hard plan in which the store now and then takes no write."""
    rng, plan = _chance(seed * 43), fleet_plan(seed)
    refused = _acts(rng, [Deed.ROW_REFUSED] * rng.randint(1, 4), plan.duration, plan.hosts)
    return replace(plan, acts=_in_order((*plan.acts, *refused)))


def locked_plan(seed: int) -> Plan:
    """Return fine weather, and a row that now and then can't be used, though the store is there."""
    rng = _chance(seed * 61)
    plan = fair_plan(seed, rng.choice((2, 3, 5)), 120, 8)
    acts = (Act(at, Deed.ROW_LOCKED, 0, rng.choice((20.0, 100.0))) for at in (100.0, 300.0, 600.0))
    return replace(plan, acts=tuple(acts), pause=20.0)


def leaving_plan(seed: int) -> Plan:
    """Return a hard plan in which reloads remove profiles whose requests are under way, too."""
    rng, plan = _chance(seed * 37), fleet_plan(seed)
    removed = _acts(rng, [Deed.REMOVED_IN_CLAIM] * 20, plan.duration, plan.hosts)
    return replace(plan, profiles=2, acts=_in_order((*plan.acts, *removed)))


def passwords_plan(seed: int) -> Plan:
    """Return a run full of wrong passwords, and of daemons that end or stand still with them."""
    rng, plan = _chance(seed * 17), fleet_plan(seed)
    deeds = (
        *(Deed.TYPO, Deed.TYPO_ALL, Deed.PASSWORD_RESET, Deed.REVOKED, Deed.LOGIN_WRONG),
        *(Deed.KILL, Deed.REBOOT, Deed.PAUSE, Deed.CUT_STORE, Deed.OUTAGE, Deed.STORE_STEP),
        *(Deed.REFUSALS, Deed.KILL_IN_CLAIM, Deed.KILL_IN_REQUEST, Deed.PAUSE_IN_CLAIM),
        *(Deed.LOGOUT, Deed.LOGIN_RIGHT),
    )
    duration = 1800.0
    chosen = [rng.choice(deeds) for _ in range(rng.randint(15, 40))]
    return replace(
        plan,
        duration=duration,
        latency=rng.choice(((0.5, 4.0), (5.0, 40.0))) if plan.traits.lifetime > 60 else (0.5, 4.0),
        fault_rate=rng.choice((0.0, 0.2)),
        needle=rng.choice(("", "before")),
        acts=_acts(rng, chosen, duration, plan.hosts),
    )


def stepped_plan(seed: int) -> Plan:
    """Return wrong passwords before and after the store's clock is set forward."""
    rng = _chance(seed * 23)
    hosts = rng.choice((2, 3, 5))
    acts = (
        Act(rng.uniform(660.0, 760.0), Deed.LOGIN_WRONG, 0, 6.0),
        Act(800.0, Deed.STORE_STEP, 0, 3600.0),
        Act(rng.uniform(950.0, 1200.0), Deed.LOGIN_WRONG, 0, 6.0),
    )
    return replace(fair_plan(seed, hosts, 120, 12), acts=acts, pause=60.0)


def set_back_plan(seed: int) -> Plan:
    """Return a store whose clock is set back by an hour, and a daemon that is gone at its next claim."""
    rng = _chance(seed)
    at = rng.uniform(700.0, 1500.0)
    acts = (Act(at, Deed.STORE_STEP, 0, -3600.0), Act(at + 1.0, Deed.KILL_IN_CLAIM, 0, 1500.0))
    return replace(fair_plan(seed, rng.choice((2, 3, 5)), 900, 5), acts=acts, pause=60.0)


def reboots_plan(seed: int) -> Plan:
    """Return a store whose clock is set back by an hour, and then hosts that all begin anew."""
    rng = _chance(seed * 53)
    hosts, at = rng.choice((1, 2, 3)), rng.uniform(200.0, 500.0)
    reboots = (Act(at + 1.0, Deed.REBOOT, host, 5.0) for host in range(hosts))
    acts = (Act(at, Deed.STORE_STEP, 0, -3600.0), *reboots)
    return replace(fair_plan(seed, hosts, 900, 3), acts=acts, pause=20.0)


def keys_plan(seed: int) -> Plan:
    """Return fine weather, a logout, and a key that takes another's place in good order."""
    rng = _chance(seed * 59)
    steps = (Act(400.0 + 100.0 * number, Deed.KEYS, 0, float(number)) for number in range(3))
    plan = fair_plan(seed, rng.choice((2, 3, 5)), 600, 3)
    acts = (Act(rng.uniform(200.0, 380.0), Deed.LOGOUT, 0, 1000.0), *steps)
    return replace(plan, acts=acts, pause=60.0)


def restored_plan(seed: int) -> Plan:
    """Return wrong passwords, then the row as it was before them, then more of them."""
    rng = _chance(seed * 47)
    at = rng.uniform(660.0, 760.0)
    acts = (
        Act(at, Deed.LOGIN_WRONG, 0, 3.0),
        Act(at + rng.uniform(20.0, 60.0), Deed.STORE_LOST, 0, 6.0),
        Act(at + rng.uniform(70.0, 140.0), Deed.LOGIN_WRONG, 0, 6.0),
    )
    plan = fair_plan(seed, rng.choice((2, 3, 5)), 1200, 2)
    return replace(plan, acts=acts, engine=rng.choice(("postgresql", "etcd")), pause=60.0)


def before_plan(seed: int) -> Plan:
    """Return a hard plan in which daemons stand still before their last look at the clock."""
    return replace(fleet_plan(seed), needle="before")


def after_plan(seed: int) -> Plan:
    """Return one in which they do so after it, which no clock of ours can see."""
    return replace(fleet_plan(seed), needle="after")


def weather_plan(seed: int) -> Plan:
    """Return crashes and stand-stills alone, one at a time; the store and the server are well.

    With margins that outlast a claim no daemon may ever be without a token.
    """
    rng = _chance(seed)
    hosts, duration, at = rng.choice((2, 3, 5)), 3600.0, 60.0
    deeds = (
        *(Deed.PAUSE, Deed.KILL, Deed.KILL_IN_CLAIM, Deed.KILL_IN_REQUEST, Deed.RESTART),
        *(Deed.REBOOT, Deed.DEAF, Deed.PAUSE_IN_CLAIM),
    )
    acts: list[Act] = []
    while at < duration:
        acts.append(replace(_act(rng, rng.choice(deeds), duration, hosts), at=at))
        at += rng.uniform(20.0, 200.0)
    return Plan(
        seed=seed,
        hosts=hosts,
        profiles=1,
        duration=duration,
        engine="postgresql",
        drift=DRIFT,
        traits=Traits(
            lifetime=rng.choice((900, 1200)),
            phase=rng.random(),
            reuse_revokes=rng.random() < 0.5,
        ),
        latency=(0.2, 8.0),
        store_latency=(0.0005, 0.02),
        acts=tuple(acts),
    )


def asleep_plan(seed: int) -> Plan:
    """Return two hosts, one of which dies in a claim while the other sleeps for longer than its term.

    Its timers are late then, and its clients are not.
    """
    rng, acts = _chance(seed * 19), list[Act]()
    for at in (100.0, 900.0, 1700.0):
        acts.append(Act(at, Deed.KILL_IN_CLAIM, 0, 500.0))
        for host in (0, 1):
            slept = rng.choice((75.0, 90.0, 120.0))
            at_host = at + rng.uniform(20.0, 60.0)
            acts.append(Act(at_host, Deed.PAUSE, host, slept, pause=Pause.SUSPENDED))
    plan = fair_plan(seed, hosts=2, lifetime=60, periods=40)
    return replace(plan, profiles=2, gentle=False, pause=3.0, acts=_in_order(tuple(acts)))


def crowd_plan(seed: int) -> Plan:
    """Return many hosts that write all the time, and the same wrong password at all of them."""
    rng = _chance(seed * 29)
    acts: list[Act] = []
    for at in (100.0, 400.0):
        acts += [Act(at, Deed.TYPO_ALL, 0, 5.0), Act(at + 6.0, Deed.REVOKED, 0, 0.0)]
    plan = fair_plan(seed, hosts=rng.choice((3, 5)), lifetime=20, periods=30)
    return replace(plan, profiles=3, pause=40.0, store_latency=(0.05, 1.5), acts=tuple(acts))


def fair_plan(seed: int, hosts: int = 20, lifetime: int = 3600, periods: int = 6) -> Plan:
    """Return fine weather: nothing fails."""
    return Plan(
        seed=seed,
        hosts=hosts,
        engine="postgresql",
        drift=DRIFT,
        profiles=1,
        duration=lifetime * float(periods),
        traits=Traits(lifetime=lifetime, phase=_chance(seed).random()),
        pause=lifetime / 8,
        gentle=True,
    )


def brisk_plan(seed: int) -> Plan:
    """Return fine weather, short tokens, and a store that isn't near: much comes at the same time."""
    plan = fair_plan(seed, hosts=8, lifetime=20, periods=15)
    return replace(plan, profiles=2, store_latency=(0.01, 0.3), pause=10.0)


def cut_off_plan(seed: int) -> Plan:
    """Return fine weather, and hosts of which all but one never reach the token server."""
    rng = _chance(seed * 41)
    hosts = rng.choice((2, 3, 3))
    margins = rng.choice(((300,), (150, 300)))  # who has no uplink may be the first to need it
    return replace(
        fair_plan(seed, hosts, lifetime=1200, periods=20),
        cut_off=rng.randint(1, hosts - 1),
        margins=margins,
        engine=("postgresql", "etcd")[seed % 2],
        pause=120.0,
    )


def stale_plan(seed: int) -> Plan:
    """Return hosts with stale passwords, sessions that end, and fine weather otherwise."""
    rng, hosts = _chance(seed * 13), 4
    acts: list[Act] = []
    for at in (100.0, 1300.0, 2500.0):
        acts += [
            Act(at, Deed.TYPO, rng.randrange(hosts), 0.0),
            Act(at + rng.uniform(1.0, 60.0), Deed.REVOKED, 0, 0.0),
        ]
    plan = fair_plan(seed, hosts, lifetime=120, periods=30)
    return replace(plan, acts=tuple(acts), pause=30.0)


PLANS: Final[Mapping[str, Callable[[int], Plan]]] = {
    "hard": hard_plan,
    "short": short_plan,
    "week": week_plan,
    "fleet": fleet_plan,
    "weather": weather_plan,
    "asleep": asleep_plan,
    "before": before_plan,
    "after": after_plan,
    "lossy": lossy_plan,
    "refused": refused_plan,
    "locked": locked_plan,
    "leaving": leaving_plan,
    "passwords": passwords_plan,
    "stepped": stepped_plan,
    "set_back": set_back_plan,
    "reboots": reboots_plan,
    "restored": restored_plan,
    "keys": keys_plan,
    "crowd": crowd_plan,
    "brisk": brisk_plan,
    "cut_off": cut_off_plan,
    "stale": stale_plan,
    "fair": fair_plan,
}


def _chance(seed: int) -> Random:
    return Random(seed)  # noqa: S311 -- a seed is to decide it


def _chosen(rng: Random, deeds: Sequence[Deed], most: int) -> list[Deed]:
    """Return some deeds; each run has its favourites: storms."""
    often = rng.choices(deeds, k=rng.randint(1, 5))
    return [
        rng.choice(often if rng.random() < 0.65 else deeds) for _ in range(rng.randint(0, most))
    ]


def _acts(rng: Random, deeds: Sequence[Deed], duration: float, hosts: int) -> tuple[Act, ...]:
    return _in_order(tuple(_act(rng, deed, duration, hosts) for deed in deeds))


def _in_order(acts: tuple[Act, ...]) -> tuple[Act, ...]:
    return tuple(sorted(acts, key=lambda act: act.at))


def _act(rng: Random, deed: Deed, duration: float, hosts: int) -> Act:
    values = next((values for deeds, values in VALUES if deed in deeds), TIMES)
    pauses = tuple(Pause) if hosts > 1 else (Pause.STOPPED, Pause.SUSPENDED)
    return Act(
        at=rng.uniform(0.0, duration),
        deed=deed,
        host=rng.randrange(hosts),
        value=rng.choice(values),
        fault=rng.choice(OUTAGES),
        pause=rng.choice(pauses),
        account=rng.randrange(60),
    )

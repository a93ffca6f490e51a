"""What is to happen in a run: plain values, so that a failing plan can be shrunk."""

from dataclasses import dataclass
from enum import Enum, auto, unique
from random import Random
from typing import Final

from shrinking import Course
from simulation.faults import OUTAGES, Fault
from simulation.plan import DAY, Traits

HOUR: Final = 3600.0


@unique
class Deed(Enum):
    """What happens at a moment of the plan. `value` is a number of seconds, or of times."""

    OUTAGE = auto()
    """Every request of the next `value` seconds meets the act's fault."""
    SLOW = auto()
    """The token server takes longer for `value` seconds: up to twice a token's margin."""
    SESSIONS_REVOKED = auto()
    """The token server forgets the refresh tokens of an account."""
    NEW_PASSWORD = auto()
    """An account's password changes at the server and, `value` seconds later, in its file; a reload."""
    TYPO = auto()
    """An account's file has a wrong password, with a reload; mended after `value` seconds, the same."""
    SECRET_GONE = auto()
    """An account's password file isn't there for `value` seconds."""
    FILES_HANG = auto()
    """Reading any file takes `value` seconds longer."""
    RELOAD = auto()
    """`value` reloads right after each other, each of a configuration that was changed again."""
    FAULTY_RELOAD = auto()
    """The configuration is faulty for a moment, in which it is reloaded."""
    MOVE = auto()
    """A profile moves to another account while a request of it is under way; after a `value` of more
    than 1, also while an operator's login waits for that, with the right password given."""
    HANG_UP = auto()
    """SIGHUP: a reload whose answer nobody gets."""
    LOGIN = auto()
    LOGIN_RIGHT = auto()
    """With the right password given."""
    LOGIN_WRONG = auto()
    """With a wrong password given; `value` times, five seconds apart, each a different one."""
    LOGOUT = auto()
    """A logout and, `value` minutes later, a login."""
    SUSPEND = auto()
    RESTART = auto()
    """An orderly stop; the next daemon starts `value` seconds after its end."""
    KILL = auto()
    """The daemon is killed at some pass of its loop; the next one starts `value` seconds later."""
    KILL_IN_REQUEST = auto()
    """It is killed as soon as the token server has acted upon a request."""
    REBOOT = auto()
    """The same, and the descriptor store is empty."""
    DISK_FULL = auto()
    """The ledger can't be written for `value` seconds."""
    DISK_HANGS = auto()
    """What is written to disk takes until `value` seconds from now."""
    STORM = auto()
    """`value` calls of all kinds within a second."""
    REFUSALS = auto()
    """`value` clients say within a second that the API refused the current token."""


@dataclass(frozen=True, slots=True)
class Act:
    """One disturbance. `who`: the number of a profile, or of an account."""

    at: float
    deed: Deed
    who: int
    value: float
    fault: Fault = Fault.REFUSED


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Course):
    """All that decides a run."""

    acts: tuple[Act, ...]
    traits: Traits
    profiles: int
    accounts: int
    users: int
    """Unprivileged users who ask, besides root."""
    pause: float
    """Seconds between the calls of a user, on average."""
    latency: tuple[float, float]
    """Seconds that a good answer takes, least and most."""
    fault_rate: float


def hard_plan(seed: int) -> Plan:
    """Return fifteen minutes and more of short tokens, in which everything happens."""
    rng = Random(seed)  # noqa: S311 -- a seed is to decide it
    lifetime = rng.choice((20, 30, 60, 120))
    profiles = rng.choice((1, 1, 2, 3, 5, 8, 12, 30))
    accounts = rng.randint(1, min(5, profiles))
    duration = 840.0 + rng.uniform(0.0, 300.0)
    traits = Traits(
        lifetime=lifetime,
        life=rng.choice((30 * DAY, 600.0)),
        rotates=rng.random() < 0.9,
        reuse_revokes=rng.random() < 0.3,
        old_access_dies=rng.random() < 0.3,
        phase=rng.random(),
    )
    deeds = list(Deed)
    often = rng.choices(deeds, k=rng.randint(1, 5))  # each run has its favourites: storms
    chosen = [rng.choice(often if rng.random() < 0.7 else deeds) for _ in range(rng.randint(0, 16))]
    acts = [_act(rng, deed, duration, profiles, lifetime) for deed in chosen]
    return Plan(
        seed=seed,
        duration=duration,
        traits=traits,
        profiles=profiles,
        accounts=accounts,
        users=rng.choice((1, 2, 3)),
        pause=rng.choice((4.0, 10.0, 40.0)),
        latency=rng.choice(((0.01, 0.2), (0.05, 2.0), (0.0, 0.0))),
        fault_rate=rng.choice((0.0, 0.0, 0.05, 0.3)),
        acts=tuple(sorted(acts, key=lambda act: act.at)),
    )


def week_plan(seed: int) -> Plan:
    """Return a week of tokens that live an hour, with what happens in a bad one."""
    rng = Random(seed)  # noqa: S311 -- a seed is to decide it
    duration = 7 * DAY
    acts = [_act(rng, rng.choice(list(Deed)), duration, 5, 3600) for _ in range(60)]
    return Plan(
        seed=seed,
        duration=duration,
        traits=Traits(lifetime=3600, old_access_dies=rng.random() < 0.5, phase=rng.random()),
        profiles=5,
        accounts=2,
        users=2,
        pause=600.0,
        latency=(0.05, 0.9),
        fault_rate=0.02,
        acts=tuple(sorted(acts, key=lambda act: act.at)),
    )


PLANS: Final = {"hard": hard_plan, "week": week_plan}


def _act(rng: Random, deed: Deed, duration: float, profiles: int, lifetime: int) -> Act:
    value: float
    match deed:
        case Deed.OUTAGE | Deed.SLOW | Deed.SECRET_GONE | Deed.DISK_FULL:
            value = rng.choice((3.0, 15.0, 60.0, 200.0))
        case Deed.FILES_HANG | Deed.DISK_HANGS:
            value = rng.choice((0.5, 5.0, 20.0, 100.0))
        case Deed.NEW_PASSWORD | Deed.TYPO:
            value = rng.choice((0.0, 1.0, 20.0, 100.0))
        case Deed.SUSPEND:
            value = rng.choice((5.0, 30.0, 300.0))
        case Deed.RESTART | Deed.KILL | Deed.KILL_IN_REQUEST | Deed.REBOOT:
            value = rng.choice((0.0, 0.1, 2.0, lifetime * 1.5))
        case Deed.STORM | Deed.REFUSALS:
            value = float(rng.choice((3, 20, 100)))
        case _:
            value = float(rng.choice((1, 1, 3, 6)))
    at = rng.uniform(0.0, duration)
    return Act(at, deed, rng.randrange(profiles), value, rng.choice(OUTAGES))

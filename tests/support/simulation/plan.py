"""What is to happen in a run. A Plan is plain values, so that a failing one can be shrunk."""

from dataclasses import dataclass
from enum import Enum, auto, unique
from random import Random
from typing import Final

from openfit_tokend.core.schedule import Policy
from shrinking import Course
from simulation.faults import OUTAGES, Fault

DAY: Final = 86400.0
YEAR: Final = 365.0 * DAY


@unique
class Deed(Enum):
    """What happens at a moment of the plan. `value` is a number of seconds, or of calls."""

    OUTAGE = auto()
    """Every request of the next `value` seconds meets the act's fault."""
    SLOW = auto()
    """The server takes longer for `value` seconds."""
    BAD_DEPLOY = auto()
    """The server rejects the client for `value` seconds."""
    SESSIONS_REVOKED = auto()
    """The server forgets the account's refresh tokens."""
    NEW_PASSWORD = auto()
    """Changed at the server, then, `value` seconds later, in the secret, with a reload."""
    PASSWORD_RESET = auto()
    """The same, and the server ends all sessions of the account."""
    SECRET_FIRST = auto()
    """Changed in the secret, with a reload, and `value` seconds later at the server."""
    TYPO = auto()
    """The secret is wrong, with a reload; mended with another one after `value` seconds."""
    SILENT_TYPO = auto()
    """The secret is wrong, and nobody reloads."""
    SECRET_GONE = auto()
    """The secret can't be read for `value` seconds."""
    RELOAD = auto()
    """Nothing has changed; `value` times in a row."""
    RESCHEDULE = auto()
    NEW_IDENTITY = auto()
    """The profile gets the user of the next account."""
    LOGIN = auto()
    """With the stored secret; `value` times in a row, a second apart."""
    LOGIN_RIGHT = auto()
    """With the right password in the slot."""
    LOGIN_WRONG = auto()
    """With a wrong password in the slot; `value` times, each a different one."""
    LOGIN_SAME_WRONG = auto()
    """With the same wrong password in the slot, `value` times."""
    LOGOUT = auto()
    SUSPEND = auto()
    RESTART = auto()
    """The daemon dies and, `value` seconds later, starts with its stored sessions."""
    BLANK_RESTART = auto()
    """The same, without sessions."""
    REBOOT = auto()
    """The same, without sessions and with another boot's clock."""
    STORM = auto()
    """`value` calls of all kinds within a second."""
    REFUSALS = auto()
    """`value` calls within a second refuse the current token."""


@dataclass(frozen=True, slots=True)
class Act:
    """One disturbance."""

    at: float
    deed: Deed
    profile: int
    value: float
    fault: Fault = Fault.REFUSED


@dataclass(frozen=True, slots=True)
class Traits:
    """What the token server is like."""

    lifetime: int
    """Seconds of an access token."""
    life: float = 30 * DAY
    """Seconds of a refresh token's family, from the login on."""
    rotates: bool = True
    reuse_revokes: bool = False
    """A refresh token that was used before revokes its whole family."""
    old_access_dies: bool = False
    """A refresh ends the access token before it."""
    gives_refresh_tokens: bool = True
    """With each grant; else only now and then."""
    phase: float = 0.0
    """Part of a second that its clock is off: it counts whole seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Course):
    """All that decides a run."""

    acts: tuple[Act, ...]
    traits: Traits
    policy: Policy
    accounts: tuple[int, ...]
    """The account of each profile."""
    fault_rate: float
    faults: frozenset[Fault]
    """Those that may happen to a request by chance; others are drawn, and spared."""
    pause: float
    """Seconds between the calls of a profile's client, on average; 0: none."""
    latency: tuple[float, float]
    """Seconds a good answer takes, least and most."""
    slots: int
    collisions: bool
    """Fingerprints of passwords have two bits instead of sixteen."""
    absent: frozenset[int] = frozenset()
    """Profiles that are logged out from the beginning, and make no calls."""
    calm: bool = True
    """At the end all is mended, and must become well."""


def hard_traits(rng: Random, lifetime: int) -> Traits:
    """Return a server of any kind, whose sessions often end."""
    return Traits(
        lifetime=lifetime,
        life=rng.choice((30 * DAY, 300.0, 120.0)),
        rotates=rng.random() < 0.9,
        reuse_revokes=rng.random() < 0.3,
        old_access_dies=rng.random() < 0.3,
        gives_refresh_tokens=rng.random() < 0.93,
        phase=rng.random(),
    )


def hard_plan(seed: int) -> Plan:
    """Return a short run of short tokens, in which everything happens."""
    rng = Random(seed)  # noqa: S311 -- a seed is to decide it
    lifetime = rng.choice((8, 8, 16, 16, 20, 30, 60))
    crowd = rng.random() < 0.02
    profiles = rng.randint(20, 36) if crowd else rng.choice((1, 1, 2, 3, 4))
    users = rng.choice((1, 1, 2)) if not crowd else profiles // 2
    duration = 200.0 if crowd else rng.choice((300.0, 600.0, 1200.0))
    slow = not crowd and rng.random() < 0.2
    if slow:
        lifetime, duration = rng.choice((60, 300)), rng.choice((4000.0, 8000.0))
    traits = hard_traits(rng, lifetime)
    policy = Policy(
        refresh_before=rng.choice((300.0, 300.0, 4.0)), refresh_token_lifetime=traits.life
    )
    margin = min(policy.refresh_before, lifetime / 4, 25.0)  # twice of it is within a time-out
    deeds = list(Deed)
    often = rng.choices(deeds, k=rng.randint(1, 6))  # each run has its favourites: storms
    count = rng.randint(0, 14)
    chosen = [rng.choice(often if rng.random() < 0.7 else deeds) for _ in range(count)]
    acts = tuple(_act(rng, deed, duration, profiles) for deed in chosen)
    return Plan(
        seed=seed,
        duration=duration,
        traits=traits,
        policy=policy,
        accounts=tuple(rng.randrange(users) for _ in range(profiles)),
        fault_rate=rng.choice((0.0, 0.05, 0.2, 0.5)),
        faults=frozenset(Fault),
        pause=rng.choice((0.0, 2.0, 10.0)) * (20.0 if slow else 1.0),
        latency=rng.choice(((0.01, 0.2), (0.05, 0.9), (0.0, 0.0), (margin, 2.0 * margin))),
        slots=16,
        collisions=rng.random() < 0.05,
        acts=tuple(sorted(acts, key=lambda act: act.at)),
    )


def long_plan(seed: int, years: float = 1.0, lifetime: int = 3600) -> Plan:
    """Return a long run of usual tokens: a fault every 20 requests, and what happens in a year."""
    rng = Random(seed)  # noqa: S311 -- a seed is to decide it
    duration = years * YEAR
    count = int(60 * years)
    usual = [deed for deed in Deed if deed is not Deed.NEW_IDENTITY]
    acts = [_act(rng, rng.choice(usual), duration, 1, stretch=60.0) for _ in range(count)]
    acts.extend([Act(act.at + 0.5 * DAY, Deed.RELOAD, 0, 1.0) for act in acts])
    acts.extend(
        [Act(act.at + 0.6 * DAY, Deed.LOGIN, 0, 1.0) for act in acts]
    )  # people look after it
    acts.extend(
        Act(rng.uniform(0, duration), Deed.OUTAGE, 0, rng.uniform(0.2, 1.2) * DAY, _outage(rng))
        for _ in range(int(4 * years))
    )
    return Plan(
        seed=seed,
        duration=duration,
        traits=Traits(
            lifetime=lifetime, phase=rng.random(), old_access_dies=rng.choice((True, False))
        ),
        policy=Policy(),
        accounts=(0,),
        fault_rate=0.05,
        faults=frozenset(Fault),
        pause=lifetime * 0.7,
        latency=(0.05, 0.9),
        slots=16,
        collisions=False,
        acts=tuple(sorted(acts, key=lambda act: act.at)),
    )


def _outage(rng: Random) -> Fault:
    return rng.choice(OUTAGES)


def _act(rng: Random, deed: Deed, duration: float, profiles: int, stretch: float = 1.0) -> Act:
    match deed:
        case Deed.OUTAGE | Deed.SLOW | Deed.BAD_DEPLOY | Deed.SECRET_GONE:
            value = rng.choice((3.0, 15.0, 60.0, 200.0)) * stretch
        case Deed.NEW_PASSWORD | Deed.PASSWORD_RESET | Deed.SECRET_FIRST | Deed.TYPO:
            value = rng.choice((0.0, 1.0, 20.0, 100.0)) * stretch
        case Deed.SUSPEND:
            value = rng.choice((5.0, 30.0, 300.0)) * stretch
        case Deed.RESTART | Deed.BLANK_RESTART | Deed.REBOOT:
            value = rng.choice((0.1, 2.0, 30.0))
        case Deed.STORM | Deed.REFUSALS:
            value = rng.choice((3, 10, 25))
        case _:
            value = rng.choice((1, 1, 3, 6))
    at = rng.uniform(0, duration)
    return Act(at, deed, rng.randrange(profiles), float(value), _outage(rng))

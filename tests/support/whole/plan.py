"""What is to happen in a run: plain values, so that a failing plan can be shrunk."""

from dataclasses import dataclass
from enum import Enum, auto, unique

from shrinking import Course
from simulation.faults import Fault
from simulation.plan import Traits
from whole.clocks import Pause


@unique
class Deed(Enum):
    """One disturbance. `value` is a number of seconds, or of times."""

    # The token server
    OUTAGE = auto()
    """Every token request meets the act's fault."""
    SLOW = auto()
    """It takes longer: up to twice a token's margin."""
    BAD_DEPLOY = auto()
    """It rejects the client."""
    REVOKED = auto()
    """It forgets the sessions of an account."""

    # Passwords and files
    PASSWORD = auto()
    """A new password at the server; the hosts get it one by one within `value` seconds, and reload."""
    PASSWORD_RESET = auto()
    """The same, and the token server forgets the sessions."""
    SECRET_FIRST = auto()
    """A new password at all hosts, with reloads, and `value` seconds later at the server."""
    TYPO = auto()
    """One host's file gets a wrong password, and it is reloaded."""
    SILENT_TYPO = auto()
    """One host's file gets a wrong password, and nobody reloads."""
    TYPO_ALL = auto()
    """The same wrong password at all hosts within `value` seconds, with reloads; mended later."""
    SECRET_GONE = auto()
    """One host's password file isn't there."""
    FILES_HANG = auto()
    """Reading any file of one host takes longer."""
    DISK_FULL = auto()
    """The ledger of one host can't be written."""
    DISK_HANGS = auto()
    """What one host writes to disk takes until `value` seconds from now."""

    # Reloads
    RELOAD = auto()
    """All hosts are reloaded within `value` seconds; nothing has changed."""
    CHANGES = auto()
    """`value` reloads right after each other, each of a configuration that was changed again."""
    FAULTY_RELOAD = auto()
    """The configuration is faulty for a moment, in which it is reloaded."""
    MOVE = auto()
    """A profile moves to another account while a request of it is under way; after a `value` of more
    than 1, also while an operator's login waits for that, with the right password given."""
    HANG_UP = auto()
    """SIGHUP: a reload whose answer nobody gets."""

    # Operators
    LOGIN = auto()
    LOGIN_RIGHT = auto()
    """With the right password given."""
    LOGIN_WRONG = auto()
    """With a wrong password given, `value` times, at any hosts, each time another."""
    LOGIN_SAME_WRONG = auto()
    """With the same wrong password given, `value` times."""
    LOGOUT = auto()
    """A logout at one host and, `value` seconds later, a login at another."""

    # Hosts
    PAUSE = auto()
    """A daemon stands still."""
    KILL = auto()
    """A daemon is killed at some pass of its loop, and started again `value` seconds later."""
    KILL_IN_REQUEST = auto()
    """A daemon is killed as soon as the token server has acted upon a request of it."""
    RESTART = auto()
    """An orderly stop, and the next daemon `value` seconds after its end."""
    BLANK_RESTART = auto()
    """A daemon is killed, and the descriptor store is empty."""
    REBOOT = auto()
    """A host begins anew: its clock too."""

    # Clients
    STORM = auto()
    """`value` calls of all kinds within a second."""
    REFUSALS = auto()
    """`value` clients at each host say within a second that the API refused the current token."""

    # Fleets
    PAUSE_IN_CLAIM = auto()
    """The next daemon whose claim is taken stands still before it knows."""
    KILL_IN_CLAIM = auto()
    """The next daemon whose claim is taken is killed before it knows."""
    REMOVED_IN_CLAIM = auto()
    """The next host whose claim is taken loses a profile by a reload, for `value` seconds."""
    CUT_STORE = auto()
    """One host doesn't reach the store."""
    CUT_SERVER = auto()
    """One host doesn't reach the token server."""
    STORE_DOWN = auto()
    """Nobody reaches the store."""
    STORE_SLOW = auto()
    STORE_STEP = auto()
    """The store's clock is set."""
    STORE_LOST = auto()
    """The store forgets its last `value` writes."""
    ROW_REFUSED = auto()
    """The store takes no write, though nobody changes what is there: a trigger, a stale replica."""
    ROW_LOCKED = auto()
    """The store answers, but neither reads nor writes the row: somebody holds its lock."""
    DEAF = auto()
    """No notice of the store reaches one host."""
    KEYS = auto()
    """All hosts are given the `value`th of the key files by which a key takes another's place."""


@dataclass(frozen=True, slots=True)
class Act:
    """When, what, at which host, to which account."""

    at: float
    deed: Deed
    host: int
    value: float
    fault: Fault = Fault.REFUSED
    pause: Pause = Pause.STOPPED
    account: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Course):
    """All that decides a run."""

    acts: tuple[Act, ...] = ()
    hosts: int = 1
    engine: str = ""
    """What the fleet's store is; "": each daemon is alone. `etcd` tells the time in whole seconds, and
    each of its members its own."""
    profiles: int
    """At each host."""
    accounts: int = 1
    users: int = 0
    """Unprivileged users who ask, besides root."""
    traits: Traits
    margins: tuple[int, ...] = (300,)
    """`refresh_before` of the hosts in turn, in seconds."""
    life_is_known: bool = False
    """The configuration says how long a login's refresh tokens live."""
    fault_rate: float = 0.0
    pause: float = 20.0
    """Seconds between the calls of a user, on average."""
    latency: tuple[float, float] = (0.05, 0.9)
    """Seconds that a good answer of the token server takes, least and most."""
    store_latency: tuple[float, float] = (0.0005, 0.01)
    """Seconds that a message from or to the store takes."""
    store_loss: float = 0.0
    """The part of these messages that gets lost."""
    store_late: float = 0.0
    """The part of the exchanges that happen when nobody waits for them any more."""
    slow_connect: float = 0.0
    """The part of the requests that take up to 14 s to connect."""
    drift: float = 0.0
    """Seconds by which a clock may be off in a second."""
    collisions: bool = False
    """Fingerprints of passwords have two bits instead of sixteen."""
    gentle: bool = False
    """Clients only ask for tokens: none is refused, none is to be newer."""
    cut_off: int = 0
    """The last so many hosts never reach the token server."""
    needle: str = ""
    """A daemon may stand still right `before` or `after` the last look before it sends."""

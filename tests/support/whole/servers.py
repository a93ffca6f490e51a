"""The token server as the daemon meets it: its model behind a network that loses and delays."""

from dataclasses import dataclass
from math import inf
from random import Random
from typing import TYPE_CHECKING, Final, final

from simulation.faults import Fault, fate
from simulation.idserver import IdServer
from whole.network import Form, Stream

if TYPE_CHECKING:  # the world is made of this module
    from whole.host import Host
    from whole.world import World

WALL: Final = 1.7e9
"""Unix seconds at the world's beginning."""
_HUGE: Final = b"x" * 1024 * 1024


@dataclass(slots=True, eq=False)
class Sent:
    """One token request, as the server saw it. `secret`: the password, or the refresh token."""

    at: float
    login: bool
    account: int
    client: str
    secret: str
    stream: Stream
    life: int
    """The number of the daemon's life that sent it."""
    host: "Host"
    said: tuple[int, bytes] | None = None
    """The server's own answer, once it acted."""

    @property
    def open(self) -> bool:
        """Return whether its sender still waits."""
        return not self.stream.closed and self.life == self.host.life

    @property
    def rejected(self) -> bool:
        """Return whether the server said that the secret is refused."""
        return self.said is not None and b"invalid_grant" in self.said[1]


@final
class Servers:
    """One token server, and what becomes of each request to it."""

    def __init__(self, world: "World", passwords: dict[int, str]) -> None:
        self._world = world
        self._rng = Random(world.plan.seed * 3 + 1)  # noqa: S311 -- a seed is to decide it
        self.model = IdServer(world.plan.traits, passwords)
        self.outage_until = 0.0
        self.outage = Fault.REFUSED
        self.slow_until = 0.0
        self.quiet = False
        """No more faults by chance."""
        self.kill_on_act = False

    def mend(self) -> None:
        """Answer well from now on."""
        self.quiet = True
        self.model.client_refused_until = 0.0
        for user in self.model.users.values():
            user.failures, user.locked_until = 0, 0.0
        self.outage_until = self.slow_until = 0.0
        self.kill_on_act = False

    def connects(self) -> float | None:
        """Return the seconds until a connection stands; None: it is refused."""
        world, rng = self._world, self._rng
        if world.time.now < self.outage_until and self.outage is Fault.REFUSED:
            return None
        refused = not self.quiet and rng.random() < world.plan.fault_rate / 3
        return None if refused else rng.uniform(*world.plan.latency) / 10

    def received(self, stream: Stream, path: str, form: Form) -> None:
        """Take a whole request."""
        world, now = self._world, self._world.time.now
        if path.endswith("/revocation"):
            self.model.revoke(form["token"])
            stream.answer(_http(200, b""))
            return
        login = form["grant_type"] == "password"
        secret = form["password"] if login else form["refresh_token"]
        account = int(form["username"][5:]) if login else self.model.account_of(secret)
        host = world.host
        sent = Sent(now, login, account, form["client_id"], secret, stream, host.life, host)
        stream.given_up = lambda: world.witness.given_up(sent)
        world.witness.sent(sent)
        took = self._rng.uniform(*world.plan.latency)
        if now < self.slow_until:
            took = self._rng.uniform(1.0, min(60.0, world.plan.traits.lifetime / 2))
        becomes = fate(self._rng, self._fault(), took, WALL + now)
        if becomes.acts is not None:
            world.time.at(now + becomes.acts, lambda: self._act(sent, form))
        if becomes.ends < inf:
            later = becomes.retry_after
            fault = becomes.fault
            world.time.at(now + becomes.ends, lambda: self._answer(sent, fault, later))

    def _fault(self) -> Fault | None:
        world = self._world
        if world.time.now < self.outage_until:
            return None if self.outage is Fault.REFUSED else self.outage
        if self.quiet or self._rng.random() >= world.plan.fault_rate:
            return None
        return self._rng.choice([fault for fault in Fault if fault is not Fault.REFUSED])

    def _act(self, sent: Sent, form: Form) -> None:
        world = self._world
        sent.said = self.model.act(form, world.time.now)
        world.witness.acted(sent)
        world.tell("server", f"acts on {_named(sent)}: {sent.said[0]}")
        if self.kill_on_act:
            self.kill_on_act = False
            sent.host.kill()

    def _answer(self, sent: Sent, fault: Fault | None, retry_after: str | None) -> None:
        said: tuple[int, bytes | None] | None = sent.said
        if fault is not None and fault is not Fault.SLOW:
            said = fault.value.reply
        clear = said is not None and said is sent.said
        if not sent.open:
            return
        if said is None:
            sent.stream.answer(b"")
        else:
            status, body = said
            sent.stream.answer(_http(status, _HUGE if body is None else body, retry_after))
        self._world.witness.answered(sent, clear=clear)


def _named(sent: Sent) -> str:
    return f"{'login' if sent.login else 'refresh'} of user-{sent.account} with {sent.secret}"


def _http(status: int, body: bytes, retry_after: str | None = None) -> bytes:
    later = "" if retry_after is None else f"retry-after: {retry_after}\r\n"
    head = (
        f"HTTP/1.1 {status} said\r\ncontent-length: {len(body)}\r\n{later}connection: close\r\n\r\n"
    )
    return head.encode() + body

"""What holds of a fleet whatever happens to its hosts, and to what they write into their row.

Writes are refused, or taken without a word; hosts are late, or leave; operators order; claims end.
"""

from dataclasses import dataclass, field, replace
from typing import Final

from hypothesis import given, settings
from hypothesis import strategies as st

from made import problem
from openfit_tokend.core.budget import LIMIT, WINDOW
from openfit_tokend.core.events import (
    Kind,
    LoginOrdered,
    LogoutOrdered,
    NewTokenWanted,
    Woken,
)
from openfit_tokend.core.fleet.messages import (
    Deny,
    Effect,
    Expired,
    Grant,
    Left,
    Ordered,
    ReadRow,
    RowRead,
    Unreached,
    WakeAt,
    WriteRow,
    Written,
)
from openfit_tokend.core.fleet.replica import InFlight, claim_of, requests_of
from openfit_tokend.core.fleet.row import SEND_BY, Row
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.session import Login, Refresh, Requesting, new_session
from replicas import AHEAD, Host

KINDS: Final = tuple(kind for kind in Kind if kind is not Kind.SECRET_UNAVAILABLE)
"""Of a request that was sent, or was to be."""
STORE: Final = ("written", "written", "written", "unanswered", "refused", "unreached")
DEEDS: Final = (
    (
        3,
        (*STORE, "granted", "failed", "refuse", "login", "logout", "leave", "kill", "pass", "pass"),
    ),
    (1, ("written", "written", "login", "failed")),
    (2, ("written", "written", "kill", "pass")),
    (2, ("written", "written", "written", "refuse", "granted", "kill", "pass")),
)
"""At so many hosts, all that may happen, and what often goes together."""
GAPS: Final = (1.0, 9.0, 20.0, 30.0, 75.0, 75.0, 450.0)


@dataclass
class Sent:
    """A request that was let go out. `ends`: when the server no longer works on it."""

    request: Login | Refresh
    at: float
    ends: float
    harmless: bool = False
    """As a login: it was accepted, or never reached the server."""


@dataclass
class World:
    """The hosts, each with one profile; their row; and all that went out."""

    hosts: list[Host] = field(default_factory=lambda: [Host("a"), Host("b"), Host("c")])
    row: Row | None = None
    sent: dict[bytes, Sent] = field(default_factory=dict[bytes, Sent])
    alarms: list[tuple[float, Host, Expired]] = field(
        default_factory=list[tuple[float, Host, Expired]]
    )

    def __post_init__(self) -> None:
        for host in self.hosts:
            host.join(new_session(host.now))

    def do(self, host: Host, deed: str, which: int) -> None:
        """Let something happen at a host."""
        who = max(host.sessions)
        match deed:
            case "pass":
                self.wait(GAPS[which % len(GAPS)])
            case "refuse":
                host.feed(who, NewTokenWanted())
            case "login" | "logout":
                order = LoginOrdered() if deed == "login" else LogoutOrdered()
                host.take(Ordered(who, order))
                host.feed(who, order)
            case "leave":
                self.note(host, host.take(Left(who)))
                host.join(new_session(host.now), who + 1)
            case "kill":
                anew = Host(host.member, host.now)
                anew.join(new_session(host.now))
                self.hosts[self.hosts.index(host)] = anew
                self.alarms = [each for each in self.alarms if each[1] is not host]
            case "granted" | "failed":
                self.answer(host, None if deed == "granted" else KINDS[which % len(KINDS)])
            case "unreached":
                self.note(host, host.take(Unreached(problem(at=host.now))))
            case _:
                self.write(host, deed)

    def answer(self, host: Host, kind: Kind | None) -> None:
        """Let the newest request in flight end; `kind` None: with a token."""
        for claim, request in requests_of(host.replica, InFlight).items():
            event = host.granted(request.who) if kind is None else host.failed(kind, request.who)
            sent, event = self.sent[claim], replace(event, number=request.number)
            sent.ends = host.now
            harmless = {None, Kind.TRANSIENT, Kind.UNSENT, Kind.CLIENT_REJECTED}
            sent.harmless = kind in harmless
            host.ended(event, request.who)
            return

    def wait(self, seconds: float) -> None:
        for host in self.hosts:
            host.now += seconds
        due = [each for each in self.alarms if each[0] <= self.hosts[0].now]
        self.alarms = [each for each in self.alarms if each not in due]
        for _, host, event in due:
            self.note(host, host.take(event))

    def write(self, host: Host, deed: str) -> None:
        """Let a host want what is due, and write that."""
        who = max(host.sessions)
        host.feed(who, Woken())
        self.turn(host, deed)
        session, send = host.sessions[who], host.sends.get(who)
        due = send is not None and send.number == session.number
        if (
            due
            and isinstance(session.doing, Requesting)
            and claim_of(host.replica, who, session.number) is None
        ):
            self.note(host, host.want(who)[1])
        self.turn(host, deed)

    def turn(self, host: Host, deed: str) -> None:
        """Let a host use the store once."""
        effects = host.turn()
        self.note(host, effects)
        match effects:
            case [*_, ReadRow()]:
                self.note(host, host.take(RowRead(self.row)))
            case [*_, WriteRow() as write]:
                there = None if self.row is None else self.row.tag
                if deed == "refused" or there != write.old_tag:
                    self.note(host, host.take(RowRead(self.row)))
                    return
                self.row = write.row
                if deed == "unanswered":
                    self.note(host, host.take(Unreached(problem(at=host.now))))
                else:
                    self.note(host, host.take(Written(write, host.now + AHEAD)))
            case _:
                pass

    def note(self, host: Host, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            match effect:
                case Grant(claim, not_after):
                    self.grant(host, claim, not_after)
                case Deny(_, event):
                    host.feed(max(host.sessions), event)
                case WakeAt(moment, key, claim):
                    self.alarms.append((moment, host, Expired(key, claim)))
                case _:
                    pass

    def grant(self, host: Host, claim: bytes, not_after: float) -> None:
        """Let a request go out, if that may be."""
        request = host.replica.requests[claim]
        assert isinstance(request, InFlight)
        assert self.row is not None
        claims = [each.claim for each in self.row.sessions.values() if each.claim is not None]
        assert claim in {each.id for each in claims}
        assert not_after == host.now + SEND_BY
        for other in self.sent.values():
            if isinstance(request.request, Refresh) and other.request == request.request:
                assert other.ends <= host.now
        self.sent[claim] = Sent(request.request, host.now, not_after + REQUEST_TIMEOUT)
        young = [
            each
            for each in self.sent.values()
            if isinstance(each.request, Login) and not each.harmless
            if host.now < each.at + WINDOW
        ]
        assert len(young) <= LIMIT


def deeds(of: tuple[int, tuple[str, ...]]) -> st.SearchStrategy[list[tuple[int, str, int]]]:
    """Return what happens: at which host, what, and which of several."""
    hosts, kinds = of
    deed = st.tuples(st.integers(0, hosts - 1), st.sampled_from(kinds), st.integers(0, 41))
    return st.lists(deed, min_size=25, max_size=60)


@settings(max_examples=3 * settings().max_examples)
@given(st.sampled_from(DEEDS).flatmap(deeds))
def test_no_budget_is_exceeded_and_no_token_used_twice_whatever_happens(
    happened: list[tuple[int, str, int]],
) -> None:
    world = World()
    for index, deed, which in happened:
        world.do(world.hosts[index], deed, which)
        if world.row is not None:
            assert not world.row.ledger.under_way
            for shared in world.row.sessions.values():
                assert isinstance(shared.session.doing, Requesting) == (shared.claim is not None)
                assert not shared.session.wanted

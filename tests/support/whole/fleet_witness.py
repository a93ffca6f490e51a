"""Sees what the daemons of a fleet do to their store, and holds it against what a fleet promises."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from openfit_tokend.core.fleet.row import Claim, Row, Shared
from openfit_tokend.core.session import Login, Refresh, Requesting, is_logged_out, is_rejected
from whole.clients import Call
from whole.plan import Act, Deed
from whole.rows import row_of
from whole.servers import Sent
from whole.store import Value, Writer
from whole.witness import SLACK, WATCH, WINDOW, Witness

if TYPE_CHECKING:  # the world is made of this module
    from whole.host import Host
    from whole.world import World

LIMIT: Final = 3
"""Logins that may be rejected in a window."""
ACTS_LATE: Final = 31.0
"""Seconds that the token server may act after everybody gave up."""
POLL: Final = 30.0
"""Seconds after which a daemon has seen the row, notices or not."""
SETTLED: Final = 120.0
"""Seconds that a disturbance may still be felt."""
AWAITED: Final = 130.0
"""Seconds that a request may wait for its claim: a suspend is noticed late, a turn may be taken."""
INSISTED: Final = 240.0
"""Seconds within which an operator's order is carried out: requests and claims may be before it."""
WRITTEN: Final = 40.0
"""Seconds within which the answer to a refresh is in the row."""
PACED: Final = 10.0
"""Seconds in which a host tries to write at most OFTEN what the store doesn't take."""
OFTEN: Final = 40
AT_ONCE: Final = 3.0
"""Seconds within which all know what one wrote, in fine weather."""


STORE_DEEDS: Final = frozenset(
    (
        *(Deed.CUT_STORE, Deed.STORE_DOWN, Deed.STORE_SLOW, Deed.STORE_STEP),
        *(Deed.ROW_REFUSED, Deed.ROW_LOCKED),
    )
)
"""What keeps daemons from the store."""


@dataclass(slots=True, eq=False)
class Use:
    """One use of a refresh token, under a claim."""

    sent: Sent
    host: "Host"
    claim: bytes


@dataclass(slots=True, eq=False)
class Made:
    """A claim as it came into the row."""

    by: Writer
    at: float


@final
class FleetWitness(Witness):
    """What the daemons of a fleet promise in place of what one does that is alone."""

    waited: float = 40.0  # what is left of a minute after a slow connection

    def __init__(self, world: "World") -> None:
        super().__init__(world)
        self.row: Row | None = None
        """What the store has."""
        self._logins_ordered: dict[str, float] = {}
        self._claims: dict[bytes, Made] = {}
        self._waits: dict[tuple[int, str], tuple[int, float]] = {}
        """Requests without a claim, by host and profile: their numbers, and since when."""
        self._taken_off: list[Made] = []
        """Claims that a logout took the place of: their daemons may not know yet."""
        self._unclaimed: dict[bytes, float] = {}
        """Sessions in the row that have no claim, since when."""
        self._sent_for: set[bytes] = set()
        self._uses: dict[str, list[Use]] = defaultdict(list)
        self._answers: dict[bytes, tuple[str, str, float]] = {}
        """Clear answers to a refresh that reached a daemon, by claim: the token, the client, when."""
        self._refused: dict[bytes, tuple[str, str]] = {}
        """Clear rejections of a login that reached a daemon, by claim: the password, the client."""
        self._known_since: dict[str, float] = {}
        """Passwords whose rejection is in the row, since when."""
        self._settled: set[str] = set()
        """Refresh tokens of which a clear answer is in the row."""
        self._refused_at: dict[int, list[float]] = defaultdict(list)
        """When the store last took no write, by host."""
        self._rejections: list[tuple[float, Sent]] = []
        self._told: set[Sent] = set()
        """Logins whose rejection reached the daemon."""
        self._written_at = 0.0
        self._barred_since = 0.0
        self._losses, self._lost_at = 0, -inf
        self._stepped: list[float] = []
        self._blind_until = -inf
        self._trouble_until = SETTLED
        """Something other than crashes and stand-stills: there may be no token."""
        self._store_trouble_until = -inf
        self._ends: list[float] = []
        """When a daemon ended, or stood still, that had a claim."""
        self._ended_at: float | None = None

    @property
    def patience(self) -> float:
        """Return the seconds after which all hold the same token, once all is mended.

        Whoever has a token that the store forgot keeps it to its end.
        """
        return SETTLED + (self._world.plan.traits.lifetime if self._losses else 0.0)

    # What happens

    def disturbed(self, act: Act) -> None:
        """Take note of a disturbance: what follows may be its doing."""
        now = self._world.time.now
        until = now + act.value + SETTLED
        match act.deed:
            case Deed.PAUSE | Deed.KILL | Deed.RESTART | Deed.REBOOT | Deed.DEAF:
                return
            case Deed.PAUSE_IN_CLAIM | Deed.KILL_IN_CLAIM | Deed.KILL_IN_REQUEST:
                return
            case Deed.STORE_STEP:
                if act.value > 0:
                    self._stepped.append(now)
                until = now + SETTLED
            case _:
                pass
        if act.deed in STORE_DEEDS:
            self._store_trouble_until = max(self._store_trouble_until, until)
        self._trouble_until = max(self._trouble_until, until)

    def store_lost(self) -> None:
        """Take note that the store forgot: answers that were in it, and claims."""
        self._settled.clear()
        self._answers.clear()
        self._known_since.clear()
        self._refused.clear()
        self._losses += 1
        self._lost_at = self._world.time.now
        self._store_trouble_until = inf
        value = next(iter(self._world.store.rows.items()), None)
        self.row = None if value is None else row_of(*value)

    def gone(self, host: "Host") -> None:
        """Take note that a daemon is killed, or stands still."""
        row = self.row
        if row is not None and any(_claimed_by(host, shared) for shared in row.sessions.values()):
            self._ends.append(self._world.time.now)
            self._ended_at = self._world.time.now

    def ordered(self, profile: str, accounts: Iterable[int]) -> None:
        """Take note that a login is ordered; the profile is of one of these accounts."""
        super().ordered(profile, accounts)
        self._logins_ordered[profile] = self._world.time.now

    def has_logged_out(self, profile: str) -> None:
        """Take note that a logout was answered. What was ordered just before may still come."""
        now = self._world.time.now
        if now - self._logins_ordered.get(profile, -inf) > SETTLED:
            self.logged_out[profile] = now

    # Requests

    def sent(self, sent: Sent) -> None:
        """Judge a request as the token server receives it."""
        host = sent.host
        now = self._world.time.now
        if self._ended_at is not None:
            self.failovers.append(now - self._ended_at)
            self._ended_at = None
        self.logins += sent.login
        self.refreshes += not sent.login
        claim = self._claim_for(sent, host)
        if claim is None:
            self._unless_excused(
                host, 1, "a request is sent under a claim of one's own", _named(sent)
            )
        elif claim.id in self._sent_for:
            self.broken(1, "one request is sent for each claim", _named(sent))
        else:
            self._sent_for.add(claim.id)
        if sent.login:
            if claim is not None:
                self._judge_password(sent, self._claims[claim.id].at)
            return
        for use in self._uses[sent.secret]:
            stood = use.host.stood_still > use.sent.at or not use.host.runs
            if use.sent.open and use.claim and not stood:  # one without was judged when it was sent
                what = f"{_named(sent)} by {host.name}, while {use.host.name} waits"
                self._unless_excused(host, 1, "no refresh token is used twice at once", what)
        if sent.secret in self._settled:
            rule = "a refresh token isn't sent again once its answer is in the row"
            self._unless_excused(host, 1, rule, _named(sent))
        self._uses[sent.secret].append(Use(sent, host, b"" if claim is None else claim.id))

    def _judge_password(self, sent: Sent, claimed: float) -> None:
        """See that a password whose rejection is in the row is claimed only where somebody insists."""
        known = self._known_since.get(sent.secret, inf)
        insisted = any(at > known - INSISTED for at in self._logins_ordered.values())
        if claimed > known and not insisted:
            rule = "a rejected password isn't sent again by itself"
            self.broken(2, rule, f"{sent.secret}, known since {known:.3f}")

    def _unless_excused(self, host: "Host", promise: int, rule: str, complaint: str) -> None:
        """Complain, unless it is what can't be prevented: FLEET's bounds."""
        now = self._world.time.now
        forgotten = now < self._lost_at + SETTLED
        logged_out = any(each.by.host is host and now < each.at + 15 for each in self._taken_off)
        if host.frozen or forgotten or logged_out or self._world.plan.needle == "after":
            self.leaks += 1
        else:
            self.broken(promise, rule, complaint)

    def _claim_for(self, sent: Sent, host: "Host") -> Claim | None:
        """Return the claim of this host in the row that covers a request."""
        shared = self._shared(sent.client)
        if shared is None or shared.claim is None or not _claimed_by(host, shared):
            return None
        match shared.session.doing:
            case Requesting(Login()) if sent.login:
                return shared.claim
            case Requesting(Refresh(token)) if token.reveal == sent.secret:
                return shared.claim
            case _:
                return None

    def _shared(self, client: str) -> Shared | None:
        return None if self.row is None else self.row.sessions.get(self._world.identities[client])

    def acted(self, sent: Sent) -> None:
        """Count what the server made of a login."""
        world, now = self._world, self._world.time.now
        if sent.login and sent.rejected:
            young = [each for each in self._rejections if now < each[0] + WINDOW - ACTS_LATE]
            self._rejections = [*young, (now, sent)]
            if self._is_blind(now):
                return
            self.worst = max(self.worst, len(self._rejections))
            allowed = LIMIT + (world.plan.needle == "after") + self._losses
            if len(self._rejections) > allowed:
                at = [round(each) for each, _ in self._rejections]
                self.broken(2, "few rejected logins in a quarter of an hour", f"at {at}")

    def _is_blind(self, now: float) -> bool:
        """Return whether a host began soon after the store's clock was set forward.

        Until those who remember have written the entries anew, it takes them for older than they are.
        """
        late = 2 * POLL + 40.0
        hosts = self._world.hosts
        return now < self._blind_until or any(
            at <= now < at + late or (at <= each.began < at + late and now < each.began + 1800.0)
            for at in self._stepped
            for each in hosts
        )

    def answered(self, sent: Sent, *, clear: bool) -> None:
        """Take note of an answer that reached a daemon; `clear`: in the server's own words."""
        if not clear or sent.said is None:
            return
        if sent.login:
            if sent.rejected:
                self._told.add(sent)
                if (claim := self._claim_for(sent, sent.host)) is not None:
                    self._refused[claim.id] = sent.secret, sent.client
            elif sent.said[0] == 200:  # it forgives what was lost (decision 8)
                self._known_since.pop(sent.secret, None)
                self._rejections = [
                    (at, each)
                    for at, each in self._rejections
                    if each.secret != sent.secret or each in self._told
                ]
            return
        replaced = sent.said[0] == 200 and b"refresh_token" in sent.said[1]
        use = next(each for each in self._uses[sent.secret] if each.sent is sent)
        if (sent.rejected or replaced) and self._stands(use.claim, sent.client):
            self._answers[use.claim] = sent.secret, sent.client, self._world.time.now

    def _stands(self, claim: bytes, client: str) -> bool:
        shared = self._shared(client)
        return shared is not None and shared.claim is not None and shared.claim.id == claim

    # Rows

    def refused(self, writer: Writer) -> None:
        """Count a write that the store doesn't take, whoever asks."""
        now, host = self._world.time.now, writer.host.index
        self._refused_at[host] = [at for at in self._refused_at[host] if at > now - PACED] + [now]
        if len(self._refused_at[host]) > OFTEN:
            rule = "what the store doesn't take is tried again at a pace"
            self.broken(7, rule, f"{writer.host.name}: {OFTEN} times in {PACED:g} s")

    def written(self, writer: Writer, key: str, value: Value) -> None:
        """Judge a write as the store takes it."""
        _tag, data = value
        host, before, row = writer.host, self.row, row_of(key, value)
        self.rows += 1
        if b"hush-" in data:  # four bytes alone may come by chance
            self.broken(8, "no secret is in the row", f"{host.name} wrote one")
        self.row, self._written_at = row, self._world.time.now
        self._judge_row(host, row)
        if before is not None:
            self._judge_claims(writer, before, row)
        self._take_answers(host, row)
        self._take_refusals(host)
        self._mind_steps(host)
        claimed = False
        for identity, shared in row.sessions.items():
            claim = shared.claim
            if claim is not None:
                self._unclaimed.pop(identity, None)
            else:
                self._unclaimed.setdefault(identity, self._written_at)
            if claim is not None and claim.id not in self._claims:
                claimed = True
                self._claims[claim.id] = Made(writer, self._written_at)
        if self._world.story is not None:
            what = [
                f"{_doing(each)}{' claimed' if each.claim else ''}"
                for each in row.sessions.values()
            ]
            self._world.tell("store", f"{host.name} writes {what}")
        if claimed:
            self._world.deeds.claimed(host)

    def _judge_row(self, host: "Host", row: Row) -> None:
        if row.ledger.under_way:
            self.broken(1, "claims alone say what is under way", f"{row.ledger.under_way}")
        for shared in row.sessions.values():
            session, claim = shared.session, shared.claim
            if isinstance(session.doing, Requesting) != (claim is not None):
                rule = "a session is Requesting exactly if there is a claim"
                self.broken(1, rule, f"{host.name} wrote {_doing(shared)} with {claim}")
            if session.wanted or (
                isinstance(session.doing, Requesting) and session.doing.login_after
            ):
                self.broken(1, "wishes and orders aren't written", f"{host.name}: {session.doing}")
            if claim is not None and claim.id not in self._claims and claim.by != host.name:
                self.broken(1, "who writes a claim is who it names", f"{host.name}: {claim.by}")

    def _judge_claims(self, writer: Writer, before: Row, row: Row) -> None:
        """See that nobody ends another's claim before its term, but by a logout."""
        for identity, shared in before.sessions.items():
            after = row.sessions.get(identity)
            if shared.claim is None:
                if after is not None and after.stamp == row.tag and after.claim is None:
                    self._judge_unclaimed(writer, after)
                continue
            made = self._claims.get(shared.claim.id)
            if after is not None and after.claim is not None:
                stands = after.claim.id == shared.claim.id
            else:
                stands = after is not None and is_logged_out(after.session)
            if made is not None and after is not None and is_logged_out(after.session):
                self._taken_off.append(made)
            if made is None or stands or made.by == writer:
                continue
            age = self._written_at - made.at
            if age < shared.claim.term * (1 - 3 * self._world.plan.drift):
                names = f"{writer.host.name} ends {made.by.host.name}'s"
                self.broken(1, "another's claim stands for its term", f"{names} after {age:.3f} s")

    def _judge_unclaimed(self, writer: Writer, after: Shared) -> None:
        """See that nothing but a logout is written that follows no claim."""
        if not is_logged_out(after.session):
            self.broken(1, "what wasn't sent isn't written", writer.host.name)

    def _take_answers(self, host: "Host", row: Row) -> None:
        for claim, (secret, client, _) in list(self._answers.items()):
            if self._stands(claim, client):
                continue
            del self._answers[claim]
            shared = row.sessions.get(self._world.identities[client])
            held = None if shared is None else shared.session.refresh
            if self._claims[claim].by.host is host and (
                held is None or held.value.reveal != secret
            ):
                self._settled.add(secret)

    def _take_refusals(self, host: "Host") -> None:
        for claim, (secret, client) in list(self._refused.items()):
            if self._stands(claim, client):
                continue
            del self._refused[claim]
            if self._claims[claim].by.host is host:
                self._known_since.setdefault(secret, self._written_at)

    def _mind_steps(self, host: "Host") -> None:
        """Take note that a daemon wrote which may not know by itself of what it read."""
        now = self._written_at
        stood = host.stood_still
        if any(at <= now < at + 100.0 and stood > at - 600.0 for at in self._stepped):
            self._blind_until = now + WINDOW

    # Callers and logs

    def logged(self, host: "Host", event: str, fields: str) -> None:
        """Judge a line of a daemon's log."""
        super().logged(host, event, fields)
        if event == "fleet_row_unreadable":
            self.broken(0, "all rows can be read", f"{host.name}: {fields}")
        plan = self._world.plan
        if event == "fleet_not_reached" and {act.deed for act in plan.acts} == {Deed.ROW_LOCKED}:
            self.broken(7, "the trouble of one row isn't the fleet's", f"{host.name}: {fields}")

    def _tells_time(self, host: "Host") -> bool:
        # A step that is shorter may make a token look younger, and nobody can know.
        plan = self._world.plan
        steps = (act.value for act in plan.acts if act.deed is Deed.STORE_STEP)
        back = any(-plan.traits.lifetime - SLACK < step < 0 for step in steps)
        return super()._tells_time(host) and not back

    def _judge_holder(
        self, host: "Host", call: Call, token: str, *, ends: float, told: dict[str, Any]
    ) -> None:
        del ends  # it may be told by the store's clock
        now, plan = self._world.time.now, self._world.plan
        out = self.logged_out.get(str(told["profile"]))
        if out is not None and call.method != "login" and now > out + POLL + SLACK + 10.0:
            quiet = now > self._store_trouble_until and not plan.store_loss
            if quiet and now - host.stood_still > WATCH + POLL:
                self.broken(10, "a logout holds at all hosts", f"{token} at {host.name}")

    def _judge_gap(self, host: "Host", call: Call, error: dict[str, Any], name: str | None) -> None:
        """See that there is a token where nothing but crashes and stand-stills happened."""
        del name
        world, now = self._world, self._world.time.now
        plan = world.plan
        if plan.fault_rate or plan.store_loss or plan.slow_connect or plan.needle or world.calm:
            return
        if plan.store_late or now < self._trouble_until:
            return
        margin = min(plan.traits.lifetime / 4, *plan.margins)
        ends = sum(at > now - margin - 60.0 for at in self._ends)
        enough = (1 + ends) * 80.0 + 2 * plan.latency[1] + POLL + 5.0
        if margin < enough or now - host.stood_still < margin + 60.0:
            return
        if error["code"] == "BUDGET_SPENT":  # daemons were killed in one login after the other
            return
        if error["code"] == "NO_SUCH_PROFILE":  # there are two, and it named none
            return
        self.broken(4, "there is a live token at every daemon", f"{host.name}: {call}: {error}")

    # The whole, now and then

    def looked(self) -> None:
        """Look at what all daemons hold together."""
        world, now, row = self._world, self._world.time.now, self.row
        if row is None:
            return
        if world.plan.gentle and not world.plan.acts and now > self._written_at + AT_ONCE:
            self._judge_news(row)
        self._judge_answers()
        self._judge_waiting(row)
        barred = any(
            is_rejected(shared.session)
            and shared.session.refresh is None
            and shared.session.access is None
            for shared in row.sessions.values()
        )
        plan = world.plan
        weather = plan.fault_rate or plan.store_loss or plan.store_late or plan.needle
        quiet = now > self._trouble_until and not weather and not self._stepped and not self._losses
        able = len(row.ledger.entries) < LIMIT and row.ledger.clear < LIMIT
        able = able and any(
            host.runs
            and host.stored == world.deeds.right
            and now > host.stood_still + 2 * SETTLED
            and host.password_file(0).exists()
            for host in world.hosts
        )
        if not (barred and quiet and able):
            self._barred_since = now
        elif now > self._barred_since + 250.0:
            self.broken(10, "one host's password bars no other's", "all wait for an operator")

    def differing(self) -> str:
        """Return which tokens are held where not all hold the same; "": all do."""
        for name in self._world.profiles:
            held = [
                keeper.session.access
                for host in self._world.hosts
                if host.daemon is not None
                and (keeper := host.daemon.profiles.keepers.get(name)) is not None
            ]
            ids = {None if access is None else access.id for access in held}
            if len(ids) > 1:
                return f"{name}: {ids}"
        return ""

    def _judge_answers(self) -> None:
        """See that others are told what came of a refresh."""
        now = self._world.time.now
        if now < self._store_trouble_until or self._world.plan.store_loss:
            return
        for claim, (secret, client, at) in self._answers.items():
            writer = self._claims[claim].by
            host = writer.host
            awake = writer.life == host.life and max(host.stood_still, host.files_hang_until) < at
            if awake and now > at + WRITTEN and self._stands(claim, client):
                what = f"{host.name} has one to {secret} since {at:.3f}"
                self.broken(1, "an answer to a refresh is written", what)

    def _judge_waiting(self, row: Row) -> None:
        """See that nobody waits for a claim that isn't in the row."""
        world, now = self._world, self._world.time.now
        if now < self._store_trouble_until or world.plan.store_loss:
            return
        for number, name in enumerate(world.profiles):
            identity = world.identities[f"client-{number}"]
            shared, since = row.sessions.get(identity), self._unclaimed.get(identity, inf)
            if shared is None or shared.claim is not None or now < since + AWAITED:
                continue
            for host in world.hosts:
                awake = max(host.stood_still, host.files_hang_until) + AWAITED < now
                if host.daemon is None or not awake:
                    continue
                keeper = host.daemon.profiles.keepers.get(name)
                if keeper is None:
                    continue
                session = keeper.session
                doing, place = session.doing, (host.index, name)
                if not (isinstance(doing, Requesting) and isinstance(doing.request, Refresh)):
                    continue
                asked, began = self._waits.get(place, (-1, now))
                if asked != session.number:
                    self._waits[place] = session.number, now
                elif now > began + AWAITED:
                    rule = "nobody waits for a claim that isn't there"
                    self.broken(7, rule, f"{host.name}: {name}: {doing}")

    def _judge_news(self, row: Row) -> None:
        """See that all know in fine weather what one wrote."""
        for number, name in enumerate(self._world.profiles):
            shared = row.sessions.get(self._world.identities[f"client-{number}"])
            if shared is None or shared.session.access is None:
                continue
            wanted = shared.session.access.id
            for host in self._world.hosts:
                if host.daemon is None or self._world.time.now < host.began + AT_ONCE:
                    continue
                access = host.daemon.profiles.keepers[name].session.access
                if access is None or access.id != wanted:
                    since = self._world.time.now - self._written_at
                    rule = "in fine weather all know at once what one wrote"
                    self.broken(3, rule, f"{host.name} doesn't after {since:.1f} s")


def _claimed_by(host: "Host", shared: Shared) -> bool:
    return shared.claim is not None and shared.claim.by == host.name


def _named(sent: Sent) -> str:
    return f"{'login' if sent.login else 'refresh'} with {sent.secret}"


def _doing(shared: Shared) -> str:
    return type(shared.session.doing).__name__

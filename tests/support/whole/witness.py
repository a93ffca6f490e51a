"""Sees what the daemons do to the world, and holds it against the promises."""

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final

from simulation.promises.promise import Broken
from whole.clients import Answer, Call
from whole.configuration import Entry
from whole.plan import Act
from whole.servers import Sent

if TYPE_CHECKING:  # the world is made of this module
    from whole.host import Host
    from whole.world import World

WINDOW: Final = 900.0
REQUEST_TIMEOUT: Final = 60.0
"""Seconds that a request is waited for."""
SLACK: Final = 1.0
"""Seconds by which an answer may be late: clocks differ by as much as a request takes."""
WATCH: Final = 60.0
"""Seconds within which a daemon notices that its host was suspended."""
TOKEN_CALLS: Final = ("get_token", "refresh", "refuse", "login")


class Witness:
    """All that was seen, and what it promises: of a daemon that is alone."""

    waited: float = REQUEST_TIMEOUT - SLACK
    """Seconds that an answer is waited for at least."""

    def __init__(self, world: "World") -> None:
        self._world = world
        # Counted
        self.logins = self.refreshes = self.calls = self.tokens = self.rows = 0
        self.leaks = 0
        """Requests without a claim that nothing can prevent: see what the plan is `after`."""
        self.worst = 0
        """Rejected logins of an account in one window, at most."""
        self._locked = 0
        self.failovers: list[float] = []
        """Seconds from the end of a daemon that had a claim to the fleet's next request."""
        # Seen
        self._under_way: list[Sent] = []
        self._spent: dict[str, float] = {}
        self._rejected_at: dict[int, list[float]] = defaultdict(list)
        self._known: dict[tuple[int, str], float] = {}
        """Passwords that the daemon knows to be rejected, since when."""
        self._ordered: dict[int, float] = {}
        """When an operator last ordered a login of an account."""
        self._live: dict[str, tuple[str, float, int]] = {}
        """The token that each profile was last seen to hold: id, end, account."""
        self.logged_out: dict[str, float] = {}
        """Profiles whose logout was answered, and when; nobody ordered a login since."""
        self._disk_trouble_until = -inf

    @property
    def patience(self) -> float:
        """Return the seconds after which all hold the same token, once all is mended."""
        return 0.0

    def broken(self, promise: int, rule: str, complaint: str) -> None:
        """Say that a promise is broken: the run ends before anything else happens.

        Not here: a daemon may be at work, and would take the exception for one of its own.
        """
        complaint = f"{self._world.time.now:.3f}: {complaint}"
        broken = Broken(promise, rule.replace(" ", "_"), rule, complaint)
        self._world.time.broken = self._world.time.broken or broken

    # What happens

    def disturbed(self, act: Act) -> None:
        """Take note of a disturbance: what follows may be its doing."""

    def started(self, host: "Host") -> None:
        """Take note of a start: requests of before are nobody's any more."""
        self._under_way = [each for each in self._under_way if each.host is not host]

    def gone(self, host: "Host") -> None:
        """Take note that a daemon is killed, or stands still."""

    def disk_trouble(self, until: float) -> None:
        """Take note that the ledger can't be written for a while."""
        self._disk_trouble_until = max(self._disk_trouble_until, until)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Expect no certain token of these profiles any more; None: of none."""
        for name in list(self._live) if names is None else names:
            self._live.pop(name, None)

    def ordered(self, profile: str, accounts: Iterable[int]) -> None:
        """Take note that a login is ordered; the profile is of one of these accounts."""
        self._ordered.update(dict.fromkeys(accounts, self._world.time.now))
        self.logged_out.pop(profile, None)

    def has_logged_out(self, profile: str) -> None:
        """Take note that a logout was answered."""
        self.logged_out[profile] = self._world.time.now

    def looked(self) -> None:
        """Look at what all daemons hold together."""

    def differing(self) -> str:
        """Return which tokens are held where not all hold the same; "": all do."""
        return ""

    # Requests

    def sent(self, sent: Sent) -> None:
        """Judge a request as the server receives it."""
        self.logins += sent.login
        self.refreshes += not sent.login
        now = sent.at
        self._under_way = [each for each in self._under_way if each.open]
        if sent.login:
            self._judge_login(sent)
        else:
            spent = self._spent.get(sent.secret, inf)
            if now > spent and not sent.host.missed(spent):
                self.broken(
                    6,
                    "a refresh token isn't sent again after its use was answered",
                    f"{sent.secret}, answered at {spent:.3f}",
                )
            for other in self._under_way:
                if not other.login and other.secret == sent.secret:
                    self.broken(1, "one request at a time", f"{sent.secret} is under way twice")
        self._under_way.append(sent)

    def given_up(self, sent: Sent) -> None:
        """Judge that a daemon closed a connection before the answer came."""
        if sent.host.stops > 1:
            return  # by its operator's wish
        if self._world.time.now - sent.at < self.waited:
            self.broken(6, "a request that was sent is waited for", f"sent at {sent.at:.3f}")

    def _judge_login(self, sent: Sent) -> None:
        kind, whose = sent.secret.split("-")[1:3]
        if kind == "right" and int(whose) != sent.account:
            self.broken(
                13, "a password is sent for its own account", f"{sent.secret}: {sent.account}"
            )
        known = self._known.get((sent.account, sent.secret), inf)
        by_itself = sent.at > known and self._ordered.get(sent.account, -inf) < known
        if by_itself and not sent.host.missed(known):
            self.broken(
                5,
                "a rejected password isn't sent again by itself",
                f"{sent.secret} of user-{sent.account}, rejected at {known:.3f}",
            )
        if sent.at > self._disk_trouble_until:
            logins = sum(each.login and each.account == sent.account for each in self._under_way)
            noted = sent.host.noted_logins(sent.account)
            if noted < logins + 1:
                self.broken(
                    5,
                    "the ledger on disk knows of each login before it is sent",
                    f"{noted} noted for user-{sent.account}, {logins + 1} under way",
                )

    def acted(self, sent: Sent) -> None:
        """Count what the server made of a login."""
        if sent.login and sent.rejected:
            times = self._rejected_at[sent.account]
            now = self._world.time.now
            times.append(now)
            young = sum(now - each < WINDOW for each in times)
            self.worst = max(self.worst, young)
            if young > 4:
                self.broken(5, "few rejected logins in a quarter of an hour", f"{times[-5:]}")
            # After three, an operator may still try one password each quarter of an hour.
            if self._world.servers.model.lockouts > self._locked and young > 1:
                self.broken(5, "only an operator's patience locks an account", f"{times[-5:]}")
            self._locked = self._world.servers.model.lockouts

    def answered(self, sent: Sent, *, clear: bool) -> None:
        """Take note of an answer that reached a daemon; `clear`: in the server's own words."""
        now = self._world.time.now
        if sent.login and clear:
            if sent.rejected:
                self._known.setdefault((sent.account, sent.secret), now)
            else:
                self._known.pop((sent.account, sent.secret), None)
        elif clear and sent.said is not None:
            replaced = b"refresh_token" in sent.said[1]
            if sent.rejected or (sent.said[0] == 200 and replaced):
                self._spent.setdefault(sent.secret, now)

    # Callers

    def logged(self, host: "Host", event: str, fields: str) -> None:
        """Judge a line of a daemon's log."""
        if "hush" in fields:
            self.broken(9, "no secret is in the log", f"{event} {fields}")
        if event == "internal_fault":
            self.broken(0, "no internal error", f"{host.name}: {fields}")

    def told(self, host: "Host", call: Call, error: Answer, result: Answer) -> None:
        """Judge an answer."""
        self.calls += 1
        now = self._world.time.now
        if error is None and result is None and call.life != host.life:
            return  # its daemon is gone
        said = str(error) if error else "" if call.method in TOKEN_CALLS else str(result)
        if "hush" in said:
            self.broken(9, "no secret is in an error or a status", f"{call}: {said}")
        unwritten = call.method == "logout"  # the disk, or the store, may not have it
        if error is not None and error["code"] == "INTERNAL" and not unwritten:
            self.broken(0, "no internal error", f"{host.name}: {call}: {error}")
        late = now - call.deadline
        made = call.deadline - float(call.params.get("wait", 0.0))
        if late > SLACK and host.stood_still < made - WATCH - 5.0:
            rule = "every call is answered by its wait"
            self.broken(8, rule, f"{host.name}: {call}: {late:.1f} s late")
        if call.method in TOKEN_CALLS and result is not None:
            self._judge_token(host, call, result)
        elif call.method in TOKEN_CALLS and error is not None:
            self._judge_error(host, call, error)
        if result is not None and call.method == "status" and "profile" not in call.params:
            self._judge_status(host, call, result)

    def _judge_token(self, host: "Host", call: Call, result: dict[str, Any]) -> None:
        now = self._world.time.now
        self.tokens += 1
        token, name = str(result["access_token"]), str(result["profile"])
        account = int(token.split("-")[2])
        model = self._world.servers.model
        ends, killed = model.ends(token), model.killed(token)
        least = call.params.get("min_ttl")
        if least is not None and result["expires_in"] < least:
            self.broken(
                2, "a token lives as long as was asked", f"{result['expires_in']} of {least}"
            )
        entries = [each.entries.get(name) for each in host.in_force]
        if not any(_fits(entry, account, call.uid) for entry in entries):
            self.broken(
                10,
                "nobody is handed a token that neither the old nor the new configuration allows",
                f"uid {call.uid} got {token} of {name}; {entries}",
            )
        if call.method == "refuse" and result["id"] == call.params["id"]:
            self.broken(2, "a refused token isn't handed out again", token)
        if now >= ends and not killed and self._tells_time(host):
            self.broken(2, "no dead token is served", f"{token} at {host.name} to {call}")
        self._judge_holder(host, call, token, ends=inf if killed else ends, told=result)

    def _tells_time(self, host: "Host") -> bool:
        """Return whether a host's daemon can know when its tokens end."""
        return not host.frozen

    def _judge_holder(
        self, host: "Host", call: Call, token: str, *, ends: float, told: dict[str, Any]
    ) -> None:
        """Judge what a token's call says of its profile."""
        now, name, left = self._world.time.now, str(told["profile"]), float(told["expires_in"])
        if left > ends - now + SLACK:
            self.broken(2, "a token's end is told right", f"{left} of {ends - now}")
        if name in self.logged_out and call.method != "login":
            self.broken(14, "a logout holds until a login is ordered", f"{token} to {call}")
        if host.runs:
            self._live[name] = (str(told["id"]), now + left, int(token.split("-")[2]))

    def _judge_error(self, host: "Host", call: Call, error: dict[str, Any]) -> None:
        configurations = host.in_force
        code, wanted = error["code"], call.params.get("profile")
        # A call without a name means the default profile of when it was made.
        names = {each.named(wanted) for each in (*call.configurations, *configurations)}
        there = None not in names and all(
            name in each.entries for name in names for each in configurations
        )
        allowed = there and all(
            each.entries[name].allows(call.uid) for name in names if name for each in configurations
        )
        if code == "NO_SUCH_PROFILE" and allowed and len(names) == 1:
            self.broken(11, "a profile of both configurations is there", f"{call}: {error}")
        costs_login = "takes a login" in str(error["message"])  # early, which is for operators
        if code == "NOT_ALLOWED" and allowed and not costs_login:
            self.broken(10, "whom both configurations allow isn't refused", f"{call}: {error}")
        if len(names) == 1 and call.method == "get_token" and "min_ttl" not in call.params:
            self._judge_gap(host, call, error, names.pop())

    def _judge_gap(self, host: "Host", call: Call, error: dict[str, Any], name: str | None) -> None:
        """Judge that there is no token."""
        if name not in self._live:
            return
        identifier, ends, account = self._live[name]
        entries = [each.entries.get(name) for each in host.in_force]
        same = all(_fits(entry, account, call.uid) for entry in entries)
        if same and self._world.time.now < ends:
            self.broken(3, "a live token is served at once", f"{identifier} to {call}: {error}")

    def _judge_status(self, host: "Host", call: Call, result: dict[str, Any]) -> None:
        newest, *others = host.in_force
        if call.uid != 0 or others:
            return
        there, wanted = set(result["profiles"]), set(newest.entries)
        if there != wanted:
            self.broken(12, "a reload's answer is true", f"{there ^ wanted} differ")


def _fits(entry: Entry | None, account: int, uid: int) -> bool:
    return entry is not None and entry.account == account and entry.allows(uid)

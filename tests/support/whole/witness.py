"""Sees what the daemon does to the world, and holds it against the promises."""

from collections import defaultdict
from collections.abc import Iterable
from math import inf
from typing import TYPE_CHECKING, Any, Final, final

from simulation.promises.promise import Broken
from whole.clients import Answer, Call
from whole.configuration import Configuration, Entry
from whole.servers import Sent

if TYPE_CHECKING:  # the world is made of this module
    from openfit_tokend.app import Daemon
    from whole.world import World

WINDOW: Final = 900.0
REQUEST_TIMEOUT: Final = 60.0
"""Seconds that a request is waited for."""
SLACK: Final = 1.0
"""Seconds by which an answer may be late: clocks differ by as much as a request takes."""
AT_ONCE: Final = 0.01
"""Seconds within which the daemon takes note of an answer, and has written it down."""
WATCH: Final = 60.0
"""Seconds within which the daemon notices that its host was suspended."""
TOKEN_CALLS: Final = ("get_token", "refresh", "refuse", "login")


@final
class Witness:
    """All that was seen, and what it promises."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.requests = 0
        self.answers = 0
        self.tokens = 0
        self._under_way: list[Sent] = []
        self._spent: dict[str, float] = {}
        self._rejections: dict[int, list[float]] = defaultdict(list)
        self._known: dict[tuple[int, str], float] = {}
        """Passwords that the daemon knows to be rejected, since when."""
        self.ordered: dict[int, float] = {}
        """When an operator last ordered a login of an account."""
        self._live: dict[str, tuple[str, float, int]] = {}
        """The token that each profile was last seen to hold: id, end, account."""
        self.logged_out: set[str] = set()
        """Profiles whose logout was answered, and that nobody ordered to log in since."""
        self._disk_trouble_until = -inf
        self.groggy_until = -inf

    def broken(self, promise: int, rule: str, complaint: str) -> None:
        """Say that a promise is broken: the run ends in the loop's next waiting.

        Not here: the daemon may be at work, and would take the exception for one of its own.
        """
        complaint = f"{self._world.time.now:.3f}: {complaint}"
        broken = Broken(promise, rule.replace(" ", "_"), rule, complaint)
        self._world.time.broken = self._world.time.broken or broken

    # The daemon's life

    def started(self) -> None:
        """Take note of a start: requests of before are nobody's any more."""
        self._under_way.clear()

    def ended(self, daemon: "Daemon", tasks: set[Any], descriptors: set[int]) -> None:
        """Look at what an orderly stop has left behind."""
        if descriptors:
            self.broken(8, "after a stop no descriptor is left", f"{descriptors}")
        left = [each for each in tasks if not each.done()]
        if left:
            self.broken(8, "after a stop no task is left", f"{left}")
        for name, keeper in daemon.profiles.keepers.items():
            if keeper.waiting:
                self.broken(8, "after a stop nobody waits", f"{keeper.waiting} at {name}")

    def disk_trouble(self, until: float) -> None:
        """Take note that the ledger can't be written for a while."""
        self._disk_trouble_until = max(self._disk_trouble_until, until)

    def forget(self, names: Iterable[str] | None = None) -> None:
        """Expect no certain token of these profiles any more; None: of none."""
        for name in list(self._live) if names is None else names:
            self._live.pop(name, None)

    # Requests

    def sent(self, sent: Sent) -> None:
        """Judge a request as the server receives it."""
        self.requests += 1
        now = sent.at
        self._under_way = [each for each in self._under_way if each.open]
        if sent.login:
            self._judge_login(sent)
        else:
            spent = self._spent.get(sent.secret, inf)
            if now > spent and not self._killed_at(spent):
                self.broken(
                    6,
                    "a refresh token isn't sent again after its use was answered",
                    f"{sent.secret}, answered at {spent:.3f}",
                )
            for other in self._under_way:
                if not other.login and other.secret == sent.secret and other.life == sent.life:
                    self.broken(1, "one request at a time", f"{sent.secret} is under way twice")
        self._under_way.append(sent)

    def _killed_at(self, moment: float) -> bool:
        """Return whether the daemon was killed just then: before it could take note of an answer."""
        return abs(self._world.machine.killed_at - moment) < AT_ONCE

    def given_up(self, sent: Sent) -> None:
        """Judge that the daemon closed a connection before the answer came."""
        if self._world.machine.stops > 1:
            return  # by its operator's wish
        if self._world.time.now - sent.at < REQUEST_TIMEOUT - SLACK:
            self.broken(6, "a request that was sent is waited for", f"sent at {sent.at:.3f}")

    def _judge_login(self, sent: Sent) -> None:
        kind, whose = sent.secret.split("-")[1:3]
        if kind == "right" and int(whose) != sent.account:
            self.broken(
                13, "a password is sent for its own account", f"{sent.secret}: {sent.account}"
            )
        known = self._known.get((sent.account, sent.secret), inf)
        by_itself = sent.at > known and self.ordered.get(sent.account, -inf) < known
        if by_itself and not self._killed_at(known):
            self.broken(
                5,
                "a rejected password isn't sent again by itself",
                f"{sent.secret} of user-{sent.account}, rejected at {known:.3f}",
            )
        if sent.at > self._disk_trouble_until:
            logins = sum(each.login and each.account == sent.account for each in self._under_way)
            noted = self._world.noted_logins(sent.account)
            if noted < logins + 1:
                self.broken(
                    5,
                    "the ledger on disk knows of each login before it is sent",
                    f"{noted} noted for user-{sent.account}, {logins + 1} under way",
                )

    def acted(self, sent: Sent) -> None:
        """Count what the server made of a login."""
        if sent.login and sent.rejected:
            times = self._rejections[sent.account]
            now = self._world.time.now
            times.append(now)
            if sum(now - each < WINDOW for each in times) > 4:
                self.broken(5, "few rejected logins in a quarter of an hour", f"{times[-5:]}")
        if self._world.servers.model.lockouts:
            self.broken(5, "no account is locked", f"user-{sent.account}")

    def answered(self, sent: Sent, *, clear: bool) -> None:
        """Take note of an answer that reached the daemon; `clear`: in the server's own words."""
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

    def logged(self, event: str, fields: str) -> None:
        """Judge a line of the log."""
        if "hush" in fields:
            self.broken(9, "no secret is in the log", f"{event} {fields}")
        if event == "internal_fault":
            self.broken(0, "no internal error", fields)

    def told(self, call: Call, error: Answer, result: Answer) -> None:
        """Judge an answer."""
        self.answers += 1
        said = str(error) if error else "" if call.method in TOKEN_CALLS else str(result)
        if error is None and result is None and call.life != self._world.machine.life:
            return  # its daemon is gone
        if "hush" in said:
            self.broken(9, "no secret is in an error or a status", f"{call}: {said}")
        configurations = self._world.in_force
        name = call.params.get("profile")
        if call.method in TOKEN_CALLS:
            if result is not None:
                self._judge_token(call, result, configurations)
            elif error is not None:
                self._judge_error(call, error, configurations)
        if result is not None and call.method == "status" and name is None:
            self._judge_status(call, result, configurations)
        late = self._world.time.now - call.deadline
        if late > SLACK and self._world.time.now > self.groggy_until:
            self.broken(8, "every call is answered by its wait", f"{call}: {late:.1f} s late")

    def _judge_token(
        self, call: Call, result: dict[str, Any], configurations: tuple[Configuration, ...]
    ) -> None:
        world, now = self._world, self._world.time.now
        self.tokens += 1
        token, name = str(result["access_token"]), str(result["profile"])
        account = int(token.split("-")[2])
        ends, killed = world.servers.model.ends(token), world.servers.model.killed(token)
        if now >= ends and not killed:
            self.broken(2, "no dead token is served", f"{token} to {call}")
        if not killed and result["expires_in"] > ends - now + SLACK:
            self.broken(2, "a token's end is told right", f"{result['expires_in']} of {ends - now}")
        least = call.params.get("min_ttl")
        if least is not None and result["expires_in"] < least:
            self.broken(
                2, "a token lives as long as was asked", f"{result['expires_in']} of {least}"
            )
        entries = [each.entries.get(name) for each in configurations]
        if not any(_fits(entry, account, call.uid) for entry in entries):
            self.broken(
                10,
                "nobody is handed a token that neither the old nor the new configuration allows",
                f"uid {call.uid} got {token} of {name}; {entries}",
            )
        if name in self.logged_out and call.method != "login":
            self.broken(14, "a logout holds until a login is ordered", f"{token} to {call}")
        if call.method == "refuse" and result["id"] == call.params["id"]:
            self.broken(2, "a refused token isn't handed out again", token)
        self._live[name] = (str(result["id"]), now + result["expires_in"], account)

    def _judge_error(
        self, call: Call, error: dict[str, Any], configurations: tuple[Configuration, ...]
    ) -> None:
        code, wanted = error["code"], call.params.get("profile")
        # A call without a name means the default profile of when it was made.
        names = {each.named(wanted) for each in (*call.configurations, *configurations)}
        there = None not in names and all(
            name in each.entries for name in names for each in configurations
        )
        if code == "INTERNAL":
            self.broken(0, "no internal error", f"{call}: {error}")
        allowed = there and all(
            each.entries[name].allows(call.uid) for name in names if name for each in configurations
        )
        if code == "NO_SUCH_PROFILE" and allowed and len(names) == 1:
            self.broken(11, "a profile of both configurations is there", f"{call}: {error}")
        costs_login = "takes a login" in str(error["message"])  # early, which is for operators
        if code == "NOT_ALLOWED" and allowed and not costs_login:
            self.broken(10, "whom both configurations allow isn't refused", f"{call}: {error}")
        name = next(iter(names))
        if call.method == "get_token" and "min_ttl" not in call.params and name in self._live:
            identifier, ends, account = self._live[name]
            entries = [each.entries.get(name) for each in configurations]
            same = all(_fits(entry, account, call.uid) for entry in entries)
            if same and len(names) == 1 and self._world.time.now < ends:
                self.broken(3, "a live token is served at once", f"{identifier} to {call}: {error}")

    def _judge_status(
        self, call: Call, result: dict[str, Any], configurations: tuple[Configuration, ...]
    ) -> None:
        newest, *others = configurations
        if call.uid != 0 or others:
            return
        there, wanted = set(result["profiles"]), set(newest.entries)
        if there != wanted:
            self.broken(12, "a reload's answer is true", f"{there ^ wanted} differ")


def _fits(entry: Entry | None, account: int, uid: int) -> bool:
    return entry is not None and entry.account == account and entry.allows(uid)

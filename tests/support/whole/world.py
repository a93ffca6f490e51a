"""One run of a plan: the hosts, their daemons, and all that surrounds them."""

import os
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from secrets import token_hex
from select import EPOLLIN, epoll
from shutil import rmtree
from signal import SIGTERM
from tempfile import gettempdir
from typing import Any, Final, final

import sniffio

from whole.clients import Answer, Call, Clients, short
from whole.configuration import FIRST_USER, Administrator, Configuration, shared
from whole.deeds import Deeds
from whole.fleet_witness import FleetWitness
from whole.graves import Graves
from whole.host import Host
from whole.network import Form, Stream
from whole.plan import Deed, Plan
from whole.servers import Servers
from whole.stand_ins import in_place_of_the_hosts
from whole.store import Store
from whole.time import Time
from whole.witness import Witness

CALM: Final = 900.0 + 2 * 75.0 + 60.0 + 2 * 90.0
"""Seconds in which all must be well again, once all is mended: the ledger's window, requests or
claims one after the other, and a suspend that is noticed late."""
REJECTED: Final = 3600.0
"""Seconds more where the client was rejected: that is looked at once an hour."""
LOOK: Final = 10.0
"""Seconds between two looks whether all is well."""
ROUNDS: Final = 20.0
"""Seconds between two looks of the witness at the whole."""
NEEDLE: Final = 0.2
"""The part of the requests whose daemon stands still on the way, where the plan wants it."""
WAITS: Final = (0.0, 0.5, 5.0, 30.0, 30.0)
"""Seconds that callers wait."""
CURIOUS: Final = 0.2
"""The part of the loop's passes within a reload in which somebody asks for something."""
CHANGING: Final = 0.5
"""The part of them that ask for a profile that the reload changes."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- each run makes a directory of its own in it
"""A file system in memory: a ledger is written ten thousand times."""
PID: Final = f"'pid': {os.getpid()}"
"""How the log names a caller's process."""
STORES: Final = {
    "postgresql": "postgresql://openfit@127.0.0.1/openfit",
    "etcd": "etcd+http://127.0.0.1",
}

Then = Callable[[Answer, Answer], object]
"""Is given the error and the result of a call."""


@final
class World:
    """Everything of one run. `story`: lines of what happened, where somebody wants to read it."""

    host: Host
    """The host whose daemon is at work, or was last."""
    store: Store
    """The fleet's, if there is one."""

    def __init__(self, plan: Plan, story: list[str] | None = None) -> None:
        self.plan = plan
        self.story = story
        self.rng = Random(plan.seed * 1_000_003 + 1)  # noqa: S311 -- a seed is to decide it
        self.time = Time()
        # Hexadecimal, so that no name holds the word by which the witness knows a secret.
        self.directory = (MEMORY if MEMORY.is_dir() else Path(gettempdir())) / f"oft-{token_hex(8)}"
        self.directory.mkdir(mode=0o700)
        self.identities: dict[str, bytes] = {}
        """By what a row names the session of each client."""
        self.calm = False
        """All is mended, and nobody disturbs any more."""
        self.stopping = False
        """Nothing is started any more."""
        self.over = False
        life = plan.traits.life if plan.life_is_known else 0.0
        self.administrator = Administrator(self.rng, plan.accounts, plan.users, life)
        self.witness = Witness(self)
        if plan.engine:
            self.witness = witness = FleetWitness(self)
            self.store = Store(self, witness)
        self.deeds = Deeds(self)
        self.servers = Servers(self, dict(self.deeds.right))
        self.graves = Graves()
        self._epoll = epoll()
        self._watched: dict[int, Host] = {}
        self._callers: dict[int, Clients] = {}
        self.profiles = tuple(f"p{number}" for number in range(plan.profiles))
        """Those that there are at first."""
        hosts = range(plan.hosts)
        self.hosts = [Host(self, index, self.configuration(index)) for index in hosts]
        for host in self.hosts:
            self._callers[host.clients.fileno()] = host.clients
            self._epoll.register(host.clients.fileno(), EPOLLIN)
        self.host = self.hosts[0]

    def configuration(self, index: int) -> Configuration:
        """Return the configuration that a host has at first."""
        plan = self.plan
        if not plan.engine:
            return self.administrator.first(plan.profiles)
        host = self.directory / f"host-{index}"
        lines = (
            "[fleet]",
            f'store = "{STORES[plan.engine]}"',
            f'key_file = "{host / "key"}"',
            f'member = "{host.name}"',
        )
        return shared(plan.profiles, plan.margins[index % len(plan.margins)], "\n".join(lines))

    def run(self) -> None:
        """Let the whole plan happen, and see that all is well in the end.

        Raises:
            Broken: a promise doesn't hold.
        """
        library = sniffio.current_async_library_cvar.set("asyncio")  # as anyio.run does
        try:
            with in_place_of_the_hosts(self):
                try:
                    self._live()
                finally:
                    self.over = True
                    for host in self.hosts:
                        host.close()
                    self.graves.close()
        finally:
            self._epoll.close()
            sniffio.current_async_library_cvar.reset(library)
            rmtree(self.directory, ignore_errors=True)

    def tell(self, who: str, what: str) -> None:
        """Take a line of the story down."""
        if self.story is not None:
            same_everywhere = what.replace(str(self.directory), "").replace(PID, "'pid': 1")
            self.story.append(f"{self.time.now:12.3f}  {who:<9} {same_everywhere}")

    # What the daemon at work finds

    def logged(self, event: str, fields: str) -> None:
        """Take a line of its log, but not what is said at its burial."""
        if not self.over:
            self.tell(f"{self.host.name}.log", f"{event} {fields}")
            self.witness.logged(self.host, event, fields)

    def takes(self, kind: str) -> float:
        """Return how many seconds a blocking call of a kind takes there."""
        host = self.host
        hangs = host.disk_hangs_until if kind == "ledger" else host.files_hang_until
        return max(0.0, hangs - self.time.now) + self.rng.choice((0.0, 0.001))

    def connects(self, host: Host) -> float | None:
        """Return the seconds until a connection to the token server stands; None: it is refused."""
        if self.time.now < host.no_server_until:
            return None
        if not self.calm and host.index >= self.plan.hosts - self.plan.cut_off:
            return self.rng.choice((None, inf))
        takes = self.servers.connects()
        if self.calm or takes is None:
            return takes
        if self.plan.needle == "before" and self.rng.random() < NEEDLE:
            self.deeds.stand_still(host)
        slow = self.rng.random() < self.plan.slow_connect
        return takes + (self.rng.uniform(5.0, 14.0) if slow else 0.0)

    def received(self, stream: Stream, path: str, form: Form) -> None:
        """Take a whole request, unless its daemon stood still when it had looked a last time."""
        host = self.host
        if self.plan.needle != "after" or self.calm or self.rng.random() >= NEEDLE:
            self.servers.received(stream, path, form)
            return
        life, seconds = host.life, self.deeds.stand_still(host)

        def go_on() -> None:
            if host.life == life:
                with host.here():
                    self.servers.received(stream, path, form)

        self.time.at(self.time.now + seconds, go_on)

    # The hosts' turns

    def watch(self, fd: int, host: Host) -> None:
        """Give a host a pass whenever a descriptor of its loop can be read."""
        self._watched[fd] = host
        self._epoll.register(fd, EPOLLIN)

    def look_away(self, fd: int) -> None:
        """Watch a descriptor no more."""
        del self._watched[fd]
        self._epoll.unregister(fd)

    def run_until(self, end: float) -> None:
        """Let all happen that is to happen until then."""
        time = self.time
        while True:
            time.judge()
            if self._make_passes():
                continue
            coming = min(time.next, *(host.wakes_at for host in self.hosts), inf)
            if coming > end:
                time.now = max(time.now, end)
                return
            if time.next <= coming:
                time.happen()
            else:
                time.now = max(time.now, coming)

    def _make_passes(self) -> bool:
        """Let callers and every host do what there is to do; return whether there was anything."""
        now, made, readable = self.time.now, False, set[Host]()
        for fd, _events in self._epoll.poll(0):
            if (clients := self._callers.get(fd)) is not None:
                clients.read()
                made = True
            else:
                readable.add(self._watched[fd])
        for host in self.hosts:
            wanted = host.ready or host.wakes_at <= now or host in readable
            if wanted and host.runs:
                host.make_a_pass()
                made = True
        return made

    def between_passes(self, host: Host) -> None:
        """Let callers come in the middle of a reload, which takes no time."""
        if len(host.in_force) > 1 and self.rng.random() < CURIOUS:
            self._ask_for_what_changes(host)

    def _live(self) -> None:
        plan = self.plan
        self.deeds.prepare()
        for host in self.hosts:
            self.time.at(self.rng.uniform(0.0, 2.0), host.start)
            for uid in (0, *range(FIRST_USER, FIRST_USER + plan.users)):
                self._ask_again(host, uid)
        for act in plan.acts:
            self.time.at(act.at, partial(self.deeds.do, act))
        self._look_round()
        self.run_until(plan.duration)
        if not plan.collisions:  # a new password may look like a wrong one
            self._become_calm()
        self._stop()
        self.time.judge()

    def _look_round(self) -> None:
        self.witness.looked()
        if not self.calm:
            self.time.at(self.time.now + ROUNDS, self._look_round)

    # Callers

    def ask(self, host: Host, uid: int) -> None:
        """Let a user of a host ask for something."""
        rng = self.rng
        name = rng.choice([None, *host.wanted.entries])
        method = rng.choice(("get_token",) * 7 + ("refresh", "status", "hello", "refuse"))
        if self.plan.gentle:
            method = "get_token"
        params: dict[str, Any] = {}
        if name is not None and method != "hello":
            params["profile"] = name
        if method in {"get_token", "refresh", "refuse"}:
            params["wait"] = rng.choice(WAITS)
        if method == "get_token" and not self.plan.gentle and rng.random() < 0.2:
            params["min_ttl"] = float(rng.choice((1, 5, 15)))
        if method == "refuse":
            params["id"] = "none"
        self.call(host, uid, method, params)

    def _ask_for_what_changes(self, host: Host) -> None:
        """Let a user ask for a profile that a reload changes, or for any."""
        uid = self.rng.choice((0, *range(FIRST_USER, FIRST_USER + self.plan.users)))
        old, new = host.in_force[0].entries, host.in_force[-1].entries
        changing = [name for name in old.keys() & new.keys() if old[name] != new[name]]
        if changing and self.rng.random() < CHANGING:
            name = self.rng.choice(sorted(changing))
            self.call(host, uid, "get_token", {"profile": name, "wait": 0.0})
        else:
            self.ask(host, uid)

    def call(
        self, host: Host, uid: int, method: str, params: dict[str, Any], then: Then | None = None
    ) -> None:
        """Make a call at a host, and judge its answer. Nobody calls where nothing runs."""

        def told(call: Call, error: Answer, result: Answer) -> None:
            if self.story is not None:
                self.tell(f"{host.name}.{uid}", f"{method} {params}: {short(error, result)}")
            self.witness.told(host, call, error, result)
            if then is not None:
                then(error, result)
            elif method == "get_token" and result is not None:
                self._use(host, uid, result)

        waits = 0.0 if method in {"hello", "status"} else 3600.0
        deadline = self.time.now + float(params.get("wait", waits))
        call = Call(uid, method, params, deadline, told, host.life, host.in_force)
        if (not host.runs or not host.clients.ask(call)) and then is not None:
            then(None, None)

    def _ask_again(self, host: Host, uid: int) -> None:
        def come() -> None:
            if not self.calm:
                self.ask(host, uid)
                self._ask_again(host, uid)

        self.time.at(self.time.now + self.rng.expovariate(1 / self.plan.pause), come)

    def _use(self, host: Host, uid: int, result: dict[str, Any]) -> None:
        """Use a token at the API; say so if it refuses it."""
        if not self.servers.model.api(result["access_token"], self.time.now):
            params = {"profile": result["profile"], "id": result["id"], "wait": 20.0}
            self.call(host, uid, "refuse", params)

    # The end

    def _become_calm(self) -> None:
        """Mend all, and look until CALM is over whether all is well."""
        self.tell("plan", "all is mended")
        self.calm = True
        self.servers.mend()
        self.deeds.mend()
        rejects = any(act.deed is Deed.BAD_DEPLOY for act in self.plan.acts)
        ends = self.time.now + CALM + (REJECTED if rejects or self.plan.fault_rate else 0.0)
        while unwell := self._unwell():
            if self.time.now > ends:
                self.witness.broken(4, "once all is mended all is well", "; ".join(unwell))
            self.run_until(self.time.now + LOOK)
        ends = self.time.now + self.witness.patience
        while differing := self.witness.differing():
            if self.time.now > ends:
                self.witness.broken(3, "all hold the same token in the end", differing)
            self.run_until(self.time.now + 1.0)

    def _unwell(self) -> list[str]:
        """Ask for each token at each host; return what is missing. Only who is logged out is logged in."""
        missing: list[str] = []

        def judged(host: Host, name: str, error: Answer, result: Answer) -> None:
            if result is None:
                missing.append(f"{host.name}/{name}: {error and error['message']}")
            if error is not None and error["code"] == "LOGGED_OUT":
                self.deeds.log_in(host, name)

        for host in self.hosts:
            for name in host.wanted.entries:
                then = partial(judged, host, name)
                self.call(host, 0, "get_token", {"profile": name, "wait": 0.0}, then)
        self.run_until(self.time.now + 0.1)
        return missing

    def _stop(self) -> None:
        """Stop all daemons in good order."""
        self.stopping, ends = True, self.time.now + CALM
        for host in self.hosts:
            host.send(SIGTERM)
        while running := [host.name for host in self.hosts if host.daemon is not None]:
            if self.time.now > ends:
                self.witness.broken(8, "an orderly stop ends", f"{running}")
            self.run_until(self.time.now + LOOK)

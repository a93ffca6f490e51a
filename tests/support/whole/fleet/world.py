"""One run of a plan: the hosts of a fleet, and all that surrounds them."""

from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from select import EPOLLIN, epoll
from shutil import rmtree
from tempfile import mkdtemp
from typing import Any, Final, final

import sniffio

from whole.clients import Answer, Call, Clients, short
from whole.fleet.deeds import Deeds
from whole.fleet.host import Host
from whole.fleet.plan import Plan
from whole.fleet.stand_ins import in_place_of_the_hosts
from whole.fleet.store import Store
from whole.fleet.witness import Witness
from whole.graves import Graves
from whole.network import Form, Stream
from whole.servers import Servers
from whole.time import Time
from whole.world import MEMORY, PID

CALM: Final = 900.0 + 2 * 75.0 + 60.0 + 2 * 90.0
"""Seconds in which all must be well again, once all is mended: the ledger's window, claims one after
the other, and a suspend that is noticed late."""
LOOK: Final = 10.0
"""Seconds between two looks whether all is well."""
ROUNDS: Final = 20.0
"""Seconds between two looks of the witness at the whole."""
NEEDLE: Final = 0.2
"""The part of the requests whose daemon stands still on the way, where the plan wants it."""
WAITS: Final = (0.0, 5.0, 30.0, 30.0)
"""Seconds that callers wait."""

Then = Callable[[Answer, Answer], object]
"""Is given the error and the result of a call."""


@final
class World:
    """Everything of one run. `story`: lines of what happened, where somebody wants to read it."""

    machine: Host
    """The host whose daemon is at work, or was last."""

    def __init__(self, plan: Plan, story: list[str] | None = None) -> None:
        self.plan = plan
        self.story = story
        self.rng = Random(plan.seed * 1_000_003 + 1)  # noqa: S311 -- a seed is to decide it
        self.time = Time()
        self.directory = Path(mkdtemp(prefix="oft-", dir=MEMORY if MEMORY.is_dir() else None))
        self.identities: dict[str, bytes] = {}
        """By what a row names the session of each client."""
        self.calm = False
        """All is mended, and nobody disturbs any more."""
        self.witness = Witness(self)
        self.store = Store(self)
        self.deeds = Deeds(self)
        self.servers = Servers(self, {0: self.deeds.right})
        self.graves = Graves()
        self._epoll = epoll()
        self._watched: dict[int, Host] = {}
        self._callers: dict[int, Clients] = {}
        self.hosts = [Host(self, index) for index in range(plan.hosts)]
        for host in self.hosts:
            self._callers[host.clients.fileno()] = host.clients
            self._epoll.register(host.clients.fileno(), EPOLLIN)
        self.machine = self.hosts[0]
        self._over = False

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
                    self._over = True
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

    def boot(self) -> float:
        """Return what CLOCK_BOOTTIME shows at the host that is at work."""
        return self.machine.clock.boot()

    async def connect_tcp(self, *_host_and_port: object, **_more: object) -> Stream:
        """Connect to the token server from there."""
        return await self.machine.network.connect_tcp()

    def logged(self, event: str, fields: str) -> None:
        """Take a line of its log, but not what is said at its burial."""
        if self._over:
            return
        self.tell(f"{self.machine.name}.log", f"{event} {fields}")
        self.witness.logged(self.machine, event, fields)

    def takes(self, kind: str) -> float:
        """Return how many seconds a blocking call of a kind takes there."""
        hangs = self.machine.files_hang_until if kind != "ledger" else -inf
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
        return takes + (
            self.rng.uniform(5.0, 14.0) if self.rng.random() < self.plan.slow_connect else 0
        )

    def received(self, stream: Stream, path: str, form: Form) -> None:
        """Take a whole request, unless its daemon stood still when it had looked a last time."""
        host = self.machine
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
            coming = min(time.next, *(host.wakes_at for host in self.hosts))
            if coming > end:
                time.now = max(time.now, end)
                return
            if time.next <= coming:
                time.advance(coming)
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

    def _live(self) -> None:
        plan = self.plan
        self.deeds.prepare()
        for host in self.hosts:
            self.time.at(self.rng.uniform(0.0, 2.0), host.start)
            self._ask_again(host)
        for act in plan.acts:
            self.time.at(act.at, partial(self.deeds.do, act))
        self._look_round()
        self.run_until(plan.duration)
        self._become_calm()
        self.time.judge()

    def _look_round(self) -> None:
        self.witness.looked()
        if not self.calm:
            self.time.at(self.time.now + ROUNDS, self._look_round)

    # Callers

    def ask(self, host: Host) -> None:
        """Let a client of a host ask for something."""
        rng = self.rng
        params: dict[str, Any] = {
            "profile": rng.choice(self.deeds.profiles),
            "wait": rng.choice(WAITS),
        }
        what = rng.random()
        if what < 0.75 or self.plan.gentle:
            self.call(host, "get_token", params, partial(self._use, host))
        elif what < 0.85:
            self.call(host, "refresh", params)
        elif what < 0.95:
            self.call(host, "status", {})
        else:
            self.call(host, "refuse", params | {"id": "none"})

    def call(
        self, host: Host, method: str, params: dict[str, Any], then: Then | None = None
    ) -> None:
        """Make a call at a host, and judge its answer. Nobody calls where nothing runs."""

        def told(call: Call, error: Answer, result: Answer) -> None:
            if self.story is not None:
                self.tell(f"{host.name}.who", f"{method} {params}: {short(error, result)}")
            self.witness.told(host, call, error, result)
            if then is not None:
                then(error, result)

        wait = float(params.get("wait", 0.0 if method == "status" else 3600.0))
        call = Call(0, method, params, self.time.now + wait, told, host.life)
        if (not host.runs or not host.clients.ask(call)) and then is not None:
            then(None, None)

    def _ask_again(self, host: Host) -> None:
        def come() -> None:
            if not self.calm:
                self.ask(host)
                self._ask_again(host)

        self.time.at(self.time.now + self.rng.expovariate(1 / self.plan.pause), come)

    def _use(self, host: Host, _error: Answer, result: Answer) -> None:
        """Use a token at the API; say so if it refuses it."""
        if result is not None and not self.servers.model.api(result["access_token"], self.time.now):
            params = {"profile": result["profile"], "id": result["id"], "wait": 20.0}
            self.call(host, "refuse", params)

    # The end

    def _become_calm(self) -> None:
        """Mend all, and look until CALM is over, twice, whether all is well."""
        self.tell("plan", "all is mended")
        self.calm = True
        self.store.down_until = self.store.slow_until = self.store.refuses_until = -inf
        self.servers.mend()
        self.deeds.mend()
        ends, insisted = self.time.now + CALM, False
        while unwell := self._unwell():
            if self.time.now > ends:
                if insisted:
                    self.witness.broken(7, "once all is mended all is well", "; ".join(unwell))
                insisted, ends = True, self.time.now + CALM
                self.deeds.log_in_everywhere()
            self.run_until(self.time.now + LOOK)
        ends = self.time.now + self.witness.patience
        while differing := self._differing():
            if self.time.now > ends:
                self.witness.broken(3, "all hold the same token in the end", differing)
            self.run_until(self.time.now + 1.0)

    def _unwell(self) -> list[str]:
        """Ask for each token at each host; return what is missing."""
        missing: list[str] = []

        def judged(place: str, error: Answer, result: Answer) -> None:
            if result is None:
                missing.append(f"{place}: {error and error['message']}")

        for host in self.hosts:
            for name in self.deeds.profiles:
                then = partial(judged, f"{host.name}/{name}")
                self.call(host, "get_token", {"profile": name, "wait": 0.0}, then)
        self.run_until(self.time.now + 0.1)
        return missing

    def _differing(self) -> str:
        """Return which tokens are held where not all hold the same; "": all do."""
        for name in self.deeds.profiles:
            held = [
                keeper.session.access
                for host in self.hosts
                if host.daemon is not None
                and (keeper := host.daemon.profiles.keepers.get(name)) is not None
            ]
            ids = {None if access is None else access.id for access in held}
            if len(ids) > 1:
                return f"{name}: {ids}"
        return ""

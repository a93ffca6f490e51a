"""One run of a plan: the daemon, and all that surrounds it."""

import json
import os
from collections.abc import Callable
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from secrets import token_hex
from shutil import rmtree
from tempfile import gettempdir
from typing import Any, Final, final

from whole.clients import Answer, Call, Clients, short
from whole.configuration import FIRST_USER, Administrator, Configuration, put
from whole.deeds import Deeds
from whole.machine import Machine
from whole.network import Network
from whole.plan import Plan
from whole.servers import Servers
from whole.stand_ins import in_place_of_the_host
from whole.time import Time
from whole.witness import WATCH, Witness

CALM: Final = 900.0 + 2 * 60.0 + 90.0 + WATCH
"""Seconds in which all must be well again, once all is mended: the ledger's window, and requests
that were under way."""
FIRST_LOOK: Final = 60.0
"""Seconds after which it is first looked whether all is well."""
PAUSE: Final = 120.0
"""Seconds between two looks."""
CURIOUS: Final = 0.2
"""The part of the loop's passes within a reload in which somebody asks for something."""
CHANGING: Final = 0.5
"""The part of them that ask for a profile that the reload changes."""
WAIT: Final = 20.0
"""Seconds that most callers wait."""
MEMORY: Final = Path("/dev/shm")  # noqa: S108 -- each run makes a directory of its own in it
"""A file system in memory: a ledger is written ten thousand times."""
PID: Final = f"'pid': {os.getpid()}"
"""How the log names a caller's process."""

Then = Callable[[Answer, Answer], object]
"""Is given the error and the result of a call."""


@final
class World:
    """Everything of one run. `story`: lines of what happened, where somebody wants to read it."""

    def __init__(self, plan: Plan, story: list[str] | None = None) -> None:
        self.plan = plan
        self.story = story
        self.rng = Random(plan.seed * 1_000_003 + 1)  # noqa: S311 -- a seed is to decide it
        self.time = Time()
        # Hexadecimal, so that no name holds the word by which the witness knows a secret.
        self.directory = (MEMORY if MEMORY.is_dir() else Path(gettempdir())) / f"oft-{token_hex(8)}"
        self.directory.mkdir(mode=0o700)
        self.administrator = Administrator(self.rng, plan.accounts, plan.users)
        self.wanted = self.administrator.first(plan.profiles)
        """What the configuration's file says."""
        self.in_force: tuple[Configuration, ...] = (self.wanted,)
        """The configuration that is in force; more while a reload is under way."""
        self.disk_full_until = -inf
        self.disk_hangs_until = -inf
        self.files_hang_until = -inf
        self.pause = 1.0
        """Seconds until the next daemon starts, once this one has ended."""
        self.calm = False
        """All is mended, and nobody disturbs any more."""
        self.deeds = Deeds(self)
        self.servers = Servers(self, dict(self.deeds.right))
        self.network = Network(self.time, self.servers.connects, self.servers.received)
        self.witness = Witness(self)
        self.machine = Machine(self, self.directory)
        self.clients = Clients(self.machine.socket)
        self.boot = self.time.boot
        self.connect_tcp = self.network.connect_tcp
        self._over = False

    def run(self) -> None:
        """Let the whole plan happen, and see that all is well in the end.

        Raises:
            Broken: a promise doesn't hold.
        """
        with in_place_of_the_host(self):
            try:
                self._live()
            finally:
                self.machine.close()
                self.clients.close()
                rmtree(self.directory, ignore_errors=True)

    def tell(self, who: str, what: str) -> None:
        """Take a line of the story down."""
        if self.story is not None:
            same_everywhere = what.replace(str(self.directory), "").replace(PID, "'pid': 1")
            self.story.append(f"{self.time.now:12.3f}  {who:<9} {same_everywhere}")

    def logged(self, event: str, fields: str) -> None:
        """Take a line of the daemon's log."""
        self.tell("log", f"{event} {fields}")
        self.witness.logged(event, fields)

    def takes(self, kind: str) -> float:
        """Return how many seconds a blocking call of a kind takes."""
        hangs = self.disk_hangs_until if kind == "ledger" else self.files_hang_until
        return max(0.0, hangs - self.time.now) + self.rng.choice((0.0, 0.001))

    def noted_logins(self, account: int) -> int:
        """Return the logins of an account that the ledger on disk has as under way."""
        try:
            noted = json.loads(self.machine.ledger.path.read_bytes())
        except FileNotFoundError:
            return 0
        accounts = noted["accounts"]
        return sum(each["under_way"] for each in accounts if each["username"] == f"user-{account}")

    def between_passes(self) -> None:
        """Let callers come in the middle of a reload, which takes no time."""
        if len(self.in_force) > 1 and self.rng.random() < CURIOUS:
            self._ask_for_what_changes()

    def _ask_for_what_changes(self) -> None:
        """Let a user ask for a profile that a reload changes, or for any."""
        uid = self.rng.choice((0, *range(FIRST_USER, FIRST_USER + self.plan.users)))
        old, new = self.in_force[0].entries, self.in_force[-1].entries
        changing = [name for name in old.keys() & new.keys() if old[name] != new[name]]
        if changing and self.rng.random() < CHANGING:
            name = self.rng.choice(sorted(changing))
            self.call(uid, "get_token", {"profile": name, "wait": 0.0})
        else:
            self.ask(uid)

    def _live(self) -> None:
        self.deeds.store_all()
        for act in self.plan.acts:
            self.time.at(act.at, partial(self.deeds.do, act))
        for uid in (0, *range(FIRST_USER, FIRST_USER + self.plan.users)):
            self._ask_again(uid)
        self.time.at(self.plan.duration, self._mend)
        self.machine.start()
        while not self._over:
            self.time.judge()
            if self.machine.daemon is None:
                self.clients.read()
                self.time.advance(inf)
            else:
                self.machine.run()
                self.time.at(self.time.now + self.pause, self._start)
        self.time.judge()

    def _start(self) -> None:
        """Start the next daemon; try again where its configuration is faulty just now."""
        self.pause = 1.0
        if self.machine.daemon is None and not self._over:
            put(self.machine.configuration, self.wanted.text(self.directory))
            self.in_force = (self.wanted,)
            self.machine.start()

    # Callers

    def ask(self, uid: int) -> None:
        """Let a user ask for something."""
        rng = self.rng
        name = rng.choice([None, *self.wanted.entries])
        method = rng.choice(("get_token",) * 6 + ("refresh", "status", "hello"))
        params: dict[str, Any] = {}
        if name is not None and method != "hello":
            params["profile"] = name
        if method in {"get_token", "refresh"}:
            params["wait"] = rng.choice((0.0, 1.0, WAIT, WAIT))
        if method == "get_token" and rng.random() < 0.2:
            params["min_ttl"] = float(rng.choice((1, 5, 15)))
        self.call(uid, method, params)

    def call(self, uid: int, method: str, params: dict[str, Any], then: Then | None = None) -> None:
        """Make a call, and judge its answer."""

        def told(call: Call, error: Answer, result: Answer) -> None:
            if self.story is not None:
                self.tell("caller", f"{uid} {method} {params}: {short(error, result)}")
            self.witness.told(call, error, result)
            if then is not None:
                then(error, result)
            elif method == "get_token" and result is not None:
                self._use(uid, result)

        now = self.time.now
        wait = float(params.get("wait", 0.0 if method in {"hello", "status"} else 3600.0))
        life = self.machine.life
        call = Call(uid, method, params, now + wait, told, life, self.in_force)
        if not self.clients.ask(call):
            self.tell("caller", f"{uid} {method}: no daemon")
            if then is not None:
                then(None, None)

    def _ask_again(self, uid: int) -> None:
        if self._over or self.calm:
            return
        self.ask(uid)
        pause = self.rng.expovariate(1 / self.plan.pause)
        self.time.at(self.time.now + pause, lambda: self._ask_again(uid))

    def _use(self, uid: int, result: dict[str, Any]) -> None:
        """Use a token at the API; say so if it refuses it."""
        if not self.servers.model.api(result["access_token"], self.time.now):
            params = {"profile": result["profile"], "id": result["id"], "wait": WAIT}
            self.call(uid, "refuse", params)

    # The end

    def _mend(self) -> None:
        """Mend all, and look until CALM is over whether all is well."""
        self.tell("plan", "all is mended")
        self.calm = True
        self.servers.mend()
        self.deeds.mend()
        self.time.at(self.time.now + FIRST_LOOK, partial(self._look, self.time.now + CALM))

    def _look(self, last: float) -> None:
        """Ask for each profile's token; look again later if one is missing."""
        left, missing = len(self.wanted.entries), 0

        def judged(name: str, error: Answer, result: Answer) -> None:
            nonlocal left, missing
            left -= 1
            missing += result is None
            if self._over:
                return
            if result is None and self.time.now >= last:
                self.witness.broken(4, "once all is mended all is well", f"{name}: {error}")
            if not left and not missing:
                self._over = True
                self.machine.stop()
            elif not left:
                self.deeds.mend()  # the daemon may have been away when it was first told
                self.time.at(self.time.now + PAUSE, partial(self._look, last))

        def again() -> None:
            """Ask anew where a daemon was killed before it could answer, or the host slept."""
            if left and self.time.now > last + CALM:
                self.witness.broken(8, "every call is answered by its wait", f"{left} aren't")
            elif left and not self._over:
                self._look(last)

        self.time.at(self.time.now + PAUSE, again)
        for name in self.wanted.entries:
            self.call(0, "get_token", {"profile": name, "wait": 5.0}, partial(judged, name))

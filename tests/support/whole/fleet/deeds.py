"""What a plan's acts do to the fleet and its surroundings."""

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from whole.clients import Answer
from whole.configuration import SERVER, put
from whole.fleet.clocks import Pause
from whole.fleet.plan import Act, Deed
from whole.fleet.rows import KEY, NEXT_KEY

if TYPE_CHECKING:  # the world is made of this module
    from whole.fleet.host import Host
    from whole.fleet.world import World

STORES: Final = {
    "postgresql": "postgresql://openfit@127.0.0.1/openfit",
    "etcd": "etcd+http://127.0.0.1",
}
WAIT: Final = 30.0
"""Seconds that an operator waits."""
MANY_PASSES: Final = 12
"""Passes of the loop within which a daemon dies that is killed."""
STAND_STILLS: Final = (30.0, 100.0, 400.0)
"""Seconds that a daemon stands still on its way to the token server."""


@final
class Deeds:
    """All that administrators, operators, files, hosts and networks do."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.right = "hush-right-0"
        """The password that the token server takes."""
        self.profiles = tuple(f"p{number}" for number in range(world.plan.profiles))
        self.gone_for = 1.0
        """Seconds until the next daemon starts where one was killed, or has ended."""
        self.kill_claimant = False
        """The next daemon is killed that has a claim taken."""
        self.pause_claimant: Act | None = None
        """How the next daemon stands still that has a claim taken."""
        self.remove_at_claimant: Act | None = None
        """For how long the next host lacks a profile that has a claim taken."""
        self._words = 0
        self._orders = 0
        self._by_deed: dict[Deed, Callable[[Act], None]] = {
            Deed.PAUSE: lambda act: self._pause(self._host(act), act),
            Deed.PAUSE_IN_CLAIM: self._pause_in_claim,
            Deed.KILL: self._kill,
            Deed.KILL_IN_CLAIM: self._kill_in_claim,
            Deed.KILL_IN_REQUEST: self._kill_in_request,
            Deed.RESTART: self._restart,
            Deed.REBOOT: self._reboot,
            Deed.CUT_STORE: self._cut_store,
            Deed.CUT_SERVER: self._cut_server,
            Deed.STORE_DOWN: self._store_down,
            Deed.STORE_SLOW: self._store_slow,
            Deed.STORE_STEP: lambda act: world.store.clock.step(act.value),
            Deed.STORE_LOST: self._store_lost,
            Deed.ROW_REFUSED: self._row_refused,
            Deed.DEAF: self._deaf,
            Deed.OUTAGE: self._outage,
            Deed.REVOKED: lambda _: world.servers.model.revoke_all(0),
            Deed.PASSWORD: self._new_password,
            Deed.PASSWORD_RESET: self._new_password,
            Deed.TYPO: self._typo,
            Deed.TYPO_ALL: self._typo_everywhere,
            Deed.SECRET_GONE: self._secret_gone,
            Deed.FILES_HANG: self._files_hang,
            Deed.RELOAD: self._reload_everywhere,
            Deed.LOGIN: lambda act: self.log_in(self._host(act), self._profile(), None),
            Deed.LOGIN_RIGHT: self._login_right,
            Deed.LOGIN_WRONG: self._login_wrong,
            Deed.LOGOUT: self._log_out,
            Deed.KEYS: self._keys,
            Deed.REMOVED_IN_CLAIM: self._remove_in_claim,
            Deed.REFUSALS: self._refusals,
        }

    def do(self, act: Act) -> None:
        """Let an act happen."""
        world = self._world
        if not world.calm:
            world.tell("plan", f"{act.deed.name} {act.host} {act.value:g} {act.pause.name}")
            world.witness.disturbed(act)
            self._by_deed[act.deed](act)

    def prepare(self) -> None:
        """Write all files of all hosts."""
        for host in self._world.hosts:
            put(host.key_file, f"{KEY}\n")
            self._configure(host, None)
            self._store(host, self.right)

    def mend(self) -> None:
        """Let every file be right, every host run, and everybody be told."""
        self.kill_claimant, self.pause_claimant, self.remove_at_claimant = False, None, None
        world = self._world
        user = world.servers.model.users[0]
        user.failures, user.locked_until = 0, 0.0
        user.password = self.right = self._word("right")
        for host in world.hosts:
            host.no_store_until = host.no_server_until = host.deaf_until = 0.0
            host.files_hang_until = 0.0
            host.kill_in(-1)
            host.go_on()
            self._store(host, self.right)
            self._configure(host, None)
            self._insist(partial(self._reload, host), host)
        if world.witness.logged_out:
            self.log_in_everywhere()

    def log_in_everywhere(self) -> None:
        """Order a login of each profile."""
        host = self._world.hosts[0]
        for name in self.profiles:
            self._insist(partial(self.log_in, host, name, None), host)

    def claimed(self, host: "Host") -> None:
        """Let befall a daemon what is to befall the next one that has a claim taken."""
        if self.kill_claimant:
            self.kill_claimant = False
            host.kill()
        elif self.pause_claimant is not None:
            self._pause(host, self.pause_claimant)
            self.pause_claimant = None
        elif self.remove_at_claimant is not None:
            self._remove(host, self.remove_at_claimant)
            self.remove_at_claimant = None

    def stand_still(self, host: "Host") -> float:
        """Let a daemon stand still right where it is about to send; return for how many seconds."""
        world = self._world
        seconds = world.rng.choice(STAND_STILLS)
        how = world.rng.choice((Pause.STOPPED, Pause.SUSPENDED))
        self._pause(host, Act(world.time.now, Deed.PAUSE, host.index, seconds, pause=how))
        return seconds

    def _host(self, act: Act) -> "Host":
        return self._world.hosts[act.host]

    def _any_host(self) -> "Host":
        return self._world.rng.choice(self._world.hosts)

    def _profile(self) -> str:
        return self._world.rng.choice(self.profiles)

    def _word(self, kind: str) -> str:
        self._words += 1
        return f"hush-{kind}-{self._words}"

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._world.time.at(self._world.time.now + seconds, do)

    def _until(self, act: Act) -> float:
        return self._world.time.now + act.value

    def _insist(self, do: Callable[[], None], host: "Host") -> None:
        """Do something as soon as a host runs."""
        if host.runs:
            do()
        else:
            self._later(1.0, lambda: self._insist(do, host))

    def _configuration(self, host: "Host") -> str:
        margins = self._world.plan.margins
        lines = [
            "[fleet]",
            f'store = "{STORES[self._world.plan.engine]}"',
            f'key_file = "{host.key_file}"',
            f'member = "{host.name}"',
        ]
        for number, name in enumerate(self.profiles):
            if name == host.removed:
                continue
            lines += [
                f"[profiles.{name}]",
                'environment = "custom"',
                f'id_server = "{SERVER}"',
                'api_url = "http://127.0.0.1:2"',
                f'client_id = "client-{number}"',
                'username = "user-0"',
                f'password_file = "{host.password_file}"',
                f'refresh_before = "{margins[host.index % len(margins)]}s"',
            ]
        return "\n".join(lines) + "\n"

    # Hosts

    def _pause(self, host: "Host", act: Act) -> None:
        if not host.runs:
            return
        life = host.life

        def go_on() -> None:
            if host.life == life:
                host.go_on()

        host.pause(act.pause)
        self._later(act.value, go_on)

    def _pause_in_claim(self, act: Act) -> None:
        self.pause_claimant = act

    def _kill(self, act: Act) -> None:
        host = self._host(act)
        self.gone_for = act.value
        host.kill_in(self._world.rng.randrange(1, MANY_PASSES))

    def _kill_in_claim(self, act: Act) -> None:
        self.gone_for, self.kill_claimant = act.value, True

    def _kill_in_request(self, act: Act) -> None:
        self.gone_for, self._world.servers.kill_on_act = act.value, True

    def _restart(self, act: Act) -> None:
        self.gone_for = act.value
        self._host(act).stop()

    def _reboot(self, act: Act) -> None:
        self.gone_for = act.value
        self._host(act).reboot()

    # The store

    def _cut_store(self, act: Act) -> None:
        host = self._host(act)
        host.no_store_until = max(host.no_store_until, self._until(act))
        if self._world.rng.random() < 0.5:
            host.link.cut()

    def _store_down(self, act: Act) -> None:
        world = self._world
        world.store.down_until = max(world.store.down_until, self._until(act))
        for host in world.hosts:
            if world.rng.random() < 0.5:
                host.link.cut()

    def _store_slow(self, act: Act) -> None:
        self._world.store.slow_until = self._until(act)

    def _store_lost(self, act: Act) -> None:
        self._world.store.lose(int(act.value))
        self._world.witness.store_lost()

    def _row_refused(self, act: Act) -> None:
        self._world.store.refuses_until = self._until(act)

    def _deaf(self, act: Act) -> None:
        self._host(act).deaf_until = self._until(act)

    # The token server

    def _cut_server(self, act: Act) -> None:
        self._host(act).no_server_until = self._until(act)

    def _outage(self, act: Act) -> None:
        servers = self._world.servers
        servers.outage, servers.outage_until = act.fault, self._until(act)

    # Passwords and files

    def _store(self, host: "Host", password: str) -> None:
        host.password = password
        put(host.password_file, password)

    def _roll_out(self, password: str, within: float) -> None:
        """Give all hosts a password, one by one, and reload them."""
        world = self._world

        def reach(host: "Host") -> None:
            if not world.calm:
                self._store(host, password)
                self._reload(host)

        for host in world.hosts:
            self._later(world.rng.uniform(0.0, within), partial(reach, host))

    def _new_password(self, act: Act) -> None:
        model = self._world.servers.model
        self.right = model.users[0].password = self._word("right")
        if act.deed is Deed.PASSWORD_RESET:
            model.revoke_all(0)
        self._roll_out(self.right, act.value)

    def _typo(self, act: Act) -> None:
        host = self._host(act)
        self._store(host, self._word("typo"))
        self._reload(host)

    def _typo_everywhere(self, act: Act) -> None:
        self._roll_out(self._word("typo"), act.value)
        self._later(act.value + 30.0, lambda: self._roll_out(self.right, act.value))

    def _secret_gone(self, act: Act) -> None:
        host = self._host(act)
        host.password_file.unlink(missing_ok=True)
        self._later(act.value, lambda: self._store(host, host.password))

    def _files_hang(self, act: Act) -> None:
        self._host(act).files_hang_until = self._until(act)

    def _keys(self, act: Act) -> None:
        lines = ((KEY, NEXT_KEY), (NEXT_KEY, KEY), (NEXT_KEY,))[int(act.value)]
        for host in self._world.hosts:
            put(host.key_file, "".join(f"{line}\n" for line in lines))
            self._reload(host)

    def _reload(self, host: "Host") -> None:
        self._world.call(host, "reload", {})

    def _reload_everywhere(self, act: Act) -> None:
        world = self._world
        for host in world.hosts:
            self._later(world.rng.uniform(0.0, act.value), partial(self._reload, host))

    def _configure(self, host: "Host", removed: str | None) -> None:
        """Write a host's configuration, with all profiles but one, if any."""
        host.removed = removed
        put(host.configuration, self._configuration(host))

    def _remove_in_claim(self, act: Act) -> None:
        self.remove_at_claimant = act

    def _remove(self, host: "Host", act: Act) -> None:
        world = self._world

        def reload(removed: str | None) -> None:
            if not world.calm and len(self.profiles) > 1:
                world.witness.disturbed(act)
                self._configure(host, removed)
                self._reload(host)

        self._later(world.rng.uniform(0.0, 2.0), partial(reload, self._profile()))
        self._later(2.0 + act.value, partial(reload, None))

    # Operators

    def log_in(self, host: "Host", profile: str, password: str | None) -> None:
        """Order a login at a host."""
        world = self._world
        self._orders += 1
        params: dict[str, Any] = {"profile": profile, "wait": WAIT}
        if password is not None:
            params["password"] = password
        world.witness.ordered(profile)
        world.call(host, "login", params)

    def _login_right(self, act: Act) -> None:
        self.log_in(self._host(act), self._profile(), self.right)

    def _login_wrong(self, act: Act) -> None:
        profile = self._profile()

        def log_in() -> None:
            if not self._world.calm:
                self.log_in(self._any_host(), profile, self._word("wrong"))

        for number in range(int(act.value)):
            self._later(3.0 * number, log_in)

    def _log_out(self, act: Act) -> None:
        world, profile, orders = self._world, self._profile(), self._orders

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and self._orders == orders:
                world.witness.has_logged_out(profile)

        def log_in_again() -> None:
            if not world.calm:
                for name in self.profiles:
                    self.log_in(self._any_host(), name, None)

        world.call(self._host(act), "logout", {"profile": profile}, told)
        self._later(act.value, log_in_again)

    # Clients

    def _refusals(self, _act: Act) -> None:
        world = self._world

        def refuse(host: "Host", profile: str, _error: Answer, result: Answer) -> None:
            if result is not None:
                world.call(host, "refuse", {"profile": profile, "id": result["id"], "wait": WAIT})

        for host in world.hosts:
            for name in self.profiles:
                then = partial(refuse, host, name)
                world.call(host, "get_token", {"profile": name, "wait": 0.0}, then)

"""What a plan's acts do to the hosts and to what surrounds them."""

import signal
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Final, final

from whole.clients import Answer
from whole.clocks import Pause
from whole.configuration import FIRST_USER, Configuration, put
from whole.plan import Act, Deed
from whole.rows import KEY, NEXT_KEY

if TYPE_CHECKING:  # the world is made of this module
    from whole.host import Host
    from whole.world import World

WAIT: Final = 30.0
"""Seconds that an operator waits."""
LONGEST_WRITE: Final = 70.0
"""Seconds that the ledger may be behind once the disk is well again."""
SOON: Final = 0.005
"""Seconds between two deeds that belong together: most answers take longer."""
MANY_PASSES: Final = 12
"""Passes of the loop within which a daemon dies that is killed."""
STAND_STILLS: Final = (30.0, 100.0, 400.0)
"""Seconds that a daemon stands still on its way to the token server."""


@final
class Deeds:
    """All that administrators, operators, files, hosts and networks do."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self.right = {each: f"hush-right-{each}-0" for each in range(world.plan.accounts)}
        """The password of each account that the token server takes."""
        self.gone_for = 1.0
        """Seconds until the next daemon starts where one was killed, or has ended."""
        self.at_claimant: Callable[[Host], object] | None = None
        """What befalls the next daemon that has a claim taken."""
        self._words = 0
        self._logins = 0
        self._written = 0  # configurations
        self._by_deed: dict[Deed, Callable[[Act], object]] = {
            Deed.OUTAGE: self._outage,
            Deed.SLOW: self._slow,
            Deed.BAD_DEPLOY: self._bad_deploy,
            Deed.REVOKED: lambda act: world.servers.model.revoke_all(self._account(act)),
            Deed.PASSWORD: self._new_password,
            Deed.PASSWORD_RESET: self._new_password,
            Deed.SECRET_FIRST: self._secret_first,
            Deed.TYPO: self._typo,
            Deed.SILENT_TYPO: self._silent_typo,
            Deed.TYPO_ALL: self._typo_everywhere,
            Deed.SECRET_GONE: self._secret_gone,
            Deed.FILES_HANG: self._files_hang,
            Deed.DISK_FULL: self._disk_full,
            Deed.DISK_HANGS: self._disk_hangs,
            Deed.RELOAD: self._reload_everywhere,
            Deed.CHANGES: self._changes,
            Deed.FAULTY_RELOAD: self._faulty_reload,
            Deed.MOVE: self._move,
            Deed.HANG_UP: self._hang_up,
            Deed.LOGIN: lambda act: self.log_in(self._host(act), self._profile(act)),
            Deed.LOGIN_RIGHT: self._login_right,
            Deed.LOGIN_WRONG: self._login_wrong,
            Deed.LOGIN_SAME_WRONG: self._login_wrong,
            Deed.LOGOUT: self._log_out,
            Deed.PAUSE: lambda act: self._pause(act, self._host(act)),
            Deed.KILL: self._kill,
            Deed.KILL_IN_REQUEST: self._kill_in_request,
            Deed.RESTART: self._restart,
            Deed.BLANK_RESTART: self._blank_restart,
            Deed.REBOOT: self._reboot,
            Deed.STORM: self._storm,
            Deed.REFUSALS: self._refusals,
            Deed.PAUSE_IN_CLAIM: self._pause_in_claim,
            Deed.KILL_IN_CLAIM: self._kill_in_claim,
            Deed.REMOVED_IN_CLAIM: self._remove_in_claim,
            Deed.CUT_STORE: self._cut_store,
            Deed.CUT_SERVER: self._cut_server,
            Deed.STORE_DOWN: self._store_down,
            Deed.STORE_SLOW: self._store_slow,
            Deed.STORE_STEP: lambda act: world.store.clock.step(act.value),
            Deed.STORE_LOST: self._store_lost,
            Deed.ROW_REFUSED: self._row_refused,
            Deed.ROW_LOCKED: self._row_locked,
            Deed.DEAF: self._deaf,
            Deed.KEYS: self._keys,
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
            self._write_configuration(host)
            for account, password in self.right.items():
                self._store(host, account, password)

    def mend(self) -> None:
        """Let every file be right, every host run, and every daemon be told."""
        self.at_claimant, self.gone_for = None, 1.0
        world = self._world
        for account in self.right:
            self.right[account] = self._word("right", account)
            world.servers.model.users[account].password = self.right[account]
        if world.plan.engine:
            world.store.mend()
        for host in world.hosts:
            host.no_store_until = host.no_server_until = host.deaf_until = 0.0
            host.files_hang_until = host.disk_hangs_until = host.disk_full_until = 0.0
            host.kill_in(-1)
            host.go_on()
            for account, password in self.right.items():
                self._store(host, account, password)
            if world.plan.engine:
                host.wanted = world.configuration(host.index)
            self._write_configuration(host)
            self._insist(partial(self.reload, host), host)

    def claimed(self, host: "Host") -> None:
        """Let befall a daemon what is to befall the next one that has a claim taken."""
        befalls, self.at_claimant = self.at_claimant, None
        if befalls is not None:
            befalls(host)

    def stand_still(self, host: "Host") -> float:
        """Let a daemon stand still right where it is about to send; return for how many seconds."""
        world = self._world
        seconds = world.rng.choice(STAND_STILLS)
        how = world.rng.choice((Pause.STOPPED, Pause.SUSPENDED))
        self._pause(Act(world.time.now, Deed.PAUSE, host.index, seconds, pause=how), host)
        return seconds

    # Who, and when

    def _host(self, act: Act) -> "Host":
        return self._world.hosts[act.host]

    def _any_host(self) -> "Host":
        return self._world.rng.choice(self._world.hosts)

    def _account(self, act: Act) -> int:
        return act.account % self._world.plan.accounts

    def _profile(self, act: Act) -> str:
        return self._world.rng.choice(list(self._host(act).wanted.entries))

    def _word(self, kind: str, account: int) -> str:
        self._words += 1
        return f"hush-{kind}-{account}-{self._words}"

    def _later(self, seconds: float, do: Callable[[], object]) -> None:
        self._world.time.at(self._world.time.now + seconds, do)

    def _later_unless_calm(self, seconds: float, do: Callable[[], object]) -> None:
        self._later(seconds, lambda: None if self._world.calm else do())

    def _until(self, act: Act, other: float = 0.0) -> float:
        return max(other, self._world.time.now + act.value)

    def _insist(self, do: Callable[[], None], host: "Host") -> None:
        """Do something as soon as a host runs."""
        if host.runs:
            do()
        else:
            self._later(1.0, lambda: self._insist(do, host))

    # The token server

    def _outage(self, act: Act) -> None:
        servers = self._world.servers
        servers.outage, servers.outage_until = act.fault, self._until(act)

    def _slow(self, act: Act) -> None:
        self._world.servers.slow_until = self._until(act)

    def _bad_deploy(self, act: Act) -> None:
        self._world.servers.model.client_refused_until = self._until(act)

    def _cut_server(self, act: Act) -> None:
        self._host(act).no_server_until = self._until(act)

    # Passwords, files and disks

    def _store(self, host: "Host", account: int, password: str) -> None:
        host.stored[account] = password
        put(host.password_file(account), password)

    def _roll_out(self, account: int, password: str, within: float) -> None:
        """Give all hosts a password, one by one, and reload them."""

        def reach(host: "Host") -> None:
            self._store(host, account, password)
            self.reload(host)

        for host in self._world.hosts:
            seconds = self._world.rng.uniform(0.0, within)
            self._later_unless_calm(seconds, partial(reach, host))

    def _new_password(self, act: Act) -> None:
        model, account = self._world.servers.model, self._account(act)
        password = self._word("right", account)
        self.right[account] = model.users[account].password = password
        if act.deed is Deed.PASSWORD_RESET:
            model.revoke_all(account)
        self._roll_out(account, password, act.value)

    def _secret_first(self, act: Act) -> None:
        user, account = self._world.servers.model.users, self._account(act)
        password = self._word("right", account)

        def at_server() -> None:
            self.right[account] = user[account].password = password

        self._roll_out(account, password, 0.0)
        self._later_unless_calm(act.value, at_server)

    def _silent_typo(self, act: Act) -> None:
        account = self._account(act)
        self._store(self._host(act), account, self._word("typo", account))

    def _typo(self, act: Act) -> None:
        self._silent_typo(act)
        self.reload(self._host(act))

    def _typo_everywhere(self, act: Act) -> None:
        account = self._account(act)

        def mend() -> None:
            self._roll_out(account, self.right[account], act.value)

        self._roll_out(account, self._word("typo", account), act.value)
        self._later_unless_calm(act.value + 30.0, mend)

    def _secret_gone(self, act: Act) -> None:
        host, account = self._host(act), self._account(act)
        host.password_file(account).unlink(missing_ok=True)
        self._later(act.value, lambda: self._store(host, account, host.stored[account]))

    def _files_hang(self, act: Act) -> None:
        host = self._host(act)
        host.files_hang_until = self._until(act, host.files_hang_until)

    def _disk_full(self, act: Act) -> None:
        host = self._host(act)
        host.disk_full_until = self._until(act, host.disk_full_until)
        self._world.witness.disk_trouble(host.disk_full_until + LONGEST_WRITE)

    def _disk_hangs(self, act: Act) -> None:
        host = self._host(act)
        host.disk_hangs_until = self._until(act, host.disk_hangs_until)
        self._world.witness.disk_trouble(host.disk_hangs_until + LONGEST_WRITE)

    # Reloads

    def reload(self, host: "Host") -> None:
        """Reload a host's daemon."""
        wanted = host.wanted
        self._expect(host)

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and wanted is host.in_force[-1]:
                host.in_force = (wanted,)
                self._world.call(host, 0, "status", {})

        self._world.call(host, 0, "reload", {}, told)

    def _expect(self, host: "Host") -> None:
        """Expect what a reload under way may change."""
        witness, before, new = self._world.witness, host.in_force, host.wanted
        if before[-1] is new:
            return
        host.in_force = (*before, new)
        # A profile that moves there and back has lost its session on the way.
        for name, entry in [each for old in before for each in old.entries.items()]:
            after = new.entries.get(name)
            if after is None or after.account != entry.account:
                witness.forget([name])
                if not self._world.plan.engine and after is None:
                    witness.logged_out.pop(name, None)

    def _reload_everywhere(self, act: Act) -> None:
        for host in self._world.hosts:
            self._later(self._world.rng.uniform(0.0, act.value), partial(self.reload, host))

    def _write_configuration(self, host: "Host") -> None:
        self._written += 1
        put(host.configuration, host.wanted.text(host.directory))

    def _change(self, host: "Host") -> None:
        host.wanted = self._world.administrator.changed(host.wanted)
        self._write_configuration(host)

    def _changes(self, act: Act) -> None:
        host = self._host(act)
        for _ in range(int(act.value)):
            self._change(host)
            self.reload(host)

    def _hang_up(self, act: Act) -> None:
        host = self._host(act)
        self._change(host)
        self._expect(host)
        host.send(signal.SIGHUP)

    def _faulty_reload(self, act: Act) -> None:
        host = self._host(act)
        put(host.configuration, "faulty = true\n")
        written = self._written

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and self._written == written:  # it was the one that was read
                self._world.witness.broken(12, "a faulty configuration is refused", str(result))
            self._write_configuration(host)

        self._world.call(host, 0, "reload", {}, told)

    def _move(self, act: Act) -> None:
        host, profile = self._host(act), self._profile(act)
        right = self.right[host.wanted.entries[profile].account]
        self._world.call(host, 0, "refresh", {"profile": profile, "wait": WAIT})
        if act.value > 1:
            self._later(SOON, lambda: self.log_in(host, profile, right))
        self._later(2 * SOON, lambda: self._move_now(host, profile))

    def _move_now(self, host: "Host", profile: str) -> None:
        host.wanted = self._world.administrator.moved(host.wanted, profile)
        self._write_configuration(host)
        self.reload(host)

    def _remove(self, act: Act, host: "Host") -> None:
        """Take a profile out of a host's configuration for a while, with a reload before and after."""
        world, complete = self._world, host.wanted
        if len(complete.entries) < 2:
            return

        def put_in_force(wanted: Configuration) -> None:
            world.witness.disturbed(act)
            host.wanted = wanted
            self._write_configuration(host)
            self.reload(host)

        less = complete.without(world.rng.choice(list(complete.entries)))
        self._later_unless_calm(world.rng.uniform(0.0, 2.0), partial(put_in_force, less))
        self._later_unless_calm(2.0 + act.value, partial(put_in_force, complete))

    # Operators

    def log_in(self, host: "Host", profile: str, password: str | None = None) -> None:
        """Order a login at a host, if it still has the profile."""
        if profile not in host.wanted.entries:
            return
        self._logins += 1
        params: dict[str, Any] = {"profile": profile, "wait": WAIT}
        if password is not None:
            params["password"] = password
        known = [each.entries.get(profile) for each in host.in_force]  # a reload may be under way
        self._world.witness.ordered(profile, {entry.account for entry in known if entry})
        self._world.call(host, 0, "login", params)

    def _login_right(self, act: Act) -> None:
        host, profile = self._host(act), self._profile(act)
        self.log_in(host, profile, self.right[host.wanted.entries[profile].account])

    def _login_wrong(self, act: Act) -> None:
        profile, account = self._profile(act), self._account(act)
        same = self._word("wrong", account)

        def log_in() -> None:
            another = act.deed is Deed.LOGIN_WRONG
            word = self._word("wrong", account) if another else same
            self.log_in(self._any_host(), profile, word)

        for number in range(int(act.value)):
            self._later_unless_calm(3.0 * number, log_in)

    def _log_out(self, act: Act) -> None:
        world, profile, logins = self._world, self._profile(act), self._logins

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and self._logins == logins:
                world.witness.has_logged_out(profile)

        world.witness.forget([profile])
        world.call(self._host(act), 0, "logout", {"profile": profile}, told)
        self._later_unless_calm(act.value, lambda: self.log_in(self._any_host(), profile))

    # Hosts

    def _pause(self, act: Act, host: "Host") -> None:
        if not host.runs:
            return
        life = host.life

        def go_on() -> None:
            if host.life == life:
                host.go_on()

        host.pause(act.pause)
        self._later(act.value, go_on)

    def _kill(self, act: Act) -> None:
        self.gone_for = act.value
        self._host(act).kill_in(self._world.rng.randrange(1, MANY_PASSES))

    def _kill_in_request(self, act: Act) -> None:
        self.gone_for, self._world.servers.kill_on_act = act.value, True

    def _restart(self, act: Act) -> None:
        self.gone_for = act.value
        self._host(act).send(signal.SIGTERM)

    def _blank_restart(self, act: Act) -> None:
        self.gone_for = act.value
        self._world.witness.forget()
        self._host(act).forget_sessions()

    def _reboot(self, act: Act) -> None:
        self.gone_for = act.value
        self._world.witness.forget()
        self._host(act).reboot()

    # Clients

    def _storm(self, act: Act) -> None:
        world, host = self._world, self._host(act)
        for _ in range(int(act.value)):
            uid = world.rng.choice((0, FIRST_USER))
            self._later(world.rng.random(), partial(world.ask, host, uid))

    def _refusals(self, act: Act) -> None:
        world, profile = self._world, self._profile(act)

        def refuse(host: "Host", _error: Answer, result: Answer) -> None:
            if result is None:
                return
            world.witness.forget([profile])
            params = {"profile": profile, "id": result["id"], "wait": WAIT}
            for _ in range(int(act.value)):
                self._later(world.rng.random(), partial(world.call, host, 0, "refuse", params))

        for host in world.hosts:
            params = {"profile": profile, "wait": 0.0}
            world.call(host, 0, "get_token", params, partial(refuse, host))

    # Fleets

    def _pause_in_claim(self, act: Act) -> None:
        self.at_claimant = partial(self._pause, act)

    def _kill_in_claim(self, act: Act) -> None:
        def kill(host: "Host") -> None:
            host.kill()

        self.gone_for, self.at_claimant = act.value, kill

    def _remove_in_claim(self, act: Act) -> None:
        self.at_claimant = partial(self._remove, act)

    def _cut_store(self, act: Act) -> None:
        host = self._host(act)
        host.no_store_until = self._until(act, host.no_store_until)
        if self._world.rng.random() < 0.5:
            host.link.cut()

    def _store_down(self, act: Act) -> None:
        world = self._world
        world.store.down_until = self._until(act, world.store.down_until)
        for host in world.hosts:
            if world.rng.random() < 0.5:
                host.link.cut()

    def _store_slow(self, act: Act) -> None:
        self._world.store.slow_until = self._until(act)

    def _store_lost(self, act: Act) -> None:
        self._world.store.lose(int(act.value))

    def _row_refused(self, act: Act) -> None:
        self._world.store.refuses_until = self._until(act)

    def _row_locked(self, act: Act) -> None:
        self._world.store.locked_until = self._until(act)

    def _deaf(self, act: Act) -> None:
        self._host(act).deaf_until = self._until(act)

    def _keys(self, act: Act) -> None:
        lines = ((KEY, NEXT_KEY), (NEXT_KEY, KEY), (NEXT_KEY,))[int(act.value)]
        for host in self._world.hosts:
            put(host.key_file, "".join(f"{line}\n" for line in lines))
            self.reload(host)

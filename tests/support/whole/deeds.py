"""What a plan's acts do to the world."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, final

from whole.clients import Answer
from whole.configuration import FIRST_USER, put
from whole.plan import Act, Deed
from whole.witness import WATCH

if TYPE_CHECKING:  # the world is made of this module
    from whole.world import World

WAIT: Final = 20.0
"""Seconds that an operator waits."""
LONGEST_WRITE: Final = 70.0
"""Seconds that the ledger may be behind once the disk is well again."""
SOON: Final = 0.005
"""Seconds between two deeds that belong together: most answers take longer."""
MANY_PASSES: Final = 12
"""Passes of the loop within which a daemon dies that is killed."""


@final
class Deeds:
    """All that administrators, operators, passwords, disks and hosts do."""

    def __init__(self, world: "World") -> None:
        self._world = world
        accounts = range(world.plan.accounts)
        self.right = {each: f"hush-right-{each}-0" for each in accounts}
        """The password of each account that the server takes."""
        self.stored = dict(self.right)
        """The password of each account that its file has, or is to have."""
        self._words = 0
        self._logins = 0
        self._written = 0  # configurations
        self._by_deed: dict[Deed, Callable[[Act], None]] = {
            Deed.OUTAGE: self._outage,
            Deed.SLOW: self._slow,
            Deed.SESSIONS_REVOKED: self._sessions_revoked,
            Deed.NEW_PASSWORD: self._new_password,
            Deed.TYPO: self._typo,
            Deed.SECRET_GONE: self._secret_gone,
            Deed.FILES_HANG: self._files_hang,
            Deed.RELOAD: self._reloads,
            Deed.FAULTY_RELOAD: self._faulty_reload,
            Deed.MOVE: self._move,
            Deed.HANG_UP: self._hang_up,
            Deed.LOGIN: lambda _: self._log_in(self._profile(), None),
            Deed.LOGIN_RIGHT: self._login_right,
            Deed.LOGIN_WRONG: self._login_wrong,
            Deed.LOGOUT: self._log_out,
            Deed.SUSPEND: self._suspend,
            Deed.RESTART: self._restart,
            Deed.KILL: self._kill,
            Deed.KILL_IN_REQUEST: self._kill_in_request,
            Deed.REBOOT: self._reboot,
            Deed.DISK_FULL: self._disk_full,
            Deed.DISK_HANGS: self._disk_hangs,
            Deed.STORM: self._storm,
            Deed.REFUSALS: self._refusals,
        }

    def do(self, act: Act) -> None:
        """Let an act happen."""
        if not self._world.calm:
            self._world.tell("plan", f"{act.deed.name} {act.who} {act.value:g}")
            self._by_deed[act.deed](act)

    def store_all(self) -> None:
        """Write the configuration and all passwords as they are to be."""
        for account in self.stored:
            self._write(account)
        self._write_configuration()

    def mend(self) -> None:
        """Let every file be right, and everybody be logged in."""
        self.stored = dict(self.right)
        self.store_all()
        self._reload()
        for name in self._world.wanted.entries:
            self._log_in(name, None)

    def _account(self, act: Act) -> int:
        return act.who % self._world.plan.accounts

    def _profile(self) -> str:
        return self._world.rng.choice(list(self._world.wanted.entries))

    def _word(self) -> int:
        self._words += 1
        return self._words

    def _later(self, seconds: float, do: Callable[[], None]) -> None:
        self._world.time.at(self._world.time.now + seconds, do)

    # The token server

    def _outage(self, act: Act) -> None:
        servers = self._world.servers
        servers.outage, servers.outage_until = act.fault, self._world.time.now + act.value

    def _slow(self, act: Act) -> None:
        self._world.servers.slow_until = self._world.time.now + act.value

    def _sessions_revoked(self, act: Act) -> None:
        self._world.servers.model.revoke_all(self._account(act))

    # Passwords and files

    def _new_password(self, act: Act) -> None:
        account = self._account(act)
        self.right[account] = f"hush-right-{account}-{self._word()}"
        self._world.servers.model.users[account].password = self.right[account]
        self._later(act.value, lambda: self._store(account, reload=True))

    def _typo(self, act: Act) -> None:
        account = self._account(act)
        self.stored[account] = f"hush-typo-{account}-{self._word()}"
        self._write(account)
        self._reload()
        self._later(act.value, lambda: self._store(account, reload=True))

    def _secret_gone(self, act: Act) -> None:
        account = self._account(act)
        self._file(account).unlink(missing_ok=True)
        self._later(act.value, lambda: self._store(account, reload=False))

    def _files_hang(self, act: Act) -> None:
        world = self._world
        world.files_hang_until = max(world.files_hang_until, world.time.now + act.value)

    def _store(self, account: int, *, reload: bool) -> None:
        self.stored[account] = self.right[account]
        self._write(account)
        if reload:
            self._reload()

    def _write(self, account: int) -> None:
        put(self._file(account), self.stored[account])

    def _file(self, account: int) -> Path:
        return self._world.directory / f"password-{account}"

    def _write_configuration(self) -> None:
        world = self._world
        self._written += 1
        put(world.machine.configuration, world.wanted.text(world.directory))

    # Reloads

    def _reloads(self, act: Act) -> None:
        for _ in range(int(act.value)):
            self._reconfigure()
            self._reload()

    def _move(self, act: Act) -> None:
        world, profile = self._world, self._profile()
        right = self.right[world.wanted.entries[profile].account]
        world.call(0, "refresh", {"profile": profile, "wait": WAIT})
        if act.value > 1:
            self._later(SOON, lambda: self._log_in_if_there(profile, right))
        self._later(2 * SOON, lambda: self._move_now(profile))

    def _log_in_if_there(self, profile: str, password: str | None) -> None:
        if profile in self._world.wanted.entries:
            self._log_in(profile, password)

    def _move_now(self, profile: str) -> None:
        world = self._world
        world.wanted = world.administrator.moved(world.wanted, profile)
        self._write_configuration()
        self._reload()

    def _hang_up(self, _act: Act) -> None:
        self._reconfigure()
        self._expect()
        self._world.machine.hang_up()

    def _faulty_reload(self, _act: Act) -> None:
        put(self._world.machine.configuration, "faulty = true\n")
        written = self._written

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and self._written == written:  # it was the one that was read
                self._world.witness.broken(12, "a faulty configuration is refused", str(result))
            self._write_configuration()

        self._world.call(0, "reload", {}, told)

    def _reconfigure(self) -> None:
        self._world.wanted = self._world.administrator.changed(self._world.wanted)
        self._write_configuration()

    def _reload(self) -> None:
        world, wanted = self._world, self._world.wanted
        self._expect()

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and wanted is world.in_force[-1]:
                world.in_force = (wanted,)
                world.call(0, "status", {})

        world.call(0, "reload", {}, told)

    def _expect(self) -> None:
        """Expect what a reload under way may change."""
        world = self._world
        before, new = world.in_force, world.wanted
        world.in_force = (*before, new)
        # A profile that moves there and back has lost its session on the way.
        for name, entry in [each for old in before for each in old.entries.items()]:
            after = new.entries.get(name)
            if after is None or after.account != entry.account:
                world.witness.forget([name])
            if after is None:
                world.witness.logged_out.discard(name)

    # Operators

    def _log_in(self, profile: str, password: str | None) -> None:
        world = self._world
        self._logins += 1
        params: dict[str, Any] = {"profile": profile, "wait": WAIT}
        if password is not None:
            params["password"] = password
        world.witness.ordered[world.wanted.entries[profile].account] = world.time.now
        world.witness.logged_out.discard(profile)
        world.call(0, "login", params, _mind_nothing)

    def _login_right(self, _act: Act) -> None:
        profile = self._profile()
        self._log_in(profile, self.right[self._world.wanted.entries[profile].account])

    def _login_wrong(self, act: Act) -> None:
        profile = self._profile()

        for number in range(int(act.value)):
            log_in = partial(self._log_in_if_there, profile, f"hush-wrong-{self._word()}")
            self._later(5.0 * number, log_in)

    def _log_out(self, act: Act) -> None:
        world, profile, logins = self._world, self._profile(), self._logins

        def told(_error: Answer, result: Answer) -> None:
            if result is not None and self._logins == logins:
                world.witness.logged_out.add(profile)

        world.witness.forget([profile])
        world.call(0, "logout", {"profile": profile}, told)
        self._later(60 * act.value, partial(self._log_in_if_there, profile, None))

    # Hosts and disks

    def _suspend(self, act: Act) -> None:
        world = self._world
        world.time.suspend(act.value)
        world.witness.groggy_until = world.time.now + WATCH + 5.0

    def _restart(self, act: Act) -> None:
        self._world.pause = act.value
        self._world.machine.stop()

    def _kill(self, act: Act) -> None:
        self._world.pause = act.value
        self._world.machine.kill_in(self._world.rng.randrange(MANY_PASSES))

    def _kill_in_request(self, act: Act) -> None:
        self._world.pause = act.value
        self._world.servers.kill_on_act = True

    def _reboot(self, act: Act) -> None:
        self._world.pause = act.value
        self._world.witness.forget()
        self._world.machine.reboot()
        self._world.machine.kill()

    def _disk_full(self, act: Act) -> None:
        world, until = self._world, self._world.time.now + act.value
        world.disk_full_until = max(world.disk_full_until, until)
        world.witness.disk_trouble(until + LONGEST_WRITE)

    def _disk_hangs(self, act: Act) -> None:
        world, until = self._world, self._world.time.now + act.value
        world.disk_hangs_until = max(world.disk_hangs_until, until)
        world.witness.disk_trouble(until + LONGEST_WRITE)

    # Crowds

    def _storm(self, act: Act) -> None:
        world = self._world
        for _ in range(int(act.value)):
            uid = world.rng.choice((0, FIRST_USER))
            self._later(world.rng.random(), partial(world.ask, uid))

    def _refusals(self, act: Act) -> None:
        world, profile = self._world, self._profile()

        def got(_error: Answer, result: Answer) -> None:
            if result is None:
                return
            world.witness.forget([profile])
            params = {"profile": profile, "id": result["id"], "wait": WAIT}
            for _ in range(int(act.value)):
                self._later(world.rng.random(), partial(world.call, 0, "refuse", params))

        world.call(0, "get_token", {"profile": profile, "wait": 0.0}, got)


def _mind_nothing(_error: Answer, _result: Answer) -> None:
    """Take an answer that nothing follows."""

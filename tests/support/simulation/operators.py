"""Those who disturb: administrators of the host and of the server, and the weather."""

from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, final

from openfit_tokend.core.events import Reconfigured
from openfit_tokend.core.session import Requesting, client_rejected, needs_another_secret
from openfit_tokend.core.settings.values import Identity
from simulation.clocks import Clock
from simulation.faults import Fate, Fault, fate
from simulation.plan import Act, Deed

if TYPE_CHECKING:  # the world is made of this module
    from collections.abc import Callable, Sequence

    from simulation.requests import Request
    from simulation.world import World

FAULTS = tuple(Fault)


@final
class Operators:
    """The configuration, the secrets, and what befalls requests."""

    def __init__(self, world: "World") -> None:
        self._world = world
        plan = world.plan
        self.config = [(_identity(each), plan.policy) for each in plan.accounts]
        self.accounts = max(plan.accounts) + 1
        self.secret_gone_until = -inf
        self._secrets = {each: f"hush-word-{each}-0" for each in range(self.accounts)}
        self._words = 0
        self._insisted = set[int]()
        self._looked_at = set[int]()
        self._outage_until = -inf
        self._outage = Fault.REFUSED
        self._slow_until = -inf

    def true_passwords(self) -> dict[int, str]:
        """Return the passwords at the beginning."""
        return dict(self._secrets)

    def secret_of(self, identity: Identity) -> str:
        """Return the password that is stored for an account."""
        return self._secrets[_account(identity)]

    def fate(self, one: "Request") -> Fate:
        """Return what the network makes of a request."""
        rng, plan, now = one.keeper.fates, self._world.plan, self._world.now
        chance, drawn, took = rng.random(), rng.choice(FAULTS), rng.uniform(*plan.latency)
        if now < self._slow_until:
            took = took * 20.0 + 0.5
        happens = chance < plan.fault_rate and not self._world.witness.calm
        fault = drawn if happens and drawn in plan.faults else None
        if now < self._outage_until:
            fault = self._outage
        return fate(rng, fault, took, 1.7e9 + now)

    def mend(self) -> None:
        """Let the weather clear, give every account a new password, reload."""
        world = self._world
        self._outage_until = self._slow_until = self.secret_gone_until = -inf
        world.server.client_refused_until = -inf
        world.witness.calm = True
        for account in range(self.accounts):
            user = world.server.users[account]
            user.locked_until, user.failures = -inf, 0
            self._secrets[account] = user.password = self._word(account)
        self._on_host(self._reload_at_last)

    def _reload_at_last(self) -> None:
        """Reload, but for a login that an operator has ordered: it takes the reload's announcement."""
        self._looked_at = {
            keeper.name
            for keeper in self._world.daemon.keepers
            if not isinstance(keeper.session.doing, Requesting)
            or not keeper.session.doing.login_after
        }
        self._reload()

    def insist(self, unwell: set[int]) -> bool:
        """Say `login` for a profile that needs it.

        Its announcement was used up, or the server took long to say that it rejects the client.
        """
        daemon = self._world.daemon
        for name in sorted(unwell - self._looked_at):
            if needs_another_secret(daemon.keepers[name].session):
                self._looked_at.add(name)  # as `keeping.stored_secret` does by itself
                daemon.feed(daemon.keepers[name], Reconfigured())
                return True
        for name in sorted(unwell - self._insisted):
            keeper = daemon.keepers[name]
            if client_rejected(keeper.session) or self._world.witness.costs.rejected_since(keeper):
                daemon.order_login(daemon.keepers[name], None, 30.0)
                self._insisted.add(name)
                return True
        return False

    def do(self, act: Act) -> None:
        """Disturb."""
        world = self._world
        world.tell(
            "plan", f"{act.deed.name} profile {act.profile}, {act.value:g}, {act.fault.name}"
        )
        account = world.plan.accounts[act.profile]
        match act.deed:
            case Deed.OUTAGE | Deed.SLOW | Deed.BAD_DEPLOY | Deed.SECRET_GONE:
                self._begin(act, world.now + act.value)
            case Deed.SESSIONS_REVOKED:
                world.server.revoke_all(account)
            case Deed.SILENT_TYPO:
                self._secrets[account] = self._word(account)
            case Deed.NEW_PASSWORD | Deed.PASSWORD_RESET | Deed.SECRET_FIRST | Deed.TYPO:
                self._change_password(act, account)
            case Deed.SUSPEND | Deed.RESTART | Deed.BLANK_RESTART | Deed.REBOOT:
                self._interrupt(act)
            case Deed.STORM:
                world.callers.storm(act.profile, int(act.value))
            case Deed.REFUSALS:
                world.callers.refusals(act.profile, int(act.value))
            case _:
                self._on_host(lambda: self._operate(act))

    def _begin(self, act: Act, until: float) -> None:
        match act.deed:
            case Deed.OUTAGE:
                self._outage_until, self._outage = until, act.fault
            case Deed.SLOW:
                self._slow_until = until
            case Deed.BAD_DEPLOY:
                self._world.server.client_refused_until = until
            case _:
                self.secret_gone_until = until

    def _operate(self, act: Act) -> None:
        world, name = self._world, act.profile
        keeper = world.daemon.keepers[name]
        account = _account(keeper.identity)
        match act.deed:
            case Deed.RELOAD:
                for _ in range(int(act.value)):
                    self._reload()
            case Deed.RESCHEDULE:
                identity, policy = self.config[name]
                other = 3.0 if policy.refresh_before != 3.0 else 300.0
                self.config[name] = (identity, replace(policy, refresh_before=other))
                self._reload()
            case Deed.NEW_IDENTITY:
                self.config[name] = (self._another(keeper.identity), keeper.policy)
                self._reload()
            case Deed.LOGOUT:
                world.daemon.order_logout(keeper)
            case Deed.LOGIN:
                self._log_in(name, [None] * int(act.value))
            case Deed.LOGIN_RIGHT:
                self._log_in(name, [world.server.users[account].password])
            case Deed.LOGIN_WRONG:
                self._log_in(name, [self._word(account) for _ in range(int(act.value))])
            case _:
                self._log_in(name, [self._word(account)] * int(act.value))

    def _log_in(self, name: int, passwords: "Sequence[str | None]") -> None:
        """Say `login` with each of these, soon after one another."""
        identity = self._world.daemon.keepers[name].identity
        for number, password in enumerate(passwords):

            def order(password: str | None = password) -> None:
                daemon = self._world.daemon
                same = daemon.running and daemon.keepers[name].identity == identity
                if same and not self._world.witness.calm:  # else nobody would say that password
                    daemon.order_login(daemon.keepers[name], password, 30.0)

            self._world.at(self._world.now + number * 1.1, order, Clock.HOST)

    def _change_password(self, act: Act, account: int) -> None:
        world, word = self._world, self._word(account)
        user = world.server.users[account]

        def at_server() -> None:
            user.password = word
            if act.deed is Deed.PASSWORD_RESET:
                world.server.revoke_all(account)

        def in_secret() -> None:
            self._secrets[account] = word
            self._on_host(self._reload)

        first, second = at_server, in_secret
        if act.deed is Deed.SECRET_FIRST:
            first, second = in_secret, at_server
        elif act.deed is Deed.TYPO:
            first, second = in_secret, lambda: self._mend_typo(account)
        first()
        world.at(world.now + act.value, lambda: None if world.witness.calm else second())

    def _mend_typo(self, account: int) -> None:
        self._secrets[account] = self._world.server.users[account].password
        self._on_host(self._reload)

    def _interrupt(self, act: Act) -> None:
        world, daemon = self._world, self._world.daemon
        if not daemon.running or world.now < world.awake_at:
            return
        if act.deed is Deed.SUSPEND:
            world.suspend(act.value)
            return
        rebooted, keeps = act.deed is Deed.REBOOT, act.deed is Deed.RESTART
        world.witness.stopped(daemon.keepers)
        sessions = daemon.stop()
        file = daemon.disk.save(world.now, rebooted=rebooted)

        def start() -> None:
            daemon.disk.load(file, world.now, rebooted=rebooted)
            world.witness.costs.restarted(rebooted=rebooted)
            world.tell("daemon", f"starts again, {act.deed.name}")
            daemon.start(sessions if keeps else None)

        world.at(world.now + act.value, start)

    def _reload(self) -> None:
        self._world.daemon.reload()

    def _on_host(self, do: "Callable[[], None]") -> None:
        """Do it at once, or when the host is awake and the daemon runs."""
        world = self._world
        if world.now < world.awake_at:
            world.at(world.awake_at, lambda: self._on_host(do))
        elif world.daemon.running:
            do()
        elif world.witness.calm:
            world.at(world.now + 1.0, lambda: self._on_host(do))

    def _another(self, identity: Identity) -> Identity:
        if self.accounts > 1:
            return _identity((_account(identity) + 1) % self.accounts)
        return replace(identity, client_id=identity.client_id + "x")

    def _word(self, account: int) -> str:
        self._words += 1
        return f"hush-word-{account}-{self._words}"


def _identity(account: int) -> Identity:
    return Identity("https://server", "client", "api", f"user-{account}")


def _account(identity: Identity) -> int:
    return int(identity.username.removeprefix("user-"))

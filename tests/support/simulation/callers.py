"""The clients: scripts that ask for tokens and use them, one by one or in storms."""

from collections.abc import Callable
from random import Random
from typing import TYPE_CHECKING, final

from openfit_tokend.core.callers.answers import Get, Refuse, Renew
from openfit_tokend.core.session import AccessToken
from simulation.clocks import Clock

if TYPE_CHECKING:  # the world is made of this module
    from simulation.daemon import Keeper
    from simulation.world import World

WAITS = (0.0, 0.5, 5.0, 30.0, 30.0, 300.0)


@final
class Callers:
    """All clients of all profiles."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._resting = False
        seed = world.plan.seed
        names = range(len(world.plan.accounts))
        self._rngs = [Random(seed * 31337 + name) for name in names]  # noqa: S311 -- a seed is to decide it

    def start(self) -> None:
        """Begin to call, again and again."""
        if self._world.plan.pause:
            for name in range(len(self._rngs)):
                if name not in self._world.plan.absent:
                    self._come_again(name)

    def rest(self) -> None:
        """Call no more."""
        self._resting = True

    def storm(self, name: int, calls: int) -> None:
        """Call many times within a second."""
        for _ in range(calls):
            self._soon(self._rngs[name].random(), lambda: self.call(name))

    def refusals(self, name: int, calls: int) -> None:
        """Refuse the current token many times within a second."""
        for _ in range(calls):
            self._soon(self._rngs[name].random(), lambda: self.refuse(name))

    def call(self, name: int) -> None:
        """Make one call of any kind."""
        keeper, rng = self._keeper(name), self._rngs[name]
        what, wait = rng.random(), rng.choice(WAITS)
        min_ttl = rng.random() * 1.2 * self._world.plan.traits.lifetime
        if keeper is None:
            return
        if what < 0.75:
            self._use(name, self._world.daemon.call(keeper, Get(), wait))
        elif what < 0.85:
            self._world.daemon.call(keeper, Get(min_ttl), wait)
        elif what < 0.92:
            self._world.daemon.call(keeper, Renew(self._world.now), wait)
        else:
            self.refuse(name)

    def refuse(self, name: int, refused: str | None = None) -> None:
        """Say that the API refused a token: the current one, if no other is named."""
        keeper, wait = self._keeper(name), self._rngs[name].choice(WAITS)
        if keeper is None:
            return
        if refused is None:
            access = keeper.session.access
            refused = "none" if access is None else access.id
        self._world.daemon.call(keeper, Refuse(refused), wait)

    def _use(self, name: int, token: object) -> None:
        """Show the API a token, after a while; it may have died."""
        if isinstance(token, AccessToken):
            self._soon(
                self._rngs[name].random() * 0.5,
                lambda: self._meet_api(name, token),
            )

    def _meet_api(self, name: int, token: AccessToken) -> None:
        if not self._world.server.api(token.value.reveal, self._world.now):
            self.refuse(name, token.id)

    def _come_again(self, name: int) -> None:
        if not self._resting:
            self._soon(
                self._rngs[name].expovariate(1.0 / self._world.plan.pause),
                lambda: self._come(name),
            )

    def _come(self, name: int) -> None:
        if not self._resting:
            self.call(name)
            self._come_again(name)

    def _soon(self, seconds: float, do: Callable[[], None]) -> None:
        self._world.at(self._world.now + seconds, do, Clock.HOST)

    def _keeper(self, name: int) -> "Keeper | None":
        daemon = self._world.daemon
        return daemon.keepers[name] if daemon.running else None

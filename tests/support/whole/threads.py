"""Threads of the daemon's blocking calls: each does its work when the world says so, in the loop's order."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, final

from anyio.lowlevel import EventLoopToken

if TYPE_CHECKING:  # the world is made of this module
    from whole.world import World


@final
class Threads:
    """Stands for `threading.Thread`, and for `anyio.from_thread`, by which a thread says it is done."""

    def __init__(self, world: "World") -> None:
        self._world = world

    def thread(
        self, target: Callable[..., None], args: tuple[Any, ...], name: str, **_more: bool
    ) -> "Threads.Thread":
        """Make a thread, as `threading.Thread` does."""
        return Threads.Thread(self._world, target, args, name)

    @staticmethod
    def run_sync(call: Callable[..., object], *args: object, token: EventLoopToken) -> None:
        """Let the loop call a function."""
        loop: Any = token.native_token
        loop.call_soon(call, *args)

    @final
    class Thread:
        """One call, made at once when its moment has come: what a disk takes, or what hangs."""

        def __init__(
            self, world: "World", target: Callable[..., None], args: tuple[Any, ...], kind: str
        ) -> None:
            self._world, self._target, self._args, self._kind = world, target, args, kind

        def start(self) -> None:
            """Begin, unless the daemon is killed meanwhile."""
            world, host = self._world, self._world.host
            life = host.life

            def work() -> None:
                if host.life == life:
                    with host.here():
                        self._target(*self._args)

            world.time.at(world.time.now + world.takes(self._kind), work)

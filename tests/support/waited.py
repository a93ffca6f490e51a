"""Async clients with the methods of the blocking ones, so that one test says a rule for all of them."""

from collections.abc import Callable
from functools import partial

from anyio.from_thread import BlockingPortal


class Waited:
    """Calls a method in the portal's loop, and waits for what it returns."""

    def __init__(self, portal: BlockingPortal, client: object) -> None:
        self._portal = portal
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., object]:
        method = getattr(self._client, name)
        return lambda *args, **named: self._portal.call(partial(method, *args, **named))

"""What the daemon finds in the place of its host, while a world runs."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from random import Random
from typing import TypeVar
from unittest.mock import patch

from openfit_tokend.core.callers.log_limits import Window
from openfit_tokend.core.settings.names import Name
from openfit_tokend.host import clock, log
from whole.clients import peer_of
from whole.servers import WALL
from whole.surroundings import Surroundings
from whole.threads import Threads

T = TypeVar("T")


@contextmanager
def in_place_of_the_host(world: Surroundings) -> Generator[None]:
    """Let the daemon's modules find this world's clock, chance, threads, network, peers and users."""
    chances = Random(world.plan.seed * 7 + 5)  # noqa: S311 -- a seed is to decide it
    threads = Threads(world)
    with (
        patch.object(clock, "boot", world.boot),
        patch.object(clock, "wall", lambda: WALL + world.time.now),
        patch.object(clock, "_RANDOM", chances),
        patch.object(log, "_limits", dict[str, Window]()),
        patch("openfit_tokend.host.blocking_calls.Thread", threads.thread),
        patch("openfit_tokend.host.blocking_calls.from_thread", threads),
        patch("openfit_tokend.serving.server.peer_of", peer_of),
        patch("openfit_tokend.config.config_file.look_up", _id),
        patch("openfit_tokend.app.SLICE", 1),  # clients come between any two profiles of a reload
        patch("anyio.to_thread.run_sync", _at_once),
        patch("anyio.connect_tcp", world.connect_tcp),
        patch("openfit_tokend.keeping.connecting.judge_peer", _believe),
        _listened_to(world),
    ):
        yield


async def _at_once(call: Callable[..., T], *args: object, **_more: object) -> T:
    """Do what a thread would do that nothing can hold up: hash a password."""
    return call(*args)


async def _believe(_stream: object, _user: object) -> None:
    """Take the server for the right one: there is no socket whose end the kernel knows."""


def _id(name: Name) -> int:
    return int(name.name.removeprefix("u"))


@contextmanager
def _listened_to(world: Surroundings) -> Generator[None]:
    """Read the daemon's log, every other time with what only who debugs wants to know."""

    class Reader(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            fields = record.__dict__.get("fields")
            failed = f" {record.exc_info[1]!r}" if record.exc_info else ""
            world.logged(record.getMessage(), f"{fields}{failed}")

    logger = logging.getLogger("openfit_tokend")
    before, level = logger.handlers[:], logger.level
    logger.handlers[:] = [Reader()]
    logger.setLevel(logging.DEBUG if world.plan.seed % 2 else logging.INFO)
    try:
        yield
    finally:
        logger.handlers[:] = before
        logger.setLevel(level)

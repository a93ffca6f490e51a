"""What the daemons find in the place of their hosts, while a world runs."""

import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from random import Random
from typing import TYPE_CHECKING, TypeVar
from unittest.mock import patch

import anyio

from openfit_tokend.core.callers.log_limits import Window
from openfit_tokend.core.settings import parser
from openfit_tokend.core.settings.names import Name
from openfit_tokend.host import clock, log
from openfit_tokend.storage import accounts
from openfit_tokend.storage.accounts import Accounts
from whole.clients import peer_of
from whole.network import Stream
from whole.planted import Method, instead
from whole.servers import WALL
from whole.store import Link
from whole.threads import Threads

if TYPE_CHECKING:  # the world is made of this module
    from whole.world import World

T = TypeVar("T")


@contextmanager
def in_place_of_the_hosts(world: "World") -> Generator[None]:
    """Let each daemon find what the host has whose turn it is: clock, chance, network, boot, store..."""
    chances = Random(world.plan.seed * 7 + 5)  # noqa: S311 -- a seed is to decide it
    threads = Threads(world)

    def boot() -> float:
        return world.host.clock.boot()

    async def connect_tcp(*_host_and_port: object, **_more: object) -> Stream:
        takes = world.connects(world.host)
        if takes is None:
            raise ConnectionRefusedError(111, "Connection refused")
        await anyio.sleep(takes)
        return Stream(world.time, world.received)

    def store(_place: object, _password: object) -> Link:
        return world.host.link

    with (
        patch.object(clock, "boot", boot),
        patch.object(clock, "wall", lambda: WALL + world.time.now),
        patch.object(clock, "_RANDOM", chances),
        patch.object(parser, "MIN_REFRESH_TOKEN_LIFETIME", 1.0),  # a run is shorter than an hour
        patch.object(accounts, "_SCRYPT_COST", 2),  # the protection isn't tried here
        instead(Accounts, "_fingerprint", partial(_colliding, world)),
        patch.object(log, "_limits", dict[str, Window]()),
        patch("openfit_tokend.host.blocking_calls.Thread", threads.thread),
        patch("openfit_tokend.host.blocking_calls.from_thread", threads),
        patch("openfit_tokend.serving.server.peer_of", peer_of),
        patch("openfit_tokend.config.config_file.look_up", _id),
        patch("openfit_tokend.app.SLICE", 1),  # clients come between any two profiles of a reload
        patch("anyio.to_thread.run_sync", _at_once),
        patch("anyio.connect_tcp", connect_tcp),
        patch("openfit_tokend.keeping.connecting.judge_peer", _believe),
        patch("openfit_tokend.fleet.made.store", store),
        patch("openfit_tokend.storage.ledger_file.boot_id", lambda: world.host.boot_id),
        patch("openfit_tokend.storage.stored_sessions.boot_id", lambda: world.host.boot_id),
        _listened_to(world),
    ):
        yield


def _colliding(world: "World", hashed: Method) -> Method:
    """Let passwords look alike where the plan wants it."""

    def fingerprint(*given: object) -> int:
        found: int = hashed(*given)
        return found & 3 if world.plan.collisions else found

    return fingerprint


async def _at_once(call: Callable[..., T], *args: object, **_more: object) -> T:
    """Do what a thread would do that nothing can hold up: hash a password."""
    return call(*args)


async def _believe(_stream: object, _user: object) -> None:
    """Take the server for the right one: there is no socket whose end the kernel knows."""


def _id(name: Name) -> int:
    return int(name.name.removeprefix("u"))


@contextmanager
def _listened_to(world: "World") -> Generator[None]:
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

"""What the daemons of a fleet find in the place of their hosts, while a world runs."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from unittest.mock import patch

from whole.fleet.store import Link
from whole.stand_ins import in_place_of_the_host

if TYPE_CHECKING:  # the world is made of this module
    from whole.fleet.world import World


@contextmanager
def in_place_of_the_hosts(world: "World") -> Generator[None]:
    """Let each daemon find the clock, network, boot and store of the host whose turn it is."""

    def store(_place: object, _password: object) -> Link:
        return world.machine.link

    with (
        in_place_of_the_host(world),
        patch("openfit_tokend.fleet.made.store", store),
        patch("openfit_tokend.storage.ledger_file.boot_id", lambda: world.machine.boot_id),
        patch("openfit_tokend.storage.stored_sessions.boot_id", lambda: world.machine.boot_id),
    ):
        yield

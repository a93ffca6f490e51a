"""Callers that park and then don't read what they waited for: each has room, and an end."""

import json
import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, nullcontext

import pytest

from daemons import NOBODY, RunningDaemon, Wire, needs_root, prepared_daemon, profile
from openfit_tokend.serving.rpc import MAX_UNREAD
from openfit_tokend.serving.server import MAX_UNREAD_USER
from raw_server import raw_server, response
from users import being

pytestmark = pytest.mark.system

TOKEN = "a" * 60_000
"""Long, so that few answers are much."""
FEW, ALL = MAX_UNREAD // len(TOKEN), 64
"""Parked calls of one connection whose answers are below the limit, and as many as there may be."""
SOME = 6
"""Parked calls of which more than half of the limit finds no room in a socket, but not all of it."""


@pytest.fixture
def grant() -> Iterator[threading.Event]:
    """Set, and the token server answers."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def daemon(grant: threading.Event) -> Iterator[RunningDaemon]:
    """A daemon that everybody may ask, and whose token server lets it wait."""
    body = {"access_token": TOKEN, "token_type": "Bearer", "expires_in": 3600}

    def answer(connection: socket.socket, _: bytes) -> None:
        grant.wait()
        connection.sendall(response("200 OK", json.dumps(body).encode()))

    with (
        raw_server(answer) as server,
        prepared_daemon('socket_mode = "0666"', profile(server.url)) as daemon,
    ):
        daemon.directory.chmod(0o711)
        daemon.start()
        yield daemon
        grant.set()


@contextmanager
def parked(daemon: RunningDaemon, *counts: int, uid: int | None = None) -> Generator[list[Wire]]:
    """Connect as a user, and park so many calls on each connection."""
    with ExitStack() as stack:
        with nullcontext() if uid is None else being(uid):
            wires = [stack.enter_context(daemon.wire()) for _ in counts]
        for wire, count in zip(wires, counts, strict=True):
            for _ in range(count):
                wire.ask("get_token", wait=300)
        yield wires


def answered(wire: Wire, most: int) -> int:
    """Count the answers that come before the connection's end, but no more than so many."""
    for count in range(most):
        try:
            assert wire.answer().code is None
        except EOFError:
            return count
    return most


def test_who_leaves_too_much_unread_is_closed_and_who_leaves_little_gets_all(
    daemon: RunningDaemon, grant: threading.Event
) -> None:
    with parked(daemon, FEW, ALL) as (modest, greedy):
        daemon.await_waiting(FEW + ALL)
        grant.set()
        daemon.await_waiting(0)

        assert answered(greedy, ALL) < ALL
        assert answered(modest, FEW) == FEW
        assert modest.call("get_token").code is None


@needs_root
def test_what_all_connections_of_a_user_leave_unread_is_bounded_and_others_dont_pay(
    daemon: RunningDaemon, grant: threading.Event
) -> None:
    crowd = 2 * MAX_UNREAD_USER // (MAX_UNREAD // 2)
    with (
        parked(daemon, *[SOME] * crowd, uid=NOBODY) as wires,
        parked(daemon, *[SOME] * 2) as good,
    ):
        daemon.await_waiting((crowd + len(good)) * SOME)
        grant.set()
        daemon.await_waiting(0)

        assert f"uid={NOBODY}" in daemon.await_log("too_much_unread")
        whole = sum(answered(wire, SOME) == SOME for wire in wires)
        assert MAX_UNREAD_USER // MAX_UNREAD <= whole <= crowd // 2 + 1
        assert [answered(wire, SOME) for wire in good] == [SOME] * len(good)

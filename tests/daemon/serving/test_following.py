"""`subscribe`: what a connection is told without asking again."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgpack
import pytest
from anyio import to_thread

from daemons import (
    NOBODY,
    PATIENCE,
    Fields,
    RunningDaemon,
    Wire,
    needs_root,
    prepared_daemon,
    profile,
    running_daemon,
)
from emulators import RunningEmulator
from inside import daemon_inside
from openfit_token.errors import NoSuchProfile
from openfit_tokend.serving.connection import Connection
from openfit_tokend.serving.server import RESERVE, Server
from users import being


@pytest.fixture
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with running_daemon(profile(emulator.url), profile(emulator.url, "other")) as running:
        running.call("get_token", profile="main")
        running.call("get_token", profile="other")
        yield running


class Follower:
    """A raw connection that subscribed."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self._unpacker = msgpack.Unpacker()

    def next(self) -> list[Any]:
        """Await the next message, whatever it is."""
        self.wire.socket.settimeout(PATIENCE)
        while True:
            for message in self._unpacker:
                return list(message)
            data = self.wire.socket.recv(65536)
            assert data, "the daemon closed the connection"
            self._unpacker.feed(data)

    def next_with(self, state: str) -> Fields:
        """Await the notification of a state."""
        while True:
            kind, method, (fields,) = self.next()
            assert (kind, method) == (2, "changed")
            if fields["state"] == state:
                return dict(fields)


def new_token(daemon: RunningDaemon, name: str) -> Fields:
    daemon.call("logout", profile=name)
    return daemon.call("login", profile=name)


def test_the_answer_is_how_the_profile_stands(daemon: RunningDaemon) -> None:
    told = daemon.call("subscribe", profile="main")

    status = daemon.profile_status("main")
    assert told["profile"] == "main"
    assert told["id"] == status["id"]
    assert told.keys() - {"profile"} == status.keys()


def test_a_new_token_is_told_without_the_token_and_nothing_of_other_profiles(
    daemon: RunningDaemon,
) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")
        follower = Follower(wire)
        new_token(daemon, "other")

        token = new_token(daemon, "main")

        assert follower.next_with("logged_out")["profile"] == "main"
        assert follower.next_with("logging_in")["profile"] == "main"
        told = follower.next_with("fresh")
    assert told.keys() == {"profile", "state", "id", "expires_at"}
    assert told["id"] == token["id"]
    assert told["expires_at"] == pytest.approx(token["expires_at"], abs=0.1)


def test_a_logout_is_told(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")

        daemon.call("logout", profile="main")

        told = Follower(wire).next_with("logged_out")
    assert (told["id"], told["expires_at"]) == (None, None)


def test_a_follower_asks_on_the_same_connection(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")

        assert wire.call("get_token", profile="main").error is None
        assert wire.call("hello").error is None


def test_a_follower_that_does_not_read_is_told_the_newest(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")
        wire.socket.settimeout(0)
        with suppress(BlockingIOError):  # the answers fill the socket
            while True:
                wire.ask("status", profile="main")
        tokens = [new_token(daemon, "main") for _ in range(4)]

        follower, told = Follower(wire), list[Any]()
        while not told or told[-1]["id"] != tokens[-1]["id"]:
            message = follower.next()
            if message[0] == 2:
                told.append(message[2][0])

    assert len(told) < 12, "four times logged out, logging in and fresh, and each was told"


def test_a_follower_may_close_its_side_and_listens_on(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")
        wire.socket.shutdown(1)

        new_token(daemon, "main")

        Follower(wire).next_with("fresh")


def test_a_follower_that_leaves_is_forgotten(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")
    daemon.await_connections(1)

    new_token(daemon, "main")

    assert "internal_fault" not in daemon.log()


def test_followers_of_a_profile_that_is_removed_are_closed(
    daemon: RunningDaemon, emulator: RunningEmulator
) -> None:
    with daemon.wire() as wire, daemon.wire() as other:
        wire.call("subscribe", profile="other")
        other.call("subscribe", profile="main")
        daemon.write_config(profile(emulator.url))

        daemon.call("reload")

        assert wire.has_ended()
        assert other.call("hello").error is None
    with pytest.raises(NoSuchProfile):
        daemon.call("subscribe", profile="other")


@needs_root
def test_followers_who_may_not_use_it_any_more_are_closed(
    daemon: RunningDaemon, emulator: RunningEmulator
) -> None:
    daemon.directory.chmod(0o755)
    daemon.socket.parent.chmod(0o755)
    daemon.socket.chmod(0o666)
    with being(NOBODY):
        wire = daemon.wire()
    with wire, daemon.wire() as operator:
        assert wire.call("subscribe", profile="main").error is None
        operator.call("subscribe", profile="main")
        daemon.write_config(profile(emulator.url, allow_users='["root"]'))

        daemon.call("reload")

        assert wire.has_ended()
        assert operator.call("hello").error is None


def test_a_user_may_have_as_many_subscriptions_and_calls_that_wait_as_connections(
    emulator: RunningEmulator,
) -> None:
    most = 4
    names = [f"p{number}" for number in range(most)]
    emulator.fault("hang@login:1-9")
    with prepared_daemon(*(profile(emulator.url, name) for name in names)) as daemon:
        daemon.launcher = ("prlimit", f"--nofile={RESERVE + 2 * most}")
        daemon.start()
        with daemon.wire() as one, daemon.wire() as another:
            one.ask("get_token", profile=names[0], wait=300)
            daemon.await_waiting(1, names[0])
            for name in (names[0], names[0], *names[1:-1]):  # the same twice is one
                assert another.call("subscribe", profile=name).code is None

            assert one.call("subscribe", profile=names[-1]).code == "OVERLOADED"
            assert one.call("get_token", profile=names[-1], wait=300).code == "OVERLOADED"
            another.close()
            daemon.await_connections(2)
            assert one.call("subscribe", profile=names[-1]).code is None


async def test_a_fault_of_ours_closes_one_follower_and_the_others_are_told(
    tmp_path: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, to_come = Server.put, [RuntimeError("a fault of ours")]

    def putting(self: Server, connection: Connection, data: bytes) -> bool:
        if connection.follows and to_come:
            raise to_come.pop()
        return put(self, connection, data)

    async with daemon_inside(tmp_path, profile(emulator.url)) as daemon, daemon.client() as client:
        await client.get_token()
        with Wire(daemon.socket) as one, Wire(daemon.socket) as another:
            for each in (one, another):
                assert (await to_thread.run_sync(each.call, "subscribe")).code is None
            monkeypatch.setattr(Server, "put", putting)
            await client.logout()

            ended = [await to_thread.run_sync(each.has_ended) for each in (one, another)]

        assert sorted(ended) == [False, True]
        assert daemon.log().count("internal_fault") == 1


def test_a_stop_does_not_wait_for_followers(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        wire.call("subscribe", profile="main")

        daemon.stop()

        assert wire.has_ended()

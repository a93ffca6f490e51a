"""Clients that mean harm: floods, silence, passed descriptors, all the descriptors there are, noise."""

import errno
import os
import resource
import socket
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemons import (
    NOBODY,
    RunningDaemon,
    Wire,
    await_that,
    needs_root,
    needs_root_to_look,
    pack,
    prepared_daemon,
    profile,
    request,
)
from emulators import RunningEmulator, one_emulator
from fuzz.attack import RpcAttack
from openfit_token.errors import BY_CODE
from openfit_tokend.serving.server import RESERVE
from openfit_tokend.serving.users import MAX_CONNECTIONS, RESERVE_OWN
from users import being

pytestmark = pytest.mark.system

GROWTH = 30 * 2**20
"""Bytes that the daemon may grow beside any crowd."""
PLACES = 64
"""Clients that a daemon has room for whose descriptors are few: one user gets half of them."""
WATCHED = 0.5
"""Seconds in which a daemon that can do nothing must take next to no processor time."""


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    with open_daemon(emulator) as daemon:
        yield daemon


@pytest.fixture
def narrow(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon that has descriptors for few clients."""
    with open_daemon(emulator, f"--nofile={RESERVE + PLACES}") as daemon:
        yield daemon


@contextmanager
def open_daemon(emulator: RunningEmulator, *limits: str) -> Generator[RunningDaemon]:
    """Run a daemon whose socket everybody may open."""
    with prepared_daemon('socket_mode = "0666"', profile(emulator.url)) as daemon:
        daemon.launcher = ("prlimit", *limits) if limits else ()
        daemon.directory.chmod(0o711)
        daemon.start()
        daemon.await_state("fresh")
        yield daemon


def descriptors(daemon: RunningDaemon) -> list[int]:
    return [int(each.name) for each in Path(f"/proc/{daemon.pid}/fd").iterdir()]


def open_files(daemon: RunningDaemon) -> int:
    return len(descriptors(daemon))


def processor_time(daemon: RunningDaemon) -> float:
    """Return the seconds of the process's clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~daemon.pid << 3) | 2)


def is_idle(daemon: RunningDaemon) -> bool:
    """Return whether it takes next to no processor time."""
    before = processor_time(daemon)
    time.sleep(WATCHED)
    return processor_time(daemon) - before < WATCHED / 10


def wires_of(uid: int, daemon: RunningDaemon, count: int, stack: ExitStack) -> list[Wire]:
    """Connect as a user so many times."""
    with being(uid):
        return [stack.enter_context(daemon.wire()) for _ in range(count)]


# What is sent


@needs_root_to_look
def test_descriptors_that_are_passed_are_closed_and_the_request_is_served(
    daemon: RunningDaemon,
) -> None:
    with daemon.wire() as wire:
        wire.call("hello")
        before = open_files(daemon)
        for number in range(20):
            ours, theirs = os.pipe()
            socket.send_fds(wire.socket, [request(number, "hello")], [theirs] * 50)
            os.close(theirs)
            assert wire.answer().msgid == number
            os.set_blocking(ours, False)
            assert os.read(ours, 1) == b"", "nobody holds the other end"
            os.close(ours)

        await_that(lambda: open_files(daemon) <= before)  # the ledger may just be written


def test_a_descriptor_behind_half_a_request_is_not_held_either(daemon: RunningDaemon) -> None:
    with daemon.wire() as wire:
        ours, theirs = os.pipe()
        data = request(7, "hello")
        socket.send_fds(wire.socket, [data[:3]], [theirs])
        os.close(theirs)
        wire.send(data[3:])

        assert wire.answer().msgid == 7
        assert os.read(ours, 1) == b""
        os.close(ours)


NESTED = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text()
    | st.binary() | st.sampled_from(["main", "profile", "wait", "get_token"]),
    lambda inner: st.lists(inner, max_size=4)
    | st.dictionaries(st.text() | st.integers(-(2**63), 2**64 - 1), inner, max_size=4),
    max_leaves=8,
)  # fmt: skip
METHODS = st.sampled_from(["hello", "get_token", "refuse", "refresh", "status", "subscribe"])


@given(
    method=METHODS | st.text(max_size=20),
    params=st.dictionaries(
        st.sampled_from(["profile", "min_ttl", "id"]) | st.text(max_size=5), NESTED
    ),
)
def test_any_params_get_one_answer_of_the_protocol_and_hurt_nothing(
    daemon: RunningDaemon, method: str, params: dict[str, object]
) -> None:
    with daemon.wire() as wire:
        wire.send(pack([0, 5, method, [{**params, "wait": 0}]]))
        answer = wire.answer()

    assert answer.msgid == 5
    assert answer.code != "INTERNAL"
    assert answer.code is None or answer.code in BY_CODE
    assert daemon.call("hello")["pid"] == daemon.pid


@given(message=NESTED, tail=st.binary(max_size=40))
def test_any_value_is_answered_once_or_ends_the_connection(
    daemon: RunningDaemon, message: object, tail: bytes
) -> None:
    with daemon.wire() as wire:
        wire.send(pack(message) + tail)
        wire.socket.shutdown(socket.SHUT_WR)
        answers = b""
        while part := wire.socket.recv(65536):
            answers += part

    unpacker = msgpack.Unpacker()
    unpacker.feed(answers)
    assert [each[2]["code"] for each in unpacker] in ([], ["BAD_REQUEST"])
    assert "internal_fault" not in daemon.log()


@needs_root
def test_twenty_thousand_mutated_messages_leave_it_as_it_was(emulator: RunningEmulator) -> None:
    """`python -m fuzz` sends millions."""
    with open_daemon(emulator) as daemon:
        attack = RpcAttack(daemon, seed=7)

        attack.run(20_000)

        attack.judge()


def test_the_end_of_one_message_is_never_remembered_as_another(daemon: RunningDaemon) -> None:
    """The msgid is chosen so that what is sent last looks like the beginning of a request."""
    whole = pack([0, 0x940005C0, "get_token", [{"profile": "main"}]])
    with daemon.wire() as wire:
        wire.send(whole[:3])
        assert wire.is_silent()
        wire.send(whole[3:])
        assert wire.answer().code is None

        wire.send(whole[3:])

        assert wire.answer().code == "BAD_REQUEST"


# Crowds


def test_a_thousand_clients_that_sent_half_a_request_cost_next_to_nothing(
    daemon: RunningDaemon,
) -> None:
    with ExitStack() as stack:
        wires = [stack.enter_context(daemon.wire()) for _ in range(1000)]
        daemon.await_connections(1001)
        before = daemon.memory()
        for wire in wires:
            wire.send(request(1, "get_token", profile="main")[:-1])
        daemon.call("hello")

        assert daemon.memory() - before < 4 * 2**20


def test_beside_slow_silent_greedy_and_flooding_clients_a_good_one_is_served(
    daemon: RunningDaemon,
) -> None:
    """How quickly: `python -m benchmarks hostile`."""
    before = daemon.memory()
    with ExitStack() as stack:
        slow = [stack.enter_context(daemon.wire()) for _ in range(300)]
        for wire in slow:
            wire.send(request(1, "get_token")[:-1])  # all but the last byte
        greedy = [stack.enter_context(daemon.wire()) for _ in range(20)]
        for wire in greedy:
            wire.socket.settimeout(0)
            with suppress(BlockingIOError):
                while True:
                    wire.socket.send(request(1, "status") * 1000)
        flooding = [stack.enter_context(daemon.wire()) for _ in range(4)]
        for wire in flooding:
            wire.socket.settimeout(0)

        with daemon.wire() as good:
            for _ in range(200):
                for wire in flooding:
                    with suppress(BlockingIOError):
                        wire.socket.recv(2**20)
                    with suppress(BlockingIOError):
                        wire.socket.send(request(2, "status") * 100)
                assert good.call("get_token").code is None
        assert daemon.memory() - before < GROWTH

        for wire in slow:
            wire.send(request(1, "get_token")[-1:])
        assert [wire.answer().code for wire in slow] == [None] * 300
    assert "internal_fault" not in daemon.log()


@needs_root
def test_one_user_cannot_take_all_places_from_another(narrow: RunningDaemon) -> None:
    with ExitStack() as stack:
        wires = wires_of(NOBODY, narrow, PLACES // 2 + 10, stack)
        refused = wires[PLACES // 2 :]
        assert {wire.answer().code for wire in refused} == {"OVERLOADED"}
        assert all(wire.has_ended() for wire in refused)

        assert narrow.call("get_token")["profile"] == "main"
        assert [wire.call("hello").code for wire in wires[: PLACES // 2]] == [None] * (PLACES // 2)
    assert f"uid={NOBODY}" in narrow.await_log("too_many_connections")


@needs_root
def test_thousands_of_connections_of_one_user_end_at_a_limit_and_leave_another_its_own(
    daemon: RunningDaemon,
) -> None:
    before = daemon.memory()
    with ExitStack() as stack:
        wires = wires_of(NOBODY, daemon, MAX_CONNECTIONS + 1, stack)
        assert wires[-1].answer().code == "OVERLOADED"

        assert daemon.call("get_token")["profile"] == "main"
        assert daemon.memory() - before < GROWTH
    daemon.await_connections(1)


# No descriptors left


@needs_root
def test_when_all_places_are_taken_who_has_the_most_loses_an_idle_one_and_nobody_is_kept_out(
    narrow: RunningDaemon,
) -> None:
    with ExitStack() as stack:
        heavy = wires_of(NOBODY, narrow, 30, stack)
        light = wires_of(12345, narrow, PLACES - RESERVE_OWN - 30, stack)
        assert {wire.call("hello").code for wire in heavy + light} == {None}
        asked = request(7, "get_token")
        heavy[0].send(asked[:-1])

        (newcomer,) = wires_of(777, narrow, 1, stack)
        assert newcomer.call("get_token").code is None
        assert heavy[1].has_ended()
        assert f"uid={NOBODY}" in narrow.await_log("connections_used_up")

        (one_more,) = wires_of(NOBODY, narrow, 1, stack)
        assert one_more.answer().code == "OVERLOADED"
        heavy[0].send(asked[-1:])
        left = [heavy[0], *heavy[2:], *light, newcomer]
        assert heavy[0].answer().code is None
        assert {wire.call("get_token").code for wire in left} == {None}

        own = wires_of(0, narrow, RESERVE_OWN, stack)
        assert {wire.call("hello").code for wire in own + left} == {None}
        assert narrow.call("refresh")["profile"] == "main"
        assert heavy[0].has_ended()  # idle by now
        assert is_idle(narrow)
    narrow.await_connections(1)


@needs_root
def test_uids_that_fill_all_places_and_are_never_idle_keep_out_neither_root_nor_others(
    narrow: RunningDaemon,
) -> None:
    with ExitStack() as stack:
        crowd = [
            wire
            for uid in (100_001, 100_002, 100_003)
            for wire in wires_of(uid, narrow, PLACES // 2, stack)
        ]
        for wire in crowd:
            with suppress(BrokenPipeError):  # those that found no place
                wire.send(request(1, "get_token")[:-1])
        for uid in (0, 777, NOBODY):
            (wire,) = wires_of(uid, narrow, 1, stack)
            assert wire.call("get_token").code is None


@needs_root
def test_when_the_process_has_no_descriptor_left_it_is_the_same(narrow: RunningDaemon) -> None:
    """Lower the limit under a running daemon: the places that it counts on are not there."""
    with ExitStack() as stack:
        wires = wires_of(0, narrow, 4, stack)
        assert [wire.call("hello").code for wire in wires] == [None] * 4
        highest = max(descriptors(narrow))
        soft, hard = resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE, (highest + 1, hard))
        late = wires_of(0, narrow, 20, stack)
        for wire in late:
            wire.ask("hello")

        narrow.await_log("accepting_paused", os.strerror(errno.EMFILE))
        assert is_idle(narrow)
        assert [wire.call("get_token").code for wire in wires] == [None] * 4

        resource.prlimit(narrow.pid, resource.RLIMIT_NOFILE, (soft, hard))
        assert [wire.answer().code for wire in late] == [None] * 20
    narrow.await_connections(1)

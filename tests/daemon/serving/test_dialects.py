"""What the server does for whatever is spoken at a listening socket, with a dialect of these tests.

Each line is answered by itself in capitals. `wait` is owed an answer, which comes by `answer_wait`.
"""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from resource import RLIMIT_NOFILE, getrlimit
from socket import AF_UNIX, SHUT_WR, socket

import pytest

from daemons import PATIENCE
from inside import Clocks
from openfit_token.errors import TokenError
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.serving import server
from openfit_tokend.serving.connection import Connection, Owed
from openfit_tokend.serving.server import Server
from openfit_tokend.serving.users import User

MAX_LINE = 20
CROWD = 20
FEW = 5
"""Of a crowd's costly lines: two in each of the passes in which another is heard, queued and served."""
STRANGER = 50_003
"""A uid without an account."""


class Lines:
    """One answer after the other, as HTTP has it."""

    hears = True
    most_owed = 1
    read_size = 256
    farewell = 0.2
    guests: User | None = None

    def __init__(self, server: Server, clocks: Clocks) -> None:
        """A line takes `cost` seconds."""
        self._server = server
        self._clocks = clocks
        self._waiting: list[Connection] = []
        self.prepared_answers: dict[bytes, bytes] = {}
        self.cost = 0.0
        self.heard: list[bytes] = []
        self.forgotten = 0

    def prepared(self, data: bytes, _caller: Connection) -> bytes | None:
        return self.prepared_answers.get(data)

    def answer(self, connection: Connection, data: bytes | None) -> bool:
        rest = connection.rest if isinstance(connection.rest, bytes) else b""
        line, ends, rest = (rest + (data or b"")).partition(b"\n")
        if not ends:
            connection.rest = line or None
            if len(line) > MAX_LINE:
                self._server.end(connection, b"TOO LONG\n")
            return False
        connection.rest = rest or None
        self.heard.append(line)
        self._clocks.suspend(self.cost)
        if line == b"wait":
            connection.owed = {Owed(connection, 0, None)}
            self._waiting.append(connection)
        else:
            connection.outgoing += line.upper() + b"\n"
        return True

    def more(self, _connection: Connection) -> bytes:
        raise AssertionError("it never has more")

    def refuse(self, connection: Connection, error: TokenError) -> None:
        self._server.end(connection, f"{error.code}\n".encode())

    def forget(self, _connection: Connection) -> None:
        self.forgotten += 1

    def answer_wait(self) -> None:
        connection = self._waiting.pop()
        connection.owed = None
        self._server.put(connection, b"WAITED\n")


class Place:
    """A server, two sockets that it listens at, and what is spoken there."""

    def __init__(self, directory: Path, stack: ExitStack, guests: User | None = None) -> None:
        """`guests`: whom the connections of the second socket are counted to."""
        self.server = Server(Alarm())
        stack.callback(self.server.close)
        clocks = Clocks(stack.enter_context(pytest.MonkeyPatch.context()))
        self.dialects = [Lines(self.server, clocks), Lines(self.server, clocks)]
        self._stack = stack
        self._paths = [directory / name for name in ("one", "two")]
        self.dialects[1].guests = guests
        for path, dialect in zip(self._paths, self.dialects, strict=True):
            listener = stack.enter_context(socket(AF_UNIX))
            listener.bind(str(path))
            listener.listen()
            listener.settimeout(0)
            self.server.listen(listener, dialect)

    def client(self, number: int = 0) -> socket:
        """Connect."""
        client = self._stack.enter_context(socket(AF_UNIX))
        client.settimeout(PATIENCE)
        client.connect(str(self._paths[number]))
        return client

    def turn(self) -> None:
        """Let the server do all that there is to do."""
        for _ in range(8):
            self.server.turn(0)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def test_each_socket_is_spoken_to_in_its_own_dialect(place: Place) -> None:
    first, second = place.client(0), place.client(1)
    first.send(b"one\n")
    second.send(b"two\n")
    place.turn()

    assert (first.recv(99), second.recv(99)) == (b"ONE\n", b"TWO\n")
    assert [dialect.heard for dialect in place.dialects] == [[b"one"], [b"two"]]
    assert place.server.users.connections == 2


def test_bytes_whose_answer_is_prepared_are_answered_by_it_and_nothing_is_decoded(
    place: Place,
) -> None:
    place.dialects[0].prepared_answers[b"known\n"] = b"AT ONCE\n"
    client = place.client()
    client.send(b"known\n")
    place.turn()

    assert client.recv(99) == b"AT ONCE\n"
    assert place.dialects[0].heard == []
    assert place.server.users.requests == 1


def test_behind_half_a_request_no_bytes_are_taken_for_known_ones(place: Place) -> None:
    place.dialects[0].prepared_answers[b"known\n"] = b"AT ONCE\n"
    client = place.client()
    client.send(b"un")
    place.turn()
    client.send(b"known\n")
    place.turn()

    assert client.recv(99) == b"UNKNOWN\n"


def test_requests_behind_one_that_is_owed_its_answer_wait_and_are_answered_in_order(
    place: Place,
) -> None:
    client = place.client()
    client.send(b"a\nwait\nb\nc\n")
    place.turn()
    assert client.recv(99) == b"A\n"
    assert place.dialects[0].heard == [b"a", b"wait"]

    place.dialects[0].answer_wait()
    place.turn()

    assert client.recv(99) == b"WAITED\nB\nC\n"


def test_a_client_that_has_closed_its_side_still_gets_what_it_is_owed_and_then_the_end(
    place: Place,
) -> None:
    client = place.client()
    client.send(b"wait\n")
    client.shutdown(SHUT_WR)
    place.turn()
    place.dialects[0].answer_wait()
    place.turn()

    assert client.recv(99) == b"WAITED\n"
    assert client.recv(99) == b""
    assert place.dialects[0].forgotten == 1
    assert place.server.users.connections == 0


def test_the_dialect_says_the_last_word_to_one_that_sends_too_much(place: Place) -> None:
    client = place.client()
    client.send(b"x" * 200)
    place.turn()

    assert client.recv(99) == b"TOO LONG\n"
    assert client.recv(99) == b""


def test_a_limit_is_one_for_all_sockets_and_told_in_the_dialect_of_each(place: Place) -> None:
    place.client(0)
    place.turn()
    (user,) = place.server.users.by_uid.values()
    user.most = 1
    second = place.client(1)
    place.turn()

    assert second.recv(99) == b"OVERLOADED\n"
    assert second.recv(99) == b""


def test_who_is_asked_for_again_and_by_whichever_connection_is_the_same_value(
    place: Place,
) -> None:
    """A change is told to thousands in one go: the kernel isn't asked again for each of them."""
    place.client(0)
    place.client(1)
    place.turn()
    first, second = place.server._connections.values()  # pyright: ignore[reportPrivateUsage] -- no other way tells

    assert first.who is first.who
    assert first.who is second.who


def test_a_client_that_has_closed_its_side_is_there_and_one_that_has_closed_its_socket_is_gone(
    place: Place,
) -> None:
    client = place.client()
    place.turn()
    (connection,) = place.server._connections.values()  # pyright: ignore[reportPrivateUsage] -- no other way tells
    client.shutdown(SHUT_WR)
    there = not connection.is_gone
    client.close()

    assert there
    assert connection.is_gone


def test_when_all_places_are_kept_ones_a_newcomer_takes_one_of_who_has_the_most_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not one of who is remembered, and has none."""
    monkeypatch.setattr(server, "RESERVE", getrlimit(RLIMIT_NOFILE)[0] - 4)
    guests = User(uid=0, most=40, kept=40)
    with ExitStack() as stack:
        place = Place(tmp_path, stack, guests)
        place.server.users.of(STRANGER)
        own = place.client(0)
        for number in (1, 1, 1, 1):
            place.client(number)
        place.turn()

        assert own.recv(99) == b""
        assert guests.connections == 4


def test_a_crowd_of_one_users_newcomers_delays_another_users_newcomer_by_few(
    tmp_path: Path,
) -> None:
    with ExitStack() as stack:
        place = Place(tmp_path, stack, User(uid=0, most=1, kept=1))
        ours, theirs = place.dialects
        crowd, other = [place.client(0) for _ in range(CROWD)], place.client(1)
        place.turn()
        ours.cost = 2 * server.PASS_TIME
        for each in crowd:
            each.send(b"costly\n")
        other.send(b"cheap\n")  # it is read behind some of them, when there is no time left

        while not theirs.heard:
            place.server.turn(0)

        assert len(ours.heard) <= FEW
        place.turn()
        assert other.recv(99) == b"CHEAP\n"


def test_who_connects_behind_a_crowd_that_asks_for_much_is_accepted_at_once(place: Place) -> None:
    place.dialects[0].cost = 2 * server.PASS_TIME
    for _ in range(CROWD):
        place.client().send(b"costly\n")
    place.server.turn(0)

    assert len(place.dialects[0].heard) <= FEW
    assert place.server.users.connections == CROWD


def test_who_is_heard_out_is_answered_what_it_has_sent_and_others_stay(place: Place) -> None:
    first, second = place.client(0), place.client(1)
    place.turn()
    first.send(b"late\n")
    place.server.stop_accepting(place.dialects[0])
    place.server.hear_out(place.dialects[0])

    assert first.recv(99) == b"LATE\n"
    assert first.recv(99) == b""
    second.send(b"still here\n")
    place.turn()
    assert second.recv(99) == b"STILL HERE\n"

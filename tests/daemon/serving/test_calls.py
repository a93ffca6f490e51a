"""What the methods do for a caller of these tests, where a client over a socket can't tell."""

import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import FrameType, SimpleNamespace
from typing import Never, cast

import pytest

from daemons import Fields, profile
from inside import daemon_inside
from openfit_token.errors import NoSuchProfile
from openfit_tokend.core.callers.rights import Rights, Who
from openfit_tokend.core.session import AccessToken
from openfit_tokend.host.peers import Peer
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.audit import BURST
from openfit_tokend.serving.calls import Calls
from openfit_tokend.serving.connection import Connection
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.users import User, Users
from openfit_tokend.serving.waiting import Later, Respond

STRANGER = 50_003
ANYBODY = Who(STRANGER, frozenset(), owns=False)
OPERATOR = Who(0, frozenset(), owns=True)


def somebody(who: Who, *, is_gone: bool = False) -> Connection:
    """Return what a method asks of a caller's connection."""
    user, peer = User(STRANGER, most=9, kept=0), Peer(1, STRANGER, STRANGER)
    return cast("Connection", SimpleNamespace(who=who, peer=peer, user=user, is_gone=is_gone))


@dataclass
class Backend:
    """A daemon without profiles."""

    users: Users = field(default_factory=lambda: Users(100))
    socket_path: str = "/nonexistent/socket"
    http_socket_path: str | None = None
    started_at: float = 0.0
    fleet: None = None

    def reload(self, reply: Respond) -> None:
        reply({})


class Unlisted(dict[int, User]):
    """Users who can be counted, but not listed."""

    def items(self) -> Never:
        pytest.fail("listed")


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def calls(backend: Backend) -> Calls:
    def hand_out(_keeper: Keeper, _access: AccessToken, _now: float) -> Never:
        pytest.fail("there is no token")

    return Calls(backend, Profiles(Rights()), hand_out)


def told(calls: Calls, who: Who, method: str) -> Fields:
    """Return a method's answer."""
    return cast("Fields", calls.call(somebody(who), method, {}))


def test_the_users_are_listed_for_operators_and_for_nobody_else_at_all(
    backend: Backend, calls: Calls
) -> None:
    backend.users.of(STRANGER)

    assert told(calls, OPERATOR, "status")["clients"].keys() == {str(STRANGER)}

    backend.users.by_uid = Unlisted(backend.users.by_uid)
    assert "clients" not in told(calls, ANYBODY, "status")


def test_who_is_gone_is_told_nothing_and_what_it_ordered_is_done(calls: Calls) -> None:
    gone = somebody(OPERATOR, is_gone=True)

    assert [calls.call(gone, method, {}) for method in ("hello", "status", "subscribe")] == [
        None
    ] * 3
    assert isinstance(calls.call(gone, "reload", {}), Later)


def functions_called(do: Callable[[], object]) -> Counter[str]:
    """Return how often each function of Python was called."""
    called = Counter[str]()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            called[frame.f_code.co_qualname] += 1

    sys.setprofile(note)
    try:
        do()
    finally:
        sys.setprofile(None)
    return called


async def test_as_much_is_done_for_a_guessed_name_whether_there_is_such_a_profile_or_not(
    tmp_path: Path,
) -> None:
    """So the time it takes confirms no guess."""
    server = "http://127.0.0.1:9"
    config = profile(server), profile(server, "secret", allow_users='["root"]')
    async with daemon_inside(tmp_path, *config) as daemon:
        profiles, stranger = daemon.daemon.profiles, somebody(ANYBODY)

        def guess(name: str) -> None:
            with pytest.raises(NoSuchProfile):
                profiles.find(stranger, "get_token", name)

        for _ in range(BURST):
            guess("secret")  # and from now on nothing is logged for a while
        real, none = (functions_called(partial(guess, name)) for name in ("secret", "guess"))

        assert real == none
        assert stranger.user.refused == BURST + 2

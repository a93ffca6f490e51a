"""What a caller gets while a reload is under way: never what one of both configurations forbids."""

import pwd
import signal
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from threading import Event, Thread

import anyio
import anyio.to_thread
import pytest

from daemons import (
    NOBODY,
    PATIENCE,
    Answer,
    RunningDaemon,
    Wire,
    await_that,
    needs_root,
    prepared_daemon,
    profile,
)
from emulators import RunningEmulator, api, client, one_emulator, running_emulator
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_tokend import app
from openfit_tokend.serving import prepared
from users import being

MANY = 200
NOBODYS = f'["{pwd.getpwuid(NOBODY).pw_name}"]'
ROOTS = '["root"]'
NO_LIST = ""
EVERYBODYS = 'socket_mode = "0666"'


left = pytest.fixture(one_emulator, scope="module")
right = pytest.fixture(one_emulator, scope="module")
"""Another token server: whatever token it issues is of another account."""


# Many clients and many profiles


class Poller:
    """A user who asks for all profiles, again and again, on one connection."""

    def __init__(self, wire: Wire, names: list[str | None], random: Random) -> None:
        self.codes: set[str | None] = set()
        self.tokens: set[str] = set()
        self.profiles: set[str] = set()
        self._wire = wire
        self._names = names
        self._random = random
        self._over = Event()
        self._thread = Thread(target=self._poll, daemon=True)
        self._thread.start()

    def _poll(self) -> None:
        while not self._over.is_set():
            name = self._random.choice(self._names)
            named = {} if name is None else {"profile": name}
            answer = self._wire.call("get_token", wait=0, **named)
            self.codes.add(answer.code)
            if answer.result is not None:
                self.tokens.add(answer.result["access_token"])
                self.profiles.add(answer.result["profile"])

    def end(self) -> None:
        self._over.set()
        self._thread.join()


@needs_root
def test_no_poller_gets_the_token_of_an_account_that_neither_configuration_lets_it_have(
    left: RunningEmulator, right: RunningEmulator
) -> None:
    """Half of the profiles give their account away, and let `nobody` in; the others the reverse."""
    names = [f"p{number}" for number in range(MANY)]
    ours, others = {"allow_users": NOBODYS}, {"allow_users": ROOTS}

    def tables(odd: int) -> list[str]:
        """Give nobody the left server's account, in half of the profiles."""
        return [
            profile(left.url, name, **ours)
            if number % 2 == odd
            else profile(right.url, name, **others)
            for number, name in enumerate(names)
        ]

    with prepared_daemon(EVERYBODYS, *tables(0)) as daemon, ExitStack() as stack:
        daemon.directory.chmod(0o711)
        daemon.start()
        await_fresh(daemon, MANY)
        pollers = [
            Poller(stack.enter_context(nobodys(daemon)), [*names], Random(seed))  # noqa: S311 -- no secret
            for seed in range(3)
        ]

        daemon.write_config(EVERYBODYS, *tables(1))
        daemon.call("reload")
        for poller in pollers:
            poller.end()

    tokens = set[str]().union(*(poller.tokens for poller in pollers))
    assert tokens, "they got those that they may have"
    with client(right) as web:
        assert [token for token in tokens if api(web, token) == 200] == []
    codes = set[str | None]().union(*(poller.codes for poller in pollers))
    assert codes <= {None, "NOT_ALLOWED", "NO_SUCH_PROFILE", "TIMED_OUT"}


def await_fresh(daemon: RunningDaemon, count: int) -> None:
    def are_fresh() -> bool:
        profiles = daemon.call("status")["profiles"].values()
        return [each["state"] for each in profiles].count("fresh") == count

    await_that(are_fresh, daemon.log, 4 * PATIENCE)  # 200 logins, of two servers in this process


def nobodys(daemon: RunningDaemon | DaemonInside) -> Wire:
    with being(NOBODY):
        return Wire(daemon.socket)


def test_the_default_profile_is_one_that_exists_at_each_moment_of_a_reload(
    left: RunningEmulator,
) -> None:
    """Also where both the old and the new one are in one of the configurations only."""
    both = [profile(left.url, f"p{number}", allow_users=ROOTS) for number in range(MANY)]

    def tables(default: str) -> list[str]:
        return [f'default_profile = "{default}"', *both, profile(left.url, default)]

    with prepared_daemon(*tables("first")) as daemon, ExitStack() as stack:
        daemon.start()
        pollers = [
            Poller(stack.enter_context(daemon.wire()), [None, None, "p0", "p199"], Random(seed))  # noqa: S311 -- no secret
            for seed in range(3)
        ]

        for default in ("second", "first", "second", "third"):
            daemon.write_config(*tables(default))
            daemon.call("reload")
        for poller in pollers:
            poller.end()

    codes = set[str | None]().union(*(poller.codes for poller in pollers))
    assert codes <= {None, "TIMED_OUT"}


# Half way: the reload is held between the first profile and the second


class HeldReload:
    """A reload that waits after each profile until it is let go on."""

    def __init__(self) -> None:
        self.is_held = anyio.Event()
        self.may_go_on = anyio.Event()

    async def checkpoint(self) -> None:
        self.is_held.set()
        await self.may_go_on.wait()


@asynccontextmanager
async def warm_daemon(*tables: str) -> AsyncGenerator[DaemonInside]:
    """Run a daemon whose profiles have tokens, and whose socket everybody may open."""
    with TemporaryDirectory(prefix="oft-", ignore_cleanup_errors=True) as name:
        async with daemon_inside(Path(name), *tables) as daemon:
            open_to_everybody(daemon)
            for each in daemon.daemon.profiles.keepers:
                assert (await asked(daemon, "get_token", profile=each)).code is None
            yield daemon


def open_to_everybody(daemon: DaemonInside) -> None:
    for directory in daemon.socket.parents[:2]:
        directory.chmod(0o711)
    daemon.socket.chmod(0o666)


async def reload_half_way(
    daemon: DaemonInside, patch: pytest.MonkeyPatch, *tables: str
) -> HeldReload:
    """Begin a reload, and return when it has done the first of two profiles."""
    held = HeldReload()
    patch.setattr(app, "SLICE", 2)
    patch.setattr(app, "checkpoint", held.checkpoint)
    write_config(daemon, *tables)
    signal.raise_signal(signal.SIGHUP)
    await held.is_held.wait()
    return held


def write_config(daemon: DaemonInside, *tables: str) -> None:
    directory = daemon.socket.parents[1]
    text = "\n".join(tables).replace('"password"', f'"{directory}/password"')
    (directory / "config.toml").write_text(text)


async def asked(
    daemon: DaemonInside,
    method: str,
    connect: Callable[[DaemonInside], Wire] = lambda daemon: Wire(daemon.socket),
    **params: object,
) -> Answer:
    """Ask on a connection of its own."""
    with connect(daemon) as wire:
        return await call(wire, method, **params)


async def call(wire: Wire, method: str, **params: object) -> Answer:
    """Call a method, and let the daemon run meanwhile."""
    return await anyio.to_thread.run_sync(lambda: wire.call(method, **params))


@needs_root
@pytest.mark.parametrize(
    ("before", "after"), [(NOBODYS, ROOTS), (ROOTS, NOBODYS), (NO_LIST, ROOTS), (ROOTS, NO_LIST)]
)
async def test_until_a_profile_changes_its_old_rights_and_the_new_ones_must_both_allow_a_caller(
    monkeypatch: pytest.MonkeyPatch, left: RunningEmulator, before: str, after: str
) -> None:
    old, new = (
        [profile(left.url, name, allow_users=users) for name in ("done", "to_do")]
        for users in (before, after)
    )
    monkeypatch.setattr(prepared, "FRESH", 60.0)
    async with warm_daemon(*old) as daemon:

        async def gets() -> list[set[bool]]:
            """Return what a stranger is told of each profile, also the short way where there is one."""
            found = list[set[bool]]()
            for name in ("done", "to_do"):
                await asked(daemon, "get_token", profile=name)
                with nobodys(daemon) as wire:
                    answers = [
                        await call(wire, "get_token", profile=name)
                        for _ in range(prepared.LOOKS + 2)
                    ]
                found.append({answer.code is None for answer in answers})
            return found

        held = await reload_half_way(daemon, monkeypatch, *new)

        by_the_new = after != ROOTS
        assert await gets() == [{by_the_new}, {False}]
        assert (await asked(daemon, "get_token", profile="to_do")).code is None, "root may by both"

        held.may_go_on.set()
        await async_await_that(lambda: "event=reloaded" in daemon.log())
        assert await gets() == [{by_the_new}, {by_the_new}]


@needs_root
async def test_who_waits_for_a_profile_or_follows_it_is_judged_before_it_is_told_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What they wait for may come before it is the profile's turn to change."""
    names = ("done", "to_do")
    with running_emulator() as emulator:
        async with warm_daemon(*(profile(emulator.url, name) for name in names)) as daemon:
            with nobodys(daemon) as parked, nobodys(daemon) as follower:
                await call(follower, "subscribe", profile="to_do")
                held = await call(parked, "get_token", profile="to_do")
                assert held.result is not None
                parked.ask("refuse", profile="to_do", id=held.result["id"], wait=60)
                keeper = daemon.daemon.profiles.keepers["to_do"]
                await async_await_that(lambda: keeper.waiting == 1)
                new = [profile(emulator.url, name, allow_users=ROOTS) for name in names]
                await reload_half_way(daemon, monkeypatch, *new)

                assert (await asked(daemon, "login", profile="to_do")).code is None

                answer = await anyio.to_thread.run_sync(parked.answer)
                assert answer.code == "NOT_ALLOWED"
                assert await anyio.to_thread.run_sync(follower.has_ended)


async def test_names_and_the_default_change_at_once_when_all_profiles_have_changed(
    monkeypatch: pytest.MonkeyPatch, left: RunningEmulator
) -> None:
    kept = [profile(left.url, name) for name in ("a", "b")]
    old = ['default_profile = "old"', profile(left.url, "old"), *kept]
    new = ['default_profile = "new"', profile(left.url, "new"), *kept]
    async with warm_daemon(*old) as daemon:

        async def served() -> tuple[set[str], str]:
            names, token = await asked(daemon, "hello"), await asked(daemon, "get_token")
            assert names.result is not None
            assert token.result is not None
            return set(names.result["profiles"]), token.result["profile"]

        held = await reload_half_way(daemon, monkeypatch, *new)
        assert await served() == ({"old", "a", "b"}, "old")
        assert (await asked(daemon, "get_token", profile="new")).code == "NO_SUCH_PROFILE"

        held.may_go_on.set()
        await async_await_that(lambda: "event=reloaded" in daemon.log())
        assert await served() == ({"new", "a", "b"}, "new")
        assert (await asked(daemon, "get_token", profile="old")).code == "NO_SUCH_PROFILE"


async def test_the_short_way_never_answers_by_what_a_profile_was_before_it_changed(
    monkeypatch: pytest.MonkeyPatch, left: RunningEmulator, right: RunningEmulator
) -> None:
    old = [profile(left.url, "done"), profile(right.url, "to_do")]
    new = [profile(right.url, "done"), profile(left.url, "to_do")]
    monkeypatch.setattr(prepared, "FRESH", 60.0)
    async with warm_daemon(*old) as daemon:

        async def urls() -> list[str]:
            found = list[str]()
            for name in ("done", "to_do"):
                with Wire(daemon.socket) as wire:
                    # So often that the short way is taken.
                    answers = [await call(wire, "get_token", profile=name) for _ in range(3)]
                    result = answers[-1].result
                    assert result is not None
                found.append(result["api_url"])
            return found

        assert await urls() == [f"{left.url}/api", f"{right.url}/api"]
        held = await reload_half_way(daemon, monkeypatch, *new)
        assert await urls() == [f"{right.url}/api", f"{right.url}/api"]
        held.may_go_on.set()
        await async_await_that(lambda: "event=reloaded" in daemon.log())
        assert await urls() == [f"{right.url}/api", f"{left.url}/api"]


# A stop, another signal, another reload


async def test_a_stop_half_way_leaves_each_profile_whole_and_says_so_to_who_asked_for_the_reload(
    monkeypatch: pytest.MonkeyPatch, right: RunningEmulator
) -> None:
    names = ("done", "to_do")
    with running_emulator() as left:
        async with warm_daemon(*(profile(left.url, name) for name in names)) as daemon:
            held = await reload_half_way(
                daemon, monkeypatch, *(profile(right.url, name) for name in names)
            )
            left.fault("hang@3")
            with Wire(daemon.socket) as wire, Wire(daemon.socket) as operator:
                wire.ask("login", profile="to_do")  # the stop waits for what this sends
                await async_await_that(lambda: left.state().token_requests == 3)
                operator.ask("reload")
                await asked(daemon, "hello")  # so that was heard
                signal.raise_signal(signal.SIGTERM)
                told = await anyio.to_thread.run_sync(operator.answer)
                held.may_go_on.set()

                token = await call(operator, "get_token", profile="to_do")
                refused = await call(operator, "reload")
                signal.raise_signal(signal.SIGHUP)
                again = await call(operator, "get_token", profile="to_do")
                signal.raise_signal(signal.SIGTERM)
                await async_await_that(lambda: "event=stopped" in daemon.log())

            assert told.code == refused.code == "STOPPING"
            assert token.result is not None
            assert token.result["api_url"] == f"{left.url}/api"
            assert again.result is not None
            assert again.result["id"] == token.result["id"]
            with client(left) as web:
                assert api(web, token.result["access_token"]) == 200
            assert "event=reloaded" not in daemon.log()
            assert "event=stopping_at_once signal=SIGTERM" in daemon.log()


async def test_reloads_that_are_wanted_during_a_reload_share_the_next_one(
    monkeypatch: pytest.MonkeyPatch, left: RunningEmulator
) -> None:
    tables = [profile(left.url, name) for name in ("done", "to_do")]
    async with warm_daemon(*tables) as daemon:
        held = await reload_half_way(daemon, monkeypatch, *tables)
        with Wire(daemon.socket) as first, Wire(daemon.socket) as second:
            first.ask("reload")
            second.ask("reload")
            signal.raise_signal(signal.SIGHUP)
            await asked(daemon, "hello")  # so they were heard
            write_config(daemon, *tables, profile(left.url, "newest"))
            held.may_go_on.set()

            answers = [await anyio.to_thread.run_sync(each.answer) for each in (first, second)]
            names = await asked(daemon, "hello")

        assert [answer.code for answer in answers] == [None, None]
        assert names.result is not None
        assert "newest" in names.result["profiles"], "the file was read after they had asked"
        assert daemon.log().count("event=reloaded") == 2

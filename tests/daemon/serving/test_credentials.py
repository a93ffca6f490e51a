"""The credential socket, as systemd's connections meet it: real sockets, a daemon in this loop.

A unit of these tests connects as systemd does for LoadCredential=: from an abstract address that
names it, as root, with its sending side closed.
"""

import gc
import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from pathlib import Path
from secrets import token_hex
from socket import AF_UNIX, SHUT_WR, socket
from tempfile import TemporaryDirectory
from typing import Self, cast

import anyio
import pytest

from daemons import NOBODY, PATIENCE, Fields, needs_root, profile
from emulators import RunningEmulator, running_emulator
from inside import DaemonInside, async_await_that, daemon_inside
from openfit_tokend.core.callers.log_limits import Window
from openfit_tokend.host import log
from openfit_tokend.keeping import keeper
from openfit_tokend.serving import credentials
from users import being

pytestmark = needs_root

MIB = 1024 * 1024
"""Bytes that systemd takes as one credential at most (CREDENTIAL_SIZE_MAX)."""


class Unit:
    """A unit that starts, and wants a credential."""

    def __init__(
        self, place: str, credential: str = "openfit", *, name: str = "a.service", path: str = ""
    ) -> None:
        self.socket = socket(AF_UNIX)
        address = path or f"\0{token_hex(8)}/unit/{name}/{credential}"
        if path != "unbound":
            self.socket.bind(address)
        self.socket.connect(place)
        self.socket.shutdown(SHUT_WR)
        self.socket.settimeout(PATIENCE)

    async def credential(self) -> bytes:
        """Read to the end."""
        return await anyio.to_thread.run_sync(self._read)

    def is_silent(self) -> bool:
        """Return whether neither a byte nor the end has come by now."""
        self.socket.settimeout(0)
        try:
            return self.socket.recv(1) == b"never"
        except BlockingIOError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)

    def _read(self) -> bytes:
        data = b""
        while more := self.socket.recv(MIB):
            data += more
        return data

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()


@pytest.fixture
def listener() -> Iterator[socket]:
    """The listening socket, as systemd would have passed it; systemd keeps its own descriptor."""
    with TemporaryDirectory() as directory, socket(AF_UNIX) as listener:
        path = Path(directory, "credential")
        path.parent.chmod(0o755)
        listener.bind(str(path))
        path.chmod(0o666)
        listener.listen()
        yield listener


Run = Callable[..., AbstractAsyncContextManager[DaemonInside]]


@pytest.fixture
def run(tmp_path: Path, listener: socket) -> Run:
    """What runs a daemon of these tables to which the listener was passed."""
    return lambda *tables: daemon_inside(tmp_path, *tables, credential=listener.dup())


@pytest.fixture
def slow() -> Iterator[RunningEmulator]:
    """A token server whose first login takes a while: units come to wait for it."""
    with running_emulator("slow=0.4@login:1") as emulator:
        yield emulator


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> dict[str, Window]:
    """What was logged but now: no test's refusals keep those of the next out of the log."""
    limits: dict[str, Window] = {}
    monkeypatch.setattr(log, "_limits", limits)
    return limits


@pytest.fixture
def place(listener: socket) -> str:
    return str(listener.getsockname())


async def token_of(daemon: DaemonInside, name: str | None = None) -> bytes:
    """Return the token that every client gets."""
    async with daemon.client(name) as tokens:
        return (await tokens.get_token()).access_token.encode()


async def until_waiting(daemon: DaemonInside, count: int) -> None:
    """Await that so many units wait for their credential."""
    await async_await_that(
        lambda: daemon.daemon.profiles.keepers["main"].waiting == count, daemon.log
    )


async def begin_to_stop(daemon: DaemonInside) -> None:
    """Tell it to stop; a second signal then lets it not wait for a request under way."""
    signal.raise_signal(signal.SIGTERM)
    await async_await_that(lambda: daemon.daemon.profiles.stopping)


def was_refused(credential: bytes) -> bool:
    """Return whether it is one with which systemd starts no unit."""
    return len(credential) > MIB


async def test_a_unit_gets_the_bare_token(run: Run, place: str, emulator: RunningEmulator) -> None:
    async with run(profile(emulator.url)) as daemon:
        token = await token_of(daemon)

        with Unit(place, "openfit.main", name="backup@1.service") as unit:
            assert await unit.credential() == token

        (line,) = [each for each in daemon.log().splitlines() if "credential_served" in each]
        assert "unit=backup@1.service profile=main id=" in line
        assert token.decode() not in daemon.log()
        assert (await daemon.profile_status())["counters"]["served"] == 2


async def test_the_plain_name_is_the_default_profiles(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    config = ['default_profile = "b"', profile(emulator.url, '"a.x"'), profile(emulator.url, "b")]
    async with run(*config) as daemon:
        tokens = {name: await token_of(daemon, name) for name in ("a.x", "b")}

        with Unit(place) as plain, Unit(place, "openfit.a.x") as named:
            assert await plain.credential() == tokens["b"]
            assert await named.credential() == tokens["a.x"]


async def test_a_unit_waits_for_the_first_token(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    emulator.stop()
    async with run(profile(emulator.url)) as daemon:
        with Unit(place) as unit:
            await until_waiting(daemon, 1)
            assert unit.is_silent()
            emulator.start()

            assert await unit.credential() == await token_of(daemon)

        assert "credential_waits unit=a.service profile=main state=" in daemon.log()


async def test_another_profiles_token_is_not_for_it(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    with running_emulator("hang@login:1") as hanging:
        emulator.stop()
        config = [profile(hanging.url, "main"), profile(emulator.url, "other")]
        async with run(*config) as daemon:
            with Unit(place, "openfit.main") as main, Unit(place, "openfit.other") as other:
                await until_waiting(daemon, 1)
                emulator.start()

                assert await other.credential() == await token_of(daemon, "other")
                assert main.is_silent()
            await begin_to_stop(daemon)


async def test_a_token_that_ended_in_a_suspend_is_replaced_at_once(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    async with run(profile(emulator.url)) as daemon:
        old = await token_of(daemon)
        daemon.clocks.suspend(8 * 3600)

        with Unit(place) as unit:
            assert await unit.credential() not in {b"", old}


async def test_a_token_that_came_due_in_a_suspend_is_given_and_replaced(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    async with run(profile(emulator.url)) as daemon:
        old = await token_of(daemon)
        daemon.clocks.suspend(3500)

        with Unit(place) as unit:
            assert await unit.credential() == old

        await async_await_that(lambda: "token_replaced" in daemon.log(), daemon.log)


async def test_a_unit_waits_while_its_profile_is_locked(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    emulator.set_password("another")
    async with run(profile(emulator.url)) as daemon:
        await async_await_that(lambda: "LOGIN_REJECTED" in daemon.log(), daemon.log)
        with Unit(place) as unit:
            await until_waiting(daemon, 1)
            async with daemon.client() as tokens:
                token = await tokens.login("another")

            assert await unit.credential() == token.access_token.encode()
        assert emulator.state().login_requests == 2


async def test_all_who_wait_cost_one_request_and_no_processor_time(
    run: Run, place: str, slow: RunningEmulator
) -> None:
    async with run(profile(slow.url)) as daemon, AsyncExitStack() as stack:
        units = [stack.enter_context(Unit(place)) for _ in range(50)]
        await until_waiting(daemon, 50)
        before = resource.getrusage(resource.RUSAGE_SELF)
        with anyio.move_on_after(0.2):
            await anyio.sleep_forever()
        after = resource.getrusage(resource.RUSAGE_SELF)

        assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.1
        assert {await unit.credential() for unit in units} == {await token_of(daemon)}
        assert slow.state().token_requests == 1


async def test_a_unit_that_is_stopped_while_it_waits_is_forgotten(
    run: Run, place: str, slow: RunningEmulator
) -> None:
    async with run(profile(slow.url)) as daemon:
        with Unit(place):
            await until_waiting(daemon, 1)

        await until_waiting(daemon, 0)
        await token_of(daemon)
        assert "credential_served" not in daemon.log()


@pytest.mark.parametrize(
    ("credential", "reason"),
    [
        ("openfit.other", "there is no profile 'other'"),
        ("openfit.", "there is no profile ''"),
        ("openfit.main.", "there is no profile 'main.'"),
        ("database", "a credential of this socket is called openfit or openfit.PROFILE"),
        ("openfitmain", "a credential of this socket is called openfit or openfit.PROFILE"),
    ],
)
async def test_a_unit_that_asks_for_what_is_not_there_is_not_started(
    run: Run, place: str, emulator: RunningEmulator, credential: str, reason: str
) -> None:
    async with run(profile(emulator.url)) as daemon:
        token = await token_of(daemon)

        with Unit(place, credential) as unit:
            got = await unit.credential()

        assert was_refused(got)
        assert token not in got
        (line,) = [each for each in daemon.log().splitlines() if "credential_refused" in each]
        assert "level=error" in line
        assert f'unit=a.service credential={credential} reason="{reason}" hint="' in line


async def test_without_a_default_the_plain_name_is_refused(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    config = [profile(emulator.url, "a"), profile(emulator.url, "b")]
    async with run(*config) as daemon:
        with Unit(place) as unit:
            assert was_refused(await unit.credential())
        assert 'hint="there are: a, b"' in daemon.log()


@pytest.mark.parametrize(
    "change",
    [
        ("[profiles.main]", "[profiles.other]"),
        ("[profiles.main]", '[profiles.main]\nallow_units = ["b.service"]'),
    ],
    ids=["is removed", "allows it no more"],
)
async def test_a_unit_that_waits_fails_when_its_profile(
    change: tuple[str, str], tmp_path: Path, run: Run, place: str, slow: RunningEmulator
) -> None:
    config = tmp_path / "config.toml"
    async with run(profile(slow.url)) as daemon:
        with Unit(place) as unit:
            await until_waiting(daemon, 1)
            await anyio.Path(config).write_text(config.read_text().replace(*change))
            async with daemon.client() as tokens:
                await tokens.reload()

            assert was_refused(await unit.credential())


@pytest.mark.parametrize("name", ["nightly@a.service", "report.service"])
async def test_a_unit_that_is_allowed_gets_the_token(
    name: str, run: Run, place: str, emulator: RunningEmulator
) -> None:
    config = profile(emulator.url, allow_units='["nightly@*.service", "report.service"]')
    async with run(config) as daemon:
        with Unit(place, name=name) as unit:
            assert await unit.credential() == await token_of(daemon)


@pytest.mark.parametrize(
    "allowed", ['["nightly@*.service"]', '["A.service", "a.service.socket"]', "[]"]
)
async def test_a_unit_that_is_not_allowed_fails(
    allowed: str, run: Run, place: str, emulator: RunningEmulator
) -> None:
    config = profile(emulator.url, allow_units=allowed)
    async with run(config) as daemon:
        await token_of(daemon)  # at the other socket nothing has changed

        with Unit(place) as unit:
            assert was_refused(await unit.credential())

        assert 'hint="see its allow_units"' in daemon.log()


async def test_another_user_gets_nothing(run: Run, place: str, emulator: RunningEmulator) -> None:
    async with run(profile(emulator.url)) as daemon:
        await token_of(daemon)
        with being(NOBODY):
            unit = Unit(place, "openfit.main")

        with unit:
            assert await unit.credential() == b""

        assert "credential_refused uid=65534 pid=" in daemon.log()
        assert "level=warning event=credential_refused" in daemon.log()


@pytest.mark.parametrize(
    "address",
    [
        "unbound",
        "\0{}/unit/a.service",
        "\0{}/unit/a.service/openfit/x",
        "\0{}/unit//openfit",
        "\0{}/user/a.service/openfit",
        "\0xyz{}/unit/a.service/openfit",
        "{}/unit/a.service/openfit",
    ],
)
async def test_root_itself_gets_nothing_without_systemds_address(
    tmp_path: Path, run: Run, place: str, emulator: RunningEmulator, address: str
) -> None:
    real = tmp_path / "unit" / "a.service"
    real.mkdir(parents=True)
    async with run(profile(emulator.url)) as daemon:
        await token_of(daemon)
        first = token_hex(8) if address.startswith("\0") else str(tmp_path)

        with Unit(place, path=address.format(first)) as unit:
            assert await unit.credential() == b""

        assert "credential_refused uid=0" in daemon.log()


async def test_a_units_name_can_forge_nothing_in_the_log(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    name = "a\nlevel=error event=forged \udcff"
    async with run(profile(emulator.url)) as daemon:
        with Unit(place, name=name) as unit:
            await unit.credential()

        (line,) = [each for each in daemon.log().splitlines() if "credential_served" in each]
        assert r'unit="a\nlevel=error event=forged \ufffd" profile=main' in line


async def test_one_that_does_not_read_its_refusal_hinders_nobody(
    run: Run, place: str, emulator: RunningEmulator
) -> None:
    async with run(profile(emulator.url)) as daemon:
        with Unit(place, "openfit.none") as silent, Unit(place) as unit:
            assert await unit.credential() == await token_of(daemon)
            assert was_refused(await silent.credential())


async def test_units_that_wait_are_no_connections_of_roots(
    run: Run, place: str, slow: RunningEmulator
) -> None:
    async with run(profile(slow.url)) as daemon:
        with Unit(place) as first, Unit(place) as second:
            await until_waiting(daemon, 2)
            async with daemon.client() as tokens:
                status = await tokens.status()

            clients = cast("dict[str, Fields]", status["clients"])
            assert (status["connections"], clients["0"]["connections"]) == (1, 1)
            assert {await unit.credential() for unit in (first, second)} == {await token_of(daemon)}


@pytest.mark.parametrize("limit", ["MAX_UNITS", "SHARE"])
async def test_one_more_than_there_is_room_for_waits_its_turn(
    run: Run, place: str, slow: RunningEmulator, monkeypatch: pytest.MonkeyPatch, limit: str
) -> None:
    half = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    monkeypatch.setattr(credentials, limit, 2 if limit == "MAX_UNITS" else half)
    async with run(profile(slow.url)) as daemon:
        with Unit(place) as first, Unit(place) as second, Unit(place) as third:
            await until_waiting(daemon, 2)
            assert third.is_silent()

            token = await third.credential()

            assert {await unit.credential() for unit in (first, second)} == {token}
            assert token == await token_of(daemon)


async def test_without_descriptors_they_wait_until_there_are_some(
    run: Run, place: str, limits: dict[str, Window]
) -> None:
    paused = "accepting_paused"
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with running_emulator("hang@login:1") as emulator:
        async with run(profile(emulator.url)) as daemon, AsyncExitStack() as stack:
            await async_await_that(lambda: emulator.state().login_requests == 1)
            for _ in range(20):
                stack.enter_context(Unit(place))
            lowest = os.dup(0)
            os.close(lowest)
            resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
            try:
                await async_await_that(lambda: paused in limits)
                with anyio.move_on_after(0.2):
                    await anyio.sleep_forever()
                assert limits[paused].suppressed < 4, "it tries again and again"
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

            await until_waiting(daemon, 20)
            await begin_to_stop(daemon)


def serving_descriptors() -> list[str]:
    """Return what this process has open of sockets and epolls."""
    links: list[str] = []
    for fd in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # what listed them
            links.append(str(fd.readlink()))
    return sorted(link for link in links if link.startswith(("socket:", "anon_inode:[eventpoll]")))


class TestStop:
    @pytest.mark.parametrize("with_units", [True, False])
    async def test_every_descriptor_that_was_opened_is_closed(
        self,
        tmp_path: Path,
        listener: socket,
        place: str,
        emulator: RunningEmulator,
        with_units: bool,  # noqa: FBT001 -- pytest names it
    ) -> None:
        gc.collect()
        gc.disable()  # what is only forgotten stays open
        try:
            before = serving_descriptors()
            credential = listener.dup() if with_units else None
            async with daemon_inside(
                tmp_path, profile(emulator.url), credential=credential
            ) as daemon:
                token = await token_of(daemon)
                if with_units:
                    with Unit(place) as unit:
                        assert await unit.credential() == token
            assert daemon.daemon.profiles.stopping
            assert serving_descriptors() == before
        finally:
            gc.enable()

    async def test_those_who_wait_are_refused_and_those_in_the_queue_are_left(
        self, listener: socket, run: Run, place: str
    ) -> None:
        with running_emulator("hang@login:1") as emulator:
            async with run(profile(emulator.url)) as daemon:
                with Unit(place) as early:
                    await until_waiting(daemon, 1)
                    await async_await_that(lambda: emulator.state().login_requests == 1)
                    await begin_to_stop(daemon)
                    with Unit(place) as late:
                        assert early.is_silent()
                        signal.raise_signal(signal.SIGTERM)

                        assert was_refused(await early.credential())
                        await async_await_that(lambda: "event=stopped" in daemon.log())
                        assert late.is_silent()
                        listener.settimeout(0)
                        listener.accept()[0].close()
                        assert await late.credential() == b""

        assert "STOPPING" not in daemon.log()
        assert 'reason="the daemon is shutting down"' in daemon.log()

    async def test_a_token_that_comes_while_it_stops_is_still_handed_out(
        self, run: Run, place: str, slow: RunningEmulator
    ) -> None:
        async with run(profile(slow.url)) as daemon:
            with Unit(place) as unit:
                await until_waiting(daemon, 1)
                await async_await_that(lambda: slow.state().login_requests == 1)
                signal.raise_signal(signal.SIGTERM)

                credential = await unit.credential()
                await async_await_that(lambda: "event=stopped" in daemon.log())

        assert 0 < len(credential) < MIB
        assert "credential_served" in daemon.log()

    async def test_it_does_not_wait_long_for_one_that_never_reads(
        self, run: Run, place: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(credentials, "FAREWELL", 0.2)
        with running_emulator() as emulator, Unit(place, "openfit.none") as unit:
            with anyio.fail_after(PATIENCE / 2):
                async with run(profile(emulator.url)) as daemon:
                    await async_await_that(lambda: "credential_refused" in daemon.log())
            assert not was_refused(await unit.credential())


async def test_a_fault_of_ours_closes_one_unit_and_the_keeper_goes_on(
    run: Run, place: str, slow: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run(profile(slow.url)) as daemon:
        with Unit(place) as unit:
            await until_waiting(daemon, 1)
            with monkeypatch.context() as patch:
                patch.setattr(keeper, "answer", _raise)
                assert await unit.credential() == b""

        assert (await daemon.profile_status())["state"] == "fresh"
        assert "internal_fault" in daemon.log()
        with Unit(place) as unit:
            assert await unit.credential() == await token_of(daemon)


def _raise(*_: object) -> None:
    raise ZeroDivisionError

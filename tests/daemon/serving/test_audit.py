"""Who got a token, in the log: each caller once for each token, and at debug each time."""

import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemons import (
    NOBODY,
    RunningDaemon,
    needs_root,
    prepared_daemon,
    profile,
    request,
    running_daemon,
)
from emulators import RunningEmulator, one_emulator, running_emulator
from http_wire import HttpWire
from inside import daemon_inside
from openfit_tokend.host.peers import unit_in
from openfit_tokend.serving import prepared
from openfit_tokend.serving.audit import BURST, MAX_NAMED
from openfit_tokend.serving.prepared import LOOKS
from users import being

emulator = pytest.fixture(one_emulator, scope="module")


def lines(daemon: RunningDaemon, *words: str) -> list[str]:
    """Return the lines that say who got a token, with all of these words."""
    told = [each for each in daemon.log().splitlines() if "event=token_handed_out" in each]
    return [each for each in told if all(f"{word} " in f"{each} " for word in words)]


@contextmanager
def program(name: str) -> Generator[None]:
    """Let this process be called by another name for a while."""
    comm = Path(f"/proc/{os.getpid()}/comm")
    own = comm.read_text()
    comm.write_text(name)
    try:
        yield
    finally:
        comm.write_text(own)


def test_each_program_is_named_once_for_each_token(emulator: RunningEmulator) -> None:
    with running_daemon(profile(emulator.url), paced=False) as daemon:
        first = daemon.call("get_token")
        with daemon.wire() as wire:
            for _ in range(20):
                wire.call("get_token")
        with program("nightly"):
            for _ in range(20):
                daemon.call("get_token")

        assert len(lines(daemon)) == 2
        (line,) = lines(daemon, "program=nightly")
        assert "level=info" in line
        assert f"profile=main id={first['id']} uid={os.getuid()} pid={os.getpid()} " in line
        assert first["access_token"] not in daemon.log()

        second = daemon.call("refuse", id=first["id"])
        with program("nightly"):
            daemon.call("get_token")
        assert len(lines(daemon, f"id={second['id']}")) == 2
        assert len(lines(daemon)) == 4


def test_a_kept_connection_is_looked_at_again_when_its_token_was_replaced(
    emulator: RunningEmulator,
) -> None:
    with running_daemon(profile(emulator.url), paced=False) as daemon, daemon.wire() as wire:
        first = (wire.call("get_token").result or {})["id"]
        for _ in range(LOOKS + 2):
            wire.call("get_token")
        second = daemon.call("refuse", id=first)["id"]
        with program("nightly"):
            wire.call("get_token")

        assert lines(daemon, f"id={second}", "program=nightly")


def test_over_http_it_is_the_same(emulator: RunningEmulator, tmp_path: Path) -> None:
    face = tmp_path / "http"
    with running_daemon(f'http_socket = "{face}"', profile(emulator.url)) as daemon:
        for path in ("/v1/token", "/v1/auth"):
            with program(path[-4:]):
                for _ in range(3):
                    with HttpWire(face) as wire:
                        assert wire.ask("GET", path).status == 200
                        assert wire.ask("GET", path).status == 200

        assert len(lines(daemon, "program=oken")) == 1
        assert len(lines(daemon, "program=auth")) == 1


def test_it_can_be_turned_off_and_on_by_a_reload(emulator: RunningEmulator) -> None:
    with running_daemon("audit = false", profile(emulator.url)) as daemon:
        daemon.call("get_token")
        assert not lines(daemon)

        daemon.write_config(profile(emulator.url))
        daemon.call("reload")
        daemon.call("get_token")
        assert len(lines(daemon)) == 1


@needs_root
def test_a_user_is_named_however_much_another_asks(emulator: RunningEmulator) -> None:
    with prepared_daemon('socket_mode = "0666"', profile(emulator.url)) as daemon:
        daemon.directory.chmod(0o711)
        daemon.start()
        daemon.await_state("fresh")
        for each in range(5 * BURST):
            with program(f"root{each}"):
                daemon.call("get_token")
        with being(NOBODY), daemon.wire() as nobody:
            nobody.call("get_token")

        assert LOOKS <= len(lines(daemon, "uid=0")) <= BURST
        assert len(lines(daemon, f"uid={NOBODY}")) == 1


async def test_a_crowd_of_one_user_goes_the_short_way_and_another_user_doesn_t(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "FRESH", 60.0)
    asked = request(1, "get_token", profile="main", wait=30.0)
    async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
        rpc = next(iter(daemon.daemon._faces._by_dialect))  # pyright: ignore[reportPrivateUsage] -- no other way tells
        async with daemon.client("main") as known, daemon.client("main") as new:
            await known.get_token()
            named = daemon.newest_connection
            await new.hello()
            other = daemon.newest_connection

            assert rpc.prepared(asked, named) is not None
            told = [rpc.prepared(asked, other) is not None for _ in range(LOOKS + 2)]
            assert told == [False] * LOOKS + [True] * 2
            other.user.uid += 1
            assert rpc.prepared(asked, other) is None
            other.user.uid -= 1


async def test_those_who_are_remembered_are_bounded(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 10 * MAX_NAMED  # none is left out because lines or looks are limited
    monkeypatch.setattr("openfit_tokend.serving.audit._admitted.__defaults__", (many,))
    monkeypatch.setattr("openfit_tokend.core.callers.log_limits.MOST", many)
    monkeypatch.setattr("openfit_tokend.serving.prepared.LOOKS", many)
    remembered = list[int]()
    async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
        (keeper,) = daemon.daemon.profiles.keepers.values()
        for each in range(MAX_NAMED + 10):
            with program(f"p{each}"):
                async with daemon.client() as tokens:
                    await tokens.get_token()
            remembered.append(len(keeper.counters.callers))
    assert max(remembered) == MAX_NAMED
    assert remembered[-1] < MAX_NAMED


def test_at_debug_each_token_handed_out_is_logged_to_whomever_and_however_it_went() -> None:
    with (
        running_emulator("slow=0.5@login:1") as emulator,
        prepared_daemon(profile(emulator.url)) as daemon,
    ):
        daemon.start("--log-level", "debug")
        with daemon.wire() as waiting, daemon.wire() as other:
            waiting.ask("get_token", wait=60)
            token = waiting.answer().result or {}
            for _ in range(3):  # none goes the short way
                other.call("get_token")

        (line,) = lines(daemon, "level=info")
        assert f"profile=main id={token['id']} uid={os.getuid()} pid={os.getpid()} " in line
        assert len(lines(daemon, "level=debug", "event=token_handed_out_again")) == 3
        assert token["access_token"] not in daemon.log()


def test_a_flood_of_tokens_handed_out_fills_no_disk(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        daemon.start("--log-level", "debug")
        daemon.await_state("fresh")
        with daemon.wire() as wire:
            for _ in range(5 * BURST):
                wire.call("get_token")

        assert len(lines(daemon, "level=debug")) == BURST


@pytest.mark.parametrize(
    ("cgroups", "unit"),
    [
        (["0::/system.slice/etl.service"], "etl.service"),
        (["0::/system.slice/docker.service/payload"], "docker.service"),
        (
            ["0::/user.slice/user-1000.slice/user@1000.service/app.slice/sync.service"],
            "sync.service",
        ),
        (["0::/user.slice/user-1000.slice/session-3.scope"], "session-3.scope"),
        (["12:cpu:/x.service", "1:name=systemd:/system.slice/etl.service", "0::/"], "etl.service"),
        (["0::/"], None),
        (["rubbish"], None),
        ([], None),
    ],
)
def test_the_unit_is_the_innermost_in_the_cgroups_path(
    cgroups: list[str], unit: str | None
) -> None:
    assert unit_in(cgroups) == unit

"""What the daemon and its service manager tell each other; the test plays the manager."""

import grp
import os
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import count as count_from
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from time import process_time, sleep
from types import SimpleNamespace
from typing import cast

import anyio
import pytest

from daemons import PATIENCE, RunningDaemon, Wire, await_that, prepared_daemon, profile
from emulators import running_emulator
from inside import async_await_that, daemon_inside
from openfit_tokend.config import config_file
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.host import clock
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.listener import Listener
from openfit_tokend.host.service_manager import NO_SERVICE, Service, ServiceManager, take_over
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.reporting import service_status, watchdog
from openfit_tokend.reporting.watchdog import Watchdog
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.server import Server
from service_managers import LAUNCHER, Manager, managed_daemon
from users import needs_account

pytestmark = [pytest.mark.system, pytest.mark.slow]

NOWHERE = "http://127.0.0.1:9"
"""A token server that isn't there."""
CANTCREAT = 73


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes at most."""
    with TemporaryDirectory(prefix="oft-") as directory:
        yield Path(directory)


@pytest.fixture
def manager(place: Path) -> Iterator[Manager]:
    manager = Manager(place)
    yield manager
    manager.close()


# What is handed over


def environment(**more: str) -> dict[str, str]:
    return {"PATH": "/bin", "LISTEN_PID": str(os.getpid()), **more}


def test_what_is_taken_over_is_taken_out_of_the_environment() -> None:
    given = environment(
        NOTIFY_SOCKET="@name",
        WATCHDOG_USEC="30000000",
        WATCHDOG_PID=str(os.getpid()),
        FDSTORE="4096",
        LISTEN_FDS="0",
        LISTEN_FDNAMES="",
        LISTEN_PIDFDID="12",
    )

    service = take_over(given)

    assert service == Service(notify_socket="@name", watchdog=30.0, has_store=True)
    assert given == {"PATH": "/bin"}


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"LISTEN_FDS": "3", "LISTEN_PID": "1"},
        {"LISTEN_FDS": "-3"},
        {"LISTEN_FDS": "many"},
        {"LISTEN_FDS": "٣"},
        {"WATCHDOG_USEC": "9", "WATCHDOG_PID": "1"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"NOTIFY_SOCKET": ""},
        {"FDSTORE": "12"},
    ],
)
def test_without_a_service_manager_nothing_is_taken_over(more: dict[str, str]) -> None:
    assert take_over(environment(**more)) == NO_SERVICE


def test_an_address_that_is_none_of_a_unix_socket_is_not_written_to() -> None:
    assert take_over(environment(NOTIFY_SOCKET="vsock:2:1234")).notify_socket is None


def test_descriptors_come_by_name_are_no_childs_and_unknown_ones_are_closed(place: Path) -> None:
    program = """
import os
from openfit_tokend.host.service_manager import take_over
service = take_over()
passed = [*service.sockets, *service.credentials, *service.stored]
print([(each.name, each.fd, os.get_inheritable(each.fd)) for each in passed])
print([each.number for each in service.stored], os.path.exists("/proc/self/fd/5"))
"""
    fds = [os.open(place, os.O_RDONLY) for _ in range(4)]
    names = "credential:session-12:else:openfit-tokend.socket"
    command = [sys.executable, "-c", program]
    try:
        done = subprocess.run(
            [sys.executable, "-c", LAUNCHER, "4", *map(str, fds), *command[1:]],
            env=os.environ | {"LISTEN_FDS": "4", "LISTEN_FDNAMES": names},
            pass_fds=fds,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        for fd in fds:
            os.close(fd)

    assert done.stdout.splitlines() == [
        "[('openfit-tokend.socket', 6, False), ('credential', 3, False), ('session-12', 4, False)]",
        "[12] False",
    ]


# What is told


async def test_a_full_queue_is_waited_for_by_nobody_and_nothing_is_lost(manager: Manager) -> None:
    alarm = Alarm()
    teller = ServiceManager(manager.address, alarm)
    made = iter(range(100))

    def make() -> int:
        return os.memfd_create(f"n{next(made)}", os.MFD_ALLOW_SEALING)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        manager.hold()
        manager.fill()
        teller.status("old")
        assert not teller.store("main", "session-1", make)
        teller.ready()
        teller.status("new")
        assert teller.store("main", "session-2", make), "one that was never sent gives way"
        assert not teller.store("other", "session-3", make)
        assert teller.take_back("other")
        assert not teller.take_back("other")
        assert manager.words == []
        manager.go_on()

        await async_await_that(lambda: manager.names == ["session-2"])
        await async_await_that(lambda: manager.count("READY=1") == 1)
        told = [each for each in manager.words if "another" not in each]
        assert told == ["STATUS=new", "READY=1"]
        tasks.cancel_scope.cancel()
    teller.close()


async def test_a_reload_that_ended_before_it_could_be_told_leaves_the_manager_at_ready(
    manager: Manager,
) -> None:
    manager.hold()
    manager.fill()
    alarm = Alarm()
    with closing(ServiceManager(manager.address, alarm)) as teller:
        teller.ready()
        teller.reloading()
        teller.ready()
        teller.status("the last")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alarm.run)
            manager.go_on()
            await async_await_that(lambda: manager.count("STATUS=the last") == 1)
            tasks.cancel_scope.cancel()

    assert [each for each in manager.words if "another" not in each][:-1] == ["READY=1"]


async def test_what_cannot_be_stored_keeps_no_word_back_and_is_tried_again(
    manager: Manager,
) -> None:
    alarm, tries = Alarm(), iter([OSError(24, "Too many open files")] * 2)

    def make() -> int:
        for error in tries:
            raise error
        return os.memfd_create("at last")

    teller = ServiceManager(manager.address, alarm)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(alarm.run)
        teller.store("main", "session-2", make)
        teller.remove("session-1")
        teller.feed_watchdog()

        await async_await_that(lambda: manager.count("WATCHDOG=1") == 1)
        await async_await_that(lambda: manager.names == ["session-2"])
        tasks.cancel_scope.cancel()
    teller.close()


async def test_last_words_are_said_before_the_end(manager: Manager) -> None:
    manager.hold()
    manager.fill()
    teller = ServiceManager(manager.address, Alarm())
    teller.status("the last")
    manager.go_on()

    await teller.drain()

    manager.await_word("STATUS=the last")
    teller.close()


async def test_last_words_that_nobody_hears_hold_nobody_up(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_tokend.host.service_manager.DRAIN_TIME", 0.1)
    teller = ServiceManager(str(place / "nowhere"), Alarm())
    teller.status("the last")

    await teller.drain()

    teller.close()


def test_an_abstract_address_is_one(place: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as heard:
        heard.bind(f"\0{place}")
        with closing(ServiceManager(f"@{place}", Alarm())) as teller:
            teller.status("here")

        assert heard.recv(100) == b"STATUS=here"


# Ready, and how things stand


def test_a_daemon_is_ready_when_every_profile_had_an_answer_of_whatever_kind() -> None:
    with running_emulator("slow=0.4@login:1", users={"a": "right horse"}) as emulator:
        good = profile(emulator.url, username='"a"')
        bad = profile(emulator.url, "bad", username='"b"')
        with managed_daemon(good, bad) as (manager, daemon):
            daemon.start()
            assert manager.count("READY=1") == 0

            manager.await_word("READY=1")

            assert {daemon.profile_status(name)["state"] for name in ("main", "bad")} == {
                "fresh",
                "locked",
            }
            ready = manager.words.index("READY=1")
            assert manager.words[ready - 1].startswith("STATUS=2 profiles: "), "said before"
            assert manager.status.startswith("2 profiles: main fresh, next refresh ")
            assert "; bad locked: the token server rejected " in manager.status
            assert manager.count("READY=1") == 1


async def test_a_daemon_whose_server_says_nothing_is_ready_after_a_while(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service_status, "READY_TIME", 0.3)
    service = Service(notify_socket=manager.address)
    with running_emulator("hang=0.8@login:1") as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url), service=service) as daemon:
            await async_await_that(lambda: manager.count("READY=1") == 1)

            assert manager.status == "1 profile: main logging in"
            assert (await daemon.profile_status())["state"] == "logging_in"


def test_the_status_changes_with_what_it_tells() -> None:
    with managed_daemon(profile(NOWHERE)) as (manager, daemon):
        daemon.start()
        manager.await_word("STATUS=1 profile: main down, next try ")
        assert ": the token server can't be reached: Connection refused" in manager.status

        daemon.call("logout")

        manager.await_word("STATUS=1 profile: main logged out: an operator logged this profile out")


def test_a_reload_is_told_from_its_begin_to_its_end_and_so_is_a_refusal() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        daemon.start()
        manager.await_word("READY=1")
        daemon.call("reload")
        manager.await_word("READY=1", 2)

        begun = manager.words.index("RELOADING=1")
        assert int(manager.words[begun + 1].removeprefix("MONOTONIC_USEC=")) > 0
        assert "READY=1" in manager.words[begun + 2 :]
        daemon.config.write_text("nonsense")
        daemon.run("openfit-tokend", "reload")
        manager.await_word("READY=1", 3)
        assert manager.status.endswith("; the last reload was refused")


def test_a_stop_is_told_with_the_time_it_needs_and_what_it_waits_for() -> None:
    with (
        running_emulator("slow=0.5@login:2") as emulator,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        daemon.start()
        daemon.call("get_token")
        with daemon.wire() as operator:
            operator.ask("login")
            await_that(lambda: emulator.state().login_requests == 2)

            assert daemon.stop() == 0

        after = manager.words[manager.words.index("STOPPING=1") :]
        assert after[:3] == [
            "STOPPING=1",
            "EXTEND_TIMEOUT_USEC=70000000",
            "STATUS=stopping: 1 request is being finished",
        ]
        assert manager.kept().session.number == 2, "what it brought was stored"


# The watchdog


def test_the_watchdog_is_fed_while_the_daemon_lives_and_only_then() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.variables["WATCHDOG_USEC"] = "300000"
        daemon.start()
        manager.await_word("WATCHDOG=1", 3)

        daemon.signal(signal.SIGSTOP)
        sleep(0.1)  # what was sent before has arrived
        fed = manager.count("WATCHDOG=1")
        sleep(0.4)
        assert manager.count("WATCHDOG=1") == fed
        daemon.signal(signal.SIGCONT)
        manager.await_word("WATCHDOG=1", fed + 2)

        daemon.socket.unlink()  # nobody can come in any more
        daemon.await_log("watchdog_not_fed", "the socket didn't answer")
        fed = manager.count("WATCHDOG=1")
        sleep(0.3)
        assert manager.count("WATCHDOG=1") == fed


def test_what_a_restart_cannot_mend_does_not_starve_the_watchdog() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.variables["WATCHDOG_USEC"] = "300000"
        manager.pass_socket(daemon.socket)
        daemon.start()
        manager.await_word("WATCHDOG=1", 2)

        daemon.socket.unlink()  # the socket unit's, which a restart doesn't make anew

        daemon.await_log("socket_not_reached", "systemctl restart openfit-tokend.socket")
        manager.await_word("WATCHDOG=1", manager.count("WATCHDOG=1") + 2)


async def test_a_profile_that_nobody_wakes_starves_the_watchdog(
    tmp_path: Path, manager: Manager
) -> None:
    service = Service(notify_socket=manager.address, watchdog=0.3)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url), service=service) as daemon:
            keeper = daemon.daemon.profiles.keepers["main"]
            await async_await_that(lambda: keeper.session.access is not None)
            await async_await_that(lambda: manager.count("WATCHDOG=1") >= 1)
            keeper.retire()

            daemon.clocks.suspend(3600.0)

            await async_await_that(lambda: "profile main should have been" in daemon.log())
            fed = manager.count("WATCHDOG=1")
            await anyio.sleep(0.3)  # what is to be seen is that nothing comes
            assert manager.count("WATCHDOG=1") == fed


async def test_a_request_that_never_ends_starves_the_watchdog(
    tmp_path: Path, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "openfit_tokend.core.reports.liveness.LATE", -59.5
    )  # half a second is too long
    service = Service(notify_socket=manager.address, watchdog=0.3)
    with running_emulator("hang=1@login:1") as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url), service=service) as daemon:
            await async_await_that(lambda: "a token request should have ended" in daemon.log())


async def test_a_full_listen_queue_is_waited_for_without_work(place: Path) -> None:
    """Nobody is accepted while the descriptors are used up."""
    with socket.socket(socket.AF_UNIX) as listening, socket.socket(socket.AF_UNIX) as first:
        path = place / "socket"
        listening.bind(str(path))
        listening.listen(0)
        first.connect(str(path))
        full = SimpleNamespace(is_full=True, path=path, keepers={}, stopping=False)
        watching = Watchdog(
            cast("Profiles", full),
            Endpoint(Passwords()),
            cast("Server", full),
            cast("Listener", full),
        )
        fed: list[None] = []
        teller = SimpleNamespace(feed_watchdog=lambda: fed.append(None))
        alarm, worked = Alarm(), process_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(alarm.run)
            tasks.start_soon(watching.run, cast("ServiceManager", teller), alarm, 1.5)
            await async_await_that(lambda: bool(fed))
            tasks.cancel_scope.cancel()

        assert process_time() - worked < 0.3


async def test_a_suspend_is_no_fault(tmp_path: Path, manager: Manager) -> None:
    service = Service(notify_socket=manager.address, watchdog=0.3)
    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url), service=service) as daemon:
            await async_await_that(lambda: manager.count("READY=1") == 1)
            # What is due before the profile takes so long that the rest waits for the next pass.
            daemon.daemon._alarm.at(clock.boot() + 60.0, partial(sleep, 0.01))  # pyright: ignore[reportPrivateUsage] -- the loop's only timer
            daemon.clocks.suspend(8 * 3600.0)
            await async_await_that(lambda: emulator.state().token_requests == 2)
            fed = manager.count("WATCHDOG=1")

            await async_await_that(lambda: manager.count("WATCHDOG=1") >= fed + 2)

            assert "should have" not in daemon.log()  # a busy socket may answer late


def test_the_watchdog_is_looked_after_once_a_minute_at_most() -> None:
    assert watchdog.MAX_INTERVAL == 60.0


# Sockets


def test_a_daemon_starts_though_the_name_of_its_passed_socket_is_gone() -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.pass_socket(daemon.socket)
        daemon.socket.unlink()

        daemon.launch()

        manager.await_word("READY=1")


async def test_a_name_server_that_hangs_during_a_reload_does_not_hold_up_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, answered = Event(), Event()

    def hang() -> None:
        begun.set()
        answered.wait(2 * PATIENCE)

    with running_emulator() as emulator:
        async with daemon_inside(tmp_path, profile(emulator.url)) as daemon:
            monkeypatch.setattr(config_file, "read_subordinates", hang)
            signal.raise_signal(signal.SIGHUP)
            await async_await_that(begun.is_set)
            signal.raise_signal(signal.SIGTERM)

            def has_stopped() -> bool:
                return "event=stopped" in daemon.log()

            try:
                await async_await_that(has_stopped)
            finally:
                answered.set()
                await async_await_that(has_stopped)  # else nobody minds the next signal


@needs_account
def test_a_passed_socket_is_served_and_left_as_it_is() -> None:
    with running_emulator() as emulator:
        ours = grp.getgrgid(os.getegid()).gr_name
        settings = f'socket = "/else/where"\nsocket_mode = "0666"\nsocket_group = "{ours}"\n'
        with managed_daemon(settings, profile(emulator.url)) as (manager, daemon):
            manager.pass_socket(daemon.socket, mode=0o600)
            daemon.start()
            assert daemon.call("status")["socket"] == str(daemon.socket)

            assert daemon.stop() == 0

            assert stat.S_IMODE(daemon.socket.stat().st_mode) == 0o600
            assert list(daemon.socket.parent.iterdir()) == [daemon.socket]
            line = daemon.await_log("socket_settings_ignored", "the socket unit decides")
            assert 'keys="socket, socket_mode"' in line


@pytest.mark.parametrize("name", ["openfit-tokend.socket", "unknown", ""])
def test_a_socket_that_its_unit_gives_no_name_is_served(name: str) -> None:
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (manager, daemon):
        manager.pass_socket(daemon.socket, name)
        daemon.start()
        assert daemon.call("get_token")


def test_who_comes_while_the_daemon_stops_waits_for_the_next() -> None:
    with (
        running_emulator("slow=0.7@login:2") as emulator,
        managed_daemon(profile(emulator.url)) as (manager, daemon),
    ):
        manager.pass_socket(daemon.socket)
        daemon.start()
        with daemon.wire() as before:
            before.call("get_token")
            before.ask("login")
            await_that(lambda: emulator.state().login_requests == 2)
            daemon.signal(signal.SIGTERM)
            manager.await_word("STOPPING=1")

            with daemon.wire() as after:
                after.ask("hello")
                assert before.answer().code == "STOPPING"
                for method in ("get_token", "refresh"):
                    assert before.call(method).error is None, "who is connected is served"
                assert before.call("logout").code == "STOPPING"
                daemon.wait()
                daemon.launch()
                answer = after.answer()

        assert answer.result is not None
        assert answer.result["pid"] == daemon.pid


def test_what_was_sent_before_the_end_is_answered() -> None:
    """Sixteen clients that ask without a pause: each gets an answer to all that it could send."""
    with running_emulator() as emulator, managed_daemon(profile(emulator.url)) as (_, daemon):
        daemon.start()
        daemon.call("get_token")
        wires = [daemon.wire() for _ in range(16)]
        sent = dict.fromkeys(wires, 0)
        daemon.signal(signal.SIGTERM)
        while wires_left := [wire for wire in wires if sent[wire] >= 0]:
            for wire in wires_left:
                try:
                    wire.ask("hello")
                except BrokenPipeError:
                    assert answered(wire) == sent[wire]
                    sent[wire] = -1
                else:
                    sent[wire] += 1
        for wire in wires:
            wire.close()
        assert daemon.wait() == 0


def answered(wire: Wire) -> int:
    """Count the answers until the connection's end."""
    for count in count_from(0):
        try:
            wire.answer()
        except EOFError:
            return count
    raise AssertionError


@pytest.mark.parametrize("kind", ["datagram", "unheard", "file", "abstract"])
def test_a_passed_descriptor_that_cannot_be_served_is_refused_clearly(
    kind: str, place: Path
) -> None:
    with managed_daemon(profile(NOWHERE)) as (manager, daemon):
        sort = socket.SOCK_DGRAM if kind == "datagram" else socket.SOCK_STREAM
        with socket.socket(socket.AF_UNIX, sort) as wrong:
            wrong.bind(f"\0{place}" if kind == "abstract" else str(place / "wrong"))
            if kind == "abstract":
                wrong.listen()
            fd = os.open(place, os.O_RDONLY) if kind == "file" else wrong.detach()
        manager.pass_descriptor("socket", fd)

        daemon.launch()

        assert daemon.wait() == CANTCREAT
        daemon.await_log("socket_unusable", "the service manager passed", "ListenStream=")


def test_a_daemon_started_by_hand_beside_a_socket_unit_says_who_holds_it() -> None:
    """The holder calls itself systemd, as a user's service manager does."""
    holder = """
import socket, sys
open("/proc/self/comm", "w").write("systemd")
with socket.socket(socket.AF_UNIX) as held:
    held.bind(sys.argv[1])
    held.listen()
    print(flush=True)
    sys.stdin.read()
"""
    with prepared_daemon(profile(NOWHERE)) as daemon:
        daemon.socket.parent.mkdir(mode=0o700)
        with subprocess.Popen(
            [sys.executable, "-c", holder, str(daemon.socket)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as running:
            assert running.stdout is not None
            running.stdout.readline()

            done = started_by_hand(daemon)

            running.kill()
        assert done.returncode == CANTCREAT
        assert "systemd holds the socket" in done.stderr
        assert "systemctl start openfit-tokend" in done.stderr
        assert daemon.socket.is_socket(), "it stays"


def started_by_hand(daemon: RunningDaemon) -> subprocess.CompletedProcess[str]:
    return daemon.run(
        "openfit-tokend", "run", "--config", str(daemon.config), "--socket", str(daemon.socket)
    )

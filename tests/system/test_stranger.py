"""A user who belongs to nothing tries all there is to try, and gets what the configuration says."""

import errno
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_UNIX, SHUT_WR, socket

import pytest

from daemons import NOBODY, PATIENCE, Fields, Wire, needs_root, profile
from emulators import running_emulator
from service_managers import ManagedDaemon, managed_daemon
from users import being

pytestmark = [pytest.mark.system, needs_root]

METHODS: dict[str, Fields] = {
    "get_token": {},
    "refresh": {},
    "refuse": {"id": "0" * 16},
    "login": {},
    "logout": {},
    "status": {},
    "subscribe": {},
}
"""All that take a profile, with what else they need."""
FOR_OPERATORS = ("login", "logout")
LISTS = {
    "open": "",
    "named": f'allow_users = ["{pwd.getpwuid(NOBODY).pw_name}"]',
    "others": 'allow_users = ["root"]',
    "closed": "allow_users = []",
}
USABLE = ("open", "named")


@pytest.fixture(scope="module")
def daemon() -> Iterator[ManagedDaemon]:
    """A daemon with both sockets of the shipped units, each open to everybody."""
    with running_emulator() as emulator:
        tables = [profile(emulator.url, name) + f"{line}\n" for name, line in LISTS.items()]
        with managed_daemon('default_profile = "open"', *tables) as (manager, daemon):
            daemon.directory.chmod(0o711)
            manager.pass_socket(daemon.socket, mode=0o666)
            manager.pass_socket(daemon.socket.with_name("credential"), "credential", 0o666)
            daemon.socket.parent.chmod(0o755)
            daemon.is_forked = False  # its environment is asked for
            daemon.start()
            for name in LISTS:
                daemon.await_state("fresh", name=name)
            yield daemon


@pytest.fixture
def wire(daemon: ManagedDaemon) -> Iterator[Wire]:
    with being(NOBODY):
        wire = daemon.wire()
    with wire:
        yield wire


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", LISTS)
def test_each_method_on_each_profile_is_answered_as_the_lists_say(
    wire: Wire, method: str, name: str
) -> None:
    answer = wire.call(method, profile=name, **METHODS[method])

    refusal = None if name in USABLE else "NO_SUCH_PROFILE"
    assert answer.code == ("NOT_ALLOWED" if method in FOR_OPERATORS else refusal)
    assert answer.result is None or "username" not in str(answer.result)


def test_without_a_profile_it_sees_and_may_what_is_its_own(wire: Wire) -> None:
    hello, status, reload = (wire.call(method) for method in ("hello", "status", "reload"))

    assert hello.result is not None
    assert hello.result["profiles"] == list(USABLE)
    assert status.result is not None
    assert list(status.result["profiles"]) == list(USABLE)
    assert "clients" not in status.result
    assert reload.code == "NOT_ALLOWED"


@pytest.mark.parametrize("name", ["openfit", *(f"openfit.{name}" for name in LISTS)])
def test_the_credential_socket_gives_it_no_token(daemon: ManagedDaemon, name: str) -> None:
    with being(NOBODY), socket(AF_UNIX) as asking:
        asking.settimeout(PATIENCE)
        asking.bind(f"\0{os.getpid()}/unit/a.service/{name}")
        asking.connect(str(daemon.socket.with_name("credential")))
        asking.shutdown(SHUT_WR)
        given = b""
        while part := asking.recv(2**20):
            given += part

    tokens = [daemon.call("get_token", profile=each)["access_token"] for each in LISTS]
    assert [token for token in tokens if token.encode() in given] == []


ATTEMPTS: dict[str, Callable[[ManagedDaemon], object]] = {
    "list the state directory": lambda daemon: os.listdir(daemon.state.parent),  # noqa: PTH208 -- one call
    "read the ledger": lambda daemon: daemon.state.read_bytes(),
    "read the password": lambda daemon: daemon.password.read_bytes(),
    "write the configuration": lambda daemon: daemon.config.write_text("x"),
    "write into the socket's directory": lambda daemon: (daemon.socket.parent / "x").touch(),
    "remove the socket": lambda daemon: daemon.socket.unlink(),
    "replace the socket": lambda daemon: daemon.config.replace(daemon.socket),
    "change the socket": lambda daemon: daemon.socket.chmod(0o777),
    "read its environment": lambda daemon: Path(f"/proc/{daemon.pid}/environ").read_bytes(),
    "read its memory": lambda daemon: Path(f"/proc/{daemon.pid}/mem").read_bytes(),
    "look at its descriptors": lambda daemon: os.listdir(f"/proc/{daemon.pid}/fd"),  # noqa: PTH208 -- one call
    "take its descriptor": lambda daemon: Path(f"/proc/{daemon.pid}/fd/3").read_bytes(),
}


@pytest.mark.parametrize("attempt", ATTEMPTS)
def test_nothing_else_of_it_can_be_read_or_changed(daemon: ManagedDaemon, attempt: str) -> None:
    with being(NOBODY), pytest.raises(PermissionError):
        ATTEMPTS[attempt](daemon)

    assert daemon.call("hello")["pid"] == daemon.pid


TRACE = """
import ctypes, os, signal, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
daemon, seize, libc = int(sys.argv[1]), 0x4206, ctypes.CDLL(None, use_errno=True)
print(libc.ptrace(seize, daemon, None, None), ctypes.get_errno())
print(libc.kill(daemon, signal.SIGHUP), ctypes.get_errno())
"""
"""The kernel asks for the real user here, which `being` leaves as it is."""


def test_it_can_neither_trace_the_daemon_nor_signal_it(daemon: ManagedDaemon) -> None:
    words = [sys.executable, "-I", "-c", TRACE, str(daemon.pid)]
    done = subprocess.run(words, check=True, capture_output=True, text=True)

    assert done.stdout.split() == ["-1", str(errno.EPERM)] * 2

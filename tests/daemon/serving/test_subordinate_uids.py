"""A user who becomes many: a real one, with real subordinate uids, against a real daemon."""

import os
import pwd
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemons import RunningDaemon, prepared_daemon, profile
from emulators import running_emulator
from namespaces import needs_namespaces
from openfit_tokend.serving.audit import BURST

pytestmark = [pytest.mark.system, needs_namespaces]

PYTHON = "/usr/bin/python3"
"""One that every user may run."""
USERADD, USERDEL = ("useradd",), ("userdel",)
TOOLS = ("useradd", "userdel", "newuidmap", "newgidmap", PYTHON)
BECOME_MANY = """
import os, socket, sys
path, request = sys.argv[1], bytes.fromhex(sys.argv[2])
kept = []
for uid in range(1, 1 + int(sys.argv[3])):
    os.seteuid(0)
    os.seteuid(uid)
    for _ in range(int(sys.argv[4])):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        sock.sendall(request)
        sock.recv(65536)
        kept.append(sock)
print("asked", flush=True)
sys.stdin.read()
"""
UIDS, CALLS = 5, 10
REFUSED = "940001a672656c6f616490"
"""A `reload`, which is for operators."""


@pytest.fixture
def user() -> Iterator[str]:
    """A user with subordinate uids, as `useradd` gives them."""
    if missing := [tool for tool in TOOLS if not shutil.which(tool)]:
        pytest.skip(f"no {', '.join(missing)}: run .ci/install_packages")
    name = f"oft-{secrets.token_hex(4)}"
    subprocess.run([*USERADD, name], check=True)
    try:
        if f"{name}:" not in Path("/etc/subuid").read_text():
            pytest.skip("useradd gives no subordinate uids here")
        yield name
    finally:
        subprocess.run([*USERDEL, name], check=True)


@pytest.fixture
def daemon(user: str) -> Iterator[RunningDaemon]:  # noqa: ARG001 -- it must be there before
    """A daemon that everybody may ask, started once there is the user."""
    with (
        running_emulator() as emulator,
        prepared_daemon('socket_mode = "0666"', profile(emulator.url)) as daemon,
    ):
        daemon.directory.chmod(0o711)
        daemon.start()
        yield daemon


def test_all_subordinate_uids_of_a_user_count_to_that_user(
    daemon: RunningDaemon, user: str
) -> None:
    uid = pwd.getpwnam(user).pw_uid
    become = ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "unshare", "--user"]
    asking = [PYTHON, "-c", BECOME_MANY, os.fspath(daemon.socket), REFUSED, str(UIDS), str(CALLS)]
    with subprocess.Popen(
        [*become, "--map-root-user", "--map-auto", *asking],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd="/",
    ) as crowd:
        assert crowd.stdout is not None
        assert crowd.stdout.readline() == b"asked\n"
        clients = daemon.call("status")["clients"]
        crowd.communicate()

    total = UIDS * CALLS
    assert clients.keys() == {"0", str(uid)}
    assert clients[str(uid)] == {"connections": total, "requests": total, "refused": total}
    assert daemon.log().count("event=call_refused") == BURST

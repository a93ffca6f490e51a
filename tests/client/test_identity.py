"""Whom a client in a user namespace believes: real namespaces, and listeners from outside of them."""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from socket import AF_UNIX, socket

import pytest

from namespaces import inside_namespace, needs_namespaces
from openfit_token._shared import identity
from processes import environment
from users import being

pytestmark = pytest.mark.system

NOBODY, UNMAPPED, MAPPED = 65534, 23456, 1
CONNECT = """
import grp, os, pwd, sys  # now, since nobody may not read every interpreter's library
from openfit_token._shared import identity
from openfit_token._client import paths
from openfit_token.errors import DaemonUntrusted
os.setuid(int(sys.argv[2]))
try:
    paths.connect(sys.argv[1]).close()
    print("believed")
except DaemonUntrusted as error:
    print(error.message, error.hint, sep="\\n")
"""


@contextmanager
def listening(place: Path, uid: int, owner: int | None = None) -> Generator[Path]:
    """Listen in a directory of an `owner`, else of the user. The kernel notes who called listen()."""
    path = place / "run/s"
    path.parent.mkdir()
    os.chown(path.parent, uid if owner is None else owner, -1)
    with socket(AF_UNIX) as sock:
        sock.bind(str(path))
        path.chmod(0o666)
        place.chmod(0o755)
        with being(uid):
            sock.listen()
        yield path


def told(path: Path, maps: str, uid: int) -> list[str]:
    """Return the lines of a client that connects as this user of a namespace."""
    words = [*inside_namespace(maps, uid=0), sys.executable, "-c", CONNECT, str(path), str(uid)]
    done = subprocess.run(words, check=True, capture_output=True, text=True, env=environment())
    return done.stdout.splitlines()


@needs_namespaces
def test_a_listener_that_may_be_anybody_is_not_believed(place: Path) -> None:
    with listening(place, UNMAPPED, owner=0) as path:
        message, hint = told(path, f"0 0 1000,{NOBODY} {NOBODY} 1", uid=0)

    assert (
        f"(uid {NOBODY}) listens at {path}, and in this user namespace that is any user" in message
    )
    assert hint == "run the daemon as a user who is mapped into this user namespace"


@needs_namespaces
@pytest.mark.parametrize("owner", [UNMAPPED, NOBODY])
@pytest.mark.parametrize("uid", [0, NOBODY])
def test_a_directory_whose_owner_may_be_anybody_is_nobodys_own_and_no_services(
    place: Path, owner: int, uid: int
) -> None:
    with listening(place, 0, owner) as path:
        message, hint = told(path, f"0 0 1000,{NOBODY} {NOBODY} 1", uid)

    assert f"{path.parent} belongs to nobody (uid {NOBODY}), and in this user namespace" in message
    assert "mapped into this user namespace" in hint


@needs_namespaces
@pytest.mark.parametrize("daemon", [UNMAPPED, NOBODY])
def test_a_client_whose_own_number_may_be_anybody_does_not_take_it_for_itself_and_says_what_to_do(
    place: Path, daemon: int
) -> None:
    with listening(place, daemon, owner=0) as path:
        message, hint = told(path, f"0 0 1000,{NOBODY} {NOBODY} 1", uid=NOBODY)

    assert f"(uid {NOBODY}) listens at {path}" in message
    assert hint == "run daemon and client as another user"


@needs_namespaces
@pytest.mark.parametrize(
    ("daemon", "maps", "uid"),
    [
        (0, f"0 0 1000,{NOBODY} {NOBODY} 1", NOBODY),
        (MAPPED, f"0 0 1000,{NOBODY} {NOBODY} 1", NOBODY),
        (NOBODY, "0 0 4294967295", NOBODY),
        (NOBODY, "0 0 4294967295", 0),
    ],
)
def test_a_listener_whose_number_says_who_it_is_is_believed_as_anywhere(
    place: Path, daemon: int, maps: str, uid: int
) -> None:
    with listening(place, daemon) as path:
        assert told(path, maps, uid) == ["believed"]


def test_only_the_overflow_id_can_be_anybody() -> None:
    overflow = int(Path("/proc/sys/kernel/overflowuid").read_text())

    assert not identity.may_be_anybody("uid", 0)
    assert not identity.may_be_anybody("gid", overflow + 1)
    assert identity.ambiguous_ids("uid") <= {overflow}

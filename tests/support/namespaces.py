"""User namespaces: a command that runs in one, with ids mapped as specified.

daemon.launcher = inside_namespace("0 0 1000", uid=0)
"""

import subprocess
import sys

import pytest

from users import MAY_MOUNT

UNSHARE = ("unshare", "--user")
"""Runs a command in a namespace that maps nobody."""
INSIDE = """
import ctypes, os, sys
maps, uid, command = sys.argv[1].replace(",", chr(10)) + chr(10), int(sys.argv[2]), sys.argv[3:]
ready = os.pipe()
parent = os.getpid()
helper = os.fork()
if helper == 0:  # stays outside, where it may map any id
    os.close(ready[1])
    os.read(ready[0], 1)
    for kind in ("uid", "gid"):
        with open(f"/proc/{parent}/{kind}_map", "w") as file:
            file.write(maps)
    os._exit(0)
if ctypes.CDLL(None, use_errno=True).unshare(0x10000000) != 0:  # CLONE_NEWUSER
    raise OSError(ctypes.get_errno(), "unshare")
os.close(ready[1])
assert os.waitpid(helper, 0)[1] == 0
os.setgroups([])
os.setgid(uid)
os.setuid(uid)
os.execvp(command[0], command)
"""


def inside_namespace(maps: str, uid: int) -> tuple[str, ...]:
    """Return the prefix of a command that is to run as `uid` in a namespace with these maps.

    `maps`: as in user_namespaces(7), with commas in place of newlines; for users and groups.
    """
    return (sys.executable, "-c", INSIDE, maps, str(uid))


def hindrance() -> str | None:
    """Return why no user namespace can be created here."""
    try:
        subprocess.run([*UNSHARE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        return f"no user namespace can be made here: {error}"
    return None


needs_namespaces = pytest.mark.skipif(
    not MAY_MOUNT or hindrance() is not None,
    reason=str(hindrance()) if MAY_MOUNT else "needs root: to map ids as one likes",
)

"""The system service: its names, and how to do something with its rights."""

import grp
import os
import pwd
import shutil
import signal
import traceback
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Final

from openfit_tokend.host.regular_file import named_once
from openfit_tokend.setup import passed
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.units import CONFIG_DIRECTORY, SYSTEM_UNITS

ACCOUNT: Final = "openfit-tokend"
"""The service's user, and its group."""
GROUP: Final = "openfit"
"""The group of users who may connect."""
CONFIG: Final = CONFIG_DIRECTORY / "config.toml"
STATE: Final = Path("/var/lib/openfit-tokend")
RUNTIME: Final = Path("/run/openfit-tokend")
"""The directory of the sockets."""
OF_THE_TERMINAL: Final = ("TERM", "COLUMNS", "LINES", "NO_COLOR", "LANG", "LC_ALL", "LC_CTYPE")
"""Variables of the caller's that a command keeps in the service's place."""
PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
"""systemd's own, for its services."""
IN_MEMORY: Final = "/run"
"""A directory that is never on a disk."""
SOCKET_UNIT: Final = "openfit-tokend.socket"
UNIT_PLACES: Final = (
    "/etc/systemd/system",
    "/usr/local/lib/systemd/system",
    "/usr/lib/systemd/system",
    "/lib/systemd/system",
)
ENDS: Final = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals that end this command."""


def account() -> pwd.struct_passwd | None:
    """Return the service's user; None if it or one of its groups doesn't exist."""
    try:
        grp.getgrnam(GROUP)
        grp.getgrnam(ACCOUNT)
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        return None


def systemd_runs() -> bool:
    """Return whether systemd is this machine's first process (sd_booted(3))."""
    return Path("/run/systemd/system").is_dir()


def is_its(config: Path) -> bool:
    """Return whether this is root, and `config` the system service's configuration. May block."""
    return os.geteuid() == 0 and named_once(config) == named_once(CONFIG)


def config() -> Path:
    """Return the configuration that the service reads: a drop-in may name another. May block.

    Raises:
        SetupFailed: as `passed.variables` does.
    """
    return Path(passed.variables().get("OPENFIT_TOKEND_CONFIG", CONFIG))


def is_meant(path: Path) -> bool:
    """Return whether this is root, and `path` what the installed service reads. May block."""
    return (
        os.geteuid() == 0
        and "CREDENTIALS_DIRECTORY" not in os.environ
        and any(Path(place, SYSTEM_UNITS[0]).is_file() for place in UNIT_PLACES)
        and named_once(path) == named_once(config())
    )


def in_its_place(work: Callable[[], int]) -> int:
    """Run a command's function in a child process with the service's user, variables, credentials and state.

    So root never writes where the service can, and the daemon finds only its own files. Return the
    exit status.

    Raises:
        SetupFailed: the service's user doesn't exist, or it can't be given what the unit names.
    """
    user = account()
    if user is None:
        raise SetupFailed(f"there is no user {ACCOUNT}", "openfit-tokend install")
    variables = passed.variables()
    ends = {each for each in ENDS if signal.getsignal(each) is not signal.SIG_IGN}
    with held_back({*ends, signal.SIGCHLD}) as before, _credentials(user) as directory:
        child = os.fork()
        if child == 0:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            _be(user, variables, directory, work)
        arrived: set[int] = set()
        while os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            number = signal.sigwait({*ends, signal.SIGCHLD})
            if number != signal.SIGCHLD:
                arrived.add(number)
                os.kill(child, signal.SIGTERM)
        _, status = os.waitpid(child, 0)
        for number in arrived:
            signal.raise_signal(number)  # with its usual effect, now that all is cleaned up
    return os.waitstatus_to_exitcode(status)


@contextmanager
def held_back(signals: Iterable[signal.Signals]) -> Generator[set[int]]:
    """Hold back signals, so that none can skip a clean-up; yield the mask from before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield {int(each) for each in before}
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _be(
    user: pwd.struct_passwd, variables: dict[str, str], credentials: Path, work: Callable[[], int]
) -> None:
    """Become the service's user, run `work`, which writes all its output, and exit this process."""
    status = os.EX_SOFTWARE
    try:
        os.initgroups(user.pw_name, user.pw_gid)
        os.setgid(user.pw_gid)
        os.setuid(user.pw_uid)
        kept = {name: os.environ[name] for name in OF_THE_TERMINAL if name in os.environ}
        os.environ.clear()
        own = {"PATH": PATH, "HOME": user.pw_dir, "USER": user.pw_name}
        os.environ.update(kept | own | variables)
        os.environ["CREDENTIALS_DIRECTORY"] = str(credentials)
        os.environ["STATE_DIRECTORY"] = str(STATE)
        status = work()
    except Exception:  # noqa: BLE001 -- the top of a child process
        traceback.print_exc()
    finally:
        os._exit(status)


@contextmanager
def _credentials(user: pwd.struct_passwd) -> Generator[Path]:
    """Yield a directory in memory with the credentials that the unit passes.

    Raises:
        SetupFailed: it can't be made, or filled.
    """
    with ExitStack() as afterwards:
        try:
            directory = Path(mkdtemp(prefix="openfit-tokend-", dir=IN_MEMORY))
            afterwards.callback(shutil.rmtree, directory)
            for name, secret in passed.credentials():
                copy = directory / name
                copy.write_bytes(secret)
                copy.chmod(0o400)  # whatever the umask: nobody else gets into the directory
                os.chown(copy, user.pw_uid, user.pw_gid)
            directory.chmod(0o500)
            os.chown(directory, user.pw_uid, user.pw_gid)
        except OSError as error:
            text = f"the service's credentials can't be put into {IN_MEMORY}: {error.strerror}"
            raise SetupFailed(
                text, f"its space and inodes: df {IN_MEMORY}; df -i {IN_MEMORY}"
            ) from None
        yield directory

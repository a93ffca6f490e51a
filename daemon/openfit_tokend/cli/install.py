"""`openfit-tokend install` and `uninstall`: the program as a systemd service."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

from openfit_token.errors import TokenError
from openfit_tokend.cli.complaints import complain
from openfit_tokend.host import package
from openfit_tokend.host.home import user_directory
from openfit_tokend.setup import program, service, units
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import Done, Tree

UMASK: Final = 0o077
"""Whatever the caller's is. Each file gets its mode, and until then is private to its owner."""
NOBODY: Final = 65534
"""Stands in for the service's user where that doesn't exist yet: it has the same rights."""
TIME_LIMIT: Final = 100.0
"""Seconds for one command of systemd's: stopping a service may take 90."""


class _NotAllowed(TokenError):
    exit_status = os.EX_NOPERM


class _Destination(NamedTuple):
    """Where to install: the file system tree, system or user units, and their base directory."""

    tree: Tree
    user: bool
    base: Path
    parts: tuple[units.Part, ...]

    @property
    def here(self) -> bool:
        """Return whether this is the running system's own tree."""
        return self.tree.root == Path("/")

    @property
    def systemctl(self) -> tuple[str, ...]:
        return ("systemctl", "--user") if self.user else ("systemctl",)

    @property
    def manager_runs(self) -> bool:
        """Return whether there is a running systemd to notify."""
        if not self.here or shutil.which("systemctl") is None:
            return False
        if not self.user:
            return service.systemd_runs()
        runtime = os.environ.get("XDG_RUNTIME_DIR")
        return runtime is not None and Path(runtime, "systemd/private").exists()


def install(*, user: bool, root: str | None) -> int:
    """Install everything; return the exit status. Run again, it changes nothing."""
    os.umask(UMASK)
    try:
        systemctl = "systemctl --user" if user else "systemctl"
        _refuse_systems_package(f"{systemctl} enable --now openfit-tokend.socket openfit-tokend")
        destination = _destination("install", user=user, root=root)
        found = program.find(destination.tree)
        if not user:
            program.refuse_unrunnable(found, destination.tree, *_who_will_run_it(destination))
            destination.tree.make(units.CONFIG_DIRECTORY, 0o750)
            destination.tree.make(units.CREDENTIALS, 0o700)
        refreshes = _refreshes_credentials(destination)
        for part in destination.parts:
            path, done = destination.base / part.target, Done.LEFT
            if not _is_changed_example(destination, part):
                content = units.content(part, found, refreshes=refreshes)
                done = destination.tree.put(path, content, part.mode)
            print(f"{done:<14} {destination.tree.outside(path)}")
        if not user:
            _put_man_pages(destination.tree)
        if destination.here and not user:
            _make_users_and_directories()
        if destination.manager_runs:
            _run(*destination.systemctl, "daemon-reload")
    except TokenError as error:
        return complain(error)
    _say_next(destination, found)
    return 0


def uninstall(*, user: bool, root: str | None) -> int:
    """Remove what `install` added, but no configuration and no secret; return the exit status."""
    os.umask(UMASK)
    try:
        _refuse_systems_package(f"apt remove {package.NAME}")
        destination = _destination("uninstall", user=user, root=root)
        names = units.USER_UNITS if user else units.SYSTEM_UNITS
        there = [name for name in names if _unit_path(destination, name).exists()]
        if there:
            _disable(destination, there)
        for part in (*destination.parts, *(() if user else units.MAN_PARTS)):
            path = destination.base / part.target
            done = (
                Done.LEFT
                if _is_changed_example(destination, part)
                else destination.tree.remove(path)
            )
            print(f"{done:<14} {destination.tree.outside(path)}")
        if destination.manager_runs:
            _run(*destination.systemctl, "daemon-reload")
    except TokenError as error:
        return complain(error)
    _say_left(destination)
    return 0


def _refuse_systems_package(instead: str) -> None:
    """Refuse to interfere with the system's package manager."""
    if package.is_systems():
        raise SetupFailed(
            "this program is a Debian package, which brings the units itself", instead
        )


def _destination(command: str, *, user: bool, root: str | None) -> _Destination:
    tree = Tree(Path(root or "/"))
    if not tree.root.is_dir():
        raise SetupFailed(f"there is no directory {tree.root}", "name the tree's root with --root")
    if user:
        base = tree.inside(user_directory("config").resolve())
        _refuse_strangers_home(tree.outside(base))
        return _Destination(tree, user, base, units.USER_PARTS)
    destination = _Destination(tree, user, Path("/"), units.SYSTEM_PARTS)
    if destination.here and os.geteuid() != 0:
        raise _NotAllowed(
            f"only root can {command} the system service",
            f"sudo openfit-tokend {command}, or for yourself only: openfit-tokend {command} --user",
        )
    return destination


def _refuse_strangers_home(path: Path) -> None:
    """Refuse to write to somebody else's home, which `sudo` may leave in $HOME."""
    there = next((one for one in (path, *path.parents) if one.exists()), path)
    owner = there.stat().st_uid
    if owner != os.geteuid():
        raise _NotAllowed(f"{there} belongs to uid {owner}, not to you", "run this as that user")


def _who_will_run_it(destination: _Destination) -> tuple[int, int]:
    user = service.account() if destination.here else None
    return (NOBODY, NOBODY) if user is None else (user.pw_uid, user.pw_gid)


def _refreshes_credentials(destination: _Destination) -> bool:
    """Return whether the running systemd knows RefreshOnReload=: an older one shows no such property."""
    if not destination.manager_runs:
        return False
    show = ("show", "--property=RefreshOnReload", units.SYSTEM_UNITS[0])
    return _run(*destination.systemctl, *show) != ""


def _put_man_pages(tree: Tree) -> None:
    """Install the man pages. A /usr/local that can't be written to is no reason to fail."""
    for part in units.MAN_PARTS:
        path = Path("/", part.target)
        try:
            print(
                f"{tree.put(path, units.shipped(part.source).encode(), part.mode):<14} {tree.outside(path)}"
            )
        except FileNotFoundError:  # an editable install has none
            continue
        except SetupFailed as error:
            print(f"{Done.ABSENT:<14} {tree.outside(path)} ({error.message})")


def _make_users_and_directories() -> None:
    """Create what sysusers.d and tmpfiles.d declare; another tree's own boot does that."""
    for tool, source in (("systemd-sysusers", "sysusers.d"), ("systemd-tmpfiles", "tmpfiles.d")):
        create = ["--create"] if tool == "systemd-tmpfiles" else []
        _run(tool, *create, f"/etc/{source}/openfit-tokend.conf")
    if service.account() is None:  # systemd-sysusers reports no failure then
        raise SetupFailed(
            f"systemd-sysusers created no user {service.ACCOUNT} with the group {service.GROUP}",
            "create them with groupadd and useradd, and try again",
        )


def _disable(destination: _Destination, names: list[str]) -> None:
    if destination.manager_runs:
        _run(*destination.systemctl, "disable", "--now", *names)
    elif shutil.which("systemctl") is None:
        return
    elif not destination.user:
        _run("systemctl", f"--root={destination.tree.root}", "disable", *names)
    elif destination.here:
        _run(*destination.systemctl, "--no-reload", "disable", *names)


def _run(*command: str) -> str:
    """Run one of systemd's commands, and return its output."""
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command
            command, capture_output=True, check=False, text=True, timeout=TIME_LIMIT
        )
    except FileNotFoundError:
        raise SetupFailed(f"there is no {command[0]}", "install systemd's package") from None
    except subprocess.TimeoutExpired:
        raise SetupFailed(f"{' '.join(command)}: not done within {TIME_LIMIT:.0f} s") from None
    if done.returncode != 0:
        raise SetupFailed(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


def _unit_path(destination: _Destination, name: str) -> Path:
    directory = "systemd/user" if destination.user else "etc/systemd/system"
    return destination.tree.outside(destination.base / directory / name)


def _is_changed_example(destination: _Destination, part: units.Part) -> bool:
    """Return whether somebody edited the example, or an older version installed it."""
    if part.source != units.EXAMPLE:
        return False
    content = destination.tree.read(destination.base / part.target)
    return content is not None and content != units.shipped(part.source).encode()


def _say_next(destination: _Destination, found: program.Program) -> None:
    on_path = shutil.which(program.NAME)
    same = on_path is not None and Path(on_path).resolve() == found.command.resolve()
    command = program.NAME if same or not destination.here else str(found.command)
    config = destination.base / "openfit-tokend" if destination.user else units.CONFIG_DIRECTORY
    print("\nnext:")
    if not destination.tree.outside(config / "config.toml").exists():
        print(f"  {command} init")
    systemctl = " ".join(destination.systemctl)
    if destination.here:
        print(f"  {systemctl} enable --now openfit-tokend.socket openfit-tokend")
        print(f"  {command} restart     (if it is running; it keeps its tokens)")
    if destination.user:
        print("  loginctl enable-linger     (to keep it running while you aren't logged in)")
    else:
        print(
            f"  usermod -aG {service.GROUP} NAME     (for each user who may get tokens; log in again after)"
        )


def _say_left(destination: _Destination) -> None:
    """Print what stays, because `install` didn't add it or users need it."""
    if destination.user:
        left = [destination.base / "openfit-tokend"]
    else:
        destination.tree.remove_if_empty(units.CREDENTIALS)
        destination.tree.remove_if_empty(units.CONFIG_DIRECTORY)
        destination.tree.remove_if_empty(service.RUNTIME)
        left = [units.CONFIG_DIRECTORY, service.STATE]
    for path in left:
        if destination.tree.outside(path).exists():
            print(f"{Done.LEFT:<14} {destination.tree.outside(path)}")
    if destination.here:
        print(f"{Done.LEFT:<14} {sys.prefix}, the program itself")
    if not destination.user and destination.here and service.account() is not None:
        print(f"{Done.LEFT:<14} user {service.ACCOUNT}, group {service.GROUP}")

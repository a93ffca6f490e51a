"""Finds the program that the units are to start, and checks that the service's user can run it."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain, count
from pathlib import Path
from typing import Final

import openfit_token
import openfit_tokend
from openfit_token._shared.frozen import frozen
from openfit_tokend.host import package
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import Tree

NAME: Final = "openfit-tokend"
HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 -- refused
"""What the unit's ProtectHome and PrivateTmp hide from the service."""
MAX_LINKS: Final = 40
"""Symlinks followed in one path: the kernel's own limit (path_resolution(7))."""
TRIAL_TIME: Final = 60.0
"""Seconds for one start of the program as another user, even on a slow disk."""

STABLE: Final = Path("/opt/openfit-tokend")
"""A link to the directory of the version in use: an upgrade only has to change this."""


@frozen
class Program:
    """The daemon's command. Paths are as seen with the tree's root as `/`.

    `places`: all directories from which it runs code. One that was reached by a link keeps the link's
    path, so that the link can be moved to the next version.
    """

    command: Path
    places: tuple[Path, ...]


def find(tree: Tree) -> Program:
    """Return the running program.

    Raises:
        SetupFailed: it wasn't started as an installed command.
    """
    beside, called = Path(sys.executable).with_name(NAME), _called()
    by_link = called.is_file() and beside.is_file() and called.samefile(beside)
    candidates = (called, beside) if by_link else (beside, called)
    command = next((one for one in candidates if one.name == NAME and one.is_file()), None)
    if command is None:
        raise SetupFailed(
            f"there is no command {NAME} next to {sys.executable}",
            "install the package with pip in a venv",
        )
    prefix = command.parent.parent if by_link else Path(sys.prefix).resolve()
    others = (Path(sys.base_prefix).resolve(), Path(sys.executable).resolve().parent)
    places = dict.fromkeys(tree.inside(place) for place in (prefix, *others))
    return Program(tree.inside(command), tuple(places))


def _called() -> Path:
    """Return the path of the command as called: links to the command resolved, to its directory kept."""
    path = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    for _ in range(MAX_LINKS):
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path.resolve() if ".." in path.parts else path


def refuse_unrunnable(program: Program, tree: Tree, uid: int, gid: int) -> None:
    """Refuse a program that the unit can't run as this user, who has no other groups.

    Raises:
        SetupFailed: says what prevents it, and what to install instead.
    """
    needed = [program.command, *program.places, *map(tree.inside, _code())]
    for path in needed:
        for seen in _components(tree, path):
            if hidden := next((one for one in HIDDEN if seen.is_relative_to(one)), None):
                raise _unrunnable(f"{path} is below {hidden}, which is hidden from the service")
    if tree.root != Path("/"):
        if closed := _closed(tree, needed):
            raise _unrunnable(f"other users have no access to {closed}")
        return
    trials = (
        [os.fspath(program.command), "--version"],
        [sys.executable, "-P", "-c", "import openfit_tokend.app"],
    )
    for trial in trials:
        if failure := _tried(trial, uid, gid):
            closed = _closed(tree, needed)
            raise _unrunnable(f"other users have no access to {closed}" if closed else failure)


def _unrunnable(reason: str) -> SetupFailed:
    return SetupFailed(f"the service's user can't run {sys.executable}: {reason}", _advice())


def _advice() -> str:
    """Return the commands that install the program in a new directory where every user can run it."""
    name = f"{STABLE}-{openfit_tokend.__version__}"
    names = chain([name], (f"{name}-{number}" for number in count(2)))
    new = next(one for one in names if not os.path.lexists(one))
    aside = [f"mv {STABLE} {STABLE}.old"] if STABLE.is_dir() and not STABLE.is_symlink() else []
    steps = [
        "umask 022",
        f"/usr/bin/python3 -m venv {new}",
        package.elsewhere(new),
        *aside,
        f"ln -sfT {new} {STABLE}",
        f"{STABLE}/bin/{NAME} install",
    ]
    return "\n".join(["use one that every user can run:", *steps])


def _code() -> list[Path]:
    """Return the directories of our own code; an editable install has them outside the venv."""
    return [Path(each) for module in (openfit_token, openfit_tokend) for each in module.__path__]


def _tried(command: list[str], uid: int, gid: int) -> str:
    """Run a command as the user; return what it says if it fails, else ""."""
    try:
        trial = subprocess.run(  # noqa: S603 -- this program
            command,
            user=uid,
            group=gid,
            extra_groups=[],
            cwd="/",
            env={"PATH": os.defpath},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            check=False,
            timeout=TRIAL_TIME,
        )
    except OSError as error:
        return error.strerror or "it can't be started"
    except subprocess.TimeoutExpired:
        return f"it didn't start within {TRIAL_TIME:.0f} s"
    if trial.returncode == 0:
        return ""
    last = trial.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return last or f"exit status {trial.returncode}"


def _closed(tree: Tree, paths: list[Path]) -> Path | None:
    """Return the first file or directory on these paths whose mode excludes other users."""
    for path in paths:
        for seen in _components(tree, path):
            mode = tree.outside(seen).lstat().st_mode if _is_there(tree, seen) else 0o777
            if not stat.S_ISLNK(mode) and not mode & stat.S_IXOTH:
                return seen
    return None


def _is_there(tree: Tree, path: Path) -> bool:
    try:
        tree.outside(path).lstat()
    except OSError:
        return False
    return True


def _components(tree: Tree, path: Path) -> Iterator[Path]:
    """Yield each directory and symlink that resolving a path goes through, and last its target."""
    at, ahead, links = Path("/"), list(path.parts[1:]), 0
    while ahead:
        name = ahead.pop(0)
        at = at.parent if name == ".." else at / name
        yield at
        if tree.outside(at).is_symlink() and links < MAX_LINKS:
            links += 1
            target = tree.outside(at).readlink()
            ahead = [*(part for part in target.parts if part != "/"), *ahead]
            at = Path("/") if target.is_absolute() else at.parent

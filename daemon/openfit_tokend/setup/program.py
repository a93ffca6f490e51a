"""Which program the units are to start, and whether the service's user could run it."""

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Final

import openfit_token
import openfit_tokend
from openfit_tokend.host import package
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import Tree

NAME: Final = "openfit-tokend"
HIDDEN: Final = tuple(map(Path, ("/home", "/root", "/run/user", "/tmp", "/var/tmp")))  # noqa: S108 -- refused
"""What the unit's ProtectHome and PrivateTmp hide from the service."""
MAX_LINKS: Final = 40
"""Symlinks to follow in one path: the kernel's own limit (path_resolution(7))."""
TRIAL_TIME: Final = 60.0
"""Seconds for the program to start once as another user, also on a slow disk."""

STABLE: Final = Path("/opt/openfit-tokend")
"""A link to the directory of the version in use: what to change at an upgrade, and nothing else."""


@dataclass(frozen=True, slots=True)
class Program:
    """The daemon's command, as it is for one who sees the tree's root as `/`.

    `places` has all directories from which it runs code. A directory that was named by a link stays
    named by it: so the link can lead to the next version.
    """

    command: Path
    places: tuple[Path, ...]


def find(tree: Tree) -> Program:
    """Return the program that runs at this moment.

    Raises:
        SetupFailed: it was started in a way that has no command.
    """
    beside, called = Path(sys.executable).with_name(NAME), _called()
    by_link = called.is_file() and beside.is_file() and called.samefile(beside)
    candidates = (called, beside) if by_link else (beside, called)
    command = next((one for one in candidates if one.name == NAME and one.is_file()), None)
    if command is None:
        raise SetupFailed(
            f"there is no command {NAME} beside {sys.executable}",
            "install the package with pip, into a venv",
        )
    prefix = command.parent.parent if by_link else Path(sys.prefix).resolve()
    others = (Path(sys.base_prefix).resolve(), Path(sys.executable).resolve().parent)
    places = dict.fromkeys(tree.inside(place) for place in (prefix, *others))
    return Program(tree.inside(command), tuple(places))


def _called() -> Path:
    """Return the command as it was called, in the directory that really has it, perhaps by a link to that one."""
    path = Path(shutil.which(sys.argv[0]) or sys.argv[0]).absolute()
    for _ in range(MAX_LINKS):
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return path.resolve() if ".." in path.parts else path


def refuse_unrunnable(program: Program, tree: Tree, uid: int, gid: int) -> None:
    """Refuse a program that a user who is in no group of ours can't run in the unit.

    Raises:
        SetupFailed: says what is in the way, and which one to use.
    """
    needed = [program.command, *program.places, *map(tree.inside, _code())]
    for path in needed:
        for seen in _components(tree, path):
            if hidden := next((one for one in HIDDEN if seen.is_relative_to(one)), None):
                raise _unrunnable(f"{path} leads below {hidden}, which the service can't see")
    if tree.root != Path("/"):
        if closed := _closed(tree, needed):
            raise _unrunnable(f"others have no right to {closed}")
        return
    trials = (
        [os.fspath(program.command), "--version"],
        [sys.executable, "-P", "-c", "import openfit_tokend.app"],
    )
    for trial in trials:
        if failure := _tried(trial, uid, gid):
            closed = _closed(tree, needed)
            raise _unrunnable(f"others have no right to {closed}" if closed else failure)


def _unrunnable(reason: str) -> SetupFailed:
    return SetupFailed(f"the service's user can't run {sys.executable}: {reason}", _advice())


def _advice() -> str:
    """Return what makes a program that every user can run: in a new directory, whose mode is right."""
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
    """Return where our own code lies: elsewhere than the interpreter's, after an editable install."""
    return [Path(each) for module in (openfit_token, openfit_tokend) for each in module.__path__]


def _tried(command: list[str], uid: int, gid: int) -> str:
    """Start a command as the user, and give what it says if it fails."""
    try:
        trial = subprocess.run(  # noqa: S603 -- ourselves
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
    """Return the first file or directory on the way to these whose mode keeps others out."""
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
    """Give each directory and symlink that is met on the way to a path, and at last what it names."""
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

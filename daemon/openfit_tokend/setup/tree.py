"""Writes and removes files in a directory tree.

Below the tree's root no symlink is followed, not even in a race: each directory is opened relative to
its parent. A file appears complete, with its owner and mode, or not at all.
"""

import os
import secrets
import stat
from collections.abc import Generator
from contextlib import contextmanager, suppress
from enum import StrEnum, unique
from pathlib import Path
from typing import Final, NamedTuple, final

from openfit_token._shared.trusted_path import Untrusted, judge_directory, judge_step, user_name
from openfit_tokend.host.replaced_file import replace
from openfit_tokend.setup.failure import SetupFailed

MAX_FILE: Final = 1024 * 1024
"""Bytes read of a file: as large as a configuration may be."""

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@unique
class Done(StrEnum):
    """What was done to a file, in words for people."""

    MADE = "created"
    CHANGED = "changed"
    KEPT = "unchanged"
    LEFT = "kept"
    REMOVED = "removed"
    ABSENT = "absent"


class Owner(NamedTuple):
    """The user and group that a file is to belong to."""

    uid: int
    gid: int


@final
class Tree:
    """A directory tree. All paths are absolute, as seen with the tree's root as `/`.

    The caller sets a restrictive umask first.
    """

    def __init__(self, root: Path = Path("/")) -> None:
        self.root = root.resolve()

    def outside(self, path: Path) -> Path:
        """Return where a path of the tree is for this process."""
        return self.root / path.relative_to("/")

    def inside(self, path: Path) -> Path:
        """Return a path of this process as it is in the tree; one outside the tree stays unchanged."""
        return Path("/", path.relative_to(self.root)) if path.is_relative_to(self.root) else path

    def read(self, path: Path) -> bytes | None:
        """Return a file's content; None if there is none.

        Raises:
            SetupFailed: it is no regular file, or can't be read.
        """
        with self._doing("read", path):
            try:
                with self._parent(path) as parent:
                    return _content(parent, path.name)
            except FileNotFoundError:
                return None

    def put(self, path: Path, content: bytes, mode: int, owner: Owner | None = None) -> Done:
        """Write a file unless it is already the same; missing directories above it are created.

        Raises:
            SetupFailed: it can't be written, or something other than a file has its name.
        """
        with self._doing("write", path):
            self.make(path.parent, 0o755)
            with self._parent(path) as parent:
                there = _regular(parent, path.name)
                same = there is not None and _is(there, mode, owner)
                if same and _content(parent, path.name) == content:
                    return Done.KEPT
                _replace(parent, path.name, content, mode, owner)
                return Done.MADE if there is None else Done.CHANGED

    def remove(self, path: Path) -> Done:
        """Remove a file.

        Raises:
            SetupFailed: it can't be removed, or is no file.
        """
        with (
            self._doing("remove", path),
            suppress(FileNotFoundError),
            self._parent(path) as parent,
        ):
            if _regular(parent, path.name) is not None:
                os.unlink(path.name, dir_fd=parent)
                return Done.REMOVED
        return Done.ABSENT

    def make(self, path: Path, mode: int) -> Done:
        """Create a directory with this mode, and missing ones above it; existing ones stay as they are.

        Raises:
            SetupFailed: it can't be created.
        """
        with self._doing("create", path):
            at = self._open_root()
            try:
                done = Done.KEPT
                for directory in reversed([path, *path.parents[:-1]]):
                    at, done = self._enter(at, directory, mode if directory == path else 0o755)
            finally:
                os.close(at)
            return done

    def remove_if_empty(self, path: Path) -> Done:
        """Remove a directory if it is empty."""
        try:
            with self._parent(path) as parent:
                os.rmdir(path.name, dir_fd=parent)
        except FileNotFoundError:
            return Done.ABSENT
        except (OSError, Untrusted):
            return Done.KEPT
        return Done.REMOVED

    @contextmanager
    def _parent(self, path: Path) -> Generator[int]:
        """Yield a descriptor of a file's directory."""
        at = self._open_root()
        try:
            for directory in reversed(path.parents[:-1]):
                at = self._open(at, directory)
            yield at
        finally:
            os.close(at)

    def _open_root(self) -> int:
        judge_directory(str(self.root))
        return os.open(self.root, _DIRECTORY)

    def _open(self, above: int, path: Path) -> int:
        """Return a descriptor of a directory after checking it, and close its parent's."""
        below = os.open(path.name, _DIRECTORY, dir_fd=above)
        try:
            judge_step(str(self.outside(path)), os.fstat(below))
        except BaseException:
            os.close(below)
            raise
        os.close(above)
        return below

    def _enter(self, above: int, path: Path, mode: int) -> tuple[int, Done]:
        """Do as `_open`, but create the directory if it is missing."""
        try:
            os.mkdir(path.name, 0o700, dir_fd=above)
            done = Done.MADE
        except FileExistsError:
            done = Done.KEPT
        below = self._open(above, path)
        if done is Done.MADE:
            os.fchmod(below, mode)
        return below, done

    @contextmanager
    def _doing(self, what: str, path: Path) -> Generator[None]:
        try:
            yield
        except Untrusted as untrusted:
            raise SetupFailed(
                f"won't {what} {self.outside(path)}: {untrusted}", untrusted.hint
            ) from None
        except OSError as error:
            hint = "its directories must belong to you or root, and be no symlinks"
            if isinstance(error, PermissionError):
                hint = f"its directories must let {user_name(os.geteuid())} {what} it"
            message = f"can't {what} {self.outside(path)}: {error.strerror}"
            raise SetupFailed(message, hint) from error


def _regular(parent: int, name: str) -> os.stat_result | None:
    """Return a file's status; None if nothing has that name."""
    try:
        found = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if stat.S_ISLNK(found.st_mode):
        target = os.readlink(name, dir_fd=parent)
        masked = target == os.devnull
        raise SetupFailed(
            f"{name} is a symlink to {target}{': the unit is masked' if masked else ''}",
            f"systemctl unmask {name}" if masked else "put a file in its place, then try again",
        )
    if not stat.S_ISREG(found.st_mode):
        raise SetupFailed(f"{name} exists, but is no file", "remove it, then try again")
    return found


def _is(found: os.stat_result, mode: int, owner: Owner | None) -> bool:
    right_owner = owner is None or owner == (found.st_uid, found.st_gid)
    return right_owner and stat.S_IMODE(found.st_mode) == mode


def _content(parent: int, name: str) -> bytes:
    """Return a file's content. The caller handles FileNotFoundError."""
    _regular(parent, name)
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    with os.fdopen(os.open(name, flags, dir_fd=parent), "rb") as file:
        content = file.read(MAX_FILE + 1)
    if len(content) > MAX_FILE:
        raise SetupFailed(
            f"{name} is larger than {MAX_FILE} bytes", "check that it is the right file"
        )
    return content


def _replace(parent: int, name: str, content: bytes, mode: int, owner: Owner | None) -> None:
    def prepare(new: int) -> None:
        if owner is not None:
            os.fchown(new, *owner)
        os.fchmod(new, mode)

    beside = f".{name}.{secrets.token_hex(4)}"
    replace(parent, name, content, beside=beside, prepare=prepare, durable=True)

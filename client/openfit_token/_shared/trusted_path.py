"""Whether a path can be trusted: whether only root and the caller decide what it leads to.

The model is OpenSSH's StrictModes. Each component of the path counts, from "/" down, and each symbolic
link with all that it points to:

1. It belongs to root or to the caller, and the owner's uid identifies a user (see `identity`).
2. Nobody else can write to it. A group counts as somebody else, unless it is the private group of
   root or of the caller, without other members and without an ACL. Nor can they read a secret.
3. A sticky directory (/tmp) may be open to others: they can't replace in it what isn't theirs. What
   lies in it still has to satisfy rule 1.

Only root and the caller can change what has been judged, and the judgement begins at "/". So it still
holds when the path is used: there is no race. What lies in a service's directory can be changed by the
service: that is held while it is judged and used (`hold_socket`).
"""

import os
from errno import ELOOP, ENODATA, EOPNOTSUPP
from stat import S_ISLNK, S_ISSOCK, S_ISVTX

from openfit_token._shared.trouble import Trouble

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the client's start
    from typing import Final

MAX_LINKS: "Final" = 40
"""Symbolic links on the way: as many as the kernel follows."""

_MAGIC: "Final" = ("root", "cwd")
"""Links of a process in /proc that lead on in its own view of the files: what they say is not the way."""

WRITE: "Final" = 0o022
"""What the group and all others may do, as bits of a mode."""
READ_OR_WRITE: "Final" = 0o066

_GROUP: "Final" = 0o070
_ALL: "Final" = 0o007
_ACL: "Final" = "system.posix_acl_access"
"""The attribute of a file that has an ACL. Its group's bits are then those of all that the ACL names."""
_ACCOUNTS: "Final" = "/etc/passwd"


class Untrusted(Trouble):
    """Somebody else can decide what a path leads to.

    Attributes:
        place: the component that is wrong. The message is the end of a sentence that begins with it.
    """

    def __init__(self, place: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.place = place

    def __str__(self) -> str:
        return f"{self.place} {self.message}"


def judge_socket(path: str, *, service: bool) -> set[int]:
    """Return the users who may listen at an absolute path: root, the caller, and maybe a service's.

    With `service`, the directory that the socket lies in may belong to any user, and be open to that
    user's private group, provided that all above it is safe: whoever gave it to that user lets them
    listen there.

    Raises:
        Untrusted: somebody else could listen there.
        OSError: the path leads nowhere, or can't be followed.
    """
    _, _, owner, _ = _follow(path, service=service)
    return {0, _caller(), owner}


def hold_socket(path: str, *, service: bool) -> "tuple[int | None, set[int]]":
    """Do as `judge_socket`, for a socket to connect to; return also a descriptor of what was judged.

    The caller connects by it, as /proc/self/fd/N, and closes it. None: only root and the caller can
    change what the path leads to.

    Raises:
        Untrusted, OSError: as `judge_socket` does, or what is there isn't a socket of that place.
    """
    place, _, owner, shared = _follow(path, service=service)
    mine = {0, _caller()}
    if owner in mine and not shared:
        return None, mine
    descriptor = os.open(place, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    status = os.fstat(descriptor)
    ours = status.st_uid in mine
    # One of ours with a second name may be another daemon's: a hard link to it.
    if S_ISSOCK(status.st_mode) and (status.st_nlink in {0, 1} if ours else not shared):
        return descriptor, {*mine, owner}
    os.close(descriptor)
    raise _exchangeable(place)


def judge_directory(path: str) -> None:
    """Raise Untrusted unless the caller can keep files in a directory. The path is absolute.

    A sticky directory is refused: others could take the files' names first.

    Raises:
        Untrusted: somebody else can decide what is in it.
        OSError: the path leads nowhere, or can't be followed. If it is a FileNotFoundError, the part
            of the path that exists is safe.
    """
    place, status, _, _ = _follow(path)
    judge_status(place, status)


def judge_file(path: str, status: os.stat_result) -> None:
    """Raise Untrusted unless an opened file can be trusted, and the absolute path that led to it.

    Raises:
        Untrusted: somebody else can write to it, or replace it.
        OSError: the path leads nowhere any more.
    """
    _follow(path)
    judge_status(path, status)


def judge_status(place: str, status: os.stat_result) -> None:
    """Raise Untrusted unless a file or directory is root's or the caller's, and theirs to write."""
    if judge_step(place, status):
        hint = "use a path in a directory of your own"  # never advise to change /tmp
        raise Untrusted(place, _open_to(others(place, status, WRITE), status), hint)


def judge_step(place: str, status: os.stat_result, service: int = 0) -> bool:
    """Judge one component of a path; return whether others can make files in it, and only that.

    Raises:
        Untrusted: it belongs neither to root nor to the caller (nor to the user `service`), or others
            can write to it.
    """
    if status.st_uid not in {0, _caller(), service}:
        raise _foreign(place, status)
    if S_ISLNK(status.st_mode) or (who := others(place, status, WRITE, service)) is None:
        return False
    if status.st_mode & S_ISVTX:
        return True
    raise Untrusted(place, _open_to(who, status), f"chmod go-w {_quoted(place)}")


def others(
    place: "str | int",
    status: os.stat_result,
    may: int,
    service: int = 0,
    *,
    readers: "int | None" = None,
) -> "str | None":
    """Name who else can do to a file or directory what `may` says, WRITE or READ_OR_WRITE; None: nobody.

    That is: who but root, the caller and the user `service`, whose private groups hold nobody else; and
    but the group `readers`. `place` is a path or a descriptor.
    """
    if status.st_mode & may & _ALL:
        return "everybody"
    if not status.st_mode & may & _GROUP:
        return None
    if has_acl(place):
        return "those whom its access control list names"
    if status.st_gid == readers or is_private(status.st_gid, service):
        return None
    return f"the group {group_name(status.st_gid)}"


def is_private(gid: int, service: int = 0) -> bool:
    """Return whether a group holds nobody but root, the caller or the user `service`.

    By the names, as useradd(8) makes private groups, and by the accounts of this machine: to look for
    users of a directory service whose primary group it is would mean to read all of them. In a
    container without an account, by the numbers.
    """
    from grp import getgrgid  # noqa: PLC0415 -- needed only where a group can write, which is rare
    from pwd import getpwuid  # noqa: PLC0415 -- same

    from openfit_token._shared.identity import may_be_anybody  # noqa: PLC0415 -- same

    if may_be_anybody("gid", gid):
        return False
    users = (0, _caller(), service)
    try:
        group = getgrgid(gid)
    except KeyError:
        return gid in users and not _is_primary_of_another(gid, gid)
    for uid in users:
        try:
            user = getpwuid(uid).pw_name
        except KeyError:
            continue
        if group.gr_name == user and set(group.gr_mem) <= {user}:
            return not _is_primary_of_another(gid, uid)
    return False


def user_name(uid: int) -> str:
    """Return a user's name, or the number where there is none."""
    from pwd import getpwuid  # noqa: PLC0415 -- needed only where something is wrong

    try:
        return getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def group_name(gid: int) -> str:
    """Return a group's name, or the number where there is none."""
    from grp import getgrgid  # noqa: PLC0415 -- needed only where something is wrong

    try:
        return getgrgid(gid).gr_name
    except KeyError:
        return str(gid)


def _follow(path: str, *, service: bool = False) -> tuple[str, os.stat_result, int, bool]:
    """Judge each step of a path, in the order in which the kernel resolves it; return what is there.

    That is its path without links, its status, the owner of its directory, who may be anybody if it is
    a `service`, and whether that directory is a sticky one, open to others.
    """
    names, links, me = _names(path), 0, _caller()
    at, owner, shared = "/", 0, False
    while True:
        name = names.pop()
        if name == "/":
            here = name
        elif name == "..":
            here = at.rpartition("/")[0] or "/"
        else:
            here = f"{at}/{name}" if at != "/" else f"/{name}"
        status = os.lstat(here)
        if S_ISLNK(status.st_mode) and name in _MAGIC and at.startswith("/proc/"):
            _judge_link(here, status, owner)
            status = os.stat(here)  # noqa: PTH116 -- pathlib costs 9 ms
        if S_ISLNK(status.st_mode):
            _judge_link(here, status, owner)
            links += 1
            if links > MAX_LINKS:
                raise OSError(ELOOP, os.strerror(ELOOP), path)
            names += _names(os.readlink(here))  # noqa: PTH115 -- pathlib costs 9 ms
            names = names or _names(at)  # a link to ".": its directory itself
        elif names:
            of_service = service and len(names) == 1 and not shared
            at, owner, shared = here, status.st_uid, False
            if owner not in {0, me} or status.st_mode & WRITE:  # mostly not so: it's quick
                shared = judge_step(here, status, _who(owner) if of_service else 0)
        elif shared and status.st_uid not in {0, me}:
            raise _foreign(here, status)
        else:
            return here, status, owner, shared


def _judge_link(place: str, status: os.stat_result, owner: int) -> None:
    """Raise Untrusted unless only root and the caller can exchange a link in a directory of `owner`."""
    judge_step(place, status)
    if owner not in {0, _caller()}:
        raise _exchangeable(place)


def _names(path: str) -> list[str]:
    """Return the components of a path, the first one last."""
    names = [name for name in reversed(path.split("/")) if name not in {"", "."}]
    return [*names, "/"] if path.startswith("/") else names


def _caller() -> int:
    """Return the caller's number, or root's where the caller's may be anybody's."""
    return _who(os.geteuid())


def _who(uid: int) -> int:
    if uid == 0:
        return 0
    from openfit_token._shared.identity import may_be_anybody  # noqa: PLC0415 -- root needs none of it

    return 0 if may_be_anybody("uid", uid) else uid


def _foreign(place: str, status: os.stat_result) -> Untrusted:
    user, owner = os.geteuid(), status.st_uid
    if _who(owner) != owner:
        return Untrusted(
            place,
            f"belongs to {user_name(owner)} (uid {owner}), and in this user namespace that is any user"
            " who isn't mapped",
            "use a path of a user who is mapped into this user namespace, and run as such a user",
        )
    nor = f"not to root or {user_name(user)}" if user else "not to root"
    chown = f"chown {'-h ' if S_ISLNK(status.st_mode) else ''}{user_name(user)} {_quoted(place)}"
    return Untrusted(
        place,
        f"belongs to {user_name(owner)}, {nor}",
        f"{chown}, or use a path in a directory of your own",
    )


def _exchangeable(place: str) -> Untrusted:
    return Untrusted(
        place,
        "isn't the socket itself, and others can exchange it",
        "name the socket itself, or put it into a directory of root's",
    )


def _open_to(who: "str | None", status: os.stat_result) -> str:
    return f"can be written by {who} (mode {status.st_mode & 0o7777:04o})"


def _is_primary_of_another(gid: int, uid: int) -> bool:
    """Return whether a group is the primary one of an account that isn't this user's.

    root's doesn't count: some systems have accounts such as `halt` in it, and it is root's to give.
    """
    if gid == 0:
        return False
    user, group = b"%d" % uid, b"%d" % gid
    try:
        with open(_ACCOUNTS, "rb") as file:  # noqa: PTH123 -- pathlib costs 9 ms
            accounts = [line.split(b":") for line in file]
    except OSError:
        return False
    return any(each[3:4] == [group] and each[2] != user for each in accounts)


def has_acl(place: "str | int") -> bool:
    """Return whether a file has an access control list, whose mask the group's bits show."""
    try:
        os.getxattr(place, _ACL)
    except OSError as error:
        return error.errno not in {
            ENODATA,
            EOPNOTSUPP,
        }  # it has none, or its file system knows none
    return True


def _quoted(path: str) -> str:
    from shlex import quote  # noqa: PLC0415 -- loads re, and is needed only where something is wrong

    return quote(path)

"""Who may do what: the ids behind the configuration's names, compared with a caller's ids."""

from collections.abc import Iterable, Mapping
from dataclasses import field
from fnmatch import fnmatchcase
from typing import Final

from openfit_token._shared.frozen import frozen
from openfit_token.errors import NoSuchProfile, NotAllowed, TokenError

_MAX_LIST: Final = 1000
"""Characters of a list of profiles that still help."""


@frozen
class Who:
    """A caller, as the kernel identifies it."""

    uid: int | None
    """None: the number may stand for anybody."""
    groups: frozenset[int]
    owns: bool
    """It is root, or the user that runs the daemon."""


@frozen
class Ambiguous:
    """Ids that may stand for anybody, since the daemon's user namespace doesn't map every id."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


@frozen
class Allowed:
    """Who may use a profile that has lists; two empty ones allow nobody but operators."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


@frozen
class Rights:
    """The ids of `admin_groups` and of the profiles' lists when the configuration was read."""

    admin_groups: frozenset[int] = frozenset()
    allowed: Mapping[str, Allowed] = field(default_factory=dict[str, Allowed])
    """By profile. One that isn't here has no lists: anyone who can open the socket may use it."""


def identify(uid: int, groups: frozenset[int], own: int, ambiguous: Ambiguous) -> Who:
    """Return the caller with these ids, for a daemon that runs as the user `own`."""
    known = uid not in ambiguous.users
    owns = known and uid in {0, own}
    return Who(uid if known else None, groups - ambiguous.groups, owns=owns)


def is_operator(rights: Rights, who: Who) -> bool:
    """Return whether a caller is an operator: root, the daemon's own user, or in `admin_groups`."""
    return who.owns or not rights.admin_groups.isdisjoint(who.groups)


def may_use(rights: Rights, profile: str, who: Who) -> bool:
    """Return whether a caller may use a profile: named by one of its lists, or an operator.

    An operator could gain access anyway: it can log the profile in with its own password.
    """
    allowed = rights.allowed.get(profile)
    return (
        allowed is None
        or who.uid in allowed.users
        or not allowed.groups.isdisjoint(who.groups)
        or is_operator(rights, who)
    )


def not_this_units(unit: str, patterns: Iterable[str] | None) -> NotAllowed | None:
    """Return the error for a unit that may not have a profile's token; None: it may.

    Args:
        unit: its name, as systemd gives it.
        patterns: the profile's `allow_units`; None: every unit may.
    """
    if patterns is None or any(fnmatchcase(unit, each) for each in patterns):
        return None
    return NotAllowed(
        f"{unit} isn't among the units that may have this profile's token", "see its allow_units"
    )


def no_such_profile(quoted: str | None, names: Iterable[str]) -> NoSuchProfile:
    """Return the error for an unknown profile name, or for no name if there are several profiles.

    Args:
        quoted: the name, fit to be shown; None: none was given.
        names: the profiles that the caller may use.
    """
    if quoted is None:
        return NoSuchProfile("there are several profiles, and none is the default", _list(names))
    return NoSuchProfile(f"there is no profile {quoted}", _list(names))


def not_yours(uid: int, quoted: str | None, usable: Iterable[str]) -> TokenError:
    """Return the error for a profile that a caller may not use, whether there is one or not.

    It depends only on what the caller may use, so a guess confirms no name.

    Args:
        uid: the caller's.
        quoted: the name, fit to be shown; None: none was given.
        usable: the profiles that the caller may use.
    """
    names = list(usable)
    ask = "the administrator can name you in its allow_users or allow_groups"
    if quoted is None or not names:
        return NotAllowed(f"you (uid {uid}) may not use any profile", ask)
    return NoSuchProfile(
        f"there is no profile {quoted} that you (uid {uid}) may use",
        f"{_list(names)}; for another, {ask}",
    )


def _list(names: Iterable[str]) -> str:
    known = sorted(names)
    listed = f"there are: {', '.join(known)}"
    return listed if len(listed) < _MAX_LIST else f"there are {len(known)}"

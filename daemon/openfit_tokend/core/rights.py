"""Who may do what: the ids that a configuration's names came to, against a caller's own."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Who:
    """A caller, by the kernel's word."""

    uid: int
    groups: frozenset[int]
    owns: bool
    """It is root, or the daemon's own user."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """Who may use a profile that has lists; two empty ones allow nobody but operators."""

    users: frozenset[int] = frozenset()
    groups: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Rights:
    """What `admin_groups` and the profiles' lists came to when the configuration was read."""

    admin_groups: frozenset[int] = frozenset()
    allowed: Mapping[str, Allowed] = field(default_factory=dict[str, Allowed])
    """By profile. One that isn't here has no lists: whoever can open the socket may use it."""


def is_operator(rights: Rights, who: Who) -> bool:
    """Tell whether a caller is an operator: root, the daemon's own user, or in `admin_groups`."""
    return who.owns or not rights.admin_groups.isdisjoint(who.groups)


def may_use(rights: Rights, profile: str, who: Who) -> bool:
    """Tell whether a caller may use a profile: named by one of its lists, or an operator.

    An operator could let itself in anyhow: it can log the profile in with a password of its own.
    """
    allowed = rights.allowed.get(profile)
    return (
        allowed is None
        or who.uid in allowed.users
        or not allowed.groups.isdisjoint(who.groups)
        or is_operator(rights, who)
    )

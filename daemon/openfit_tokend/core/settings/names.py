"""The users and groups that a configuration names: where they are named, and the rights they get.

The core doesn't look them up: it lists the names, is given the ids, and returns the rights.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Literal

from openfit_token._shared.frozen import frozen
from openfit_token._shared.origin import ANYBODY
from openfit_tokend.core.callers.rights import Allowed, Rights
from openfit_tokend.core.settings import fields
from openfit_tokend.core.settings.table import Fault, Source, Table
from openfit_tokend.core.settings.values import Settings


@frozen
class Name:
    """A user or a group."""

    kind: Literal["user", "group"]
    name: str


Ids = Mapping[Name, int]
"""The ids of those that exist."""


@frozen
class Mention:
    """A name, and where it is written."""

    path: str
    key: tuple[str, ...]
    name: Name


def mentions(main: Source, included: Sequence[Source] = ()) -> Iterator[Mention]:
    """Return all names in the files. Other mistakes there are left to `parse`."""
    yield from _at(Table(main, (), main.table, []), main, (), "admin_groups", "group")
    fleet = Table(main, (), main.table, []).optional("fleet", fields.table) or {}
    yield from _listener(Table(main, ("fleet",), fleet, []), main, ("fleet",))
    defaults = Table(main, (), main.table, []).optional("defaults", fields.table) or {}
    yield from _of_profile(Table(main, ("defaults",), defaults, []), main, ("defaults",))
    for source in (main, *included):
        tables = Table(source, (), source.table, []).optional("profiles", fields.table) or {}
        within = Table(source, ("profiles",), tables, [])
        for profile in tables:
            key = ("profiles", profile)
            table = Table(source, key, within.optional(profile, fields.table) or {}, [])
            yield from _of_profile(table, source, key)


def _of_profile(table: Table, source: Source, key: tuple[str, ...]) -> Iterator[Mention]:
    yield from _at(table, source, key, "allow_users", "user")
    yield from _at(table, source, key, "allow_groups", "group")
    yield from _listener(table, source, key)


def _at(
    table: Table, source: Source, within: tuple[str, ...], key: str, kind: Literal["user", "group"]
) -> Iterator[Mention]:
    for name in table.optional(key, fields.texts) or ():
        yield Mention(source.path, (*within, key), Name(kind, name))


def _listener(table: Table, source: Source, within: tuple[str, ...]) -> Iterator[Mention]:
    user = table.optional("loopback_user", fields.user)
    if isinstance(user, str) and user != ANYBODY:
        yield Mention(source.path, (*within, "loopback_user"), Name("user", user))


def unknown(found: Iterable[Mention], ids: Ids) -> tuple[Fault, ...]:
    """Return a fault for each name that doesn't exist."""
    return tuple(
        Fault(
            each.path,
            each.key,
            f"there is no {each.name.kind} {each.name.name}: add it, or take it out",
        )
        for each in found
        if each.name not in ids
    )


def settled(settings: Settings, ids: Ids) -> Settings:
    """Return settings with the ids of the users and groups in them: `unknown` found none without."""

    def uid(user: str | int | None) -> str | int | None:
        return ids.get(Name("user", user), user) if isinstance(user, str) else user

    profiles = {
        name: replace(profile, loopback_user=uid(profile.loopback_user))
        for name, profile in settings.profiles.items()
    }
    fleet = settings.fleet
    if fleet is not None:
        store = replace(fleet.store, loopback_user=uid(fleet.store.loopback_user))
        fleet = replace(fleet, store=store)
    return replace(settings, profiles=profiles, fleet=fleet, rights=rights(settings, ids))


def rights(settings: Settings, ids: Ids) -> Rights:
    """Return what the names of settings come to. One without an id lets nobody in."""

    def of(kind: Literal["user", "group"], names: Iterable[str] | None) -> frozenset[int]:
        named = (Name(kind, name) for name in names or ())
        return frozenset(ids[name] for name in named if name in ids)

    return Rights(
        of("group", settings.admin_groups),
        {
            name: Allowed(of("user", profile.allow_users), of("group", profile.allow_groups))
            for name, profile in settings.profiles.items()
            if profile.allow_users is not None or profile.allow_groups is not None
        },
    )

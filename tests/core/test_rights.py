"""Who may use which profile, and who is an operator."""

import pytest

from openfit_token._shared.origin import ANYBODY
from openfit_tokend.core.callers.rights import (
    Allowed,
    Ambiguous,
    Rights,
    Who,
    identify,
    is_operator,
    may_use,
)
from openfit_tokend.core.settings.names import Mention, Name, mentions, rights, settled, unknown
from openfit_tokend.core.settings.parser import parse
from openfit_tokend.core.settings.table import Fault, Source
from openfit_tokend.core.settings.values import Settings

ALICE, BOB, ETL, ADMINS, NOBODY = 1000, 1001, 2000, 2001, 65534
RIGHTS = Rights(
    frozenset({ADMINS}),
    {"main": Allowed(frozenset({ALICE}), frozenset({ETL})), "locked": Allowed()},
)
PROFILE: dict[str, object] = {"environment": "test", "client_id": "c", "username": "u"}
NONE: list[object] = []
IDS = {Name("user", "alice"): ALICE, Name("group", "etl"): ETL, Name("group", "admins"): ADMINS}


def caller(uid: int, *groups: int, owns: bool = False) -> Who:
    return Who(uid, frozenset({uid, *groups}), owns=owns)


@pytest.mark.parametrize(
    ("who", "main", "locked", "free"),
    [
        (caller(ALICE), True, False, True),
        (caller(BOB), False, False, True),
        (caller(BOB, ETL), True, False, True),
        (caller(BOB, ADMINS), True, True, True),
        (caller(0, owns=True), True, True, True),
        (caller(ETL), True, False, True),  # its own group's number: a list's group all the same
        (Who(ETL, frozenset(), owns=False), False, False, True),  # a uid is no gid
        (Who(BOB, frozenset({ALICE}), owns=False), False, False, True),  # and a gid is no uid
    ],
)
def test_a_profile_with_lists_is_for_whom_they_name_and_for_operators(
    who: Who,
    main: bool,  # noqa: FBT001 -- a column of the table
    locked: bool,  # noqa: FBT001 -- the same
    free: bool,  # noqa: FBT001 -- the same
) -> None:
    found = [may_use(RIGHTS, name, who) for name in ("main", "locked", "free")]

    assert found == [main, locked, free]


def test_an_operator_is_the_owner_or_in_an_admin_group() -> None:
    assert is_operator(RIGHTS, caller(0, owns=True))
    assert is_operator(RIGHTS, caller(BOB, ADMINS))
    assert not is_operator(RIGHTS, caller(BOB, ETL))
    assert not is_operator(Rights(), caller(BOB, ADMINS))


@pytest.mark.parametrize(
    ("uid", "own", "who"),
    [
        (ALICE, BOB, Who(ALICE, frozenset({ETL}), owns=False)),
        (0, BOB, Who(0, frozenset({ETL}), owns=True)),
        (BOB, BOB, Who(BOB, frozenset({ETL}), owns=True)),
        (NOBODY, BOB, Who(None, frozenset({ETL}), owns=False)),
        (NOBODY, NOBODY, Who(None, frozenset({ETL}), owns=False)),
    ],
)
def test_an_id_that_may_be_anybodys_is_nobodys(uid: int, own: int, who: Who) -> None:
    ambiguous = Ambiguous(frozenset({NOBODY}), frozenset({NOBODY}))

    assert identify(uid, frozenset({ETL, NOBODY}), own, ambiguous) == who


def test_where_no_id_is_ambiguous_each_counts() -> None:
    who = identify(NOBODY, frozenset({NOBODY}), NOBODY, Ambiguous())

    assert who == Who(NOBODY, frozenset({NOBODY}), owns=True)


MAIN = Source(
    "/etc/main.toml",
    {"admin_groups": ["admins"], "profiles": {"a": PROFILE | {"allow_users": ["alice", "eve"]}}},
)
MORE = Source("/etc/more.toml", {"profiles": {"b": PROFILE | {"allow_groups": ["etl"]}}})


def test_each_name_is_found_in_its_place() -> None:
    assert list(mentions(MAIN, [MORE])) == [
        Mention("/etc/main.toml", ("admin_groups",), Name("group", "admins")),
        Mention("/etc/main.toml", ("profiles", "a", "allow_users"), Name("user", "alice")),
        Mention("/etc/main.toml", ("profiles", "a", "allow_users"), Name("user", "eve")),
        Mention("/etc/more.toml", ("profiles", "b", "allow_groups"), Name("group", "etl")),
    ]


def test_a_default_list_is_named_once_and_holds_for_each_profile_without_one() -> None:
    own = PROFILE | {"allow_users": ["alice"]}
    main = Source(
        "/etc/main.toml",
        {"defaults": {"allow_groups": ["etl"]}, "profiles": {"a": PROFILE, "b": PROFILE, "c": own}},
    )
    settings = parse(main)

    assert isinstance(settings, Settings)
    assert list(mentions(main)) == [
        Mention("/etc/main.toml", ("defaults", "allow_groups"), Name("group", "etl")),
        Mention("/etc/main.toml", ("profiles", "c", "allow_users"), Name("user", "alice")),
    ]
    etl = Allowed(groups=frozenset({ETL}))
    assert rights(settings, IDS).allowed == {"a": etl, "b": etl, "c": Allowed(frozenset({ALICE}))}


def test_a_name_that_nobody_has_is_a_fault_of_its_key() -> None:
    assert unknown(mentions(MAIN, [MORE]), IDS) == (
        Fault(
            "/etc/main.toml",
            ("profiles", "a", "allow_users"),
            "there is no user eve: add it, or take it out",
        ),
    )


@pytest.mark.parametrize(
    "table", [{"profiles": 1}, {"profiles": {"a": 1}}, {"admin_groups": "x"}, {}]
)
def test_names_are_looked_for_in_faulty_files_too(table: dict[str, object]) -> None:
    assert list(mentions(Source("/etc/main.toml", table))) == []


def test_who_may_listen_is_looked_up_like_other_users_unless_it_is_a_uid_or_anybody() -> None:
    near = {"environment": "custom", "id_server": "http://[::1]", "api_url": "http://[::1]"}
    profiles = {
        name: PROFILE | near | {"loopback_user": user}
        for name, user in {"named": "alice", "number": 7, "all": ANYBODY}.items()
    }
    fleet = {"store": "etcd+http://[::1]", "key_file": "k", "loopback_user": "bob"}
    main = Source("/etc/main.toml", {"profiles": profiles, "fleet": fleet})
    settings = parse(main)

    assert isinstance(settings, Settings)
    assert [each.name for each in mentions(main)] == [Name("user", "bob"), Name("user", "alice")]
    known = settled(settings, {Name("user", "alice"): ALICE, Name("user", "bob"): BOB})
    users = [profile.loopback_user for profile in known.profiles.values()]
    assert users == [ALICE, 7, ANYBODY]
    assert known.fleet is not None
    assert known.fleet.store.loopback_user == BOB


def test_what_the_names_come_to_is_kept_by_profile() -> None:
    profiles: dict[str, object] = {
        "main": PROFILE | {"allow_users": ["alice"], "allow_groups": ["etl"]},
        "locked": PROFILE | {"allow_groups": NONE},
        "free": PROFILE,
    }
    settings = parse(Source("/etc/main.toml", {"admin_groups": ["admins"], "profiles": profiles}))

    assert isinstance(settings, Settings)
    assert rights(settings, IDS) == RIGHTS

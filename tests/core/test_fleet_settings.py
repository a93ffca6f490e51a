"""The rules of the table [fleet]."""

import pytest

from openfit_tokend.core.settings.engines import StorePlace
from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.parser import parse
from openfit_tokend.core.settings.postgresql import PostgreSQLPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.core.settings.table import Source
from openfit_tokend.core.settings.values import (
    FleetSettings,
    PasswordCredential,
    PasswordFile,
    Settings,
)

MAIN = "/etc/openfit-tokend/config.toml"
PROFILE = {"environment": "test", "client_id": "c", "username": "u"}
STORE = "postgresql://tokend@db.example.org/openfit"


def parsed(**fleet: object) -> Settings | list[tuple[str, str]]:
    """Return the settings with this table, or the faults, each as key and text."""
    keys = {key: value for key, value in fleet.items() if value is not None}
    found = parse(Source(MAIN, {"profiles": {"main": PROFILE}, "fleet": keys}))
    if isinstance(found, Settings):
        return found
    return [(".".join(fault.key).removeprefix("fleet."), fault.text) for fault in found]


def faults(**changed: object) -> list[tuple[str, str]]:
    """Return the faults of a good table with some keys set differently (None: left out)."""
    found = parsed(**({"store": STORE, "key_file": "fleet.key"} | changed))
    assert isinstance(found, list), found
    return found


def store(url: str) -> StorePlace:
    """Return the address of a store's URL."""
    found = parsed(store=url, key_file="fleet.key")
    assert isinstance(found, Settings), found
    assert found.fleet is not None
    return found.fleet.store


def test_without_the_table_there_is_no_fleet() -> None:
    settings = parse(Source(MAIN, {"profiles": {"main": PROFILE}}))

    assert isinstance(settings, Settings)
    assert settings.fleet is None


def test_a_small_table_gets_the_defaults() -> None:
    settings = parsed(store=STORE, key_file="fleet.key")

    assert isinstance(settings, Settings)
    assert settings.fleet == FleetSettings(
        store=PostgreSQLPlace(
            hosts=(Host("db.example.org", 5432),),
            tls=True,
            user="tokend",
            database="openfit",
            table="openfit_fleet",
        ),
        password=None,
        key=PasswordFile("/etc/openfit-tokend/fleet.key"),
        member=None,
    )


def test_each_key_is_read() -> None:
    settings = parsed(
        store=STORE,
        store_password_file="/p",
        key_credential="fleet_key",
        member="batch-3",
        table="other",
    )

    assert isinstance(settings, Settings)
    fleet = settings.fleet
    assert fleet is not None
    assert (fleet.password, fleet.key) == (PasswordFile("/p"), PasswordCredential("fleet_key"))
    assert (fleet.member, fleet.store.table) == ("batch-3", "other")


def test_a_store_may_have_several_hosts_with_ports_and_authorities_of_its_own() -> None:
    assert store("postgresql://a@[::1]:1,b.example.org/d?sslmode=verify-full&sslrootcert=/ca") == (
        PostgreSQLPlace(
            hosts=(Host("::1", 1), Host("b.example.org", 5432)),
            tls=True,
            user="a",
            database="d",
            table="openfit_fleet",
            ca_file="/ca",
        )
    )
    assert store("etcd://a.example.org,b.example.org:79") == EtcdPlace(
        hosts=(Host("a.example.org", 2379), Host("b.example.org", 79)),
        tls=True,
        user=None,
        table="openfit_fleet",
    )


@pytest.mark.parametrize(
    "near",
    [
        "postgresql://u@localhost/d",
        "postgresql://u@127.0.0.1,[::1]/d",
        "postgresql://u@%2Frun%2Fpostgresql/d",
        "etcd+http://localhost",
    ],
)
def test_a_store_on_this_host_alone_needs_no_tls(near: str) -> None:
    assert not store(near).tls


@pytest.mark.parametrize("query", ["sslmode=verify-full", "sslrootcert=/ca.pem"])
def test_a_store_on_this_host_has_tls_if_it_is_asked_for(query: str) -> None:
    assert store(f"postgresql://u@localhost/d?{query}").tls


@pytest.mark.parametrize("user", ["postgres", 101, "anybody on this machine"])
def test_who_listens_without_tls_may_be_named(user: str | int) -> None:
    settings = parsed(store="etcd+http://localhost", key_file="fleet.key", loopback_user=user)

    assert isinstance(settings, Settings)
    assert settings.fleet is not None
    assert settings.fleet.store.loopback_user == user


def test_with_tls_nobody_is_named() -> None:
    refused = "goes with a store without TLS only: here its certificate says who it is"

    assert faults(loopback_user="postgres") == [("loopback_user", refused)]
    assert faults(loopback_user=True) == [
        ("loopback_user", 'must be text in quotes, such as "…", not true or false'),
        ("loopback_user", refused),
    ]


@pytest.mark.parametrize(
    "far", ["postgresql://u@localhost,db.example.org/d", "etcd://localhost", "etcd://u@db:1"]
)
def test_any_other_store_has_tls(far: str) -> None:
    assert store(far).tls


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        (
            "mysql://db/d",
            "must be postgresql://USER@HOST[:PORT][,HOST…]/DATABASE, or etcd://HOST[:PORT][,HOST…]",
        ),
        (
            "postgresql://u:secret@db/d",
            "must be a URL without a password: use store_password_file",
        ),
        (
            "postgresql://u@db",
            "must name the user and the database: postgresql://USER@HOST/DATABASE",
        ),
        (
            "postgresql://db/d",
            "must name the user and the database: postgresql://USER@HOST/DATABASE",
        ),
        ("etcd://db/d", "must be etcd://HOST[:PORT][,HOST…], without a path"),
        (
            "postgresql://u@db/d?sslmode=require",
            "must not have another sslmode than verify-full",
        ),
        (
            "postgresql://u@localhost/d?sslmode=disable",
            "must not have another sslmode than verify-full",
        ),
        (
            "postgresql://u@db/d?options=-csynchronous_commit=off",
            "must not have options but sslrootcert",
        ),
        ("etcd://db?sslrootcert=c", "must have an absolute path as its sslrootcert"),
        ("postgresql://u@db:0/d", "must have ports from 1 to 65535"),
        ("postgresql://u@,/d", "must name its hosts as in db1.example.org:5432,db2.example.org"),
        (
            "postgresql://u@%2Frun/d?sslmode=verify-full",
            "must not have sslmode or sslrootcert: there is no TLS at a Unix socket",
        ),
        (
            "etcd+http://localhost?sslrootcert=/ca.pem",
            "must begin with etcd:// to have sslmode or sslrootcert",
        ),
        ("etcd://%2Frun", "must be etcd://HOST[:PORT][,HOST…], without a path"),
        ("etcd://" + ",".join(["a"] * 17), "must not name more than 16 hosts"),
        (
            "etcd+http://db.example.org",
            "must begin with etcd:// (etcd+http:// is for localhost, 127.0.0.0/8 and ::1)",
        ),
    ],
)
def test_another_store_is_refused(url: str, fault: str) -> None:
    assert faults(store=url) == [("store", fault)]


def test_a_key_is_needed_and_one_source_of_it() -> None:
    assert faults(key_file=None) == [
        ("key_file", 'is missing: write key_file = "…"; openfit-tokend fleet-key makes one')
    ]
    assert faults(key_credential="k") == [
        ("key_credential", "is one source too many: key_file is there already")
    ]


def test_a_password_in_the_table_is_refused() -> None:
    assert faults(store_password="p") == [
        ("store_password", "a password doesn't belong in this file: use store_password_file")
    ]


def test_a_table_has_a_plain_name() -> None:
    assert faults(table='x"; drop') == [
        ("table", "must be a name of at most 63 lower-case letters, digits and _, no digit first")
    ]


def test_the_table_belongs_in_the_main_file() -> None:
    other = Source("/etc/openfit-tokend/more.toml", {"fleet": {}})

    found = parse(Source(MAIN, {"profiles": {"main": PROFILE}}), [other])

    assert isinstance(found, tuple)
    assert [(fault.path, fault.key, fault.text) for fault in found] == [
        (
            "/etc/openfit-tokend/more.toml",
            ("fleet",),
            "belongs in the main file: an included one has only [profiles.NAME] tables",
        )
    ]

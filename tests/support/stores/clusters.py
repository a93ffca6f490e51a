"""Stores of several servers."""

from collections.abc import Generator
from contextlib import contextmanager

from daemons import await_that
from stores.etcd import EtcdServer
from stores.postgresql import PostgreSQLServer


@contextmanager
def etcd_cluster(table: str) -> Generator[list[EtcdServer]]:
    """Run three members."""
    members = EtcdServer.cluster(3)
    try:
        for each in members:
            each.begin()
        for each in members:
            each.await_answers()
        members[0].protect()
        members[0].make_table(table)
        yield members
    finally:
        for each in members:
            each.remove()


@contextmanager
def postgresql_primary(table: str) -> Generator[PostgreSQLServer]:
    """Run a server that may get a standby."""
    server = PostgreSQLServer()
    try:
        server.set_up()
        server.make_table(table)
        yield server
    finally:
        server.remove()


@contextmanager
def synchronous_standby(primary: PostgreSQLServer) -> Generator[PostgreSQLServer]:
    """Run a standby that each commit waits for."""
    server = PostgreSQLServer()
    try:
        server.prepare_from(primary)
        server.start()
        primary.sql("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        states = "SELECT sync_state FROM pg_stat_replication"
        await_that(lambda: primary.sql(states) == [("sync",)], server.log)
        yield server
    finally:
        server.remove()

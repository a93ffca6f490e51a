"""Daemons of a fleet while one of their store's servers is down."""

import pytest

from emulators import RunningEmulator
from stores.clusters import etcd_cluster, postgresql_primary, synchronous_standby
from stores.hosts import hosts
from stores.watched import watched

pytestmark = [pytest.mark.system, pytest.mark.slow, pytest.mark.long]

TABLE = "openfit_fleet"


def test_hosts_go_on_while_any_one_of_three_members_is_down(emulator: RunningEmulator) -> None:
    with (
        etcd_cluster(TABLE) as members,
        hosts(members[0], emulator, TABLE, 3, others=members[1:]) as fleet,
    ):
        fleet.start()
        tokens = [fleet.await_one_token()]
        with watched(fleet.all) as seen:
            for number, each in enumerate(members):
                each.kill()
                tokens.append(fleet.replace_token(tokens[-1], number))
                each.start()

        state = emulator.state()
        assert len(set(tokens)) == 4
        assert (state.login_requests, state.refresh_requests) == (1, 3)
        assert seen.gaps == []


def test_hosts_go_on_with_a_standby_that_is_promoted(emulator: RunningEmulator) -> None:
    with (
        postgresql_primary(TABLE) as primary,
        synchronous_standby(primary) as standby,
        hosts(primary, emulator, TABLE, 3, others=[standby]) as fleet,
    ):
        fleet.start()
        tokens = [fleet.await_one_token()]
        with watched(fleet.all) as seen:
            tokens.append(fleet.replace_token(tokens[-1], 0))
            primary.kill()
            standby.promote()
            tokens.append(fleet.replace_token(tokens[-1], 1))

        state = emulator.state()
        assert len(set(tokens)) == 3
        assert (state.login_requests, state.refresh_requests) == (1, 2)
        assert seen.gaps == []

"""Who asks a daemon in a user namespace that doesn't map everybody: real namespaces, real users."""

import grp
import os
import pwd
import subprocess
from collections.abc import Iterator

import pytest

from daemons import NOBODY, RunningDaemon, prepared_daemon, profile
from emulators import RunningEmulator, one_emulator
from namespaces import UNSHARE, hindrance, inside_namespace, needs_namespaces
from users import being

pytestmark = pytest.mark.system

MAPS = f"0 0 1000,{NOBODY} {NOBODY} 1"
"""Most users aren't mapped; nobody is."""
MAPPED, UNMAPPED = 1, 23456
USER, GROUP = pwd.getpwuid(NOBODY).pw_name, grp.getgrgid(NOBODY).gr_name
LISTS = {
    "open": "",
    "users": f'allow_users = ["{USER}"]',
    "groups": f'allow_groups = ["{GROUP}"]',
    "mapped": f'allow_users = ["{pwd.getpwuid(MAPPED).pw_name}"]',
}


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    """A daemon in a namespace; everybody may open its socket, whether mapped or not."""
    tables = [profile(emulator.url, name) + f"{line}\n" for name, line in LISTS.items()]
    with prepared_daemon('socket_mode = "0666"', f'admin_groups = ["{GROUP}"]', *tables) as daemon:
        daemon.launcher = inside_namespace(MAPS, uid=0)
        daemon.directory.chmod(0o711)
        daemon.start()
        for name in LISTS:
            daemon.await_state("fresh", name=name)
        yield daemon


def codes(daemon: RunningDaemon, uid: int, *groups: int) -> dict[str, str | None]:
    """Return what a user outside of the daemon's namespace is told of each profile, and as operator."""
    with being(uid, *groups):
        wire = daemon.wire()
    with wire:
        told = {name: wire.call("get_token", profile=name).code for name in LISTS}
        return told | {"reload": wire.call("reload").code}


AS_NOBODY = f"""
import os
import openfit_tokend.cli.run  # now, since nobody may not read every interpreter's library
if os.geteuid() != {NOBODY}:
    os.setuid({NOBODY})
openfit_tokend.cli.main()
"""
REFUSED = dict.fromkeys(LISTS, "NO_SUCH_PROFILE") | {"reload": "NOT_ALLOWED"}


@needs_namespaces
@pytest.mark.parametrize("uid", [UNMAPPED, NOBODY])
def test_a_number_that_may_be_anybody_is_no_listed_user_and_no_operator(
    daemon: RunningDaemon, uid: int
) -> None:
    assert codes(daemon, uid) == REFUSED | {"open": None}


@needs_namespaces
def test_a_group_that_may_be_anybodys_is_no_listed_group_and_no_operators(
    daemon: RunningDaemon,
) -> None:
    assert codes(daemon, MAPPED, UNMAPPED) == REFUSED | {"open": None, "mapped": None}


@needs_namespaces
def test_a_daemon_whose_own_number_may_be_anybody_does_not_start_and_says_why(
    emulator: RunningEmulator,
) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        os.chown(daemon.directory, NOBODY, NOBODY)
        refused_to_start(daemon, *inside_namespace(MAPS, uid=0))


@pytest.mark.skipif(hindrance() is not None, reason=str(hindrance()))
def test_nor_does_one_in_a_namespace_that_maps_nobody(emulator: RunningEmulator) -> None:
    with prepared_daemon(profile(emulator.url)) as daemon:
        refused_to_start(daemon, *UNSHARE)


def refused_to_start(daemon: RunningDaemon, *launcher: str) -> None:
    words = [*launcher, str(daemon.python), "-c", AS_NOBODY, "run"]
    done = subprocess.run(
        [*words, "--config", str(daemon.config), "--socket", str(daemon.socket)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
        env=daemon.environment,
    )

    assert done.returncode == 78
    assert f"event=user_ambiguous uid={NOBODY}" in done.stderr
    assert "run it as another user" in done.stderr
    assert not daemon.socket.exists()


@needs_namespaces
def test_where_every_id_is_mapped_nobody_is_a_user_as_any_other(emulator: RunningEmulator) -> None:
    tables = [profile(emulator.url, name) + f"{line}\n" for name, line in LISTS.items()]
    with prepared_daemon('socket_mode = "0666"', *tables) as daemon:
        daemon.launcher = inside_namespace("0 0 4294967295", uid=0)
        daemon.directory.chmod(0o711)
        daemon.start()
        for name in LISTS:
            daemon.await_state("fresh", name=name)

        told = codes(daemon, NOBODY)

    assert told == REFUSED | {"open": None, "users": None, "groups": None}

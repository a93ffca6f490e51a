"""Start, reload, restart, crash, hang, re-execution, stop: what clients and the token server see."""

from collections.abc import Callable
from contextlib import suppress
from threading import Thread

import pytest

from daemons import await_that
from machine import CREDENTIAL_SOCKET, Machine

pytestmark = [pytest.mark.service, pytest.mark.slow]

RELOADS = 20
CONFIGURATION = 78
WATCHDOG = "[Service]\nWatchdogSec=1\n"


def restart(machine: Machine) -> None:
    machine.box.run("openfit-tokend", "restart")


def kill(machine: Machine) -> None:
    pid = machine.pid
    machine.signal("KILL")
    machine.await_another(pid)


def hang(machine: Machine) -> None:
    pid = machine.pid
    machine.signal("STOP")
    machine.await_another(pid)
    assert "Watchdog timeout" in machine.box.journal("-u", "openfit-tokend")


def reexecute(machine: Machine) -> None:
    machine.box.run("systemctl", "daemon-reexec")


def stored(machine: Machine) -> int:
    return int(machine.box.property("openfit-tokend", "NFileDescriptorStore"))


def test_start_returns_when_a_token_can_be_had(machine: Machine) -> None:
    machine.systemctl("stop")
    machine.emulator.fault("slow=1")

    machine.systemctl("start")

    assert machine.token()


def test_a_check_that_logs_in_delays_a_start_only_until_it_ends(machine: Machine) -> None:
    machine.systemctl("stop")
    begun = machine.emulator.state().login_requests
    machine.emulator.fault("hang=6")
    words = ("openfit-tokend", "check", "--login")
    check = Thread(target=machine.box.run, args=words, kwargs={"check": False})
    check.start()
    await_that(lambda: machine.emulator.state().login_requests > begun)

    assert machine.call("get_token", wait=30)["access_token"]

    check.join()
    assert "state_in_use" in machine.box.journal("-u", "openfit-tokend")
    assert machine.box.property("openfit-tokend.socket", "ActiveState") == "active"


def test_status_tells_in_words_how_things_stand(machine: Machine) -> None:
    said = machine.systemctl("status").stdout

    assert 'Status: "1 profile: main fresh, next refresh ' in said


def test_reload_returns_when_the_new_configuration_is_in_force(machine: Machine) -> None:
    main, token = machine.profile.read_text(), machine.token()
    for number in range(RELOADS):
        machine.write_profile(main.replace("/api", f"/api{number}"))

        machine.systemctl("reload")

        assert machine.call("get_token", wait=0)["api_url"].endswith(f"/api{number}")
    assert machine.token() == token


def test_a_faulty_configuration_fails_the_reload_and_leaves_the_service_as_it_is(
    machine: Machine,
) -> None:
    token = machine.token()
    machine.write_config("[profiles.main]\n")

    done = machine.box.run("systemctl", "reload", "openfit-tokend", check=False)

    assert done.returncode == 1
    assert "client_id: is missing" in machine.box.journal("-u", "openfit-tokend")
    assert machine.token() == token
    assert machine.box.property("openfit-tokend", "ActiveState") == "active"


def test_a_faulty_configuration_stops_a_restart_before_it_begins(machine: Machine) -> None:
    pid, token = machine.pid, machine.token()
    machine.write_config("[profiles.main]\n")

    done = machine.box.run("openfit-tokend", "restart", check=False)

    assert done.returncode == CONFIGURATION
    assert "client_id: is missing" in done.stderr
    assert "not restarted" in done.stderr
    assert (machine.pid, machine.token()) == (pid, token)


def test_what_a_drop_in_has_the_service_read_is_what_a_restart_and_a_check_judge(
    machine: Machine,
) -> None:
    other = "/etc/openfit-tokend/other.toml"
    machine.box.run("cp", "-a", "/etc/openfit-tokend/config.toml", other)
    machine.drop_in(f"[Service]\nEnvironment=OPENFIT_TOKEND_CONFIG={other}\n")
    valid, pid = machine.config.read_text(), machine.pid
    machine.write_config("[profiles.main]\n")

    checked = machine.box.run("openfit-tokend", "check").stdout
    restart(machine)

    assert f"{other}, 1 profile" in checked
    assert machine.pid not in {pid, 0}
    machine.write_config(valid)
    machine.box.run("rm", other)


def test_a_restart_starts_what_was_stopped(machine: Machine) -> None:
    machine.systemctl("stop")

    restart(machine)

    assert machine.token()


@pytest.mark.parametrize(
    ("happens", "drop_in", "scripts_may_fail"),
    [(restart, "", False), (kill, "", True), (hang, WATCHDOG, True), (reexecute, "", False)],
    ids=["restart", "kill", "hang", "reexecute"],
)
def test_whatever_happens_the_tokens_stay_and_clients_of_the_library_notice_nothing(
    machine: Machine,
    happens: Callable[[Machine], None],
    drop_in: str,
    scripts_may_fail: bool,  # noqa: FBT001 -- a column of the table
) -> None:
    """A script that tries once fails only if its request was being handled at a SIGKILL."""
    if drop_in:
        machine.drop_in(drop_in)
    token, requests = machine.token(), machine.emulator.state().token_requests

    with machine.asking() as asked:
        happens(machine)

    assert asked.tokens == {token}
    assert asked.library_failures == []
    assert len(asked.script_failures) <= (10 if scripts_may_fail else 0), asked.script_failures
    assert machine.emulator.state().token_requests == requests


def test_many_restarts_in_a_row_lose_no_request(machine: Machine) -> None:
    token, requests = machine.token(), machine.emulator.state().token_requests

    with machine.asking() as asked:
        for _ in range(3):
            machine.systemctl("restart")

    assert asked.tokens == {token}
    assert asked.library_failures + asked.script_failures == []
    assert machine.emulator.state().token_requests == requests


def test_sessions_are_kept_over_a_restart_and_gone_after_a_stop(machine: Machine) -> None:
    token, logins = machine.token(), machine.emulator.state().login_requests
    machine.systemctl("restart")
    assert machine.token() == token
    assert stored(machine) == 1

    machine.systemctl("stop")

    assert stored(machine) == 0
    machine.systemctl("start")
    assert machine.token() != token
    assert machine.emulator.state().login_requests == logins + 1


def test_a_stopped_service_is_started_by_the_first_who_asks(machine: Machine) -> None:
    machine.systemctl("stop")

    assert machine.call("get_token")["access_token"]


def test_three_restarts_send_a_rejected_password_once(machine: Machine) -> None:
    token, rejected = machine.token(), machine.emulator.state().logins_rejected
    main = machine.config.read_text()
    machine.write_secret("wrong", "no such password")
    other = machine.profile.read_text().replace("main", "wrong")
    machine.write_config(f'default_profile = "main"\n{main}\n{other}')

    for _ in range(3):
        machine.systemctl("restart")
        await_that(lambda: machine.profile_status("wrong")["state"] == "locked")

    assert machine.emulator.state().logins_rejected == rejected + 1
    assert machine.token() == token
    assert "wrong locked" in machine.systemctl("status").stdout


def test_a_faulty_configuration_is_not_tried_for_ever_and_a_start_brings_all_back(
    machine: Machine,
) -> None:
    """Clients that go on asking would have it tried each time, had the sockets no end."""
    config = machine.config.read_text()
    machine.drop_in("[Unit]\nStartLimitBurst=3\n[Service]\nTimeoutStopSec=5\n")
    machine.systemctl("stop")
    machine.write_config("[profiles.main]\n")

    for _ in range(4):  # each client's request is what starts the service
        with suppress(OSError, EOFError):
            machine.call("hello")

    await_that(lambda: machine.box.property("openfit-tokend.socket", "ActiveState") == "failed")
    assert machine.box.property("openfit-tokend", "NRestarts") == "0"
    machine.write_config(config)
    machine.start()
    assert machine.token()
    assert machine.box.outside(CREDENTIAL_SOCKET).exists()

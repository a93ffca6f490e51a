"""The HTTP socket of the shipped units, as installed: off until it is enabled, then never away."""

from threading import Event, Thread

import pytest

from daemons import await_that
from http_wire import HttpWire
from machine import HTTP_UNIT, Machine

pytestmark = [pytest.mark.service, pytest.mark.slow]

SOCKET = "/run/openfit-tokend/http.socket"
NOT_CONNECTED = 7
"""curl's exit status."""


def test_it_is_enabled_while_scripts_call_and_none_of_them_fails(machine: Machine) -> None:
    box, token = machine.box, machine.token()
    for _ in range(3):
        with machine.asking() as asked:
            machine.enable_http()

        assert machine.call("status")["http_socket"] == SOCKET
        assert (asked.library_failures, asked.script_failures) == ([], [])
        assert asked.tokens == {token}
        box.run("systemctl", "disable", HTTP_UNIT)
        box.run("systemctl", "stop", HTTP_UNIT)
        machine.systemctl("restart")


def test_it_serves_the_group_and_nobody_else(enabled: Machine) -> None:
    curl = f"curl --silent --fail --unix-socket {SOCKET} http://localhost/v1/token".split()

    assert enabled.token() in enabled.box.run(*curl, user="alice").stdout
    assert enabled.box.run(*curl, user="bob", check=False).returncode == NOT_CONNECTED
    assert enabled.call("status")["http_socket"] == SOCKET


def test_a_restart_fails_no_request(enabled: Machine) -> None:
    path, failures, answers, over = enabled.box.outside(SOCKET), list[str](), list[int](), Event()

    def ask() -> None:
        while not over.wait(0.002):
            try:
                with HttpWire(path) as wire:
                    answers.append(wire.ask("GET", "/v1/auth").status)
            except (OSError, EOFError) as error:
                failures.append(repr(error))

    threads = [Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            _await_more(answers)
            enabled.systemctl("restart")
        _await_more(answers)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert set(answers) == {200}


def _await_more(answers: list[int]) -> None:
    before = len(answers)
    await_that(lambda: len(answers) > before + 50)

"""A configuration with which the next start would end is refused by a reload and by `check`, too."""

import os
from collections.abc import Iterator

import pytest

from daemons import RunningDaemon, prepared_daemon, profile
from openfit_token.errors import ConfigRejected

NOWHERE = profile("http://127.0.0.1:9")
OWN_SOCKET = "HTTP needs a socket of its own"
LACKING = "a Python package for [fleet] is missing: psycopg"
WITHOUT = "import sys; sys.modules['psycopg'] = None"
FLEET = """
[fleet]
store = "postgresql://fleet@127.0.0.1/fleet"
key_file = "{place}/password"
"""


@pytest.fixture
def daemon() -> Iterator[RunningDaemon]:
    with prepared_daemon(NOWHERE) as daemon:
        (daemon.directory / "link").symlink_to("run")
        (daemon.directory / "open").mkdir()
        (daemon.directory / "open").chmod(0o777)
        daemon.start(first=WITHOUT)
        yield daemon


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ('http_socket = "{place}/run/socket"', OWN_SOCKET),
        ('http_socket = "{place}/run/../run/socket"', OWN_SOCKET),
        ('http_socket = "{place}//link/./socket"', OWN_SOCKET),
        ('http_socket = "{place}/run/socket.lock"', OWN_SOCKET),
        ('http_socket = "{place}/open/http"', "others could answer at a socket in"),
        ('http_socket = "{place}/no/such/http"', "there is no directory {place}/no"),
        (FLEET, LACKING),
    ],
    ids=["same", "dots", "link", "lock", "open", "nowhere", "fleet"],
)
def test_what_ends_a_start_is_refused_by_a_reload_and_by_check(
    daemon: RunningDaemon, lines: str, words: str
) -> None:
    lines, words = (text.replace("{place}", str(daemon.directory)) for text in (lines, words))
    daemon.write_config(lines, NOWHERE)

    with pytest.raises(ConfigRejected) as refused:
        daemon.call("reload")
    assert words in str(refused.value)
    assert daemon.call("hello")["profiles"] == ["main"]
    daemon.stop()
    own = ("--config", str(daemon.config), "--socket", str(daemon.socket))
    checked = daemon.run("openfit-tokend", "check", *own, first=WITHOUT)
    daemon.begin(first=WITHOUT)
    assert daemon.wait() == checked.returncode
    assert checked.returncode in {os.EX_CONFIG, os.EX_CANTCREAT}
    assert words in checked.stdout
    assert words in daemon.log().rpartition("stopped")[2]


def test_a_socket_elsewhere_wants_a_restart_and_is_no_fault(daemon: RunningDaemon) -> None:
    daemon.write_config(f'http_socket = "{daemon.directory}/run/http"', NOWHERE)

    daemon.call("reload")

    assert daemon.await_log("restart_needed")

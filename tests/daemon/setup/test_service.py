"""What is done in the service's place: with its credentials, which lie in memory for so long."""

import os
import pwd
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemons import NOBODY, PATIENCE, needs_root
from openfit_tokend.cli.check import check
from openfit_tokend.setup import service, units
from openfit_tokend.setup.failure import SetupFailed
from processes import run

pytestmark = needs_root

# What it does is said by words: at which event of the interpreter the signal comes, and which.
SCRIPT = """
import os, pwd, sys
from pathlib import Path
from openfit_tokend.setup import passed, service

place, event, number, uid = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
service.IN_MEMORY, passed.CREDENTIALS = str(place / "memory"), place / "credentials"
os.environ["PATH"] = ""  # the machine's own systemd isn't asked
service.account = lambda: pwd.getpwuid(uid)
ours = os.getpid()

def work():
    directory = Path(os.environ["CREDENTIALS_DIRECTORY"])
    print((directory / "password_main").read_text(), os.geteuid(), flush=True)
    sys.stdin.read()
    return 3

def send(happened, _words):
    if happened == event and os.getpid() == ours:
        os.kill(ours, number)

sys.addaudithook(send)
sys.exit(service.in_its_place(work))
"""

COUNT = """
import pwd, sys
from pathlib import Path
from openfit_tokend.cli.check import logins_left
from openfit_tokend.setup import service

place, uid = Path(sys.argv[1]), int(sys.argv[2])
service.CONFIG, service.UNIT_PLACES = place / "config.toml", (str(place),)
service.IN_MEMORY, service.account = str(place / "memory"), lambda: pwd.getpwuid(uid)
print(logins_left(service.CONFIG, "main"))
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a secret, and one for its copies."""
    with TemporaryDirectory(prefix="oft-") as name:
        place = Path(name)
        place.chmod(0o711)
        (place / "memory").mkdir(mode=0o711)
        (place / "credentials").mkdir(mode=0o700)
        (place / "credentials" / "main").write_text("secret")
        yield place


def test_the_services_configuration_is_known_through_a_link(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "CONFIG", place / "credentials" / "config.toml")
    (link := place / "link").symlink_to("credentials")

    assert service.is_its(link / "config.toml")
    assert not service.is_its(link / "other.toml")


def test_a_missing_user_is_reported_and_nothing_else_is_judged(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / units.SYSTEM_UNITS[0]).touch()
    monkeypatch.setattr(service, "CONFIG", place / "config.toml")
    monkeypatch.setattr(service, "UNIT_PLACES", (str(place),))
    monkeypatch.setattr(service, "account", lambda: None)

    status = check(str(service.CONFIG), network=False, login=False)

    said = capsys.readouterr()
    assert (status, said.out) == (os.EX_OSERR, "")
    assert "there is no user openfit-tokend\n  openfit-tokend install" in said.err


def test_credentials_for_which_there_is_no_room_are_told_as_such(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "IN_MEMORY", str(place / "credentials" / "main"))  # no directory
    monkeypatch.setattr(service, "account", lambda: pwd.getpwuid(NOBODY))

    with pytest.raises(SetupFailed, match=r"can't be put into .*: Not a directory"):
        service.in_its_place(lambda: 0)


def test_a_count_that_failed_in_the_services_place_is_none(place: Path) -> None:
    (place / units.SYSTEM_UNITS[0]).touch()

    done = run(sys.executable, "-c", COUNT, str(place), str(NOBODY))

    assert "config.toml: does not exist" in done.stderr
    assert done.stderr.endswith("the logins that are left for main can't be counted\n")
    assert done.stdout == ""


def in_its_place(place: Path, event: str, number: int = 0) -> tuple[int, str]:
    """Work until the end of the input, or until a signal; give the exit status and the output."""
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, str(place), event, str(int(number)), str(NOBODY)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = process.stdout.readline()  # nothing, if the signal came before
        if event == "work":
            process.send_signal(number)
            assert process.wait(PATIENCE)
        process.stdin.close()
        return process.wait(PATIENCE), said


def test_work_has_the_services_user_and_credentials_and_leaves_none_behind(place: Path) -> None:
    assert in_its_place(place, "nothing") == (3, f"secret {NOBODY}\n")
    assert list((place / "memory").iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("event", ["tempfile.mkdtemp", "os.chown", "os.fork", "work", "os.rmdir"])
def test_no_signal_leaves_a_password_behind_whenever_it_comes(
    place: Path, event: str, number: signal.Signals
) -> None:
    status, _said = in_its_place(place, event, number)

    assert list((place / "memory").iterdir()) == []
    assert status == -number, "and it does what it does"

"""How the socket is made and taken away, in process."""

import grp
import os
import re
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemons import NOBODY, needs_root
from openfit_tokend.core.settings.fields import MAX_SOCKET_PATH
from openfit_tokend.host.listener import Listener, SocketUnusable, judge_place
from others import EVE, theirs
from users import IS_ROOT

STARTS = """
import sys, signal
from pathlib import Path
from openfit_tokend.core.settings.fields import MAX_SOCKET_PATH
from openfit_tokend.host.listener import Listener, SocketUnusable
sys.stdin.read(1)
try:
    listener = Listener(Path(sys.argv[1]), 0o600, None)
except SocketUnusable as error:
    print(error.message, flush=True)
else:
    print("won", flush=True)
    sys.stdin.read()
    listener.close()
"""


@pytest.fixture
def place() -> Iterator[Path]:
    """A directory with a short name: a socket's path has 107 bytes at most."""
    with TemporaryDirectory(prefix="oft-") as directory:
        yield Path(directory)


def connects(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        try:
            client.connect(os.fspath(path))
        except OSError:
            return False
        return True


def own_group() -> str:
    """Return the name of a group that this user may give files to, another than its main one if any."""
    named = {entry.gr_gid: entry.gr_name for entry in grp.getgrall()}
    possible = list(named) if IS_ROOT else os.getgroups()
    usable = [gid for gid in (*possible, os.getegid()) if gid in named]
    if not usable:
        pytest.skip("needs an account: no group of this user has a name")
    return named[next((gid for gid in usable if gid != os.getegid()), os.getegid())]


# What is made


def test_the_socket_has_its_mode_and_can_be_connected_to(place: Path) -> None:
    path = place / "socket"

    with closing(Listener(path, 0o600, None)):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o600
        assert connects(path)


def test_the_socket_has_its_group(place: Path) -> None:
    path, group = place / "socket", own_group()

    with closing(Listener(path, 0o660, group)):
        assert stat.S_IMODE(path.lstat().st_mode) == 0o660
        assert path.lstat().st_gid == grp.getgrnam(group).gr_gid


@pytest.mark.parametrize(
    ("mode", "directory"), [(0o600, 0o700), (0o660, 0o750), (0o620, 0o750), (0o666, 0o755)]
)
def test_a_missing_directory_is_made_for_those_who_may_use_the_socket(
    mode: int, directory: int, place: Path
) -> None:
    path = place / "run" / "socket"

    with closing(Listener(path, mode, own_group())):
        assert stat.S_IMODE(path.parent.stat().st_mode) == directory
        assert path.parent.stat().st_gid == grp.getgrnam(own_group()).gr_gid


def test_the_umask_is_left_as_it_was(place: Path) -> None:
    before = os.umask(0o027)
    try:
        with closing(Listener(place / "socket", 0o600, None)):
            assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_the_socket_is_taken_away_at_the_end(place: Path) -> None:
    listener = Listener(place / "socket", 0o600, None)

    listener.close()

    assert list(place.iterdir()) == []


def test_a_socket_that_another_put_there_meanwhile_is_left_alone(place: Path) -> None:
    path = place / "socket"
    listener = Listener(path, 0o600, None)
    path.unlink()
    path.write_text("another's")

    listener.close()

    assert path.read_text() == "another's"


def test_a_socket_that_is_gone_at_the_end_is_no_trouble(place: Path) -> None:
    listener = Listener(place / "socket", 0o600, None)
    (place / "socket").unlink()

    listener.close()

    assert list(place.iterdir()) == []


# Never open for others, at any moment


def test_at_no_moment_the_socket_has_other_rights_than_its_own(place: Path) -> None:
    group = own_group()
    gid = grp.getgrnam(group).gr_gid
    seen: set[tuple[int, bool]] = set()
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with suppress(FileNotFoundError), os.scandir(place) as entries:
                for entry in entries:
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISSOCK(status.st_mode):
                        seen.add((stat.S_IMODE(status.st_mode), status.st_gid == gid))

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(200):
        Listener(place / "socket", 0o660, group).close()
    ended.set()
    watcher.join()

    assert seen <= {(0, False), (0, True), (0o660, True)}


@needs_root
def test_no_stranger_ever_gets_in_while_the_socket_is_made(place: Path) -> None:
    """A stranger who tries all names there are, again and again, while 200 sockets are made."""
    place.chmod(0o755)
    racer = """
import os, socket, sys
os.setgroups([]); os.setgid(int(sys.argv[2])); os.setuid(int(sys.argv[2]))
print("ready", flush=True)
place, got, tried = sys.argv[1], 0, 0
while os.path.exists(place + "/go-on"):
    for name in os.listdir(place):
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(place + "/" + name)
                got += 1
            except (PermissionError, FileNotFoundError):
                tried += 1
            except ConnectionRefusedError:
                pass
print(got, tried)
"""
    (place / "go-on").touch()
    with subprocess.Popen(
        [sys.executable, "-I", "-c", racer, str(place), str(NOBODY)],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        for _ in range(200):
            Listener(place / "socket", 0o600, None).close()
        (place / "go-on").unlink()
        got, tried = map(int, process.stdout.read().split())

    assert got == 0
    assert tried > 0


# What is in the way


def test_a_live_daemons_socket_is_never_taken(place: Path) -> None:
    path = place / "socket"
    with closing(Listener(path, 0o600, None)) as first:
        with pytest.raises(SocketUnusable, match=r"another daemon \(pid \d+\) listens"):
            Listener(path, 0o600, None)

        assert connects(path)
        first.socket.accept()[0].close()
    assert list(place.iterdir()) == []


def test_a_live_daemon_whose_socket_file_is_gone_is_named_as_that(place: Path) -> None:
    path = place / "socket"
    with closing(Listener(path, 0o600, None)):
        path.unlink()

        with pytest.raises(SocketUnusable, match="the socket's file is gone: nobody can reach it"):
            Listener(path, 0o600, None)


def test_the_socket_of_another_program_is_never_taken(place: Path) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(os.fspath(path))
        other.listen()

        with pytest.raises(SocketUnusable, match=r"another daemon \(pid \d+\) listens"):
            Listener(path, 0o600, None)

        assert connects(path)


def test_a_full_queue_is_a_sign_of_life(place: Path) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as other, socket.socket(socket.AF_UNIX) as client:
        other.bind(os.fspath(path))
        other.listen(0)
        client.connect(os.fspath(path))

        with pytest.raises(SocketUnusable, match="another daemon listens"):
            Listener(path, 0o600, None)


def test_a_dead_daemons_socket_is_replaced(place: Path) -> None:
    path = place / "socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(path))

    with closing(Listener(path, 0o600, None)):
        assert connects(path)


def test_a_dead_daemons_lock_file_is_no_trouble(place: Path) -> None:
    (place / "socket.lock").touch()

    with closing(Listener(place / "socket", 0o600, None)):
        assert connects(place / "socket")


def test_of_many_that_start_at_once_exactly_one_wins(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:  # and there is something to be replaced
        dead.bind(os.fspath(place / "socket"))
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", STARTS, str(place / "socket")],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("g")
        process.stdin.flush()

    said: list[str] = []
    for process in processes:
        assert process.stdout is not None
        said.append(process.stdout.readline().strip())
    living = connects(place / "socket")
    for process in processes:
        process.communicate()

    assert said.count("won") == 1
    lost = re.compile(rf"another daemon( \(pid \d+\))? listens at {re.escape(str(place))}/socket")
    assert [each for each in said if not lost.fullmatch(each)] == ["won"]
    assert living
    assert list(place.iterdir()) == []


def test_starting_and_ending_in_turn_leaves_exactly_one_at_a_time(place: Path) -> None:
    """Threads that make the socket and take it away: whoever has it is the only one."""
    path = place / "socket"
    holders: list[int] = []
    most: list[int] = []
    lives: list[bool] = []

    def live() -> None:
        for _ in range(50):
            try:
                listener = Listener(path, 0o600, None)
            except SocketUnusable:
                continue
            holders.append(1)
            lives.append(connects(path))  # meanwhile others try
            most.append(len(holders))
            holders.pop()
            listener.close()

    threads = [threading.Thread(target=live) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert max(most) == 1
    assert all(lives)


def test_a_file_in_the_way_is_refused_and_stays(place: Path) -> None:
    (place / "socket").write_text("precious")

    with pytest.raises(SocketUnusable, match="is no socket"):
        Listener(place / "socket", 0o600, None)

    assert (place / "socket").read_text() == "precious"


def test_a_directory_in_the_way_is_refused(place: Path) -> None:
    (place / "socket").mkdir()

    with pytest.raises(SocketUnusable, match="is a directory"):
        Listener(place / "socket", 0o600, None)


@pytest.mark.parametrize("target", ["nothing", "file", "dead"])
def test_a_symlink_in_the_way_is_refused_whatever_it_leads_to(target: str, place: Path) -> None:
    (place / "file").write_text("precious")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(place / "dead"))
    (place / "socket").symlink_to(place / target)

    with pytest.raises(SocketUnusable, match="is no socket"):
        Listener(place / "socket", 0o600, None)

    assert (place / "socket").is_symlink()
    assert (place / "file").read_text() == "precious"


def test_a_symlink_for_the_lock_file_is_refused(place: Path) -> None:
    (place / "socket.lock").symlink_to(place / "elsewhere")

    with pytest.raises(SocketUnusable, match="can't be made"):
        Listener(place / "socket", 0o600, None)

    assert not (place / "elsewhere").exists()


@needs_root
def test_a_strangers_dead_socket_is_refused(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(os.fspath(place / "socket"))
    os.chown(place / "socket", NOBODY, NOBODY)

    with pytest.raises(SocketUnusable, match=f"is a socket of uid {NOBODY}"):
        Listener(place / "socket", 0o600, None)


def test_a_directory_that_others_can_write_to_is_refused(place: Path) -> None:
    (place / "run").mkdir()
    (place / "run").chmod(0o702)

    with pytest.raises(SocketUnusable, match=f"{place}/run can be written by") as caught:
        Listener(place / "run" / "socket", 0o600, None)

    assert "chmod go-w" in str(caught.value.hint)


@needs_root
def test_a_directory_below_a_strangers_is_refused_and_none_is_made_there(place: Path) -> None:
    theirs(place / "eve")
    (place / "eve/run").mkdir(mode=0o700)

    for path in (place / "eve/run/socket", place / "eve/made/socket"):
        with pytest.raises(SocketUnusable, match=f"{place}/eve belongs to {EVE}") as caught:
            Listener(path, 0o600, None)
        with pytest.raises(SocketUnusable, match=f"{place}/eve belongs to {EVE}"):
            judge_place(path, None)
        assert "your own" in str(caught.value.hint)

    assert os.listdir(place / "eve") == ["run"]  # noqa: PTH208 -- names


def test_a_new_directory_right_below_tmp_is_made_and_is_our_own() -> None:
    directory = Path(f"/tmp/oft-listener-{os.getpid()}")  # noqa: S108 -- what it is about
    listener = Listener(directory / "socket", 0o600, None)
    try:
        assert connects(directory / "socket")
    finally:
        listener.close()
        directory.rmdir()


def test_a_missing_directory_above_the_last_is_refused(place: Path) -> None:
    with pytest.raises(SocketUnusable, match=f"there is no directory {place}/no") as caught:
        Listener(place / "no" / "run" / "socket", 0o600, None)

    assert caught.value.hint == "make it, or name another place"


def test_a_path_that_is_too_long_is_refused(place: Path) -> None:
    with pytest.raises(SocketUnusable, match="too long") as caught:
        Listener(place / ("x" * 100), 0o600, None)

    assert caught.value.hint is not None
    assert caught.value.hint.startswith("choose one of at most 98 bytes, with --socket")


def test_a_path_that_is_too_long_is_refused_before_it_is_tried_and_every_other_works(
    place: Path,
) -> None:
    """Whatever the pid has for a length."""
    for length in range(MAX_SOCKET_PATH - 3, 109):
        path = place / ("x" * (length - len(os.fspath(place)) - 1))
        assert len(os.fspath(path)) == length
        if length <= MAX_SOCKET_PATH:
            assert not judge_place(path, None)
            with closing(Listener(path, 0o600, None)):
                assert connects(path)
        else:
            with pytest.raises(SocketUnusable, match="too long"):
                judge_place(path, None)
            with pytest.raises(SocketUnusable, match="too long"):
                Listener(path, 0o600, None)


def test_a_group_that_does_not_exist_is_refused(place: Path) -> None:
    with pytest.raises(SocketUnusable, match="there is no group no-such-group"):
        Listener(place / "socket", 0o660, "no-such-group")

    assert list(place.iterdir()) == []


def test_after_a_refusal_the_lock_is_free_again(place: Path) -> None:
    (place / "socket").write_text("in the way")
    with pytest.raises(SocketUnusable):
        Listener(place / "socket", 0o600, None)
    (place / "socket").unlink()

    with closing(Listener(place / "socket", 0o600, None)):
        assert connects(place / "socket")

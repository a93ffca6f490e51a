"""Where the socket is looked for, and who is trusted there."""

import grp
import os
import pwd
import shutil
import socket
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from daemons import needs_root
from fake_daemon import FakeDaemon, always, token_fields
from openfit_token import AsyncTokenClient, TokenClient
from openfit_token._client import paths
from openfit_token.errors import DaemonUnreachable, DaemonUntrusted
from others import EVE, theirs
from users import being

NOBODY = 65534
TRIES = 2000
"""Connections in a race, which nobody has to accept: fewer than may wait (net.core.somaxconn)."""
STRANGERS = 54321
"""A group that nobody here is in, and that has no name."""

AT_HOME = [f"{Path.home()}/.openfit-tokend/socket"] if os.geteuid() else []
"""Where root has no daemon of its own."""

LOADED_FOR_NOBODY = (grp, pwd)
"""Loaded now, since nobody may not read every interpreter's library."""


@contextmanager
def listener(path: Path, uid: int | None = None) -> Generator[socket.socket]:
    """Have a user listen at a path. The kernel notes who called listen()."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        if uid is None:
            listening.listen(TRIES)
        else:
            with being(uid):
                listening.listen(TRIES)
        yield listening


def test_the_given_path_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "/env/socket")

    assert paths.candidates("/given") == ["/given"]


def test_then_the_environments_path_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "/env/socket")

    assert paths.candidates() == ["/env/socket"]


def test_then_the_users_daemon_comes_before_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/xdg")

    assert paths.candidates() == [
        "/xdg/openfit-tokend/socket",
        *AT_HOME,
        "/run/openfit-tokend/socket",
    ]


def test_without_a_runtime_directory_it_is_the_one_of_the_uid() -> None:
    assert paths.candidates() == [
        f"/run/user/{os.geteuid()}/openfit-tokend/socket",
        *AT_HOME,
        "/run/openfit-tokend/socket",
    ]


@needs_root
def test_another_users_home_leads_to_the_machines_daemon(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after a `sudo -u` that keeps $HOME."""
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", f"{place}/system")
    home = place / "home"
    (home / ".openfit-tokend").mkdir(parents=True)
    (home / ".openfit-tokend/socket").touch()
    (place / "system").touch()
    place.chmod(0o755)
    home.chmod(0o700)
    monkeypatch.setenv("HOME", str(home))
    with being(EVE):
        assert paths.candidates()[1:] == [f"{home}/.openfit-tokend/socket", f"{place}/system"]
        assert paths.find() == f"{place}/system"


def test_the_first_path_that_exists_is_taken(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(place / "system"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    (place / "system").touch()
    assert paths.find() == str(place / "system")

    (place / "openfit-tokend").mkdir()
    (place / "openfit-tokend/socket").touch()
    assert paths.find() == str(place / "openfit-tokend/socket")


def test_a_users_daemon_that_is_down_doesnt_lead_to_the_systems(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", str(place / "system"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    (place / "openfit-tokend").mkdir()
    with socket.socket(socket.AF_UNIX) as down:
        down.bind(str(place / "openfit-tokend/socket"))

    with listener(place / "system"), pytest.raises(DaemonUnreachable, match="it isn't running"):
        paths.connect()


def test_where_nothing_is_the_error_names_all_places(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", f"{place}/system")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{place}/xdg")

    with pytest.raises(DaemonUnreachable) as caught:
        paths.connect()

    places = [f"{place}/xdg/openfit-tokend/socket", *AT_HOME, f"{place}/system"]
    assert caught.value.message == f"no daemon: there is no {' and no '.join(places)}"
    assert caught.value.hint == (
        "start it: `systemctl start openfit-tokend`, or `openfit-tokend run`; one whose configuration"
        " has a `socket` is found by --socket or $OPENFIT_TOKEN_SOCKET"
    )


def test_a_path_through_a_file_leads_nowhere(place: Path) -> None:
    (place / "file").touch()

    with pytest.raises(DaemonUnreachable, match="there is no"):
        paths.connect(f"{place}/file/socket")


def test_a_path_that_is_too_long_is_named(place: Path) -> None:
    path = place / ("x" * 120)
    path.touch()

    with pytest.raises(DaemonUnreachable, match="AF_UNIX path too long"):
        paths.connect(str(path))


def test_even_our_own_daemon_is_not_trusted_where_others_can_replace_it(place: Path) -> None:
    place.chmod(0o777)

    with (
        listener(place / "s"),
        pytest.raises(DaemonUntrusted, match=f"{place} can be written by"),
    ):
        paths.connect(str(place / "s"))


@needs_root
def test_the_owner_of_a_named_sockets_directory_is_trusted(place: Path) -> None:
    os.chown(place, NOBODY, -1)
    place.chmod(0o750)
    (directory := place.parent / f"{place.name}-root").mkdir()
    try:
        place = place.rename(directory / "s")  # /tmp is sticky: there it would be anybody's
        with listener(place / "s", NOBODY):
            paths.connect(str(place / "s")).close()
    finally:
        shutil.rmtree(directory)


@needs_root
def test_root_is_trusted_by_all(place: Path) -> None:
    place.chmod(0o755)

    with listener(place / "s"):
        (place / "s").chmod(0o666)
        with being(NOBODY):
            paths.connect(str(place / "s")).close()


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode", "said"),
    [
        (0, 0o755, "nobody listens at"),
        (EVE, 0o755, "nobody listens at"),
        (NOBODY, 0o777, "can be written by everybody"),
        (NOBODY, 0o770, "can be written by the group"),
        (NOBODY, 0o1777, "belongs to nobody"),
        (0, 0o1777, "belongs to nobody"),  # as /tmp
    ],
)
def test_a_stranger_is_not_trusted(place: Path, owner: int, mode: int, said: str) -> None:
    (place / "run").mkdir()
    path = place / "run/s"

    with listener(path, NOBODY):
        os.chown(path, NOBODY, NOBODY)
        os.chown(place / "run", owner, NOBODY)
        (place / "run").chmod(mode)
        with pytest.raises(DaemonUntrusted, match=said):
            paths.connect(str(path))


@needs_root
def test_a_link_doesnt_lend_its_directorys_trust(place: Path) -> None:
    for name, owner, mode in (("safe", NOBODY, 0o755), ("open", 0, 0o777)):
        (place / name).mkdir()
        os.chown(place / name, owner, -1)
        (place / name).chmod(mode)
    (place / "safe/s").symlink_to(place / "open/s")

    with listener(place / "open/s", NOBODY), pytest.raises(DaemonUntrusted):
        paths.connect(str(place / "safe/s"))


SWAPPER = """
import ctypes, os, sys
libc, directory = ctypes.CDLL(None), sys.argv[1]
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[2]))
os.chdir(directory)
print("swapping", flush=True)
while os.getppid() == int(sys.argv[3]):
    libc.renameat2(-100, b"s", -100, b"other", 2)  # AT_FDCWD, RENAME_EXCHANGE
"""
"""Exchanges two names as often as it can, as the user to whom their directory belongs."""


@contextmanager
def swapped(directory: Path, uid: int) -> Generator[None]:
    """Let a user exchange `s` and `other` in a directory for the block, again and again."""
    command = (sys.executable, "-c", SWAPPER, str(directory), str(uid), str(os.getpid()))
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"swapping\n"
        try:
            yield
        finally:
            process.kill()


@needs_root
@pytest.mark.parametrize("caller", [0, NOBODY])
def test_a_service_that_exchanges_its_socket_for_a_link_leads_to_no_other_daemon(
    place: Path, caller: int
) -> None:
    place.chmod(0o755)
    service, came = theirs(place / "service"), 0
    (place / "roots").mkdir()
    (service / "other").symlink_to(place / "roots/s")
    with listener(place / "roots/s") as roots, listener(service / "s", EVE):
        (place / "roots/s").chmod(0o666)
        (service / "s").chmod(0o666)
        roots.settimeout(0)
        with swapped(service, EVE), being(caller):
            for _ in range(TRIES):
                with suppress(DaemonUntrusted):
                    paths.connect(f"{service}/s").close()
                    came += 1

        with pytest.raises(BlockingIOError):
            roots.accept()
    assert came > 0


@needs_root
@pytest.mark.parametrize("kind", ["link", "hard link"])
def test_a_service_may_not_pass_on_another_daemons_socket(place: Path, kind: str) -> None:
    """Neither by a link, nor, where the kernel lets it, by a hard link."""
    place.chmod(0o755)
    service = theirs(place / "service")
    with FakeDaemon(place / "s", always(token_fields("roots"))) as roots:
        if kind == "link":
            (service / "s").symlink_to(roots.path)
        else:
            (service / "s").hardlink_to(roots.path)

        with pytest.raises(DaemonUntrusted, match="isn't the socket itself"):
            paths.connect(f"{service}/s")

    assert roots.accepted == 0


@needs_root
def test_a_runtime_directory_that_su_left_us_leads_to_nobody(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.chmod(0o755)
    runtime = theirs(place / "eve", 0o700)
    theirs(runtime / "openfit-tokend", 0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    evil = FakeDaemon(runtime / "openfit-tokend/socket", always(token_fields("evil")))
    with being(EVE):
        evil.start()

    with TokenClient() as client:
        with pytest.raises(DaemonUntrusted) as caught:
            client.login("secret")
        with pytest.raises(DaemonUntrusted):
            client.get_token()
    evil.stop()

    assert evil.accepted == 0
    assert caught.value.message == (
        f"{runtime}/openfit-tokend/socket can't be trusted: {runtime} belongs to {EVE}, not to root"
    )
    assert caught.value.hint is not None
    assert "unset it, or use `su -`" in caught.value.hint


@needs_root
def test_nor_does_a_directory_there_that_another_user_made(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(place))
    theirs(place / "openfit-tokend")
    with listener(place / "openfit-tokend/socket", EVE), pytest.raises(DaemonUntrusted):
        paths.connect()


@needs_root
def test_nor_does_one_at_home(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(place))
    os.chown(place, NOBODY, NOBODY)
    theirs(place / ".openfit-tokend")
    with listener(place / ".openfit-tokend/socket", EVE):
        (place / ".openfit-tokend/socket").chmod(0o777)
        with being(NOBODY), pytest.raises(DaemonUntrusted, match=f"belongs to {EVE}"):
            paths.connect()


@needs_root
@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_named_socket_that_is_squatted_in_tmp_gets_no_password(
    by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    squatted = theirs(Path(f"/tmp/oft-squatted-{os.getpid()}"))  # noqa: S108 -- what it is about
    evil = FakeDaemon(squatted / "socket", always(token_fields("evil")))
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "" if by == "option" else evil.path)
    try:
        with being(EVE):
            evil.start()
        client = TokenClient(socket=evil.path if by == "option" else None)
        with pytest.raises(DaemonUntrusted, match=f"{squatted} belongs to {EVE}"):
            client.login("secret")
        evil.stop()
    finally:
        shutil.rmtree(squatted)

    assert evil.accepted == 0


@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_relative_path_is_that_of_the_directory_in_which_the_client_was_made(
    place: Path, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "" if by == "option" else "s")
    for name in ("one", "other"):
        (place / name).mkdir()
    with (
        FakeDaemon(place / "one/s", always(token_fields("one"))),
        FakeDaemon(place / "other/s", always(token_fields("other"))) as other,
    ):
        monkeypatch.chdir(place / "one")
        client = TokenClient(socket="s" if by == "option" else None)
        client.close()  # so that each call makes a connection
        monkeypatch.chdir(place / "other")

        assert [client.get_token().access_token for _ in range(2)] == ["token-one"] * 2
        assert other.accepted == 0


async def test_so_it_is_for_an_async_client(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeDaemon(place / "s", always(token_fields())):
        monkeypatch.chdir(place)
        async with AsyncTokenClient(socket="s") as client:
            monkeypatch.chdir("/")

            assert (await client.get_token()).access_token == "token-a"


def test_a_relative_path_in_a_directory_that_is_gone_says_so(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "gone").mkdir()
    monkeypatch.chdir(place / "gone")
    (place / "gone").rmdir()

    with pytest.raises(DaemonUnreachable, match="the working directory is gone"):
        TokenClient(socket="s")


def test_an_empty_path_is_refused_and_leads_to_no_other_daemon(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is what an unset variable becomes: `TokenClient(socket=os.environ.get("MINE", ""))`."""
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", daemon.path)
        with pytest.raises(DaemonUnreachable, match="the socket's path is empty"):
            TokenClient(socket="")


@pytest.mark.parametrize(
    ("path", "fault"),
    [("a\0b", "has a NUL"), ("/\ud800", "has a character that this locale lacks")],
)
def test_what_cant_be_a_path_is_refused_in_words(path: str, fault: str) -> None:
    with pytest.raises(DaemonUnreachable, match=f"the socket's path {fault}"):
        TokenClient(socket=path)


def test_an_empty_variable_counts_as_unset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "")

    assert paths.candidates() == paths.usual()


def test_a_relative_runtime_directory_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "run")

    assert paths.usual()[0] == f"/run/user/{os.geteuid()}/openfit-tokend/socket"


DAEMON = grp.getgrgid(1).gr_name
"""A group that every machine has."""


@needs_root
@pytest.mark.parametrize(
    ("gid", "name", "hint"),
    [
        (1, DAEMON, f": `sudo usermod -aG {DAEMON} nobody`, then log in again"),
        (
            STRANGERS,
            str(STRANGERS),
            f", which has no name here: start the container with `--group-add {STRANGERS}`",
        ),
    ],
)
def test_a_socket_of_another_group_is_named_with_the_way_in(
    place: Path, gid: int, name: str, hint: str
) -> None:
    place.chmod(0o755)
    with listener(place / "s"):
        os.chown(place / "s", 0, gid)
        (place / "s").chmod(0o660)

        with being(NOBODY), pytest.raises(DaemonUnreachable) as caught:
            paths.connect(str(place / "s"))

    assert caught.value.message == f"permission denied: {place}/s (root:{name}, mode 0660)"
    assert caught.value.hint == f"join its group{hint}"


@needs_root
def test_who_was_put_into_the_group_after_logging_in_is_told_how_to_be_in_it_now(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    members = grp.struct_group(("etl", "x", STRANGERS, ["nobody"]))

    def look_up(_which: object) -> grp.struct_group:
        return members

    monkeypatch.setattr(grp, "getgrgid", look_up)  # not the machine's /etc/group
    monkeypatch.setattr(grp, "getgrnam", look_up)
    place.chmod(0o755)
    with listener(place / "s"):
        os.chown(place / "s", 0, STRANGERS)
        (place / "s").chmod(0o660)

        with being(NOBODY), pytest.raises(DaemonUnreachable) as caught:
            paths.connect(str(place / "s"))

    assert caught.value.hint == (
        "you were put into group etl after you logged in: log in again, or `newgrp etl`"
    )


@needs_root
def test_a_closed_directory_counts_as_one_with_a_socket_and_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paths, "SYSTEM_SOCKET", f"{place}/system")
    monkeypatch.setenv("XDG_RUNTIME_DIR", f"{place}/xdg")
    place.chmod(0o755)
    (place / "xdg/openfit-tokend").mkdir(parents=True)
    (place / "xdg").chmod(0o700)

    with (
        listener(place / "system"),
        being(NOBODY),
        pytest.raises(DaemonUnreachable) as caught,
    ):
        paths.connect()

    assert caught.value.message == (
        f"permission denied: {place}/xdg/openfit-tokend/socket,"
        f" because of {place}/xdg (root:root, mode 0700)"
    )
    assert caught.value.hint == "--socket or $OPENFIT_TOKEN_SOCKET names another daemon's socket"

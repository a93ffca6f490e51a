"""Where the socket is looked for, and who is trusted there."""

import grp
import os
import pwd
import socket
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from openfit_token import paths
from openfit_token.errors import DaemonUnreachable, DaemonUntrusted

NOBODY = 65534
STRANGERS = 54321
"""A group that nobody here is in, and that has no name."""

LOADED_FOR_NOBODY = (grp, pwd)
"""Loaded now, since nobody may not read every interpreter's library."""

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextmanager
def being(uid: int) -> Generator[None]:
    """Be another user for the kernel, until the end of the block."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


@contextmanager
def listener(path: Path, uid: int | None = None) -> Generator[None]:
    """Have a user listen at a path. The kernel notes who called listen()."""
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        if uid is None:
            listening.listen()
        else:
            with being(uid):
                listening.listen()
        yield


def test_the_given_path_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "/env/socket")

    assert paths.candidates("/given") == ["/given"]


def test_then_the_environments_path_is_the_only_candidate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "/env/socket")

    assert paths.candidates() == ["/env/socket"]


def test_then_the_users_daemon_comes_before_the_systems(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", "")
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/xdg")

    assert paths.candidates() == ["/xdg/openfit-tokend/socket", "/run/openfit-tokend/socket"]


def test_without_a_runtime_directory_it_is_the_one_of_the_uid() -> None:
    assert paths.candidates() == [
        f"/run/user/{os.geteuid()}/openfit-tokend/socket",
        "/run/openfit-tokend/socket",
    ]


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

    assert caught.value.message == (
        f"no daemon: there is no {place}/xdg/openfit-tokend/socket and no {place}/system"
    )
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


def test_our_own_daemon_is_trusted_anywhere(place: Path) -> None:
    place.chmod(0o777)

    with listener(place / "s"):
        paths.connect(str(place / "s")).close()


@needs_root
def test_the_one_user_who_can_write_to_the_directory_is_trusted(place: Path) -> None:
    os.chown(place, NOBODY, -1)
    place.chmod(0o750)

    with listener(place / "s", NOBODY):
        paths.connect(str(place / "s")).close()


@needs_root
def test_root_is_trusted_by_all(place: Path) -> None:
    place.chmod(0o777)

    with listener(place / "s"):
        (place / "s").chmod(0o666)
        with being(NOBODY):
            paths.connect(str(place / "s")).close()


@needs_root
@pytest.mark.parametrize(
    ("owner", "mode"),
    [
        (NOBODY, 0o777),
        (NOBODY, 0o770),
        (NOBODY, 0o1777),
        (0, 0o1777),  # as /tmp
        (0, 0o755),
    ],
)
def test_a_stranger_is_not_trusted(place: Path, owner: int, mode: int) -> None:
    os.chown(place, owner, -1)
    place.chmod(mode)

    with (
        listener(place / "s", NOBODY),
        pytest.raises(DaemonUntrusted, match=f"listens at {place}/s: neither root, nor you"),
    ):
        paths.connect(str(place / "s"))


@needs_root
def test_a_link_doesnt_lend_its_directorys_trust(place: Path) -> None:
    for name, owner, mode in (("safe", NOBODY, 0o755), ("open", 0, 0o777)):
        (place / name).mkdir()
        os.chown(place / name, owner, -1)
        (place / name).chmod(mode)
    (place / "safe/s").symlink_to(place / "open/s")

    with listener(place / "open/s", NOBODY), pytest.raises(DaemonUntrusted):
        paths.connect(str(place / "safe/s"))


@needs_root
def test_a_socket_of_another_group_is_named_with_the_way_in(place: Path) -> None:
    place.chmod(0o755)
    with listener(place / "s"):
        os.chown(place / "s", 0, STRANGERS)
        (place / "s").chmod(0o660)

        with being(NOBODY), pytest.raises(DaemonUnreachable) as caught:
            paths.connect(str(place / "s"))

    assert caught.value.message == (f"permission denied: {place}/s (root:{STRANGERS}, mode 0660)")
    assert caught.value.hint == (
        f"join its group: `sudo usermod -aG {STRANGERS} nobody`, then log in anew"
    )


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
        "you were put into group etl after you logged in: log in anew, or `newgrp etl`"
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

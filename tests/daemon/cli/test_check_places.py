"""`openfit-tokend check`: whether the daemon could make its socket and keep its ledger."""

import fcntl
import os
from pathlib import Path

import pytest

from daemons import NOBODY, needs_root, prepared_daemon, profile, running_daemon
from openfit_tokend.cli.check import check
from users import being

NOWHERE = profile("http://127.0.0.1:9")


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, and a state directory that isn't there yet."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("secret")
    password = f'"{tmp_path}/password"'
    (tmp_path / "config.toml").write_text(NOWHERE.replace('"password"', password))
    return tmp_path


def looked(place: Path, socket: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    status = check(str(place / "config.toml"), network=False, login=False, socket=str(socket))
    return status, capsys.readouterr().out


def test_the_socket_to_be_looked_at_may_be_named_as_for_run(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out = looked(place, place / "run" / "s", capsys)
    assert (status, f"[ OK ] socket         {place}/run/s\n" in out) == (0, True)
    assert f"[ OK ] state          {place}/state\n" in out

    status, out = looked(place, place / "no" / "such" / "s", capsys)
    assert (status, f"there is no directory {place}/no\n" in out) == (73, True)


@pytest.mark.parametrize(
    ("mode", "directory_mode", "kept_out"),
    [
        ("0660", 0o700, "socket_mode lets the group in, but"),
        ("0666", 0o710, "socket_mode lets everybody in, but"),
        ("0660", 0o710, None),
        ("0666", 0o711, None),
        ("0600", 0o700, None),
    ],
)
def test_a_directory_that_keeps_out_whom_the_socket_lets_in_is_warned_of(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    mode: str,
    directory_mode: int,
    kept_out: str | None,
) -> None:
    config = place / "config.toml"
    config.write_text(f'socket_mode = "{mode}"\n{config.read_text()}')
    (place / "run").mkdir()
    (place / "run").chmod(directory_mode)

    status, out = looked(place, place / "run" / "s", capsys)

    assert status == 0
    assert ("[WARN] socket" in out) == (kept_out is not None)
    assert (kept_out or "") in out


def test_a_full_disk_is_warned_of(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (place / "state").mkdir()
    real = os.statvfs(place)
    full = os.statvfs_result((*real[:4], 0, *real[5:]))

    def without_room(_: Path) -> os.statvfs_result:
        return full

    monkeypatch.setattr(os, "statvfs", without_room)

    status, out = looked(place, place / "run" / "s", capsys)

    assert (status, f"[WARN] state          no space is left in {place}/state\n" in out) == (
        0,
        True,
    )


@needs_root
def test_directories_that_arent_writable_fail_with_the_users_name(
    capsys: pytest.CaptureFixture[str],
) -> None:
    # pytest's own directories keep strangers out
    with prepared_daemon(NOWHERE) as daemon:
        daemon.directory.chmod(0o755)
        (daemon.directory / "run").mkdir()
        daemon.password.unlink()
        config, socket = str(daemon.config), str(daemon.socket)
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STATE_DIRECTORY", str(daemon.state.parent))
            check(config, network=False, login=False, socket=socket)  # loads all
            capsys.readouterr()
            with being(NOBODY):
                status = check(config, network=False, login=False, socket=socket)

        out = capsys.readouterr().out
        assert status == 73
        assert (
            f"[FAIL] socket         {socket} can't be created by nobody: its directory is not"
            in out
        )
        assert (
            f"[FAIL] state          nobody can't write to {daemon.state.parent}: the daemon" in out
        )


def test_the_option_is_the_commands_too() -> None:
    with running_daemon(profile("http://127.0.0.1:9", password_file="")) as daemon:
        done = daemon.run(
            *("openfit-tokend", "check", "--config", str(daemon.config)),
            *("--socket", str(daemon.socket)),
        )

    assert done.returncode == 0
    assert f"{daemon.socket}, in use by a daemon\n" in done.stdout


def test_a_login_that_is_advised_is_the_profiles_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stored = (place / "config.toml").read_text()
    without = profile("http://127.0.0.1:9", "etl", password_file="")
    (place / "config.toml").write_text(f"{stored}\n{without}")

    _, out = looked(place, place / "run" / "s", capsys)
    assert "fix: openfit-token login --profile etl --ask, once it runs\n" in out

    config = str(place / "config.toml")
    (place / "state").mkdir()
    with (place / "state" / "ledger.lock").open("w") as running:
        fcntl.flock(running, fcntl.LOCK_EX)
        check(config, network=False, login=True, just_stored="etl", socket=str(place / "run" / "s"))
    assert "fix: openfit-token login --profile etl\n" in capsys.readouterr().out


def test_one_socket_isnt_both(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = place / "config.toml"
    config.write_text(f'http_socket = "{place}/run/s"\n{config.read_text()}')

    status, out = looked(place, place / "run" / "s", capsys)

    assert (status, "HTTP needs a socket of its own" in out) == (73, True)


def test_the_http_socket_is_judged_like_the_other(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = place / "config.toml"
    rest = config.read_text()
    for path, verdict in ((f"{place}/run/http", "[ OK ] http"), ("/tmp/http", "[FAIL] http")):  # noqa: S108 -- nothing is made there
        config.write_text(f'http_socket = "{path}"\n{rest}')
        assert verdict in looked(place, place / "run" / "s", capsys)[1]

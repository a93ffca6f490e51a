"""The certificate authorities: read when they are needed, and anew when they changed, by nobody else's time."""

import os
from pathlib import Path

import pytest
import trustme

from daemons import await_that, profile, running_daemon
from emulators import RunningEmulator, running_emulator
from inside import async_await_that, daemon_inside
from openfit_emulator.server import Address
from openfit_tokend.keeping import trust
from openfit_tokend.keeping.trust import MAX_CACHED, NoAuthorities, Trust
from openfit_tokend.keeping.turns import MAX_REQUESTS


def written(ca: trustme.CA, path: Path) -> Path:
    ca.cert_pem.write_to_path(str(path))
    return path


def place(ca: trustme.CA, path: Path) -> Address:
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(path))
    return Address(tls_cert=path)


@pytest.fixture
def ca() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def fifo(tmp_path: Path) -> Path:
    """A file that can be opened, and then nothing comes."""
    os.mkfifo(tmp_path / "fifo")
    return tmp_path / "fifo"


async def test_a_file_that_stays_as_it_is_is_read_once(ca: trustme.CA, tmp_path: Path) -> None:
    file, asked = str(written(ca, tmp_path / "ca.pem")), Trust()

    assert await asked.context(file) is await asked.context(file)


async def test_a_file_that_changed_is_read_anew(ca: trustme.CA, tmp_path: Path) -> None:
    file, asked = written(ca, tmp_path / "ca.pem"), Trust()
    before = (await asked.context(str(file))).get_ca_certs(binary_form=True)

    written(trustme.CA(), file)

    after = (await asked.context(str(file))).get_ca_certs(binary_form=True)
    assert len(before) == len(after) == 1
    assert before != after


async def test_so_is_what_the_environment_names(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = written(ca, tmp_path / "ca.pem"), Trust()
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    context = await asked.context(None)
    assert await asked.context(None) is context

    written(trustme.CA(), file)

    assert await asked.context(None) is not context


async def test_contexts_of_files_that_nobody_names_any_more_are_let_go_of(
    ca: trustme.CA, tmp_path: Path
) -> None:
    asked = Trust()
    files = [str(written(ca, tmp_path / f"{number}.pem")) for number in range(MAX_CACHED + 1)]
    contexts = [await asked.context(file) for file in files]

    assert await asked.context(files[1]) is contexts[1]
    assert await asked.context(files[0]) is not contexts[0]


async def test_a_file_that_others_can_write_or_replace_is_refused_until_that_is_mended(
    ca: trustme.CA, tmp_path: Path
) -> None:
    directory = tmp_path / "certificates"
    directory.mkdir()
    file, asked = written(ca, directory / "ca.pem"), Trust()
    link = tmp_path / "link.pem"
    link.symlink_to(file)
    for opened in (file, directory):
        mode = opened.stat().st_mode & 0o777
        for path in (file, link):
            await asked.context(str(path))  # cached
            opened.chmod(0o777)

            with pytest.raises(NoAuthorities, match="can be written by everybody") as refused:
                await asked.context(str(path))

            assert str(refused.value.hint).startswith("chmod go-w /")
            opened.chmod(mode)
            await asked.context(str(path))


async def test_one_that_the_environment_names_is_the_administrators_affair(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = written(ca, tmp_path / "ca.pem")
    file.chmod(0o666)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))

    assert len((await Trust().context(None)).get_ca_certs()) == 1


def test_a_ca_file_that_hangs_holds_up_its_own_profile_alone(
    fifo: Path, emulator: RunningEmulator
) -> None:
    hanging = profile("https://127.0.0.1:9", "hanging", ca_file=f'"{fifo}"')
    with running_daemon(hanging, profile(emulator.url, "well")) as daemon:
        assert daemon.call("get_token", profile="well")["profile"] == "well"
        assert daemon.profile_status("hanging")["state"] == "logging_in"

        assert daemon.stop() == 0


def test_so_does_a_store_of_the_system_that_hangs(
    fifo: Path, emulator: RunningEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(fifo))
    with running_daemon(
        profile("https://127.0.0.1:9", "hanging"), profile(emulator.url, "well")
    ) as daemon:
        assert daemon.call("get_token", profile="well")["profile"] == "well"

        assert daemon.stop() == 0


def test_profiles_whose_ca_file_hangs_take_no_turn_of_their_server(
    fifo: Path, ca: trustme.CA, tmp_path: Path
) -> None:
    file = written(ca, tmp_path / "ca.pem")
    with running_emulator(address=place(ca, tmp_path / "server.pem")) as server:
        hanging = [
            profile(server.url, f"p{number}", ca_file=f'"{fifo}"', username=f'"user-{number}"')
            for number in range(MAX_REQUESTS + 1)
        ]
        with running_daemon(*hanging, profile(server.url, "well", ca_file=f'"{file}"')) as daemon:
            assert daemon.call("get_token", profile="well", wait=8)["profile"] == "well"


async def test_a_file_that_hangs_is_given_up_in_time_and_is_no_login(
    fifo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trust, "READ_TIME", 0.1)
    async with daemon_inside(
        tmp_path, profile("https://127.0.0.1:9", ca_file=f'"{fifo}"')
    ) as daemon:
        await async_await_that(lambda: "login_failed" in daemon.log(), daemon.log)

        assert f"ca_file {fifo}: gives no answer within" in daemon.log()
        assert (await daemon.profile_status())["logins_left"] == 3


def test_a_ca_file_that_is_missing_is_logged_once_as_an_error_and_tried_again(
    ca: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "ca.pem"
    with (
        running_emulator(address=place(ca, tmp_path / "server.pem")) as server,
        running_daemon(profile(server.url, ca_file=f'"{file}"')) as daemon,
    ):
        line = daemon.await_log("ca_file_unusable")
        assert "level=error" in line
        assert f'message="ca_file {file}: does not exist"' in line
        await_that(lambda: bool(daemon.profile_status()["counters"]["failures"] > 1))
        assert daemon.log().count("ca_file_unusable") == 1

        written(ca, file)

        assert daemon.call("get_token")["profile"] == "main"

"""The image and the examples that use it, run by buildah: no privileges, no shell, a read-only root."""

import os
import signal
import socket
import struct
import sys
from collections.abc import Generator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from container_examples import DOCUMENT, IMAGE, Run, compose, health_check, pod, write_files
from containers import Container, Images, Volume, hindrance, running, storage
from daemons import PATIENCE, Wire, await_that
from emulators import RunningEmulator, one_emulator
from fenced import ROOT, in_section
from processes import done

pytestmark = [
    pytest.mark.system,
    pytest.mark.slow,
    pytest.mark.long,  # to make the image takes a minute
    pytest.mark.skipif(hindrance() is not None, reason=str(hindrance())),
]

USER, NOBODY, ALICE = 65532, 65534, 1000
SUITE, PYTHON = "trixie", "3.13"
FROM_WHEELS = "[global]\nno-index = true\nfind-links = /wheels\n"
EXTRA = "requests"
OUTSIDE = 100_000
"""What root of a user namespace is outside."""
MAPPED = tuple(f"--userns-{kind}-map=0:{OUTSIDE}:65536" for kind in ("uid", "gid"))
MOST = 20_000_000
"""Bytes that the image adds to its base."""
NO_DAEMON, CANNOT_CREATE, CONFIGURATION = 69, 73, 78


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Generator[Images]:
    """The image as users build it, but on a Debian root, and from wheels that are fetched before."""
    root = ROOT / ".roots/container-base"
    done(ROOT / ".ci/make-root", SUITE, root, "python3-venv")
    wheels, conf = tmp_path_factory.mktemp("wheels"), tmp_path_factory.mktemp("pip") / "pip.conf"
    download = (sys.executable, "-m", "pip", "--quiet", "download", "--only-binary=:all:")
    pinned = ("--require-hashes", "--requirement", ROOT / ".ci/requirements.txt")
    done(*download, f"--python-version={PYTHON}", f"--dest={wheels}", *pinned)
    conf.write_text(FROM_WHEELS)
    with storage() as images:
        base = images.buildah("from", "scratch")
        images.buildah("copy", "--quiet", base, root, "/")
        images.buildah("copy", "--quiet", base, conf, "/etc/pip.conf")
        images.buildah("commit", "--quiet", "--disable-compression", "--rm", base, "base")
        build = ("build", "--quiet", "--isolation=chroot", f"--volume={wheels}:/wheels:ro")
        arguments = ("--build-arg=BASE=localhost/base", f"--build-arg=EXTRAS=[{EXTRA}]")
        images.buildah(*build, *arguments, f"--tag={IMAGE}", f"--file={ROOT}/Containerfile", ROOT)
        yield images


@pytest.fixture(scope="module")
def first(images: Images) -> Container:
    """The container that the daemon runs in."""
    return images.container(IMAGE)


@pytest.fixture(scope="module")
def second(images: Images) -> Container:
    """The container that asks."""
    return images.container(IMAGE)


@pytest.fixture(scope="module")
def rootless(images: Images) -> Container:
    """A container in a user namespace, as without root."""
    return images.container(IMAGE, *MAPPED)


emulator = pytest.fixture(one_emulator, scope="module")


class Peer(NamedTuple):
    """The process at the other end of a socket."""

    pid: int
    uid: int
    gid: int

    def mount_options(self, place: str) -> list[str]:
        """Return the options of what it has mounted there."""
        mounts = Path(f"/proc/{self.pid}/mountinfo").read_text().splitlines()
        return [each.split()[5] for each in mounts if each.split()[4] == place][-1].split(",")

    def capabilities(self) -> set[int]:
        """Return the capabilities that it has or may take."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        sets = [line.split()[1] for line in lines if line.startswith(("CapPrm:", "CapEff:"))]
        return {int(each, 16) for each in sets}


@dataclass(frozen=True)
class Daemon:
    """A daemon in a container."""

    run: Run
    socket: Path
    log: Path

    def peer(self) -> Peer:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(os.fspath(self.socket))
            size = struct.calcsize("3i")
            told = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return Peer(*struct.unpack("3i", told))

    def token(self) -> str:
        with Wire(self.socket) as wire:
            answer = wire.call("get_token")
        assert answer.result is not None, answer
        return str(answer.result["access_token"])


@contextmanager
def started(run: Run, path: Path, log: Path) -> Generator[Daemon]:
    """Run a daemon until the end of the block; then stop it in order."""
    with running(run.command(), log, run.container.environment) as process:

        def answers() -> bool:
            assert process.poll() is None, log.read_text()
            with suppress(FileNotFoundError, ConnectionRefusedError), Wire(path) as wire:
                return wire.call("hello").error is None
            return False

        await_that(answers, log.read_text)
        daemon = Daemon(run, path, log)
        yield daemon
        os.kill(daemon.peer().pid, signal.SIGTERM)
        assert process.wait(PATIENCE) == 0


# The image


@pytest.fixture(scope="module")
def directory() -> Generator[Path]:
    with TemporaryDirectory(prefix="oft-") as name:
        yield Path(name)


@pytest.fixture(scope="module")
def daemon(first: Container, directory: Path, emulator: RunningEmulator) -> Generator[Daemon]:
    """The daemon of the compose file."""
    owners, _ = in_section(DOCUMENT, "With compose", "sh")
    write_files(directory, emulator)
    done("sh", "-ec", owners.text.replace("sudo ", ""), directory=directory)
    run = compose("openfit-tokend", first, directory)
    path = run.volume("/run/openfit-tokend") / "socket"
    with started(run, path, directory / "log") as daemon:
        yield daemon


@pytest.fixture(scope="module")
def job(daemon: Daemon, second: Container, directory: Path) -> Run:
    """The compose file's job, which needs the daemon."""
    assert daemon.socket.is_socket()
    return compose("job", second, directory)


def test_the_daemon_is_an_unprivileged_user_and_its_root_is_read_only(daemon: Daemon) -> None:
    peer = daemon.peer()

    assert (peer.uid, peer.gid) == (USER, USER)
    assert peer.capabilities() == {0}
    assert "ro" in peer.mount_options("/")


def test_a_second_container_with_the_shared_volume_gets_a_token(
    daemon: Daemon, job: Run, emulator: RunningEmulator
) -> None:
    asked = replace(job, words=[*job.words[:-1], "get"]).ended()

    assert (asked.stdout, asked.stderr) == (f"{daemon.token()}\n", "")
    assert emulator.state().logins == 1


def test_the_job_of_the_compose_file_finds_all_well(job: Run) -> None:
    ended = job.ended()

    assert ended.returncode == 0
    assert "main" in ended.stdout


def test_who_is_not_in_the_sockets_group_gets_none(job: Run) -> None:
    asking = replace(job, words=["openfit-token", "get"])
    asked = asking.as_user(ALICE, ALICE).ended()

    assert (asked.returncode, asked.stdout) == (NO_DAEMON, "")
    assert f"start the container with `--group-add {USER}`" in asked.stderr


def test_a_container_that_asks_cannot_put_another_socket_in_its_place(job: Run) -> None:
    program = "import os; os.unlink(os.environ['OPENFIT_TOKEN_SOCKET'])"
    tried = replace(job, words=["python3", "-c", program], user="0:0").ended()

    assert "Read-only file system" in tried.stderr


def test_the_health_check_and_the_daemons_own_check_find_all_well(daemon: Daemon) -> None:
    *_, check = in_section(DOCUMENT, "With compose", "sh")
    _, _, words = check.text.partition("--entrypoint openfit-tokend openfit-tokend ")

    await_that(lambda: daemon.run.ended(*health_check()).returncode == 0)
    assert words.split() == ["check", "--network"]
    checked = daemon.run.ended("openfit-tokend", *words.split())
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_image_adds_no_more_to_its_base_than_the_document_says(second: Container) -> None:
    added = (second.root / "opt/openfit-tokend").rglob("*")

    assert sum(each.lstat().st_size for each in added) < MOST
    assert f"less than {MOST // 10**6} MB more" in DOCUMENT.read_text()


def test_the_image_has_the_extras_that_were_asked_for(second: Container) -> None:
    assert second.run(["python3", "-c", "import openfit_token.requests_auth"]).returncode == 0


# Its volumes


def test_a_pod_of_the_example_has_a_daemon_and_a_job_that_sees_each_token(
    first: Container, second: Container, emulator: RunningEmulator, tmp_path: Path
) -> None:
    with pod(first, second, emulator) as example:
        path = example.daemon.volume("/run/openfit") / "own/socket"
        with started(example.daemon, path, tmp_path / "log") as daemon:
            await_that(lambda: example.daemon.ended(*example.probe).returncode == 0)
            seen = tmp_path / "seen"
            with running(example.job.command(), seen, second.environment):
                await_that(lambda: "main" in seen.read_text(), seen.read_text)
            asked = replace(example.job, words=[*example.job.words[:-1], "get"]).ended()

            assert asked.stdout == f"{daemon.token()}\n"
            assert daemon.peer().uid == USER
            assert "ro" in daemon.peer().mount_options("/")
    assert "event=stopped" in daemon.log.read_text()


def with_socket_in(daemon: Daemon, container: Container, volume: Path) -> Run:
    """Return how the same daemon is run with its socket and its state in this volume."""
    mine = ("/run/openfit-tokend", "/var/lib/openfit-tokend")
    others = [each for each in daemon.run.volumes if each.target not in mine]
    volumes = [*others, *(Volume(volume, target) for target in mine)]
    return replace(daemon.run, container=container, volumes=volumes)


@pytest.mark.parametrize("mode", [0o777, 0o3777])
def test_a_volume_that_everybody_may_write_to_is_refused_for_the_socket(
    daemon: Daemon, second: Container, tmp_path: Path, mode: int
) -> None:
    tmp_path.chmod(mode)

    ended = with_socket_in(daemon, second, tmp_path).ended()

    assert ended.returncode == CANNOT_CREATE
    assert f"/run/openfit-tokend can be written by everybody (mode {mode:04o})" in ended.stderr


def test_a_volume_that_is_given_to_the_daemons_group_will_do(
    daemon: Daemon, second: Container, tmp_path: Path
) -> None:
    """A persistent volume of Kubernetes is, with `fsGroup`."""
    tmp_path.chmod(0o2775)
    os.chown(tmp_path, 0, USER)
    run = with_socket_in(daemon, second, tmp_path)
    with started(run, tmp_path / "socket", tmp_path / "log") as another:
        assert another.peer().uid == USER


# In a user namespace


@pytest.fixture
def mapped(rootless: Container, emulator: RunningEmulator) -> Generator[Run]:
    """The daemon of the compose file there."""
    with TemporaryDirectory(prefix="oft-") as name:
        directory = Path(name)
        for file in write_files(directory, emulator):
            os.chown(file, OUTSIDE + USER, OUTSIDE + USER)
        yield compose("openfit-tokend", rootless, directory)


def test_in_a_user_namespace_it_serves_tokens_to_its_users(mapped: Run, tmp_path: Path) -> None:
    path = mapped.volume("/run/openfit-tokend") / "socket"
    with started(mapped, path, tmp_path / "log") as daemon:
        job = compose("job", mapped.container, path.parents[1])
        asking = replace(job, words=[*job.words[:-1], "get"])

        assert asking.ended().stdout == mapped.ended("openfit-token", "get").stdout
        assert asking.ended().stdout == f"{daemon.token()}\n"
        assert daemon.peer().uid == OUTSIDE + USER


def test_in_a_user_namespace_nobody_is_refused_with_the_reason(mapped: Run) -> None:
    ended = replace(mapped, user=f"{NOBODY}:{NOBODY}").ended()

    assert ended.returncode == CONFIGURATION
    assert f"event=user_ambiguous uid={NOBODY}" in ended.stderr
    assert "in a container, as any user but nobody" in ended.stderr

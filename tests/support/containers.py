"""Images and containers, by buildah, with storage of its own: no registry, no service, no runtime.

Its chroot isolation gives a container its files, its mounts and its user, and where ids are mapped a user
namespace. The network is the host's. What it hasn't is made here: a read-only root, processes of its own.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, cast

from processes import Completed, done, run
from users import MAY_MOUNT

READ_ONLY = """\
mount --bind "$0" "$0"
mount --bind "$0/run" "$0/run"
mount -o remount,bind,ro "$0"
exec "$@"
"""
"""Runs a command for which a directory is read-only, but `run` in it, where buildah makes and removes a file."""
APART = ("unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
"""Runs a command whose mounts and processes end with it, and which sees no other processes."""
MEMORY = Path("/dev/shm")  # noqa: S108 -- each run makes a directory of its own there
ENOUGH = 4 << 30
"""Bytes of memory with which images may be there: each step copies all files, which makes 2 GB."""
SHELLS = ("bash", "dash", "rbash", "sh")
DEBIANS_PYTHON = "/usr/bin/python3"
"""The one that has Debian's packages, python3-yaml among them."""
YAML = Path("/usr/lib/python3/dist-packages/yaml")
READ_YAML = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)"


def hindrance() -> str | None:
    """Return why no container can be made here."""
    if not MAY_MOUNT:
        return "needs root: to make containers"
    missing = [each for each in ("buildah", "mmdebstrap") if shutil.which(each) is None]
    if not YAML.exists():
        missing.append("python3-yaml")
    return f"needs {' and '.join(missing)}: .ci/install_packages" if missing else None


def yaml_documents(path: Path) -> list[Any]:
    """Return what a YAML file says."""
    words = [DEBIANS_PYTHON, "-c", READ_YAML]
    with path.open() as file:
        said = subprocess.run(words, stdin=file, capture_output=True, check=True).stdout
    return cast("list[Any]", json.loads(said))


class Volume(NamedTuple):
    """A file or directory of the host, and where a container has it."""

    source: Path
    target: str
    read_only: bool = False


@dataclass(frozen=True)
class Images:
    """A storage of images and containers, all in one directory."""

    directory: Path

    def buildah(self, *words: str | Path) -> str:
        """Run a command of buildah that must succeed, and return its output."""
        return done(*self.words(*words), TMPDIR=str(self.directory)).strip()

    def words(self, *words: str | Path) -> list[str | Path]:
        """Return a command of buildah in full."""
        places = (f"--root={self.directory}/storage", f"--runroot={self.directory}/run")
        return ["buildah", *places, "--storage-driver=vfs", *words]

    def settings(self, image: str) -> Mapping[str, Any]:
        """Return an image's settings, such as `Entrypoint`."""
        said = json.loads(self.buildah("inspect", "--type=image", image))
        return cast("Mapping[str, Any]", said["OCIv1"]["config"])

    def container(self, image: str, *options: str) -> "Container":
        """Make a container, in which there is no shell, and a /run as Podman's `--read-only` makes it."""
        name = self.buildah("from", "--quiet", *options, image)
        root = Path(self.buildah("mount", name))
        owner = (root / "usr").stat()
        os.chown(root, owner.st_uid, owner.st_gid)  # buildah maps the owners of all but this
        for shell in SHELLS:
            (root / "usr/bin" / shell).unlink(missing_ok=True)
        (root / "run").chmod(0o1777)
        return Container(self, name, root)


@contextmanager
def storage() -> Generator[Images]:
    """Make a storage, in memory if there is enough, which is quicker; it ends with the block."""
    roomy = MEMORY.exists() and shutil.disk_usage(MEMORY).free > ENOUGH
    with TemporaryDirectory(prefix="oft-images-", dir=MEMORY if roomy else None) as name:
        Path(name).chmod(0o711)  # root of a user namespace goes through it
        yield Images(Path(name))


@dataclass(frozen=True)
class Container:
    """A container. `root`: where its files are."""

    images: Images
    name: str
    root: Path

    def command(
        self,
        words: Sequence[str],
        volumes: Sequence[Volume] = (),
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> list[str | Path]:
        """Return the command that runs something in it, its root read-only.

        `user`: instead of the image's.
        """
        for volume in volumes:
            self._make(self.root / volume.target.lstrip("/"), directory=volume.source.is_dir())
        options = [f"--user={user}"] if user else []
        options += [f"--env={name}={value}" for name, value in (environment or {}).items()]
        for source, target, read_only in volumes:
            options.append(f"--volume={source}:{target}:{'ro' if read_only else 'rw'}")
        run = self.images.words("run", "--isolation=chroot", *options, self.name, "--", *words)
        return [*APART, "sh", "-ec", READ_ONLY, self.root, *run]

    def run(
        self,
        words: Sequence[str],
        volumes: Sequence[Volume] = (),
        environment: Mapping[str, str] | None = None,
        user: str | None = None,
    ) -> Completed:
        """Run something in it to its end, whatever that is."""
        command = self.command(words, volumes, environment, user)
        return run(*command, inherited=self.environment)

    @property
    def environment(self) -> dict[str, str]:
        """Return the environment of buildah."""
        return os.environ | {"TMPDIR": str(self.images.directory)}

    def _make(self, place: Path, *, directory: bool) -> None:
        """Make what is mounted on, if it isn't there; it belongs to the container's root."""
        if place.exists():
            return
        self._make(place.parent, directory=True)
        if directory:
            place.mkdir(mode=0o755)
        else:
            place.touch(mode=0o644)
        owner = self.root.stat()
        os.chown(place, owner.st_uid, owner.st_gid)


@contextmanager
def running(
    command: Sequence[str | Path], log: Path, environment: Mapping[str, str]
) -> Generator[subprocess.Popen[bytes]]:
    """Run a container's command meanwhile."""
    with log.open("ab") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()

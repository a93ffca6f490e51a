"""docs/containers.md and the files in docs/container: how they run the image, in terms of buildah.

Volumes are made as the engines make them: with what a daemon asks of owners and modes, that is the point.
"""

import os
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from containers import Container, Volume, yaml_documents
from emulators import CLIENT_ID, PASSWORD, USERNAME, RunningEmulator
from fenced import ROOT, in_section
from processes import Completed

DOCUMENT: Final = ROOT / "docs/containers.md"
COMPOSE: Final = ROOT / "docs/container/compose.yaml"
KUBERNETES: Final = ROOT / "docs/container/kubernetes.yaml"
IMAGE: Final = "openfit-tokend"


@dataclass(frozen=True)
class Run:
    """How a container is run. `user` None: as the image's."""

    container: Container
    words: Sequence[str]
    volumes: Sequence[Volume]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])
    user: str | None = None

    def command(self) -> list[str | Path]:
        """Return the command that does it."""
        return self.container.command(self.words, self.volumes, self.environment, self.user)

    def ended(self, *words: str) -> Completed:
        """Run it, or other words in its place, to the end."""
        words = words or tuple(self.words)
        return self.container.run(words, self.volumes, self.environment, self.user)

    def volume(self, target: str) -> Path:
        """Return what is mounted there."""
        return next(volume.source for volume in self.volumes if volume.target == target)

    def as_user(self, uid: int, gid: int, *groups: int) -> "Run":
        """Return the same, as another user. (buildah knows no groups beside the user's own.)"""
        given = f"--groups={','.join(map(str, groups))}" if groups else "--clear-groups"
        words = ("setpriv", f"--reuid={uid}", f"--regid={gid}", given, "--no-new-privs")
        return replace(self, words=(*words, *self.words), user="0:0")


def write_files(directory: Path, emulator: RunningEmulator) -> tuple[Path, Path]:
    """Write what the document says beside the compose file."""
    (example,) = in_section(DOCUMENT, "With compose", "toml")
    config, password = directory / "config.toml", directory / "openfit.password"
    config.write_text(_adapted(example.text, emulator))
    password.write_text(PASSWORD)
    password.chmod(0o400)
    return config, password


def compose(name: str, container: Container, directory: Path) -> Run:
    """Return how the compose file runs a service. Its own files, and volumes, are in that directory."""
    (document,) = yaml_documents(COMPOSE)
    service = document["services"][name]
    assert service["read_only"], "here it always is"
    volumes: list[Volume] = []
    for each in service["volumes"]:
        source, target, *mode = each.split(":")
        place = directory / source
        if source in document["volumes"]:
            _make_named_volume(container, target, place)
        volumes.append(Volume(place, target, read_only=mode == ["ro"]))
    for secret in service.get("secrets", ()):
        file = directory / document["secrets"][secret]["file"]
        volumes.append(Volume(file, f"/run/secrets/{secret}", read_only=True))
    words = service.get("entrypoint") or _entrypoint(container)
    run = Run(container, words, volumes, service.get("environment", {}))
    if "user" not in service:
        return run
    uid, gid = map(int, service["user"].split(":"))
    return run.as_user(uid, gid, *map(int, service["group_add"]))


def health_check() -> list[str]:
    """Return what the compose file runs to see whether all is well."""
    (document,) = yaml_documents(COMPOSE)
    kind, *words = document["services"]["openfit-tokend"]["healthcheck"]["test"]
    assert kind == "CMD"
    return [str(word) for word in words]


@dataclass(frozen=True)
class Pod:
    """How the Kubernetes file runs the daemon and the job, and how it probes the daemon."""

    daemon: Run
    job: Run
    probe: Sequence[str]


@contextmanager
def pod(first: Container, second: Container, emulator: RunningEmulator) -> Generator[Pod]:
    """Make the volumes of a pod, as the kubelet does."""
    settings, secret, deployment = yaml_documents(KUBERNETES)
    files = {
        "config.toml": _adapted(settings["data"]["config.toml"], emulator),
        **dict.fromkeys(secret["stringData"], PASSWORD),
    }
    spec = deployment["spec"]["template"]["spec"]
    group = spec["securityContext"]["fsGroup"]
    (sidecar,), (job,) = spec["initContainers"], spec["containers"]
    user = job["securityContext"]
    with TemporaryDirectory(prefix="oft-") as name:
        Path(name).chmod(0o755)
        for each in spec["volumes"]:
            _make_pods_volume(each, files, group, Path(name) / each["name"])
        asking = _in_pod(second, job, job["command"], Path(name))
        yield Pod(
            _in_pod(first, sidecar, _entrypoint(first), Path(name)),
            asking.as_user(user["runAsUser"], user["runAsGroup"], group),
            sidecar["startupProbe"]["exec"]["command"],
        )


def _in_pod(
    container: Container, said: Mapping[str, Any], words: Sequence[str], directory: Path
) -> Run:
    assert said["securityContext"]["readOnlyRootFilesystem"], "here it always is"
    volumes = [
        Volume(
            directory / each["name"] / each.get("subPath", ""),
            each["mountPath"],
            each.get("readOnly", False),
        )
        for each in said["volumeMounts"]
    ]
    return Run(container, words, volumes, {each["name"]: each["value"] for each in said["env"]})


def _entrypoint(container: Container) -> list[str]:
    return list(container.images.settings(IMAGE)["Entrypoint"])


def _adapted(config: str, emulator: RunningEmulator) -> str:
    """Return an example's configuration with the emulator's values."""
    url = emulator.url
    values = {
        # In a user namespace the emulator's user may be anybody.
        '"production"': f'"custom"\nid_server = "{url}"\napi_url = "{url}/api"'
        '\nloopback_user = "anybody on this machine"',
        '"as given by support@openfit.care"': f'"{CLIENT_ID}"',
        '"service@example.org"': f'"{USERNAME}"',
    }
    for example, value in values.items():
        assert example in config
        config = config.replace(example, value)
    return config


def _make_named_volume(container: Container, target: str, place: Path) -> None:
    """Make a volume as Docker and Podman do, with owner and mode of what the first container has there."""
    if place.exists():
        return
    status = (container.root / target.lstrip("/")).stat()
    place.mkdir()
    place.chmod(status.st_mode & 0o7777)
    os.chown(place, status.st_uid, status.st_gid)


def _make_pods_volume(
    said: Mapping[str, Any], files: Mapping[str, str], group: int, place: Path
) -> None:
    """Make a volume as the kubelet does: in memory, with files behind links, all for the pod's group."""
    place.mkdir()
    if "projected" in said:
        now = place / "..2026"
        now.mkdir()
        for name, text in files.items():
            (now / name).write_text(text)
            (now / name).chmod(said["projected"]["defaultMode"] | 0o440)
            (place / name).symlink_to(f"..data/{name}")
        (place / "..data").symlink_to(now.name)
        now.chmod(0o2755)
    else:
        assert said["emptyDir"]["medium"] == "Memory"
    place.chmod(0o3777)
    for each in (place, *place.rglob("*")):
        os.chown(each, 0, group, follow_symlinks=False)

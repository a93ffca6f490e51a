"""What is in wheel and sdist: all that it takes, and nothing else."""

import os
import re
import tarfile
import zipfile
from collections.abc import Iterator
from email.message import Message
from email.parser import Parser
from pathlib import Path

import pytest

from fenced import ROOT
from openfit_token import __version__
from packages import Built, build, unpack

STEM = f"openfit_tokend-{__version__}"
INFO = f"{STEM}.dist-info"
BESIDE_CODE = {
    "openfit_token/py.typed",
    "openfit_tokend/py.typed",
    "openfit_emulator/demo/script.sh",
    "openfit_tokend/systemd/config.toml.example",
    "openfit_tokend/systemd/system/openfit-tokend-credential.socket",
    "openfit_tokend/systemd/system/openfit-tokend-http.socket",
    "openfit_tokend/systemd/system/openfit-tokend.service",
    "openfit_tokend/systemd/system/openfit-tokend.socket",
    "openfit_tokend/systemd/sysusers.d/openfit-tokend.conf",
    "openfit_tokend/systemd/tmpfiles.d/openfit-tokend.conf",
    "openfit_tokend/systemd/user/openfit-tokend.service",
    "openfit_tokend/systemd/user/openfit-tokend.socket",
    f"{STEM}.data/data/share/doc/openfit-tokend/Caddyfile",
    f"{STEM}.data/data/share/doc/openfit-tokend/alerts.yml",
    f"{STEM}.data/data/share/doc/openfit-tokend/grafana.json",
    f"{STEM}.data/data/share/doc/openfit-tokend/nginx.conf",
    f"{STEM}.data/data/share/doc/openfit-tokend/openfit-hub.conf",
    f"{STEM}.data/data/share/doc/openfit-tokend/openfit.postman_collection.json",
    f"{STEM}.data/data/share/doc/openfit-tokend/openfit.postman_environment.json",
    f"{STEM}.data/data/share/doc/openfit-tokend/openfit-token-hub.service",
    f"{STEM}.data/data/share/man/man1/openfit-token.1",
    f"{STEM}.data/data/share/man/man5/openfit-tokend.toml.5",
    f"{STEM}.data/data/share/man/man7/openfit-tokend-protocol.7",
    f"{STEM}.data/data/share/man/man8/openfit-tokend.8",
    f"{STEM}.data/scripts/openfit-token",
    f"{INFO}/METADATA",
    f"{INFO}/RECORD",
    f"{INFO}/WHEEL",
    f"{INFO}/entry_points.txt",
    f"{INFO}/licenses/LICENSE",
}


def in_wheel(built: Built) -> set[str]:
    with zipfile.ZipFile(built.wheel) as archive:
        assert archive.testzip() is None
        return set(archive.namelist())


def in_sdist(built: Built) -> set[str]:
    with tarfile.open(built.sdist) as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {STEM}
        return {name.partition("/")[2] for name in archive.getnames()}


def sources(*parts: str) -> Iterator[Path]:
    """Return the sources' paths in this tree."""
    for part in parts:
        for path in (ROOT / part).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                yield path.relative_to(ROOT)


def test_the_wheel_has_all_our_modules_and_just_these_files_beside_them(built: Built) -> None:
    """No test of ours either: `openfit_token.testing` is what other people's tests use."""
    packages = {
        "client": "openfit_token",
        "daemon": "openfit_tokend",
        "emulator": "openfit_emulator",
    }
    modules = {
        str(path.relative_to(part))
        for part in packages
        for path in sources(part)
        if path.suffix == ".py"
    }

    assert {name.partition("/")[0] for name in modules} == {*packages.values()}
    assert in_wheel(built) == modules | BESIDE_CODE


def test_the_sdist_has_all_it_takes_to_build_test_and_read_it(built: Built) -> None:
    parts = (".ci", "benchmarks", "client", "daemon", "debian", "docs", "emulator", "tests")
    wanted = {str(path) for path in sources(*parts)}
    wanted |= {p.name for p in ROOT.iterdir() if p.suffix in {".md", ".py", ".toml"}} | {"LICENSE"}

    assert in_sdist(built) - {".gitignore", "PKG-INFO"} - in_systemd(built) == wanted


def in_systemd(built: Built) -> set[str]:
    """Return the units' names in the sdist, where the link has become a directory."""
    return {name for name in in_sdist(built) if name.startswith("daemon/openfit_tokend/systemd/")}


def test_the_sdist_builds_the_same_packages_wherever_whenever_and_by_whomever(
    built: Built, tmp_path: Path
) -> None:
    tree = unpack(built.sdist, tmp_path)
    for path in tree.rglob("*"):
        path.chmod(path.stat().st_mode & ~0o077)
        os.utime(path, (1_750_000_001, 1_750_000_001))
    umask = os.umask(0o077)
    try:
        again = build(tree, tmp_path, TZ="X11")
    finally:
        os.umask(umask)

    assert again.wheel.read_bytes() == built.wheel.read_bytes()
    assert again.sdist.read_bytes() == built.sdist.read_bytes()


@pytest.mark.parametrize("document", ["hub.md", "proxy.md"])
def test_what_a_document_copies_is_where_it_says_in_both_packages(document: str) -> None:
    text = (ROOT / "docs" / document).read_text()
    names = re.findall(r"# cp /opt/openfit-tokend/share/doc/openfit-tokend/(\S+)", text)
    patterns = (ROOT / "debian/openfit-tokend.examples").read_text().split()
    in_debian = {path.name for each in patterns for path in ROOT.glob(each)}

    assert names
    assert {*names} <= in_debian
    assert {f"{STEM}.data/data/share/doc/openfit-tokend/{each}" for each in names} <= BESIDE_CODE
    assert "in /usr/share/doc/openfit-tokend/examples instead" in text


@pytest.fixture(scope="module")
def metadata(built: Built) -> Message:
    with zipfile.ZipFile(built.wheel) as archive:
        return Parser().parsestr(archive.read(f"{INFO}/METADATA").decode())


def test_the_metadata_says_what_pip_and_people_want_to_know(metadata: Message) -> None:
    assert (metadata["Name"], metadata["Version"]) == ("openfit-tokend", __version__)
    assert (metadata["Requires-Python"], metadata["License-Expression"]) == (">=3.11", "MIT")
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload() == (ROOT / "README.md").read_text()


def test_what_is_needed_without_an_extra_is_seven_packages(metadata: Message) -> None:
    needed = metadata.get_all("Requires-Dist") or []

    assert sorted(each.partition(">")[0] for each in needed if "extra ==" not in each) == [
        "anyio",
        "h11",
        "httpcore",
        "httpx",
        "msgpack",
        "platformdirs",
        "sniffio",
    ]

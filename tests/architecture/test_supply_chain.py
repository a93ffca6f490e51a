"""What CI is made of, and what is shipped of others, is known by hash."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PINNED = (ROOT / ".ci/requirements.txt", ROOT / ".ci/tools.txt")
PIN = re.compile(
    r'([a-z0-9.-]+)==([\w.]+)( ; python_version in "[\d. ]+")?((?: --hash=sha256:[0-9a-f]{64})+)'
)


def listed() -> str:
    return "".join(file.read_text() for file in PINNED)


def pins() -> dict[str, str]:
    """Return the version of each name; fail at what is no pin with hashes."""
    text = re.sub(r"^#.*\n", "", listed(), flags=re.MULTILINE).replace(" \\\n   ", "")
    found: dict[str, str] = {}
    for line in text.splitlines():
        match = PIN.fullmatch(line)
        assert match is not None, line
        found[canonicalize_name(match[1])] = match[2]
    return found


def named() -> list[Requirement]:
    """Return what pyproject.toml wants, the project itself aside."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras: dict[str, list[str]] = project["project"]["optional-dependencies"]
    texts = [
        *project["build-system"]["requires"],
        *project["project"]["dependencies"],
        *(each for extra in extras.values() for each in extra),
    ]
    return [each for each in map(Requirement, texts) if each.name != "openfit-tokend"]


def test_all_that_is_wanted_is_pinned_within_its_bounds_by_hash() -> None:
    """If not: .ci/pin."""
    pinned = pins()

    missing = [str(each) for each in named() if canonicalize_name(each.name) not in pinned]
    wrong = [str(each) for each in named() if pinned.get(each.name, "") not in each.specifier]
    assert (missing, wrong) == ([], [])


def test_no_place_to_fetch_from_is_pinned() -> None:
    assert re.findall(r"https?:|--index|--find-links|@", listed()) == []


def test_ci_installs_them_by_hash_before_anything_else_of_an_index() -> None:
    installs = re.findall(r"^[^#\n]*pip install.*$", (ROOT / ".ci/run").read_text(), re.MULTILINE)

    assert "--require-hashes -r .ci/requirements.txt -r .ci/tools.txt" in installs[0]


def test_what_is_shipped_takes_nothing_of_an_index_but_by_hash() -> None:
    """The image, the client in one file, and the Debian package."""
    commands = [
        line
        for name in ("Containerfile", ".ci/build-pyz", "debian/bundle")
        for line in (ROOT / name).read_text().splitlines()
        if re.search(r"pip (install|download) |\"install\"", line)
    ]

    without = re.compile(r"^(?!.*(--require-hashes|--no-index|--no-deps))")
    assert len(commands) == 4
    assert [each for each in commands if without.match(each)] == []


def test_the_release_runs_others_steps_by_hash_and_names_no_place_to_fetch_from() -> None:
    workflow = (ROOT / ".github/workflows/release.yml").read_text()

    steps = re.findall(r"uses: (.+)", workflow)
    pinned = re.compile(r"[\w-]+/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+")
    assert steps
    assert [each for each in steps if not pinned.fullmatch(each)] == []
    assert re.findall(r"https?:|secrets\.", workflow) == []

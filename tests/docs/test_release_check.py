"""The release check finds what keeps a tree from being a release."""

import importlib.machinery
import importlib.util
import re
import shutil
import tarfile
import zipfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from types import ModuleType

import pytest

from processes import done

SCRIPT = Path(__file__).parents[2] / ".ci" / "release-check"


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script, with a tree of its own that is a release."""
    loader = importlib.machinery.SourceFileLoader("release_check", str(SCRIPT))
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    spec = importlib.util.spec_from_loader("release_check", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    for path, text in {
        "CHANGELOG.md": "## [Unreleased]\n\n## [1.2.3] - 2027-01-02\n",
        "docs/generator/man_pages.py": 'DATE: Final = "2027-01-02"\n',
        "debian/changelog": "openfit-tokend (1.2.3-1) unstable; urgency=medium\n",
        "docs/man/a.1": '.TH A 1 "2027-01-02" "openfit-tokend 1.2.3" ""\n',
    }.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "DIST", tmp_path / "dist")
    return module


def test_a_tree_whose_texts_agree_has_no_fault(check: ModuleType) -> None:
    assert list(check.texts("1.2.3")) == []


@pytest.mark.parametrize(
    ("path", "old", "new"),
    [
        ("CHANGELOG.md", "1.2.3", "1.2.2"),
        ("CHANGELOG.md", "2027", "2026"),
        ("docs/man/a.1", "1.2.3", "1.2.2"),
        ("debian/changelog", "1.2.3", "1.2.2"),
    ],
)
def test_a_text_that_names_another_version_or_day_is_named(
    check: ModuleType, tmp_path: Path, path: str, old: str, new: str
) -> None:
    (tmp_path / path).write_text((tmp_path / path).read_text().replace(old, new))

    assert list(check.texts("1.2.3")) != []


def test_the_tag_belongs_to_the_commit_after_it_was_made_and_not_before(
    check: ModuleType, tmp_path: Path
) -> None:
    def git(*words: str) -> None:
        identity = ("-c", "user.name=a", "-c", "user.email=a@example.org")
        done("git", *identity, *words, directory=tmp_path)

    git("init")
    assert list(check.tree("1.2.3", tagged=False)) == ["git: not all is committed"]
    git("add", "-A")
    git("commit", "-m", "all")
    assert list(check.tree("1.2.3", tagged=False)) == []
    assert list(check.tree("1.2.3", tagged=True)) != []
    git("tag", "-a", "v1.2.3", "-m", "it")
    assert list(check.tree("1.2.3", tagged=True)) == []
    assert list(check.tree("1.2.3", tagged=False)) == ["git: there is v1.2.3 already"]


def test_what_only_an_owner_can_give_is_named_and_with_it_an_index_is_told_all(
    check: ModuleType, tmp_path: Path
) -> None:
    """That is in one file, pyproject.toml."""
    tree = SCRIPT.parents[1]
    for name in ("LICENSE", "README.md", "hatch_build.py", "client/openfit_token/__init__.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(tree / name, tmp_path / name)
    project = (tree / "pyproject.toml").read_text()
    missing = re.sub(r'^repository = ".*"', 'repository = ""', project, flags=re.MULTILINE)
    missing = re.sub(r'authors", email = ".*"', 'authors"', missing)
    (tmp_path / "pyproject.toml").write_text(missing)

    faults: Iterator[str] = check.metadata()
    assert list(islice(faults, 2)) == [
        'pyproject.toml: repository is "": put its public address there',
        "pyproject.toml: no author has an email: SECURITY.md sends reports of vulnerabilities there",
    ]
    if importlib.util.find_spec("pyroma") is None:
        pytest.skip("pyroma isn't installed: pip install '.[release]'")

    told = missing.replace('repository = ""', 'repository = "https://example.org/it"')
    told = told.replace('authors" }]', 'authors", email = "us@example.org" }]')
    (tmp_path / "pyproject.toml").write_text(told)
    assert list(check.metadata()) == []


def test_the_checksums_are_those_of_all_files_of_the_version(
    check: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "dist").mkdir()
    stem = "openfit_tokend-1.2.3"
    names = [
        "openfit-token.pyz",
        "openfit-tokend_1.2.3-1_amd64.deb",
        f"{stem}-py3-none-any.whl",
        f"{stem}.cdx.json",
        f"{stem}.tar.gz",
    ]
    others = (
        "openfit_tokend-1.2.30.tar.gz",
        "openfit_tokend-1.2.2.tar.gz",
        "openfit-tokend_1.2.30-1_amd64.deb",
    )
    for name in [*names, *others]:
        (tmp_path / "dist" / name).write_text(name)

    check.checksums("1.2.3")

    verified = done("sha256sum", "--check", "SHA256SUMS", directory=tmp_path / "dist")
    assert verified.splitlines() == [f"{name}: OK" for name in names]


def test_what_a_package_lacks_or_has_too_much_is_named(check: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "dist").mkdir()
    stem = "openfit_tokend-1.2.3"
    names = [each.format(data=f"{stem}.data", info=f"{stem}.dist-info") for each in check.IN_WHEEL]
    with zipfile.ZipFile(tmp_path / "dist" / f"{stem}-py3-none-any.whl", "w") as archive:
        for name in [*names[1:], "tests/a.py", "openfit_token/__pycache__/a.pyc"]:
            archive.writestr(name, "")
    with tarfile.open(tmp_path / "dist" / f"{stem}.tar.gz", "w:gz") as archive:
        for name in [*check.IN_SDIST[1:], ".env"]:
            archive.addfile(tarfile.TarInfo(f"{stem}/{name}"))

    found = [*check.wheel("1.2.3"), *check.sdist("1.2.3")]

    assert [each.split(": ")[1] for each in found] == [
        f"has no {names[0]}",
        "should not have tests/a.py",
        "should not have openfit_token/__pycache__/a.pyc",
        f"has no {check.IN_SDIST[0]}",
        "should not have .env",
    ]

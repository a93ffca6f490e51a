"""What an index is told of where the project lives, and where the links of its README lead."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypedDict

import pytest

from fenced import ROOT
from openfit_token import __version__
from processes import done

HOME = "https://example.org/openfit-tokend"
FILES = f"{HOME}/blob/v{__version__}/"
PICTURES = f"{HOME}/raw/v{__version__}/"
LINK = re.compile(r"(!?)\[[^]]*\]\(([^)]+)\)")


class _Told(TypedDict):
    """The part of the metadata that is of interest here."""

    readme: dict[str, str]
    urls: dict[str, str]


@pytest.fixture
def told(tmp_path: Path) -> Callable[[str], _Told]:
    """Return what the metadata says once `repository` is this."""

    def tell(repository: str) -> _Told:
        for name in ("LICENSE", "README.md", "hatch_build.py", "client/openfit_token/__init__.py"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
        project = (ROOT / "pyproject.toml").read_text()
        own, number = re.subn(
            r'^repository = ".*"', f'repository = "{repository}"', project, flags=re.MULTILINE
        )
        assert number == 1
        (tmp_path / "pyproject.toml").write_text(own)
        words = (sys.executable, "-m", "hatchling", "metadata")
        metadata: _Told = json.loads(done(*words, directory=tmp_path))
        return metadata

    return tell


def test_each_link_of_the_readme_leads_to_a_file_of_this_version_or_elsewhere(
    told: Callable[[str], _Told],
) -> None:
    before = LINK.findall((ROOT / "README.md").read_text())
    after = LINK.findall(told(HOME)["readme"]["text"])

    expected = [
        link if link.startswith(("https:", "#")) else f"{PICTURES if picture else FILES}{link}"
        for picture, link in before
    ]
    assert [link for _, link in after] == expected
    assert sum(link.startswith(FILES) for link in expected) > 10


def test_the_urls_lead_to_the_repository(told: Callable[[str], _Told]) -> None:
    urls = told(HOME)["urls"]

    assert urls["Source"] == HOME
    assert [url for url in urls.values() if not url.startswith(HOME)] == []
    files = [url.removeprefix(FILES) for url in urls.values() if url.startswith(FILES)]
    assert files
    assert [file for file in files if not (ROOT / file).is_file()] == []


def test_without_an_address_the_readme_is_as_it_is_and_no_url_is_invented(
    told: Callable[[str], _Told],
) -> None:
    metadata = told("")

    assert metadata["readme"]["text"] == (ROOT / "README.md").read_text()
    assert metadata.get("urls", {}) == {}

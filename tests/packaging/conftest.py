"""The packages, built once from this tree."""

from pathlib import Path

import pytest

from fenced import ROOT
from packages import Built, build, unpack


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Build this tree's packages."""
    return build(ROOT, tmp_path_factory.mktemp("built"))


@pytest.fixture(scope="session")
def tree(built: Built, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the sources as they are released."""
    return unpack(built.sdist, tmp_path_factory.mktemp("unpacked"))

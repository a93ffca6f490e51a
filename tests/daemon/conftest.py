import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from emulators import one_emulator
from openfit_tokend.serving.driver import ServingLoop
from openfit_tokend.storage.ledger_file import LedgerFile


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """The daemon runs on a loop of its own, which is asyncio's."""
    return "asyncio", {"loop_factory": ServingLoop}


emulator = pytest.fixture(one_emulator)


@pytest.fixture
def file(tmp_path: Path) -> LedgerFile:
    """Where the ledgers are written."""
    return LedgerFile(tmp_path / "state" / "ledger.json")


@pytest.fixture
def warnings(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> Iterator[pytest.LogCaptureFixture]:
    """What is logged from now on."""
    monkeypatch.setattr(logging.getLogger("openfit_tokend"), "propagate", True)
    with caplog.at_level(logging.WARNING, "openfit_tokend"):
        yield caplog

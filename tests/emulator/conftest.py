from collections.abc import Iterator

import httpx
import pytest

from emulators import RunningEmulator, client, one_emulator

emulator = pytest.fixture(one_emulator)


@pytest.fixture
def web(emulator: RunningEmulator) -> Iterator[httpx.Client]:
    """A client of the emulator."""
    with client(emulator) as web:
        yield web

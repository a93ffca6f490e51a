import pytest

from emulators import one_emulator

emulator = pytest.fixture(one_emulator)

import pytest


@pytest.fixture
def anyio_backend() -> str:
    """The daemon runs on asyncio: its server's loop is driven by it."""
    return "asyncio"

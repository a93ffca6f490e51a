import pytest

from openfit_tokend.io.driver import ServingLoop


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, object]]:
    """The daemon runs on a loop of its own, which is asyncio's."""
    return "asyncio", {"loop_factory": ServingLoop}

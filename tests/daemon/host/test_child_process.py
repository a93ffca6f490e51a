"""Programs that the configuration names: nobody is left behind."""

import os
from pathlib import Path

import anyio
import pytest
from anyio.lowlevel import checkpoint

from openfit_tokend.host.child_process import Commands


def children() -> set[str]:
    """Return the numbers of this thread's children, dead ones that nobody waited for included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.mark.parametrize("turns", range(12))
async def test_one_that_is_cancelled_while_it_starts_is_buried(turns: int) -> None:
    before = children()

    async def run() -> None:
        async with Commands().started(("sleep", "60"), {}, heard="stdout"):
            await anyio.sleep_forever()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        for _ in range(turns):
            await checkpoint()
        tasks.cancel_scope.cancel()

    assert children() <= before

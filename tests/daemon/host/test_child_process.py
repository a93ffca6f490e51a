"""Programs that the configuration names: judged before they start, and nobody is left behind."""

import os
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import Process
from anyio.lowlevel import checkpoint

from daemons import needs_root
from openfit_tokend.host.child_process import Commands, judged_program
from openfit_tokend.host.regular_file import Unusable
from others import EVE


def children() -> set[str]:
    """Return the numbers of this thread's children, dead ones that nobody waited for included."""
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program in a directory of its own."""
    path = tmp_path / "bin" / "program"
    path.parent.mkdir(mode=0o755)
    path.write_text("#!/bin/sh\necho it ran\n")
    path.chmod(0o755)
    return path


async def output_of(*argv: str) -> bytes:
    output = bytearray()

    def take(chunk: bytes) -> bool:
        output.extend(chunk)
        return True

    async with Commands().started(argv, {}, heard="stdout") as running:
        await running.finish(take)
    return bytes(output)


async def test_a_program_is_started_by_its_absolute_path_as_path_says(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its relative parts begin at "/", where a command starts."""
    monkeypatch.setenv("PATH", f":{str(program.parent).removeprefix('/')}:/usr/bin")

    assert judged_program("program") == str(program)
    assert await output_of("program") == b"it ran\n"


def put_a_strangers_link_in_its_place(program: Path) -> None:
    program.rename(program.with_name("real"))
    program.symlink_to("real")
    os.chown(program, EVE, EVE, follow_symlinks=False)


@needs_root
async def test_what_others_can_exchange_is_not_started_whatever_it_was_before(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin")
    assert await output_of("program") == b"it ran\n"
    put_a_strangers_link_in_its_place(program)

    for name in (str(program), "program"):
        with pytest.raises(Unusable) as caught:
            await output_of(name)
        assert caught.value.message == f"belongs to {EVE}, not to root"
        assert caught.value.hint


def test_one_that_others_can_exchange_is_not_passed_over_for_another_of_its_name(
    program: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program.with_name("true").symlink_to("program")
    program.chmod(0o777)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin")

    with pytest.raises(Unusable, match="can be written by everybody"):
        judged_program("true")


@pytest.mark.parametrize("turns", range(12))
async def test_one_that_is_cancelled_while_it_starts_is_buried(
    turns: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, judged, start = children(), anyio.Event(), anyio.open_process

    async def noted(*args: Any, **kwargs: Any) -> Process:  # noqa: ANN401 -- as they are
        judged.set()
        return await start(*args, **kwargs)

    async def run() -> None:
        async with Commands().started(("sleep", "60"), {}, heard="stdout"):
            await anyio.sleep_forever()

    monkeypatch.setattr(anyio, "open_process", noted)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await judged.wait()
        for _ in range(turns):
            await checkpoint()
        tasks.cancel_scope.cancel()

    assert children() <= before

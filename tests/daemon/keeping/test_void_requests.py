"""Requests that a newer one took the place of: those that weren't sent end at once."""

from contextlib import ExitStack
from pathlib import Path

from anyio import get_running_tasks, to_thread

from daemons import Wire, profile, request
from emulators import running_emulator
from inside import daemon_inside

PAIRS = 300
BATCH = 20
SOME = 40
"""Tasks of a daemon at work, and some more; far fewer than one for each pair."""


async def test_logins_and_logouts_in_turn_leave_none_waiting_for_the_password_but_the_newest(
    tmp_path: Path,
) -> None:
    slow = {"password_file": "", "password_command": '["sleep", "1000"]'}
    with running_emulator() as emulator, ExitStack() as stack:
        async with daemon_inside(tmp_path, profile(emulator.url, **slow)) as daemon:
            wire = stack.enter_context(Wire(daemon.socket))
            pair = request(1, "login", wait=0) + request(2, "logout")
            for _ in range(PAIRS // BATCH):
                wire.send(pair * BATCH)
                await to_thread.run_sync(wire.answers, 2 * BATCH)

            assert len(get_running_tasks()) < SOME
            assert emulator.state().login_requests == 0
        assert "internal_fault" not in daemon.log()

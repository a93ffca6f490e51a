"""Runs the command that prints a password: bounded in time and output."""

import os
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from openfit_token.errors import SecretUnavailable
from openfit_tokend.core.settings import PasswordCommand
from openfit_tokend.io.child_process import (
    LINGER,
    Unstartable,
    collect_end,
    ending,
    kill,
    shown,
    started,
)

TIME_LIMIT: Final = 30.0
"""Seconds for the whole command; it may have to unlock something, but nobody sits there."""
MAX_OUTPUT: Final = 4096
"""Bytes: ten times what a password of 100 characters can take."""


async def output_of(command: PasswordCommand, time_limit: float = TIME_LIMIT) -> bytes:
    """Run the command, without a shell and with nothing to read, and return what it prints.

    When it takes too long, prints too much, or the caller is cancelled, its process group is
    killed. The output may be a secret: no error ever has it.

    Raises:
        SecretUnavailable: it can't be started, failed, printed too much or took too long; with
            the end of its error output.
    """
    what = f"password_command {command.argv[0]}"
    kept = {name: os.environ[name] for name in command.environment if name in os.environ}
    output, complaint = bytearray(), bytearray()
    try:
        async with started(command.argv, kept) as process:
            with anyio.fail_after(time_limit):
                status = await _finish(process, output, complaint)
    except Unstartable as refused:
        raise SecretUnavailable(f"{what}: {refused.reason}", refused.remedy) from None
    except TimeoutError:
        raise SecretUnavailable(
            f"{what}: took longer than {time_limit:g} s and was killed{_told(complaint, output)}",
            "run it by hand as the daemon's user; it must not ask for anything",
        ) from None
    if len(output) > MAX_OUTPUT:
        raise SecretUnavailable(
            f"{what}: printed more than {MAX_OUTPUT} bytes and was killed",
            "it has to print the password and nothing else",
        )
    if status != 0:
        raise SecretUnavailable(
            f"{what}: {ending(status)}{_told(complaint, output)}", _remedy(command.environment)
        )
    return bytes(output)


def _remedy(environment: tuple[str, ...]) -> str:
    by_hand = "run it by hand as the daemon's user"
    unset = [name for name in environment if name not in os.environ]
    if not unset:
        return by_hand
    return f"{by_hand}; not set where the daemon was started: {', '.join(unset)}"


async def _finish(process: Process, output: bytearray, complaint: bytearray) -> int:
    """Collect what the process writes until it has ended, and give its status."""
    assert process.stdout is not None  # noqa: S101 -- it was started so
    assert process.stderr is not None  # noqa: S101 -- the same
    async with anyio.create_task_group() as readers:
        readers.start_soon(_collect, process, process.stdout, output)
        readers.start_soon(collect_end, process.stderr, complaint)
        await process.wait()
        readers.cancel_scope.deadline = anyio.current_time() + LINGER
    return await process.wait()


async def _collect(process: Process, stream: ByteReceiveStream, output: bytearray) -> None:
    async for chunk in stream:
        output += chunk
        if len(output) > MAX_OUTPUT:
            kill(process)
            return


def _told(complaint: bytearray, output: bytearray) -> str:
    """Give the end of the error output for a message, unless it repeats the output (`sh -x`)."""
    printed = complaint.decode(errors="replace")
    words = output.decode(errors="replace").split()
    return "" if any(word in printed for word in words) else shown(complaint)

"""Runs the command that prints a password: bounded in time and output."""

import os
from typing import Final

import anyio

from openfit_tokend.core.settings.values import PasswordCommand
from openfit_tokend.host.child_process import Commands, ending
from openfit_tokend.host.regular_file import Unusable

TIME_LIMIT: Final = 30.0
"""Seconds for the whole command. It may have to unlock something, but nobody is there to type."""
MAX_OUTPUT: Final = 4096
"""Bytes: ten times what a password of 100 characters can take."""


async def output_of(
    command: PasswordCommand, commands: Commands, time_limit: float = TIME_LIMIT
) -> bytes:
    """Run the command, without a shell and without input, and return what it prints.

    When it takes too long, prints too much, or the caller is cancelled, its process group is
    killed. No error repeats its output or error output: either may hold the secret, as a shell's
    trace does.

    Raises:
        Unusable: it can't be started, failed, printed too much or took too long.
    """
    kept = {name: os.environ[name] for name in command.environment if name in os.environ}
    output, status = bytearray(), None

    def take(chunk: bytes) -> bool:
        output.extend(chunk)
        if len(output) <= MAX_OUTPUT:
            return True
        running.kill()
        return False

    async with commands.started(command.argv, kept, heard="stdout") as running:
        with anyio.move_on_after(time_limit):
            status = await running.finish(take)
    if len(output) > MAX_OUTPUT:
        raise Unusable(
            f"printed more than {MAX_OUTPUT} bytes and {running.fate()}",
            "it must print the password and nothing else",
        )
    if status is None:
        raise Unusable(
            f"took longer than {time_limit:g} s and {running.fate()}",
            "run it by hand as the daemon's user; it must not ask for anything",
        )
    if status != 0:
        raise Unusable(ending(status), _hint(command.environment))
    return bytes(output)


def _hint(environment: tuple[str, ...]) -> str:
    by_hand = "run it by hand as the daemon's user"
    unset = [name for name in environment if name not in os.environ]
    if not unset:
        return by_hand
    return f"{by_hand}; not set where the daemon was started: {', '.join(unset)}"

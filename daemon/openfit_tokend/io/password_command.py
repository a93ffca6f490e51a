"""Runs the command that prints a password: bounded in time, output and environment."""

import os
import signal
from contextlib import suppress
from subprocess import DEVNULL
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from openfit_token.errors import SecretUnavailable

TIME_LIMIT: Final = 30.0
"""Seconds for the whole command; it may have to unlock something, but nobody sits there."""
LINGER: Final = 1.0
"""Seconds in which the pipes are read on after the command's end: a child that it left in the
background (an agent, a shared connection) may hold them open for ever."""
DEATH_LIMIT: Final = 2.0
"""Seconds that a killed command is waited for. One that can't be killed (another user's, as with
sudo, or on a dead disk) must not hold the daemon up."""
MAX_OUTPUT: Final = 4096
"""Bytes: ten times what a password of 100 characters can take."""
MAX_COMPLAINT: Final = 300
"""Characters of the command's last error lines that stand in our error."""
KEPT_STDERR: Final = 4096
"""Bytes of the error output that are kept: its end, where the reason stands."""

ENVIRONMENT: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC"),
    *("LC_TIME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "GNUPGHOME", "PASSWORD_STORE_DIR"),
    "CREDENTIALS_DIRECTORY",
)
"""All that a command is given of the daemon's environment. The rest may hold passwords, and
systemd's sockets, which are the daemon's own."""


async def output_of(argv: tuple[str, ...], time_limit: float = TIME_LIMIT) -> bytes:
    """Run the command, without a shell and with nothing to read, and give what it prints.

    When it takes too long, prints too much, or the caller is cancelled, its process group is
    killed. The output may be a secret: no error ever has it.

    Raises:
        SecretUnavailable: it can't be started, failed, printed too much or took too long; with
            the end of its error output.
    """
    what = f"password_command {argv[0]}"
    output, complaint = bytearray(), bytearray()
    process = await _start(what, argv)
    try:
        with anyio.fail_after(time_limit):
            status = await _finish(process, output, complaint)
    except TimeoutError:
        raise SecretUnavailable(
            f"{what}: took longer than {time_limit:g} s and was killed{_told(complaint, output)}",
            "run it by hand as the daemon's user; it must not ask for anything",
        ) from None
    finally:
        await _bury(process)
    if len(output) > MAX_OUTPUT:
        raise SecretUnavailable(
            f"{what}: printed more than {MAX_OUTPUT} bytes and was killed",
            "it has to print the password and nothing else",
        )
    if status != 0:
        raise SecretUnavailable(
            f"{what}: {_ending(status)}{_told(complaint, output)}",
            "run it by hand as the daemon's user",
        )
    return bytes(output)


async def _start(what: str, argv: tuple[str, ...]) -> Process:
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    try:
        return await anyio.open_process(
            argv, stdin=DEVNULL, cwd="/", env=environment, start_new_session=True
        )
    except FileNotFoundError:
        hint = "write its absolute path, or set $PATH where the daemon is started"
        raise SecretUnavailable(f"{what}: there is no such program", hint) from None
    except PermissionError:
        hint = "make it executable for the daemon's user"
        raise SecretUnavailable(f"{what}: may not be executed", hint) from None
    except OSError as error:
        hint = "run it by hand as the daemon's user"
        raise SecretUnavailable(f"{what}: can't be started: {error.strerror}", hint) from None


async def _finish(process: Process, output: bytearray, complaint: bytearray) -> int:
    """Collect what the process writes until it has ended, and give its status."""
    assert process.stdout is not None  # noqa: S101 -- open_process makes pipes by default
    assert process.stderr is not None  # noqa: S101 -- the same
    async with anyio.create_task_group() as readers:
        readers.start_soon(_collect, process, process.stdout, output)
        readers.start_soon(_collect_end, process.stderr, complaint)
        await process.wait()
        readers.cancel_scope.deadline = anyio.current_time() + LINGER
    return await process.wait()


async def _collect(process: Process, stream: ByteReceiveStream, output: bytearray) -> None:
    async for chunk in stream:
        output += chunk
        if len(output) > MAX_OUTPUT:
            _kill(process)
            return


async def _collect_end(stream: ByteReceiveStream, complaint: bytearray) -> None:
    async for chunk in stream:
        complaint += chunk
        del complaint[:-KEPT_STDERR]


def _kill(process: Process) -> None:
    """Kill the process and all of its group that still live."""
    with suppress(ProcessLookupError, PermissionError):  # it has just ended; it is another user's
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the group has its number


async def _bury(process: Process) -> None:
    """Kill the process if it still runs, wait for its end and close its pipes."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            _kill(process)
            with anyio.move_on_after(DEATH_LIMIT):
                await process.wait()
        if process.returncode is not None:  # else aclose would wait for ever
            await process.aclose()


def _ending(status: int) -> str:
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-status}"


def _told(complaint: bytearray, output: bytearray) -> str:
    """Give the end of the error output for a message, unless it repeats the output (`sh -x`)."""
    printed = complaint.decode(errors="replace")
    words = output.decode(errors="replace").split()
    if any(word in printed for word in words):
        return ""
    shown = "".join(c if c.isprintable() else " " for c in printed)
    shown = " ".join(shown.split())
    if len(shown) > MAX_COMPLAINT:
        shown = f"… {shown[-MAX_COMPLAINT:]}"
    return f": {shown}" if shown else ""

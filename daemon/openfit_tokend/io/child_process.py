"""Programs that the configuration names: no shell, a clean environment, nobody left behind."""

import os
import signal
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from subprocess import DEVNULL, PIPE
from typing import Final

import anyio
from anyio.abc import ByteReceiveStream, Process

from openfit_token.one_line import one_line

LINGER: Final = 1.0
"""Seconds in which the pipes are read on after the command's end: a child that it left in the
background (an agent, a shared connection) may hold them open for ever."""
DEATH_LIMIT: Final = 2.0
"""Seconds that a killed command is waited for. One that can't be killed (another user's, as with
sudo, or on a dead disk) must not hold the daemon up."""
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


class Unstartable(Exception):
    """A command can't be started. `remedy`: what to do."""

    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason, remedy)
        self.reason = reason
        self.remedy = remedy


@asynccontextmanager
async def started(
    argv: tuple[str, ...], extra: Mapping[str, str] | None = None, *, wants_output: bool = True
) -> AsyncGenerator[Process]:
    """Start a command in a session of its own, with nothing to read; at the end it is killed.

    It is given ENVIRONMENT and `extra`, and no descriptor but the first three. With its process
    group dies whatever it left there, unless it has ended itself.

    Raises:
        Unstartable: there is no such program, or it may not be run.
    """
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    process: Process | None = None
    try:
        with anyio.CancelScope(shield=True):  # else one that has just begun is left behind
            process = await anyio.open_process(
                argv,
                stdin=DEVNULL,
                stdout=PIPE if wants_output else DEVNULL,
                cwd="/",
                env=environment | dict(extra or {}),
                start_new_session=True,
            )
    except FileNotFoundError:
        hint = "write its absolute path, or set $PATH where the daemon is started"
        raise Unstartable("there is no such program", hint) from None
    except PermissionError:
        raise Unstartable(
            "may not be executed", "make it executable for the daemon's user"
        ) from None
    except OSError as error:
        reason = f"can't be started: {error.strerror}"
        raise Unstartable(reason, "run it by hand as the daemon's user") from None
    assert process is not None  # noqa: S101 -- a shield swallows nothing
    try:
        yield process
    finally:
        await _bury(process)


async def collect_end(stream: ByteReceiveStream, complaint: bytearray) -> None:
    """Keep the end of what comes, as much as an error may need."""
    async for chunk in stream:
        complaint += chunk
        del complaint[:-KEPT_STDERR]


def kill(process: Process) -> None:
    """Kill the process and all of its group that still live."""
    with suppress(ProcessLookupError, PermissionError):  # it has just ended; it is another user's
        os.killpg(process.pid, signal.SIGKILL)  # a session of its own: the group has its number


def ending(status: int) -> str:
    """Say how a command that failed has ended."""
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-status}"


def shown(complaint: bytearray) -> str:
    """Return the end of an error output as one line, behind a colon; "" if there is none."""
    text = one_line(" ".join(complaint.decode(errors="replace").split()))
    if len(text) > MAX_COMPLAINT:
        text = f"… {text[-MAX_COMPLAINT:]}"
    return f": {text}" if text else ""


async def _bury(process: Process) -> None:
    """Kill the process if it still runs, wait for its end and close its pipes."""
    with anyio.CancelScope(shield=True):
        if process.returncode is None:
            kill(process)
            with anyio.move_on_after(DEATH_LIMIT):
                await process.wait()
        if process.returncode is not None:  # else aclose would wait for ever
            await process.aclose()

"""Programs that the configuration names: no shell, a clean environment, nobody left behind."""

import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from subprocess import DEVNULL
from typing import Final, Literal, final

import anyio
from anyio.abc import Process

LINGER: Final = 1.0
"""Seconds in which the pipe is read on after the command's end: a child that it left in the
background (an agent, a shared connection) may hold it open for ever."""
DEATH_LIMIT: Final = 2.0
"""Seconds that a killed command is waited for. One that can't be killed (another user's, as with
sudo, or on a dead disk) must not hold the daemon up."""
_CHUNK: Final = 4096
"""Bytes read at once."""

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


@final
class Running:
    """A command that runs, and the end of the one pipe that it writes to."""

    def __init__(self, process: Process, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    async def finish(self, take: Callable[[bytes], bool]) -> int:
        """Hand what the command writes to `take`, while that wants more; return its status."""
        async with anyio.create_task_group() as reader:
            reader.start_soon(self._read, take)
            await self._process.wait()
            reader.cancel_scope.deadline = anyio.current_time() + LINGER
        return await self._process.wait()

    def kill(self) -> None:
        """Kill the process and all of its group that still live."""
        with suppress(ProcessLookupError, PermissionError):  # it has just ended; is another user's
            os.killpg(self._process.pid, signal.SIGKILL)  # of a session of its own: has its number

    def fate(self) -> str:
        """Say what became of a command that had to be killed, once it is out of `started`."""
        if self._process.returncode is not None:
            return "was killed"
        return f"can't be killed: process {self._process.pid} still runs"

    async def _read(self, take: Callable[[bytes], bool]) -> None:
        wanted = True
        while wanted:
            await anyio.wait_readable(self._pipe)
            chunk = os.read(self._pipe, _CHUNK)
            wanted = bool(chunk) and take(chunk)


@final
class Commands:
    """The commands of one kind. While one can't be killed there is no second one like it."""

    def __init__(self) -> None:
        self._left: list[tuple[tuple[str, ...], Process]] = []

    @asynccontextmanager
    async def started(
        self,
        argv: tuple[str, ...],
        extra: Mapping[str, str],
        *,
        heard: Literal["stdout", "stderr"],
    ) -> AsyncGenerator[Running]:
        """Start a command in a session of its own, with nothing to read; at the end it is killed.

        It is given ENVIRONMENT and `extra`, and no descriptor but the first three, of which the one
        that is `heard` can be read here. With its process group dies whatever it left there, unless
        it has ended itself.

        Raises:
            Unstartable: there is no such program, it may not be run, or an earlier one lives.
        """
        self._refuse_second(argv)
        try:
            ours, theirs = os.pipe()
        except OSError as error:
            raise _unstartable(error) from None
        try:
            try:
                process = await _begin(argv, extra, heard, theirs)
            finally:
                os.close(theirs)
            running = Running(process, ours)
            try:
                yield running
            finally:
                await _bury(process, running)
                if process.returncode is None:
                    self._left.append((argv, process))
        finally:
            os.close(ours)

    def _refuse_second(self, argv: tuple[str, ...]) -> None:
        self._left = [each for each in self._left if each[1].returncode is None]
        for earlier, process in self._left:
            if earlier == argv:
                raise Unstartable(
                    f"isn't started: an earlier one, process {process.pid}, can't be killed",
                    f"as root: kill -9 {process.pid}, or mend what it waits for",
                )


async def _begin(argv: tuple[str, ...], extra: Mapping[str, str], heard: str, pipe: int) -> Process:
    environment = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    process: Process | None = None
    try:
        with anyio.CancelScope(shield=True):  # else one that has just begun is left behind
            process = await anyio.open_process(
                argv,
                stdin=DEVNULL,
                stdout=pipe if heard == "stdout" else DEVNULL,
                stderr=pipe if heard == "stderr" else DEVNULL,
                cwd="/",
                env=environment | dict(extra),
                start_new_session=True,
            )
    except OSError as error:
        raise _unstartable(error) from None
    assert process is not None  # noqa: S101 -- a shield swallows nothing
    return process


def _unstartable(error: OSError) -> Unstartable:
    match error:
        case FileNotFoundError():
            hint = "write its absolute path, or set $PATH where the daemon is started"
            return Unstartable("there is no such program", hint)
        case PermissionError():
            return Unstartable("may not be executed", "make it executable for the daemon's user")
        case _:
            reason = f"can't be started: {error.strerror}"
            return Unstartable(reason, "run it by hand as the daemon's user")


async def _bury(process: Process, running: Running) -> None:
    """Kill the process if it still runs, and wait for its end, but not for ever."""
    if process.returncode is None:
        with anyio.CancelScope(shield=True):
            running.kill()
            with anyio.move_on_after(DEATH_LIMIT):
                await process.wait()


def ending(status: int) -> str:
    """Say how a command that failed has ended."""
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was ended by signal {-status}"

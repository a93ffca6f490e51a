"""Runs programs named in the configuration: judged, without a shell, in a clean environment.

No process is left behind.
"""

import os
import signal
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from shutil import which
from subprocess import DEVNULL
from typing import Final, Literal, final

import anyio
from anyio.abc import Process

from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.regular_file import Unusable, refuse_writable

LINGER: Final = 1.0
"""Seconds for which the pipe is still read after the command has ended: a child left in the
background (an agent, a shared connection) may hold it open indefinitely."""
DEATH_LIMIT: Final = 2.0
"""Seconds to wait for a killed command to end. One that can't be killed (another user's, as with
sudo, or one waiting for a dead disk) must not hold the daemon up."""
JUDGING: Final = 10.0
"""Seconds to look at a program and its directories before it is started."""
_CHUNK: Final = 4096
"""Bytes read at once."""

ENVIRONMENT: Final = (
    *("PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ"),
    *("LANG", "LANGUAGE", "LC_ALL", "LC_COLLATE", "LC_CTYPE", "LC_MESSAGES", "LC_NUMERIC"),
    *("LC_TIME", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "XDG_DATA_HOME"),
    *("DBUS_SESSION_BUS_ADDRESS", "SSH_AUTH_SOCK", "GNUPGHOME", "PASSWORD_STORE_DIR"),
    "CREDENTIALS_DIRECTORY",
)
"""The variables that a command inherits from the daemon. Others may hold passwords, or refer to
systemd's sockets, which are for the daemon only."""


@final
class Running:
    """A running command, and our end of the pipe that it writes to."""

    def __init__(self, process: Process, pipe: int) -> None:
        self._process = process
        self._pipe = pipe

    async def finish(self, take: Callable[[bytes], bool]) -> int:
        """Pass what the command writes to `take` until that returns False; return its exit status."""
        async with anyio.create_task_group() as reader:
            reader.start_soon(self._read, take)
            await self._process.wait()
            reader.cancel_scope.deadline = anyio.current_time() + LINGER
        return await self._process.wait()

    def kill(self) -> None:
        """Kill the process and whatever still lives in its process group."""
        with suppress(
            ProcessLookupError, PermissionError
        ):  # it has just ended, or is another user's
            os.killpg(
                self._process.pid, signal.SIGKILL
            )  # it leads its own session, so its pid is the group's

    def fate(self) -> str:
        """Say what became of a command that had to be killed. Call it after leaving `started`."""
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
    """The commands of one kind. While one can't be killed, the same command isn't started again."""

    def __init__(self) -> None:
        self._judging = BlockingCalls("program")
        self._left: list[tuple[tuple[str, ...], Process]] = []

    @asynccontextmanager
    async def started(
        self,
        argv: tuple[str, ...],
        extra: Mapping[str, str],
        *,
        heard: Literal["stdout", "stderr"],
    ) -> AsyncGenerator[Running]:
        """Start a command in its own session, without input; kill it on leaving the context.

        Its program is judged by `judged_program` each time. It gets ENVIRONMENT and `extra`, and only
        the first three descriptors, of which the one named by `heard` can be read here. It is killed
        together with its process group, unless it has ended by itself.

        Raises:
            Unusable: there is no such program, it may not be run, others can exchange it, or an earlier
                one still runs.
        """
        self._refuse_second(argv)
        program = await self._judged(argv[0])
        try:
            ours, theirs = os.pipe()
        except OSError as error:
            raise _unstartable(error) from None
        try:
            try:
                process = await _begin((program, *argv[1:]), extra, heard, theirs)
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

    async def _judged(self, program: str) -> str:
        try:
            return await self._judging.run(program, partial(judged_program, program), JUDGING)
        except TimeoutError:
            reason = f"isn't started: no answer within {JUDGING:.0f} s"
            raise Unusable(reason, "the file system that it is on hangs") from None
        except OSError as error:
            raise _unstartable(error) from None

    def _refuse_second(self, argv: tuple[str, ...]) -> None:
        self._left = [each for each in self._left if each[1].returncode is None]
        for earlier, process in self._left:
            if earlier == argv:
                raise Unusable(
                    f"isn't started: an earlier one, process {process.pid}, can't be killed",
                    f"as root: kill -9 {process.pid}, or fix what it waits for",
                )


async def _begin(argv: tuple[str, ...], extra: Mapping[str, str], heard: str, pipe: int) -> Process:
    process: Process | None = None
    try:
        with anyio.CancelScope(shield=True):  # else one that has just started would be left behind
            process = await anyio.open_process(
                argv,
                stdin=DEVNULL,
                stdout=pipe if heard == "stdout" else DEVNULL,
                stderr=pipe if heard == "stderr" else DEVNULL,
                cwd="/",
                env=_environment() | dict(extra),
                start_new_session=True,
            )
    except OSError as error:
        raise _unstartable(error) from None
    assert process is not None  # noqa: S101 -- a shielded scope swallows nothing
    return process


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}


def judged_program(program: str) -> str:
    """Return the absolute path of a command's program, for a daemon that trusts it. May block.

    Nobody but root and the daemon's user can write to it, or replace it. What a script runs in turn
    isn't judged.

    Raises:
        Unusable: there is no such program, it may not be run, or others can exchange it.
    """
    # A command starts in "/", where the relative parts of $PATH would begin.
    places = [str(Path("/", place)) for place in os.get_exec_path(_environment())]
    found = which(program, path=os.pathsep.join(places))
    if found is None:
        there = "/" in program and Path(program).exists()
        raise _unstartable(PermissionError() if there else FileNotFoundError())
    try:
        refuse_writable(found, Path(found).stat())
    except OSError as error:
        raise _unstartable(error) from None
    return found


def _unstartable(error: OSError) -> Unusable:
    match error:
        case FileNotFoundError():
            hint = "use its absolute path, or set $PATH where the daemon is started"
            return Unusable("there is no such program", hint)
        case PermissionError():
            return Unusable("can't be executed", "make it executable for the daemon's user")
        case _:
            reason = f"can't be started: {error.strerror}"
            return Unusable(reason, "run it by hand as the daemon's user")


async def _bury(process: Process, running: Running) -> None:
    """Kill the process if it still runs, and wait up to DEATH_LIMIT for its end."""
    if process.returncode is None:
        with anyio.CancelScope(shield=True):
            running.kill()
            with anyio.move_on_after(DEATH_LIMIT):
                await process.wait()


def ending(status: int) -> str:
    """Say how a failed command ended."""
    if status > 0:
        return f"ended with status {status}"
    try:
        return f"was killed by {signal.Signals(-status).name}"
    except ValueError:  # a real-time signal
        return f"was killed by signal {-status}"

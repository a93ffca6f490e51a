"""Measuring: the C programs, the clocks of other processes, and what is made of the figures."""

import json
import os
import resource
import shutil
import statistics
import subprocess
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

CPU: Final = max(os.sched_getaffinity(0))
"""The one that servers and load share."""
DESCRIPTORS: Final = 32768
"""Open files of each process that are wished for: the daemon gives one user half of its own."""
PATIENCE: Final = 60.0
"""Seconds beyond its own time after which a load is taken for stuck."""
OPEN: Final = 100
"""Files that a server may have open by itself."""
_HERE: Final = Path(__file__).parent


def _raise_descriptors() -> int:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for limit in (DESCRIPTORS, hard):
        with suppress(ValueError):  # not even root may raise it everywhere
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, max(limit, hard)))
            return limit
    return hard


CROWD: Final = min(10_000, _raise_descriptors() // 2 - 200)
"""Connections of the crowd."""


@dataclass(frozen=True)
class Server:
    """One that runs: where, as which processes, and what to ask."""

    name: str
    path: Path
    pids: tuple[int, ...]
    request: bytes
    size: int
    """Bytes of its answer."""
    keeps: bool = True
    """A connection may ask more than once."""
    most: int = CROWD
    """Connections that it is given at the most."""


@dataclass(frozen=True)
class Load:
    """What a run of load.c reported: times in microseconds, but `seconds` and `ended` (monotonic)."""

    count: int
    seconds: float
    p50: float
    p99: float
    most: float
    cpu: float
    ended: float


@final
class Loads:
    """The two C programs, compiled into a directory that is there for them."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        compiler = shutil.which("cc")
        if compiler is None:
            raise SystemExit("a C compiler is needed: apt install gcc libc6-dev")
        for name in ("floor", "load"):
            words = [compiler, "-O2", "-o", str(directory / name), str(_HERE / f"{name}.c")]
            subprocess.run(words, check=True)

    @property
    def floor(self) -> str:
        """Return the program that is the floor."""
        return str(self._directory / "floor")

    def run(  # noqa: PLR0913 -- each is one thing that a benchmark has another way
        self,
        server: Server,
        mode: str,
        seconds: float,
        connections: int = 1,
        cpu: int = CPU,
        *,
        user: int | None = None,
    ) -> Load:
        """Load a server, as another user if need be, and give what came of it."""
        words = self.command(server, mode, seconds, connections, cpu)
        done = subprocess.run(
            words, check=False, stdout=subprocess.PIPE, timeout=seconds + PATIENCE, user=user
        )
        if done.returncode:
            raise SystemExit(f"{server.name} failed under the load {mode}")
        if mode == "many":  # others may run beside a crowd that is held
            _let_close(server, connections)
        return self.parse(done.stdout)

    @staticmethod
    def parse(line: str | bytes) -> Load:
        """Return what a run of load.c reported."""
        return Load(**json.loads(line))

    @contextmanager
    def beside(  # noqa: PLR0913 -- each is one thing that a benchmark has another way
        self,
        server: Server,
        mode: str,
        seconds: float,
        connections: int = 1,
        cpu: int = -1,
        *,
        user: int | None = None,
    ) -> Generator[subprocess.Popen[str]]:
        """Load a server while the block runs. `hold` and `wait` have said "ready" by then."""
        words = self.command(server, mode, seconds, connections, cpu)
        with subprocess.Popen(
            words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, user=user
        ) as process:
            assert process.stdout is not None
            try:
                if mode in {"hold", "wait"} and process.stdout.readline() != "ready\n":
                    raise SystemExit(f"{server.name} didn't take {connections} connections")
                yield process
            finally:
                process.kill()
        _let_close(server, connections)

    def command(
        self, server: Server, mode: str, seconds: float, connections: int, cpu: int
    ) -> list[str]:
        """Return the load generator's command line."""
        request = self._directory / f"request-{abs(hash(server.request))}"
        if not request.exists():  # another load may be reading it
            request.write_bytes(server.request)
        words = (cpu, mode, server.path, request, server.size, seconds, connections, *server.pids)
        return [str(self._directory / "load"), *map(str, words)]


def _let_close(server: Server, connections: int) -> None:
    """Wait until a server has closed its side of them too."""
    ends = time.monotonic() + PATIENCE
    while sum(_open_files(pid) for pid in server.pids) > OPEN + connections // 2:
        if time.monotonic() > ends:
            raise SystemExit(f"{server.name} doesn't close connections")
        time.sleep(0.01)


def _open_files(pid: int) -> int:
    return sum(1 for _ in Path(f"/proc/{pid}/fd").iterdir())


def pin(pids: Sequence[int], cpu: int = CPU) -> None:
    """Keep all threads of processes on one CPU."""
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {cpu})


def prefer(pids: Sequence[int]) -> None:
    """Let nothing else on the machine delay processes, where that is allowed."""
    with suppress(PermissionError):
        for pid in pids:
            os.setpriority(os.PRIO_PROCESS, pid, -20)


def cpu_time(pids: Sequence[int]) -> float:
    """Return the CPU seconds that processes have used (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def memory(pids: Sequence[int]) -> float:
    """Return the resident memory of processes, in KiB."""
    return sum(_status(f"/proc/{pid}/status", "VmRSS:") for pid in pids)


def wake_ups(pids: Sequence[int]) -> int:
    """Return how often the threads of processes went to sleep by themselves, and so woke."""
    return sum(
        _status(f"{task}/status", "voluntary_ctxt_switches:")
        for pid in pids
        for task in Path(f"/proc/{pid}/task").iterdir()
    )


def _status(path: str, key: str) -> int:
    for line in Path(path).read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1])
    raise SystemExit(f"{path} has no {key}")


def ratio(these: Sequence[float], those: Sequence[float]) -> float:
    """Return the median of the ratios of each round: what else ran then slowed both."""
    return statistics.median(a / b for a, b in zip(these, those, strict=True))

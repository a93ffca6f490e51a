"""Where the memory goes: what is imported, what is alive. Of the Python that runs this."""

import json
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final, TypedDict

from benchmarks.many_profiles import MANY, all_logged_in
from benchmarks.measure import Server, cpu_time
from benchmarks.places import Bare, daemon, install, issuer
from benchmarks.table import Effort
from openfit_token import TokenClient

DAY: Final = 24
"""Refreshes of a day, at a token an hour."""
IDLE: Final = 0.5
"""Seconds without a bit of work after which nothing is under way."""
SHOWN: Final = 20
"""Lines of each table."""
_SCRIPT: Final = str(Path(__file__).with_name("weigh.py"))
_STEPS: Final = {
    "the interpreter": "sys",
    "asyncio, with ssl": "asyncio",
    "anyio": "anyio._backends._asyncio",
    "httpcore": "httpcore",
    "httpx": "openfit_tokend.keeping.http_exchange",
    "all that `run` imports": "openfit_tokend.cli.run",
}
"""Each includes those above it, and some of ours comes with httpx."""


_Told = tuple[Server, subprocess.Popen[str]]


class _Weight(TypedDict):
    """What weigh.py printed. KiB; `alive`: number and bytes by type."""

    resident: int
    anonymous: int
    modules: dict[str, int]
    alive: dict[str, tuple[int, int]]


def measure(_effort: Effort) -> None:
    """Print the tables."""
    with tempfile.TemporaryDirectory(prefix="openfit-") as name:
        directory = Path(name)
        bare = install(directory / "bare")
        certificate = _certificate(directory)
        weights = {step: _imports(bare, module) for step, module in _STEPS.items()}
        modules = weights["all that `run` imports"]["modules"]
        weights.update(_one_profile(bare, certificate))
        weights.update(_many_profiles(bare, certificate))
    print("| after | resident, KiB | of these anonymous |\n|---|---|---|")
    for step, weight in weights.items():
        print(f"| {step} | {weight['resident']:,} | {weight['anonymous']:,} |")
    packages: Counter[str] = Counter()
    for module, size in modules.items():
        packages[module.partition(".")[0]] += size
    _print_most("package, with its modules, without what they import | KiB", packages)
    _print_most("module, without what it imports | KiB", modules)
    for step, weight in weights.items():
        if "alive" in weight:
            sizes = {f"{n:,} {kind}": size // 1024 for kind, (n, size) in weight["alive"].items()}
            _print_most(f"alive after {step} | KiB", sizes)


def _print_most(title: str, sizes: Mapping[str, int]) -> None:
    print(f"\n| {title} |\n|---|---|")
    for name, size in sorted(sizes.items(), key=lambda each: -each[1])[:SHOWN]:
        print(f"| {name} | {size:,} |")


def _certificate(directory: Path) -> Path:
    """Return a file with a certificate for 127.0.0.1, and its key."""
    path = directory / "certificate"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*words, "-keyout", path, "-out", path], check=True, capture_output=True)
    return path


def _imports(bare: Bare, module: str) -> _Weight:
    words = [bare.python, "-P", _SCRIPT, "imports", module]
    weight: _Weight = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    return weight


def _one_profile(bare: Bare, certificate: Path) -> Generator[tuple[str, _Weight]]:
    """Weigh a daemon for each step: to be weighed leaves something behind."""
    with issuer("held", certificate) as (url, _), _daemon(bare, url, 1, certificate) as told:
        yield "the start, without a token", _weigh(told)
    with issuer("0", certificate) as (url, _), _daemon(bare, url, 1, certificate) as told:
        all_logged_in(told[0], 1)
        yield "the first token", _weigh(told)
    with issuer("0", certificate) as (url, _), _daemon(bare, url, 1, certificate) as told:
        with TokenClient(socket=str(told[0].path)) as client:
            for _ in range(DAY):
                client.refresh()
        yield "a day's refreshes", _weigh(told)


def _many_profiles(bare: Bare, certificate: Path) -> Generator[tuple[str, _Weight]]:
    with issuer("0", certificate) as (url, _), _daemon(bare, url, MANY, certificate) as told:
        all_logged_in(told[0], MANY)
        yield f"the first tokens of {MANY:,} profiles", _weigh(told)


def _daemon(
    bare: Bare, url: str, profiles: int, certificate: Path
) -> AbstractContextManager[_Told]:
    return daemon(
        bare,
        url,
        profiles,
        logged_in=False,
        more=f'ca_file = "{certificate}"\n',
        instead=[bare.python, "-P", _SCRIPT, "daemon"],
    )


def _weigh(told: _Told) -> _Weight:
    """Ask a daemon, once it has nothing to do."""
    server, process = told
    spent = -1.0
    while spent != (spent := cpu_time(server.pids)):
        time.sleep(IDLE)
    process.send_signal(signal.SIGUSR1)
    assert process.stdout is not None
    weight: _Weight = json.loads(process.stdout.readline())
    return weight

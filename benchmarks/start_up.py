"""`openfit-token get`, start to end, beside `python -I -c pass`: the wheel in a bare venv."""

import subprocess
import sys
import tempfile
import time
import venv
from pathlib import Path

from benchmarks.places import daemon

ROUNDS = 25
_PROJECT = Path(__file__).parents[1]


def measure() -> None:
    """Print the best times of both, and their ratio."""
    with tempfile.TemporaryDirectory() as directory, daemon() as (socket, _pid):
        venv.create(directory, with_pip=True)
        python = Path(directory) / "bin" / "python"
        install = (str(python), "-m", "pip", "install", "--quiet", str(_PROJECT))
        subprocess.run(install, check=True, stdout=sys.stderr)
        commands = {
            "python -I -c pass": (str(python), "-I", "-c", "pass"),
            "openfit-token get": (
                str(python.with_name("openfit-token")),
                "get",
                "--socket",
                str(socket),
            ),
        }
        times: dict[str, list[float]] = {name: [] for name in commands}
        for _ in range(ROUNDS):
            for name, command in commands.items():
                began = time.monotonic()
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
                times[name].append(time.monotonic() - began)
    best = {name: min(each) for name, each in times.items()}
    print(f"start to end, best of {ROUNDS}, interleaved")
    for name, seconds in best.items():
        print(f"  {name:<18} {seconds * 1e3:6.2f} ms")
    bare, ours = best.values()
    print(f"  ratio              {ours / bare:6.2f}  (at most 2.2)")

"""Draw the pictures of the documents, docs/pictures/*.svg, from runs of the commands.

    python docs/draw.py            # demo, doctor and status
    python docs/draw.py doctor     # one of them

The commands are those beside this interpreter; `script` (util-linux) is the terminal that they run in.
Nothing that they print is changed but the daemon's temporary directory, into the usual ones.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Timer
from typing import Final, NamedTuple

from generator.terminal import Scroll, picture
from openfit_token import TokenClient
from openfit_token.errors import Unavailable
from openfit_token.testing import Daemon, Emulator

PICTURES: Final = Path(__file__).parent / "pictures"
_COLUMNS: Final = "104"
_DEMO_ROWS: Final = 12
_PACE: Final = 0.25
"""Seconds that a line of the demo is the last one at least, so that it can be read."""
_WATCHED: Final = 7
"""Seconds of `status --watch`."""
_OUTAGE: Final = 1.0
"""Seconds of them until the outage ends: the daemon tries again after 2."""
_ERASE: Final = "\x1b[J"
"""What `status --watch` writes before it shows the status anew."""


class Line(NamedTuple):
    """A line with its colours, and the second in which it was complete."""

    at: float
    text: str


def demo() -> str:
    """Return a picture of the demo."""
    lines = recorded("openfit-tokend demo", dict(os.environ) | {"COLUMNS": "80"})
    scrolls = [Scroll(0.0, 0)]
    for count in range(_DEMO_ROWS + 1, len(lines) + 1):
        earliest = scrolls[-1].since + _PACE
        scrolls.append(Scroll(max(lines[count - 1].at, earliest), count - _DEMO_ROWS))
    about = (
        "openfit-tokend demo: the password changes, the token server fails, and no API call does"
    )
    return picture(about, [line.text for line in lines], _DEMO_ROWS, scrolls)


def doctor() -> str:
    """Return a picture of `openfit-token doctor`."""
    with _trouble() as (_emulator, daemon):
        lines = _asked(daemon, "openfit-token doctor")
    about = "openfit-token doctor: a verdict on each link to the token, and what to do"
    return picture(about, [line.text for line in lines])


def status() -> str:
    """Return a picture of `openfit-token status --watch`, while an outage ends."""
    with _trouble() as (emulator, daemon):
        end = Timer(_OUTAGE, emulator.clear_faults)
        end.start()
        prompt, *lines = _asked(daemon, "openfit-token status --watch", seconds=_WATCHED)
        end.join()
    frames: list[list[Line]] = []
    for line in lines:
        if _ERASE in line.text:
            frames.append([prompt])
        frames[-1].append(Line(line.at, line.text.rpartition(_ERASE)[2]))
    rows = max(map(len, frames))
    text = [line.text for frame in frames for line in frame + [Line(0.0, "")] * (rows - len(frame))]
    scrolls = [Scroll(frame[1].at - frames[0][1].at, at * rows) for at, frame in enumerate(frames)]
    return picture("openfit-token status --watch: a profile recovers", text, rows, scrolls)


ALL: Final[Mapping[str, Callable[[], str]]] = {"demo": demo, "doctor": doctor, "status": status}


def main(names: list[str]) -> None:
    """Draw pictures."""
    for name in names or ALL:
        path = PICTURES / f"{name}.svg"
        path.write_text(ALL[name]())
        print(path)


def recorded(command: str, environment: Mapping[str, str], *, seconds: int = 0) -> list[Line]:
    """Run a command in a terminal, until Ctrl-C if `seconds` are given; return what is there to see."""
    path = f"{Path(sys.executable).parent}:{environment['PATH']}"
    run = f"timeout --signal INT {seconds} {command}" if seconds else command
    with TemporaryDirectory() as directory:
        log, timing = Path(directory, "log"), Path(directory, "timing")
        subprocess.run(
            ["script", "--quiet", "--log-out", log, "--log-timing", timing, "--command", run],  # noqa: S607 -- whichever is installed
            check=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            env={**environment, "PATH": path, "TERM": "xterm", "PYTHONIOENCODING": "utf-8"},
        )
        said = log.read_bytes().partition(b"\n")[2]  # the first line is script's own
        chunks = [each.split() for each in timing.read_text().splitlines()]
    lines = [Line(0.0, f"\x1b[2m$\x1b[0m {command}")]
    at, begun = 0.0, b""
    for pause, size in chunks:
        at += float(pause)
        *whole, begun = (begun + said[: int(size)]).split(b"\r\n")
        said = said[int(size) :]
        lines += [Line(at, each.decode()) for each in whole]
    return lines


@contextmanager
def _trouble() -> Generator[tuple[Emulator, Daemon]]:
    """Run a daemon with three profiles: one is well, one has no password, one meets an outage."""
    with Emulator() as emulator:
        emulator.set_password(emulator.password, "reports@example.org")
        daemon = Daemon(emulator)
        main = daemon.config.read_text()
        payroll = main.replace("profiles.main", "profiles.payroll").replace(
            "/password", "/payroll.password"
        )
        reports = main.replace("profiles.main", "profiles.reports").replace(
            emulator.username, "reports@example.org"
        )
        daemon.config.write_text(f'default_profile = "main"\n{main}{payroll}{reports}')
        with daemon:
            with TokenClient("reports", str(daemon.socket)) as client, suppress(Unavailable):
                client.get_token()
                emulator.fault("error-503@*")
                client.refresh(wait=1)
            yield emulator, daemon


def _asked(daemon: Daemon, command: str, *, seconds: int = 0) -> list[Line]:
    environment = dict(os.environ) | {
        "COLUMNS": _COLUMNS,
        "OPENFIT_TOKEN_SOCKET": str(daemon.socket),
    }
    return [
        Line(
            line.at,
            line.text.replace(str(daemon.socket), "/run/openfit-tokend/socket").replace(
                str(daemon.directory), "/etc/openfit-tokend"
            ),
        )
        for line in recorded(command, environment, seconds=seconds)
    ]


if __name__ == "__main__":
    main(sys.argv[1:])

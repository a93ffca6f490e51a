"""What must hold with 1,000 profiles."""

import threading
import time
from collections.abc import Generator
from dataclasses import replace
from typing import Final

from benchmarks.bars import Bar
from benchmarks.measure import Server, cpu_time, memory, pin, ratio
from benchmarks.peers import Means
from benchmarks.places import answer_size, daemon, issuer
from benchmarks.probes import Bystander
from benchmarks.table import Effort
from openfit_token import TokenClient
from openfit_token._shared.protocol import encode_request

MANY: Final = 1000
DELAY: Final = 0.1
"""Seconds that the token server takes for each."""
AT_ONCE: Final = 16
"""Requests that it is sent at once (MAX_REQUESTS of the daemon's endpoint.py)."""
PAUSE: Final = 0.2
"""Seconds between two reloads."""
LEAST: Final = MANY / AT_ONCE * DELAY
"""Seconds until all are logged in, if the daemon took no time."""


def measure(means: Means, effort: Effort) -> Generator[Bar]:
    """Run a daemon with many profiles, and one with one."""
    began = time.monotonic()
    with (
        issuer(str(DELAY)) as (url, _),
        daemon(means.bare, url, MANY, logged_in=False) as (many, _),
    ):
        all_logged_in(many, MANY)
        took, spent = time.monotonic() - began, cpu_time(many.pids)
        with daemon(means.bare, url) as (one, _):
            pin(one.pids)
            pin(many.pids)
            asked = asking(many, f"p{MANY // 2}")
            rounds = [
                (
                    means.loads.run(asked, "kept", effort.seconds),
                    means.loads.run(one, "kept", effort.seconds),
                )
                for _ in range(effort.rounds)
            ]
            cost = ratio([a.cpu for a, _ in rounds], [b.cpu for _, b in rounds])
            each = (memory(many.pids) - memory(one.pids)) / (MANY - 1)
        yield Bar("1,000 profiles: CPU a request, times one profile", cost, 1.05)
        yield Bar("1,000 profiles: KiB of memory each", each, 8)
        yield Bar(
            "1,000 profiles, start to all logged in: times the token server's time",
            took / LEAST,
            1.25,
        )
        yield Bar(
            "1,000 profiles, start to all logged in: ms of CPU each",
            spent / MANY * 1e3,
            DELAY / AT_ONCE * 1e3,
        )

        bystander = Bystander(means.loads, asked, effort)

        def reloading() -> float:
            over = threading.Event()
            thread = threading.Thread(target=_reload_until, args=(many, over))
            thread.start()
            try:
                return bystander.p99()
            finally:
                over.set()
                thread.join()

        more = bystander.added(reloading)
        yield Bar("reloads of 1,000 profiles: ms added to another client's p99", more, 50)


def asking(server: Server, profile: str) -> Server:
    """Return the same server, asked for another profile's token."""
    request = encode_request(1, "get_token", {"profile": profile})
    return replace(server, request=request, size=answer_size(server.path, request))


def all_logged_in(server: Server, profiles: int) -> None:
    """Wait until every profile has its token."""
    for each in range(profiles):
        with TokenClient(f"p{each}", str(server.path)) as client:
            client.get_token(wait=60)


def _reload_until(server: Server, over: threading.Event) -> None:
    with TokenClient(socket=str(server.path)) as client:
        while not over.is_set():
            client.reload()
            over.wait(PAUSE)  # so that what piled up is served: no queue grows from one to the next

"""The verdict of the fleet's demo, judged from what was recorded."""

from dataclasses import replace

import pytest

from openfit_emulator.demo.fleet import Seen, judge
from openfit_emulator.demo.observed import Counters
from openfit_emulator.demo.promises import kept

SERVER = Counters(token_requests=4, login_requests=1, logins=1)
SEEN = Seen(
    calls=(20, 20),
    server=SERVER,
    known_after=0.06,
    replaced_after=76.0,
    calls_meanwhile=30,
    back_with_it=True,
)


def broken(seen: Seen) -> list[str]:
    return [promise.text for promise in judge(seen) if not promise.kept]


def test_all_promises_are_kept_when_all_went_well() -> None:
    assert kept(judge(SEEN))


@pytest.mark.parametrize(
    ("seen", "promise"),
    [
        (replace(SEEN, failures=("report: refused",)), "no API call failed"),
        (replace(SEEN, calls=()), "no API call failed"),
        (
            replace(SEEN, server=replace(SERVER, login_requests=2, logins=2)),
            "one login served three daemons",
        ),
        (replace(SEEN, known_after=None), "what one daemon obtained, all had at once"),
        (
            replace(SEEN, replaced_after=None),
            "a daemon was killed in a refresh, and another finished the job",
        ),
        (
            replace(SEEN, calls_meanwhile=0),
            "a daemon was killed in a refresh, and another finished the job",
        ),
        (replace(SEEN, back_with_it=False), "it came back without a login"),
        (replace(SEEN, aborted="waited in vain"), "the demo ran to its end"),
    ],
)
def test_a_promise_is_broken_by_what_it_says(seen: Seen, promise: str) -> None:
    assert broken(seen) == [promise]

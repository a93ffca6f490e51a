"""The demo's verdict: what counts as broken, judged from what was recorded."""

from dataclasses import replace

import pytest

from openfit_emulator.demo.observed import Counters
from openfit_emulator.demo.promises import Facts, Outage, Replacement, judge, kept

SERVER = Counters(token_requests=4, login_requests=1, logins=1, faulted=1, most_at_once=1)
ON_SCHEDULE = Replacement(2.4, by_schedule=True, after_password_change=True)
AFTER_OUTAGE = Replacement(1.6, by_schedule=False, after_password_change=True)
OUTAGE = Outage(seconds=3.2, failed_requests=1, calls=12, told=True)
FACTS = Facts(
    calls=(20, 20, 20, 20),
    failures=(),
    replacements=(ON_SCHEDULE, AFTER_OUTAGE),
    outage=OUTAGE,
    server=SERVER,
    aborted=None,
)

CALLS = "no API call failed"
LOGIN = "one login served all scripts"
SCHEDULE = "each token was replaced before it expired"
ONE = "one token request at a time"
NOTICED = "the token server's outage was survived, and no script noticed"
PASSWORD = "the password was changed, and the session went on"
SHOWN = "the demo ran to its end"


def broken(facts: Facts) -> list[str]:
    return [promise.text for promise in judge(facts) if not promise.kept]


def test_all_promises_are_kept_when_all_went_well() -> None:
    promises = judge(FACTS)

    assert kept(promises)
    assert [promise.text for promise in promises] == [
        CALLS,
        LOGIN,
        SCHEDULE,
        ONE,
        NOTICED,
        PASSWORD,
    ]


@pytest.mark.parametrize(
    ("facts", "promise"),
    [
        (replace(FACTS, failures=("report: the API answered 401",)), CALLS),
        (replace(FACTS, server=replace(SERVER, api_refused=1)), CALLS),
        (replace(FACTS, calls=(20, 20, 20, 0)), CALLS),
        (replace(FACTS, calls=()), CALLS),
        (replace(FACTS, server=replace(SERVER, logins=2, login_requests=2)), LOGIN),
        (replace(FACTS, server=replace(SERVER, login_requests=2)), LOGIN),
        (replace(FACTS, server=replace(SERVER, most_at_once=2)), ONE),
        (replace(FACTS, replacements=(replace(ON_SCHEDULE, early=0.0), AFTER_OUTAGE)), SCHEDULE),
        (replace(FACTS, replacements=(ON_SCHEDULE, replace(AFTER_OUTAGE, early=-1.0))), SCHEDULE),
        (replace(FACTS, replacements=(AFTER_OUTAGE,)), SCHEDULE),
        (replace(FACTS, replacements=(ON_SCHEDULE,)), NOTICED),
        (replace(FACTS, outage=replace(OUTAGE, failed_requests=0)), NOTICED),
        (replace(FACTS, outage=replace(OUTAGE, calls=0)), NOTICED),
        (replace(FACTS, outage=replace(OUTAGE, told=False)), NOTICED),
        (replace(FACTS, aborted="the daemon ended"), SHOWN),
    ],
)
def test_one_thing_that_went_wrong_breaks_its_promise_alone(facts: Facts, promise: str) -> None:
    assert broken(facts) == [promise]


def test_a_session_that_ends_with_its_password_breaks_a_promise() -> None:
    before = tuple(replace(each, after_password_change=False) for each in FACTS.replacements)

    assert broken(replace(FACTS, replacements=before)) == [PASSWORD]


def test_what_was_not_seen_counts_as_broken() -> None:
    nothing = Facts(
        calls=(), failures=(), replacements=(), outage=Outage(), server=Counters(), aborted="no"
    )

    assert broken(nothing) == [CALLS, LOGIN, SCHEDULE, ONE, NOTICED, PASSWORD, SHOWN]

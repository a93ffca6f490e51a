"""The demo's verdict: what counts as broken, judged from what was recorded."""

from dataclasses import replace

import pytest

from openfit_emulator.demo import promises
from openfit_emulator.demo.play import _NOTHING as NOTHING  # pyright: ignore[reportPrivateUsage] -- what a dead server has counted
from openfit_emulator.demo.promises import Promise, Replacement

SERVER = replace(
    NOTHING, token_requests=4, login_requests=1, logins=1, max_concurrent={"demo@example.org": 1}
)
ON_SCHEDULE = Replacement(2.4, by_schedule=True, after_password_change=True)
AFTER_OUTAGE = Replacement(1.6, by_schedule=False, after_password_change=True)
BEFORE = replace(ON_SCHEDULE, after_password_change=False)


@pytest.mark.parametrize(
    "promise",
    [
        promises.calls((20, 20), (), SERVER),
        promises.login("all scripts", SERVER, "no script knows it"),
        promises.schedule((ON_SCHEDULE, AFTER_OUTAGE)),
        promises.one_at_a_time((20, 20), SERVER),
        promises.outage(3.2, 1, 12),
        promises.password((BEFORE, ON_SCHEDULE)),
        promises.taken_over(76.0, 30),
    ],
    ids=lambda promise: promise.text,
)
def test_a_promise_is_kept_when_all_went_well(promise: Promise) -> None:
    assert promise.kept


@pytest.mark.parametrize(
    ("promise", "figures"),
    [
        (promises.calls((20, 20), ("report: it said 401",), SERVER), "the first: report: it said"),
        (promises.calls((20, 20), (), replace(SERVER, api_refused=1)), "answered 401 once"),
        (promises.calls((20, 0), (), SERVER), "one script made none"),
        (promises.calls((), (), SERVER), "0 calls"),
        (promises.login("all", replace(SERVER, logins=2, login_requests=2), ""), "sent 2 times"),
        (promises.login("all", replace(SERVER, login_requests=2), ""), "sent 2 times"),
        (promises.login("all", NOTHING, ""), "sent never"),
        (promises.schedule((replace(ON_SCHEDULE, early=0.0), AFTER_OUTAGE)), "at least 0.0 s"),
        (promises.schedule((ON_SCHEDULE, replace(AFTER_OUTAGE, early=-1.0))), "at least -1.0 s"),
        (promises.schedule((AFTER_OUTAGE,)), "none on schedule"),
        (promises.schedule(()), "none on schedule"),
        (promises.one_at_a_time((20,), replace(SERVER, max_concurrent={"a": 2})), "at most 2"),
        (promises.one_at_a_time((20,), NOTHING), "at most 0"),
        (promises.outage(3.2, 0, 12), "failed token requests: 0"),
        (promises.outage(3.2, 1, 0), "calls meanwhile: 0"),
        (promises.password((BEFORE, BEFORE)), "0 tokens"),
        (promises.taken_over(76.0, 0), "calls meanwhile: 0"),
    ],
)
def test_what_went_wrong_or_was_not_seen_breaks_a_promise_and_is_told(
    promise: Promise, figures: str
) -> None:
    assert not promise.kept
    assert figures in promise.figures

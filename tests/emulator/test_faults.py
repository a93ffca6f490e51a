"""How faults are written, and which requests they meet."""

import pytest

from openfit_emulator.faults import KINDS, parse
from openfit_emulator.script import Arrival, Script


def script(*texts: str) -> Script:
    made = Script()
    for text in texts:
        made.add(parse(text))
    return made


def met(made: Script, arrival: Arrival | None, elapsed: float = 0.0) -> list[str]:
    return [fault.name for fault in made.take(arrival, elapsed)]


def first_requests(made: Script, grants: str) -> list[list[str]]:
    """Return what meets a row of requests: `l` a login, `r` a refresh."""
    names = {"l": "login", "r": "refresh"}
    return [
        met(made, Arrival(i + 1, names[grant], grants[: i + 1].count(grant)))
        for i, grant in enumerate(grants)
    ]


def test_without_a_when_a_fault_meets_the_next_request_and_is_gone() -> None:
    made = script("reset")

    assert first_requests(made, "ll") == [["reset"], []]
    assert made.texts() == []


def test_faults_without_a_when_wait_in_line() -> None:
    assert first_requests(script("reset", "hang", "reset"), "llll") == [
        ["reset"],
        ["hang"],
        ["reset"],
        [],
    ]


@pytest.mark.parametrize(
    ("when", "hit"),
    [
        ("@2", [2]),
        ("@2-3", [2, 3]),
        ("@3-", [3, 4, 5]),
        ("@*", [1, 2, 3, 4, 5]),
        ("@login:1", [1]),
        ("@refresh:1", [2]),
        ("@refresh:2-", [3, 5]),
        ("@login:*", [1, 4]),
    ],
)
def test_a_fault_meets_the_requests_it_counts(when: str, hit: list[int]) -> None:
    rows = first_requests(script(f"reset{when}"), "lrrlr")

    assert [number for number, row in enumerate(rows, 1) if row] == hit


def test_a_window_begins_with_its_start_and_ends_before_its_end() -> None:
    made, arrival = script("reset@10s-20.5s", "hang@30s-"), Arrival(1, "login", 1)

    seen = [met(made, arrival, elapsed) for elapsed in (9.9, 10.0, 20.4, 20.5, 30.0, 1e9)]

    assert seen == [[], ["reset"], ["reset"], [], ["hang"], ["hang"]]


def test_other_requests_meet_only_windows_and_always() -> None:
    made = script("reset@1-", "hang@*", "html@0s-5s", "404", "429@login:*")

    assert met(made, None) == ["hang", "html"]
    assert made.texts() == ["reset@1-", "hang@*", "html@0s-5s", "404", "429@login:*"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("rest", "did you mean reset?"),
        ("", "there is no fault ''"),
        ("slow", "write slow=SECONDS"),
        ("slow=soon", "'soon' is invalid in slow=SECONDS"),
        ("reset=1", "'1' is invalid in reset"),
        ("rubbish=paper", "'paper' is invalid in rubbish"),
        ("expires-in=1e999", "is invalid in expires-in=VALUE"),
        ("unclear=200", "is invalid in unclear"),
        ("hang@", "after @ comes"),
        ("hang@0", "requests are counted from 1"),
        ("hang@3-2", "requests are counted from 1"),
        ("hang@20s-10s", "a window ends after its start"),
        ("hang@logout:1", "after @ comes"),
    ],
)
def test_what_is_no_fault_is_refused_with_its_reason(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        parse(text)

    assert said in str(refused.value)


@pytest.mark.parametrize("name", KINDS)
def test_every_name_can_be_written_as_help_shows_it(name: str) -> None:
    arguments = {"slow": "=1", "expires-in": "=absent"}

    assert parse(f"{name}{arguments.get(name, '')}@*").name == name

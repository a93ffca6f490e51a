"""What the command makes of a daemon that answers anything: an error in words, never a traceback."""

from collections.abc import Iterator, Mapping
from itertools import islice
from math import inf, nan
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, Request, token_fields
from openfit_token._cli import run

HOSTILE: tuple[object, ...] = (
    *(None, -1, 1e308, inf, nan),
    *("a\0b", "a\nb\x1b[2J\u202e"),
    *(b"\xff\x00", ["x"], {b"\xff": b"\xff"}, {1: {2: 3}}),
)
HELLO: Mapping[str, object] = {
    "name": "openfit-tokend",
    "version": "1",
    "protocol": 1,
    "pid": 7,
    "uptime": 1.0,
    "profiles": ["main"],
}
PROBLEM: Mapping[str, object] = {"code": "UNAVAILABLE", "message": "m", "hint": "h", "at": 1.0}
HEALTH: Mapping[str, object] = {"condition": "down", "ready": False, "problems": [PROBLEM]}
PROFILE: Mapping[str, object] = {
    "state": "retrying",
    "health": HEALTH,
    "environment": "test",
    "id_server": "https://id",
    "api_url": "https://api",
    "id": "0123456789abcdef",
    "obtained_at": 1.0,
    "expires_at": 2.0,
    "expires_in": 60.0,
    "refresh_at": 2.0,
    "session_began_at": 1.0,
    "session_ends_at": 2.0,
    "last_success_at": 1.0,
    "degraded": PROBLEM,
    "last_error": PROBLEM,
    "logins_left": 3,
    "login_possible_at": 1.0,
    "counters": {"tokens": 1},
}
STATUS: Mapping[str, object] = {
    "v": 1,
    "version": "1",
    "pid": 7,
    "started_at": 1.0,
    "socket": "/s",
    "connections": 1,
    "requests": 1,
    "config_error": "one\ntwo",
    "profiles": {"main": PROFILE},
}


def changed(whole: Mapping[str, object]) -> Iterator[Mapping[str, object]]:
    """Return the map with each hostile value in each place, and without each."""
    for key in whole:
        yield {name: value for name, value in whole.items() if name != key}
        for value in HOSTILE:
            yield {**whole, key: value}


def statuses(third: int) -> Iterator[Mapping[str, object]]:
    """Return each third one: a third has each place, and each value in some of them."""
    return islice(all_statuses(), third, None, 3)


def all_statuses() -> Iterator[Mapping[str, object]]:
    yield from changed(STATUS)
    for profile in changed(PROFILE):
        yield {**STATUS, "profiles": {"main": profile}}
    for health in changed(HEALTH):
        yield {**STATUS, "profiles": {"main": {**PROFILE, "health": health}}}
    for problem in changed(PROBLEM):
        health = {**HEALTH, "problems": [problem]}
        yield {**STATUS, "profiles": {"main": {**PROFILE, "health": health}}}
    for name in HOSTILE:
        if not isinstance(name, list | dict):
            yield {**STATUS, "profiles": {name: PROFILE}}


def ends_in_words(capsys: pytest.CaptureFixture[str], *words: str) -> None:
    """Run a command: an exception of Python is what fails the test."""
    status = run(list(words))

    out, err = capsys.readouterr()
    assert 0 <= status < 79
    assert err.replace("\n", "").isprintable()
    if "env" not in words:
        assert out.replace("\n", "").isprintable()


@pytest.mark.parametrize("form", ["raw", "header", "json", "env", "curl"])
def test_no_token_breaks_get(place: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    answers = iter(list(changed(token_fields(degraded=dict(PROBLEM)))))
    with FakeDaemon(place / "s", lambda request: request.result(next(answers))) as daemon:
        for _ in changed(token_fields()):
            ends_in_words(capsys, "get", "--format", form, "--socket", daemon.path)


@pytest.mark.parametrize("words", [(), ("--json",)])
def test_no_token_breaks_inspect(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    jwt = token_fields(access_token="e30.eyJleHAiOjF9.x")  # {} and {"exp":1}
    answers = iter(list(changed(jwt)))
    with FakeDaemon(place / "s", lambda request: request.result(next(answers))) as daemon:
        for _ in changed(jwt):
            ends_in_words(capsys, "inspect", *words, "--socket", daemon.path)


each_third = pytest.mark.parametrize(
    "third", [0, *(pytest.param(each, marks=pytest.mark.long) for each in (1, 2))]
)


@each_third
@pytest.mark.parametrize("words", [("status",), ("status", "--json"), ("status", "--openmetrics")])
def test_no_status_breaks_status(
    place: Path, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], third: int
) -> None:
    answers = iter(list(statuses(third)))
    with FakeDaemon(place / "s", lambda request: request.result(next(answers))) as daemon:
        for _ in statuses(third):
            ends_in_words(capsys, *words, "--socket", daemon.path)


@each_third
def test_no_answer_breaks_doctor(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, third: int
) -> None:
    monkeypatch.setenv("PATH", "")  # no systemctl: it is asked each time, and says the same
    told: list[Mapping[str, object]] = [HELLO, STATUS]

    def answer(request: Request) -> None:
        request.result(told[request.method == "status"])

    with FakeDaemon(place / "s", answer) as daemon:
        for status in statuses(third):
            told[:] = HELLO, status
            ends_in_words(capsys, "doctor", "--socket", daemon.path)
        for hello in changed(HELLO):
            told[:] = hello, STATUS
            ends_in_words(capsys, "doctor", "--socket", daemon.path)


def test_no_change_breaks_watch(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change = {"profile": "main", "state": "fresh", "id": "i", "expires_at": 1.0}
    told = iter(list(changed(change)))

    def answer(request: Request) -> None:
        request.result(next(told))
        request.result({})  # no words of the protocol: it ends

    with FakeDaemon(place / "s", answer) as daemon:
        for _ in changed(change):
            ends_in_words(capsys, "watch", "--socket", daemon.path, "--", "true")


@pytest.mark.parametrize("command", ["login", "logout", "profiles", "refresh"])
def test_no_answer_breaks_the_others(
    place: Path, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    told = iter([*HOSTILE, *changed(HELLO)])
    with FakeDaemon(place / "s", lambda request: request.result(next(told))) as daemon:
        for _ in [*HOSTILE, *changed(HELLO)]:
            ends_in_words(capsys, command, "--socket", daemon.path)

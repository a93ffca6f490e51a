"""Answers that no token server should give: the daemon lives, stays small, does what is sensible."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from daemons import PATIENCE, await_that, profile, running_daemon
from failures import Scene, Staged, scenes, told
from openfit_emulator.identity import Rules
from openfit_tokend.core.oauth import DEFAULT_LIFETIME, MAX_LIFETIME
from raw_server import raw_server, response

pytestmark = [pytest.mark.system, pytest.mark.slow]

Stage = Mapping[str, Staged]
MOST_MEMORY = 60 * 1024 * 1024
"""Bytes that the daemon may have used at any time."""
BRACKETS = b"[" * 60_000
"""Deeper than any parser goes that recurses, and small enough to be read whole."""
GUARD = 1.0
"""Seconds before its end from which a token isn't served."""
UNUSABLE = {
    "not_json": "rubbish=not-json",
    "list": "rubbish=list",
    "no_token": "rubbish=no-token",
    "null_token": "rubbish=null-token",
    "number_token": "rubbish=number-token",
    "crlf_token": "rubbish=crlf-token",
    "nested": "rubbish=nested",
    "huge": "rubbish=huge",
    "page": "html",
    "soon": "expires-in=soon",
    "zero": "expires-in=0",
    "negative": "expires-in=-60",
    "true": "expires-in=true",
    "in_a_list": "expires-in=[60]",
}
"""Answers that bring no token, by the profile that meets them."""
USABLE = {
    "text": ('expires-in="60"', 60.0),
    "fraction": ("expires-in=60.5", 60.5),
    "absent": ("expires-in=absent", DEFAULT_LIFETIME),
    "ages": ("expires-in=1000000000000", MAX_LIFETIME),
    "endless": ("expires-in=1e300", MAX_LIFETIME),
}
"""Answers that are taken, and the seconds that they are worth."""
RENEWALS = {
    "crlf_renewal": "rubbish=crlf-token",
    "huge_renewal": "rubbish=huge",
    "soon_renewal": "expires-in=soon",
}


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    hour = Rules()
    logins = {name: Scene((f"{fault}@login:1",), hour) for name, fault in UNUSABLE.items()}
    others = {name: Scene((f"{fault}@login:1",), hour) for name, (fault, _) in USABLE.items()}
    short = Rules(token_lifetime=4)
    renewals = {name: Scene((f"{fault}@refresh:1",), short) for name, fault in RENEWALS.items()}
    with scenes(**logins, **others, **renewals, bystander=Scene(rules=hour)) as staged:
        yield staged


@pytest.mark.parametrize("name", UNUSABLE)
def test_an_answer_without_a_usable_token_is_said_and_the_next_good_one_heals_it(
    stage: Stage, name: str
) -> None:
    scene = stage[name]

    token = scene.token()

    requests = scene.requests("login")
    assert [each.faults for each in requests] == [(f"{UNUSABLE[name]}@login:1",), ()]
    assert token["expires_in"] == pytest.approx(3600 - GUARD, abs=PATIENCE)
    assert token["access_token"].isprintable()
    line = scene.daemon.await_log("login_failed", f"profile={name}")
    assert "the token server answered 200 with" in line
    counters = scene.status()["counters"]
    assert (counters["uncertain"], counters["tokens"]) == (1, 1)


@pytest.mark.parametrize("name", USABLE)
def test_a_lifetime_in_an_odd_form_is_taken_as_far_as_it_has_a_meaning(
    stage: Stage, name: str
) -> None:
    scene, (_, lifetime) = stage[name], USABLE[name]

    token = scene.token()

    assert len(scene.requests()) == 1
    whole = token["expires_at"] - token["obtained_at"]
    assert lifetime - GUARD - PATIENCE < whole <= lifetime - GUARD  # it counts from the sending
    assert 0 < token["expires_in"] <= whole


@pytest.mark.parametrize("name", RENEWALS)
def test_an_odd_answer_to_a_refresh_is_as_good_as_none(stage: Stage, name: str) -> None:
    scene = stage[name]

    await_that(lambda: len(scene.requests()) >= 4, scene.requests)

    assert told(scene.requests()[:4]) == [
        ("login", "issued"),
        ("refresh", "issued"),
        ("refresh", "invalid_grant"),
        ("login", "issued"),
    ]
    assert scene.token()["profile"] == name


def test_brackets_without_end_are_no_json_and_no_fault_of_ours() -> None:
    answers = [response("200 OK", BRACKETS), response("200 OK", b'{"access_token": "abc"}')]
    with (
        raw_server(lambda connection, _: connection.sendall(answers.pop(0))) as server,
        running_daemon(profile(server.url)) as daemon,
    ):
        assert daemon.call("get_token")["access_token"] == "abc"

        assert "something that isn't JSON" in daemon.await_log("login_failed")
        assert "internal_fault" not in daemon.log()


def test_the_daemon_was_small_all_the_time_and_others_noticed_nothing(stage: Stage) -> None:
    scene = stage["bystander"]
    for name in (*UNUSABLE, *USABLE, *RENEWALS):
        stage[name].token()

    status = Path(f"/proc/{scene.daemon.pid}/status").read_text()

    (peak,) = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    assert int(peak) * 1024 < MOST_MEMORY
    assert told(scene.requests()) == [("login", "issued")]
    assert "Traceback" not in scene.daemon.log()
    assert "X-Injected" not in scene.daemon.log()

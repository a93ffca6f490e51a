"""How long an answer that hands out a token stays prepared, and how many do."""

import gc
from contextlib import ExitStack
from pathlib import Path

import pytest
from anyio import to_thread

from daemons import Wire, profile, request
from emulators import PASSWORD, running_emulator
from http_wire import HttpWire
from inside import daemon_inside
from made import access
from openfit_tokend.serving import prepared
from openfit_tokend.serving.http.answer import TokenAnswers
from openfit_tokend.serving.prepared import fresh_until
from openfit_tokend.serving.rpc import TokenResult

LONG = 100.0
NOW = 3000.0
MOST = 8
"""How many answers a daemon prepares here."""


@pytest.mark.parametrize(
    ("due", "ends", "until"),
    [
        (NOW + 0.01, NOW + LONG, NOW + 0.01),
        (NOW + LONG, NOW + 0.01, NOW + 0.01),
        (NOW - 1.0, NOW + LONG, NOW - 1.0),
    ],
    ids=["not when it is due", "not when it has ended", "not at all when it was due"],
)
def test_an_answer_stays_prepared_only_while_nothing_in_it_can_change(
    due: float, ends: float, until: float
) -> None:
    token = access(sent=ends - 3599.0, due=due)
    assert token.expires == pytest.approx(ends)

    assert fresh_until(token, NOW) == pytest.approx(until)


def test_an_answer_stays_prepared_for_a_moment_since_the_wall_clock_may_be_set() -> None:
    assert NOW < fresh_until(access(due=NOW + LONG), NOW) <= NOW + 0.1


async def test_only_those_asked_for_last_stay_prepared_and_all_are_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "MAX_PREPARED", MOST)
    names = [f"p{each}" for each in range(2 * MOST)]
    kinds = (TokenResult, TokenAnswers)
    before = [alive(kind) for kind in kinds]  # those of daemons not yet forgotten
    with running_emulator(users=dict.fromkeys(names, PASSWORD)) as emulator, ExitStack() as stack:
        profiles = [profile(emulator.url, each, username=f'"{each}"') for each in names]
        async with daemon_inside(tmp_path, *profiles, http=True) as daemon:
            wire = stack.enter_context(Wire(daemon.socket))
            for _ in range(2):
                wire.send(
                    b"".join(
                        request(msgid, "get_token", profile=each)
                        for msgid, each in enumerate(names)
                    )
                )
                answers = await to_thread.run_sync(wire.answers, len(names))
                told = [(answers[msgid].result or {})["profile"] for msgid in range(len(names))]
                assert told == names

            await to_thread.run_sync(ask_over_http, tmp_path / "run" / "http", names)

            assert [alive(kind) for kind in kinds] == [each + MOST for each in before]


def alive(kind: type[object]) -> int:
    gc.collect()  # what other tests have left
    return sum(isinstance(each, kind) for each in gc.get_objects())


def ask_over_http(path: Path, profiles: list[str]) -> None:
    with HttpWire(path) as wire:
        for each in profiles * 2:
            assert wire.ask("GET", f"/v1/token?profile={each}").json["profile"] == each

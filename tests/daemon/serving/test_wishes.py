"""Users who want live tokens replaced: each has a budget of its own, whatever it asks by."""

from collections.abc import Generator
from contextlib import contextmanager

import pytest

from daemons import (
    NOBODY,
    Fields,
    RunningDaemon,
    await_that,
    error_of,
    needs_root,
    prepared_daemon,
    profile,
)
from emulators import running_emulator
from openfit_token.errors import MinTtl, NotAllowed, Overloaded, TimedOut
from openfit_tokend.host import clock
from users import being

pytestmark = [pytest.mark.system, needs_root]

HURRIED = """
from openfit_tokend.core import schedule
schedule.PAUSE, schedule.RECENT, schedule.MAX_SPACING = 0.01, 0.1, 6
"""
"""A hundredth of all pauses."""
TIME = 3.0
"""Seconds: five minutes."""
MOST = 8
"""Replacements in that time: at 0, 10, 20, 40, 80, 160 and 320 s, and one of the schedule's."""


@contextmanager
def open_daemon(url: str, **changes: str) -> Generator[RunningDaemon]:
    """Run a daemon that anybody may ask."""
    with prepared_daemon('socket_mode = "0666"', profile(url, **changes)) as daemon:
        daemon.start(first=HURRIED)
        daemon.directory.chmod(0o711)
        daemon.await_state("fresh")
        yield daemon


def as_nobody(daemon: RunningDaemon, method: str, **params: object) -> Fields:
    with being(NOBODY):
        wire = daemon.wire()
    with wire:
        answer = wire.call(method, **params)
    if answer.error is not None:
        raise error_of(answer.error)
    return answer.result or {}


def asked(method: str, token: Fields) -> Fields:
    """Return the parameters with which a method wants another token than this."""
    if method == "refuse":
        return {"id": token["id"]}
    if method == "get_token":
        return {"min_ttl": token["expires_at"] - token["obtained_at"] - 0.05}
    return {}


@pytest.mark.parametrize("method", ["refuse", "refresh", "get_token"])
def test_who_wants_tokens_replaced_again_and_again_is_slowed_and_named_and_nobody_else_is(
    method: str,
) -> None:
    with running_emulator() as emulator, open_daemon(emulator.url) as daemon:
        slowed = None
        until = clock.boot() + TIME
        while clock.boot() < until:
            params = asked(method, daemon.call("get_token"))
            try:
                as_nobody(daemon, method, **params, wait=5)
            except Overloaded as overloaded:
                slowed = overloaded
            except (MinTtl, TimedOut):
                pass  # the machine is slow: each token is too old when it comes

        assert emulator.state().refreshes <= MOST
        assert slowed is not None
        assert slowed.retry_after
        daemon.await_log("tokens_wanted_too_often", f"uid={NOBODY}", f"method={method}", "main")
        dead = daemon.call("get_token")["id"]
        assert daemon.call("refuse", id=dead, wait=1)["id"] != dead
        if method != "refuse":
            daemon.await_log("event=token_wanted", f"uid={NOBODY}", f"method={method}")


def test_nobody_but_an_operator_has_a_login_sent_early() -> None:
    with (
        running_emulator() as emulator,
        open_daemon(emulator.url, scope='"OpenFitApi"') as daemon,
    ):
        token = daemon.call("get_token")
        await_that(lambda: clock.wall() > token["obtained_at"] + 0.2)  # then a newer one is another
        for method in ("refresh", "get_token"):
            with pytest.raises(NotAllowed, match="early, which takes a login, is for operators"):
                as_nobody(daemon, method, **asked(method, token))

        assert emulator.state().logins == 1
        assert daemon.call("refresh")["id"] != token["id"]
        assert emulator.state().logins == 2

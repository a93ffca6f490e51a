"""Who may use which profile: real sockets of real users, against a real daemon."""

import grp
import os
import pwd
from collections.abc import Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from daemons import (
    NOBODY,
    PREPARED_FOR_LONG,
    Answer,
    RunningDaemon,
    Wire,
    needs_root,
    prepared_daemon,
    profile,
    request,
)
from emulators import RunningEmulator, one_emulator, running_emulator
from inside import daemon_inside
from openfit_tokend.serving import prepared
from openfit_tokend.serving.audit import BURST
from users import being

pytestmark = needs_root

LISTED, ADMIN, OTHER = (grp.getgrgid(gid).gr_name for gid in (1, 2, 3))
NOBODYS_NAME = pwd.getpwuid(NOBODY).pw_name
ALL = ["open", "mine", "ours", "roots", "closed"]


def wire_of(daemon: RunningDaemon, uid: int, *groups: int) -> Wire:
    """Return a connection that this user made."""
    with being(uid, *groups):
        return daemon.wire()


def call_as(
    daemon: RunningDaemon, uid: int, *groups: int, method: str = "get_token", **params: object
) -> Answer:
    with wire_of(daemon, uid, *groups) as wire:
        return wire.call(method, **params)


def tables(emulator: RunningEmulator, *top: str, **lists: str) -> list[str]:
    """Return a configuration of profiles with these lists, whose socket everybody may open."""
    shown = ['socket_mode = "0666"', *top]
    return shown + [
        profile(emulator.url, name) + (f"{line}\n" if line else "") for name, line in lists.items()
    ]


@contextmanager
def open_daemon(*config: str, level: str = "info", first: str = "") -> Generator[RunningDaemon]:
    with prepared_daemon(*config) as daemon:
        daemon.directory.chmod(0o711)
        daemon.start("--log-level", level, first=first)
        yield daemon


emulator = pytest.fixture(one_emulator, scope="module")


@pytest.fixture(scope="module")
def daemon(emulator: RunningEmulator) -> Iterator[RunningDaemon]:
    config = tables(
        emulator,
        f'admin_groups = ["{ADMIN}"]',
        open="",
        mine=f'allow_users = ["{NOBODYS_NAME}"]',
        ours=f'allow_users = ["root"]\nallow_groups = ["{LISTED}"]',
        roots='allow_users = ["root"]',
        closed="allow_users = []",
    )
    with open_daemon(*config) as daemon:
        for name in ALL:
            daemon.await_state("fresh", name=name)
        yield daemon


@pytest.mark.parametrize(
    ("uid", "groups", "usable"),
    [
        (NOBODY, (), ["open", "mine"]),
        (NOBODY, (1,), ["open", "mine", "ours"]),
        (NOBODY, (3,), ["open", "mine"]),
        (12345, (), ["open"]),
        (12345, (1,), ["open", "ours"]),
        (12345, (2,), ALL),
        (0, (), ALL),
    ],
)
def test_a_caller_may_use_what_its_uid_groups_and_the_lists_say_and_sees_no_more(
    daemon: RunningDaemon, uid: int, groups: tuple[int, ...], usable: list[str]
) -> None:
    with wire_of(daemon, uid, *groups) as wire:
        for _ in range(2):  # the second time the same bytes may go the short way
            codes = {name: wire.call("get_token", profile=name).code for name in ALL}
            assert codes == {n: None if n in usable else "NO_SUCH_PROFILE" for n in ALL}
        hello, status = wire.call("hello").result, wire.call("status").result
        unknown = wire.call("get_token", profile="none")

    assert hello is not None
    assert hello["profiles"] == usable
    assert status is not None
    assert list(status["profiles"]) == usable
    assert unknown.code == "NO_SUCH_PROFILE"
    assert unknown.error is not None
    assert unknown.error["hint"].startswith(f"there are: {', '.join(sorted(usable))}")


@pytest.mark.parametrize("method", ["get_token", "refresh", "refuse", "status", "subscribe"])
@pytest.mark.parametrize("lists", [{"mine": f'allow_users = ["{NOBODYS_NAME}"]'}, {}])
def test_a_guess_is_answered_alike_whether_there_is_a_profile_of_that_name_or_not(
    emulator: RunningEmulator, method: str, lists: dict[str, str]
) -> None:
    more = {"id": "0123456789abcdef"} if method == "refuse" else {}
    with (
        open_daemon(*tables(emulator, secret='allow_users = ["root"]', **lists)) as daemon,
        wire_of(daemon, NOBODY) as nobody,
    ):
        real, guessed = (
            nobody.call(method, profile=name, **more).error for name in ("secret", "public")
        )

    assert real is not None
    assert str(real).replace("secret", "public") == str(guessed)


def test_who_lost_the_right_to_a_profile_is_told_what_is_left_and_whom_to_ask(
    daemon: RunningDaemon,
) -> None:
    error = call_as(daemon, NOBODY, profile="roots").error

    assert error is not None
    assert error["message"] == f"there is no profile 'roots' that you (uid {NOBODY}) may use"
    assert error["hint"] == (
        "there are: mine, open; for another, the administrator can name you in its"
        " allow_users or allow_groups"
    )


def test_no_method_lets_a_stranger_at_a_profile_of_others(daemon: RunningDaemon) -> None:
    held = daemon.call("get_token", profile="roots")["id"]
    with wire_of(daemon, NOBODY) as wire:
        answers = {
            method: wire.call(method, profile="roots", **more)
            for method, more in {
                "get_token": {"min_ttl": 1},
                "refresh": {},
                "refuse": {"id": held},
                "status": {},
                "login": {"password": "guessed"},
                "logout": {},
            }.items()
        }

    assert {method: answer.code for method, answer in answers.items()} == {
        **dict.fromkeys(("get_token", "refresh", "refuse", "status"), "NO_SUCH_PROFILE"),
        **dict.fromkeys(("login", "logout"), "NOT_ALLOWED"),
    }
    assert daemon.call("get_token", profile="roots")["id"] == held


def test_bytes_that_were_answered_for_one_user_are_judged_anew_for_another(
    emulator: RunningEmulator,
) -> None:
    asked = request(1, "get_token", profile="roots")
    config = tables(emulator, open="", roots='allow_users = ["root"]')
    with (
        open_daemon(*config, first=PREPARED_FOR_LONG) as daemon,
        daemon.wire() as root,
        wire_of(daemon, NOBODY) as stranger,
    ):
        for _ in range(
            prepared.LOOKS + 2
        ):  # so often that the short way is taken where there is one
            root.send(asked)
            assert root.answer().code is None
            stranger.send(asked)
            assert stranger.answer().code == "NO_SUCH_PROFILE"


async def test_only_profiles_without_lists_are_answered_the_short_way(
    emulator: RunningEmulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prepared, "FRESH", 60.0)
    config = tables(emulator, open="", roots='allow_users = ["root"]')
    async with daemon_inside(tmp_path, *config) as daemon:
        rpc = next(iter(daemon.daemon._faces._by_dialect))  # pyright: ignore[reportPrivateUsage] -- no other way tells
        for name, known in (("open", True), ("roots", False)):
            async with daemon.client(name) as tokens:
                await tokens.get_token()
                asked = request(1, "get_token", profile=name, wait=30.0)
                assert (rpc.prepared(asked, daemon.newest_connection) is not None) is known


def test_without_a_name_a_caller_gets_the_only_profile_it_may_use(
    emulator: RunningEmulator,
) -> None:
    lists = {"roots": 'allow_users = ["root"]', "mine": f'allow_users = ["{NOBODYS_NAME}"]'}
    with (
        open_daemon(*tables(emulator, **lists)) as daemon,
        daemon.wire() as root,
        wire_of(daemon, NOBODY) as nobody,
        wire_of(daemon, 12345) as stranger,
    ):
        for _ in range(2):
            assert root.call("get_token").code == "NO_SUCH_PROFILE"  # it may use two
            assert (nobody.call("get_token").result or {})["profile"] == "mine"
            assert stranger.call("get_token").code == "NOT_ALLOWED"
            assert stranger.call("get_token", profile="none").code == "NOT_ALLOWED"


def test_a_default_profile_is_none_for_who_may_not_use_it(emulator: RunningEmulator) -> None:
    lists = {"roots": 'allow_users = ["root"]', "mine": f'allow_users = ["{NOBODYS_NAME}"]'}
    with (
        open_daemon(*tables(emulator, 'default_profile = "roots"', **lists)) as daemon,
        daemon.wire() as root,
        wire_of(daemon, NOBODY) as nobody,
        wire_of(daemon, 12345) as stranger,
    ):
        for _ in range(2):
            assert (root.call("get_token").result or {})["profile"] == "roots"
            assert (nobody.call("get_token").result or {})["profile"] == "mine"
            assert stranger.call("get_token").code == "NOT_ALLOWED"


def test_who_waits_when_a_reload_takes_the_right_away_is_told_so_and_others_wait_on() -> None:
    with (
        running_emulator("slow=1@login:1") as emulator,
        open_daemon(*tables(emulator, main="")) as daemon,
        wire_of(daemon, NOBODY) as nobody,
        wire_of(daemon, NOBODY, 1) as member,
    ):
        nobody.ask("get_token", wait=60)
        member.ask("get_token", wait=60)
        daemon.await_waiting(2)

        daemon.write_config(*tables(emulator, main=f'allow_groups = ["{LISTED}"]'))
        daemon.call("reload")

        assert nobody.answer().code == "NOT_ALLOWED"
        assert daemon.profile_status()["counters"]["waiting"] == 1
        assert member.answer().code is None


def test_a_reload_gives_and_takes_rights_on_kept_connections(emulator: RunningEmulator) -> None:
    listed = tables(emulator, main='allow_users = ["root"]')
    with open_daemon(*tables(emulator, main="")) as daemon, wire_of(daemon, NOBODY) as nobody:
        for config, code in ((listed, "NOT_ALLOWED"), (tables(emulator, main=""), None)):
            nobody.call("get_token")
            nobody.call("get_token")  # the short way, where there is one
            daemon.write_config(*config)
            daemon.call("reload")
            assert nobody.call("get_token").code == code


def test_only_operators_are_told_what_is_wrong_with_a_configuration(
    emulator: RunningEmulator,
) -> None:
    """It may name profiles and users that a caller knows nothing of."""
    with open_daemon(*tables(emulator, open="")) as daemon:
        daemon.write_config(*tables(emulator, open="", payroll="allow_users = 1"))
        assert daemon.run("openfit-tokend", "reload").returncode == 78

        told = call_as(daemon, NOBODY, method="status").result or {}

        assert told["config_error"] == "the last reload was refused: operators are told why"
        assert "payroll" not in str(told)
        assert "payroll" in daemon.call("status")["config_error"]


def test_an_admin_group_gives_an_operators_rights_until_a_reload_takes_it_away(
    emulator: RunningEmulator,
) -> None:
    config = tables(emulator, f'admin_groups = ["{ADMIN}"]', main="")
    with open_daemon(*config) as daemon, ExitStack() as stack:
        daemon.await_state("fresh")  # else the emulator may accept its connection as nobody
        wire = stack.enter_context(wire_of(daemon, NOBODY, 2))
        assert wire.call("login").code is None
        assert "clients" in (wire.call("status").result or {})
        assert wire.call("reload").code is None
        daemon.await_log("operator_call", "method=login", f"uid={NOBODY}", "profile=main")
        daemon.await_log("operator_call", "method=reload", f"uid={NOBODY}", f"pid={os.getpid()}")

        daemon.write_config(*tables(emulator, f'admin_groups = ["{OTHER}"]', main=""))
        assert wire.call("reload").code is None
        assert wire.call("reload").code == "NOT_ALLOWED"


def test_of_a_caller_in_more_than_256_groups_only_the_main_one_counts(
    daemon: RunningDaemon,
) -> None:
    many = [1, *range(5000, 5255)]

    assert call_as(daemon, 12345, *many, profile="ours").code is None
    assert call_as(daemon, 12345, *many, 6000, profile="ours").code == "NO_SUCH_PROFILE"


@pytest.mark.parametrize("name", ["roots", "guessed"])
def test_a_refusal_is_logged_and_counted_by_user_and_a_flood_of_them_fills_no_disk(
    emulator: RunningEmulator, name: str
) -> None:
    """There is a profile of the first name, and none of the second: the time tells no difference."""
    with (
        open_daemon(*tables(emulator, open="", roots='allow_users = ["root"]')) as daemon,
        wire_of(daemon, NOBODY) as nobody,
    ):
        for _ in range(5 * BURST):
            assert nobody.call("get_token", profile=name).code == "NO_SUCH_PROFILE"
        status = daemon.call("status")

        line = daemon.await_log("call_refused", f"profile={name}", "method=get_token")
        assert f"uid={NOBODY} pid={os.getpid()} program=" in line
        assert daemon.log().count("call_refused") == BURST
        assert status["clients"][str(NOBODY)]["refused"] == 5 * BURST
        assert status["clients"]["0"]["refused"] == 0


def test_who_refuses_a_token_is_logged_if_it_is_the_current_one(emulator: RunningEmulator) -> None:
    with open_daemon(*tables(emulator, main="")) as daemon, wire_of(daemon, NOBODY) as nobody:
        token = daemon.call("get_token")["id"]
        nobody.call("refuse", id="another")
        nobody.ask("refuse", id=token)

        line = daemon.await_log("token_refused", f"uid={NOBODY}", f"pid={os.getpid()}")
        assert f"profile=main id={token}" in line
        assert "level=info" in line
        assert daemon.log().count("token_refused") == 1


def test_a_user_who_was_deleted_stops_neither_a_start_nor_a_reload_of_the_others(
    emulator: RunningEmulator,
) -> None:
    config = tables(
        emulator, mine='allow_users = ["deleted"]', ours=f'allow_users = ["{NOBODYS_NAME}"]'
    )
    with open_daemon(*config) as daemon:
        daemon.await_state("fresh", name="ours")
        daemon.await_log("unknown_name", "level=warning", "profiles.mine.allow_users", "deleted")

        daemon.call("reload")

        assert call_as(daemon, NOBODY, profile="ours").code is None
        assert call_as(daemon, NOBODY, profile="mine").code == "NO_SUCH_PROFILE"
        checked = daemon.run("openfit-tokend", "check", "--config", str(daemon.config)).stdout
        assert "[WARN] names" in checked
        assert "there is no user deleted" in checked

"""`openfit-token status`: what it says, and the exit status that probes rely on."""

import json
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always
from openfit_token._cli import run as run_words
from openfit_token._cli.status.table import described
from openfit_token._client.health import judge
from openfit_token.errors import ProtocolViolation

NOW = 1893456000.0
ERROR = {
    "code": "UNAVAILABLE",
    "message": "connection refused",
    "hint": "is the server up?",
    "at": NOW - 30,
}


def daemon_status(*, config_error: object = None, **profiles: object) -> dict[str, object]:
    return {
        "v": 1,
        "version": "0.1.0",
        "pid": 7,
        "started_at": NOW - 11520,
        "socket": "/run/openfit-tokend/socket",
        "connections": 3,
        "requests": 1234,
        "config_error": config_error,
        "profiles": profiles,
    }


def profile(
    state: str = "fresh", condition: str = "well", *problems: object, **changed: object
) -> dict[str, object]:
    return {
        "state": state,
        "health": {"condition": condition, "ready": True, "problems": list(problems)},
        "environment": "production",
        "expires_in": 2520.0,
        "refresh_at": NOW + 2220,
        "last_success_at": NOW - 1080,
        "session_began_at": NOW - 266400,
        "logins_left": 3,
        "login_possible_at": None,
    } | changed


def without_token(
    state: str, condition: str, *problems: object, **changed: object
) -> dict[str, object]:
    without: dict[str, object] = {"expires_in": None, "refresh_at": None}
    return profile(state, condition, *problems, **(without | changed))


def test_all_well_is_one_line_for_each_profile() -> None:
    found = daemon_status(
        main=profile(), etl=profile("refreshing", expires_in=50.0, environment="test")
    )

    assert described(found, NOW) == (
        "openfit-tokend 0.1.0, up 3 h 12 min, /run/openfit-tokend/socket,"
        " connections 3, requests 1234\n"
        "\n"
        "PROFILE  ENVIRONMENT  STATE       TOKEN LEFT  NEXT REFRESH  LAST SUCCESS  LAST LOGIN   LOGINS LEFT\n"
        "main     production   fresh       42 min      in 37 min     18 min ago    3 d 2 h ago  3\n"
        "etl      test         refreshing  50 s        in 37 min     18 min ago    3 d 2 h ago  3\n"
    )


def test_a_fleets_store_that_cant_be_reached_is_told_above_the_profiles() -> None:
    away = {"fleet": {"member": "a", "store": {"message": "the fleet's store is \x1baway"}}}

    lines = described(daemon_status(main=profile()) | away, NOW).splitlines()

    assert lines[1:3] == ["the fleet's store is \\x1baway", ""]


def test_below_a_profile_in_trouble_stands_what_happened_and_what_to_do() -> None:
    found = daemon_status(
        main=without_token("down", "down", ERROR, refresh_at=NOW + 12, session_began_at=None),
        other=profile(),
    )

    assert described(found, NOW).splitlines()[3:] == [
        "main     production   down   -           in 12 s       18 min ago    -            3",
        "  connection refused (30 s ago)",
        "  is the server up?",
        "other    production   fresh  42 min      in 37 min     18 min ago    3 d 2 h ago  3",
    ]


def test_a_spent_budget_says_when_a_login_is_possible() -> None:
    found = daemon_status(main=without_token("locked", "locked", login_possible_at=NOW + 600))

    assert "\n  a login is possible in 10 min\n" in described(found, NOW)


def test_a_refused_configuration_is_shown_with_all_its_faults() -> None:
    found = daemon_status(config_error="fault 1\nfault 2", main=profile())

    assert described(found, NOW).splitlines()[1:4] == [
        "the last reload was refused, the old configuration is in force:",
        "  fault 1",
        "  fault 2",
    ]


def test_no_profile_is_a_header_alone() -> None:
    assert len(described(daemon_status(), NOW).splitlines()) == 1


def test_nothing_from_the_daemon_commands_the_terminal() -> None:
    nasty = ERROR | {"message": "\x1b[2J", "hint": "\x07"}
    found = daemon_status(
        config_error="\x1b]0;x", **{"\x1b[1m": without_token("\x1b", "down", nasty)}
    )

    assert described(found, NOW).replace("\n", "").isprintable()


@pytest.mark.parametrize(
    ("conditions", "status"),
    [
        ([], 0),
        (["well", "well"], 0),
        *(([each], 75) for each in ("pending", "retrying", "degraded", "ending", "down")),
        (["well", "a newer daemon's"], 75),
        (["down", "locked"], 77),
        (["logged_out", "down"], 77),
    ],
)
def test_the_exit_status_is_that_of_the_worst_profile(conditions: list[str], status: int) -> None:
    profiles = {f"p{at}": profile("fresh", each) for at, each in enumerate(conditions)}

    assert judge(daemon_status(**profiles)) == status


def test_a_status_without_profiles_is_a_violation() -> None:
    with pytest.raises(ProtocolViolation):
        judge({"profiles": None})


def test_json_is_the_daemons_status_on_one_line(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = daemon_status(main=without_token("locked", "locked"))
    with FakeDaemon(place / "s", always(found)) as daemon:
        status = run_words(["status", "--json", "--socket", daemon.path])

    printed = capsys.readouterr().out
    assert (status, json.loads(printed), printed.count("\n")) == (77, found, 1)


def test_text_is_printed_with_the_same_verdict(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeDaemon(
        place / "s", always(daemon_status(main=without_token("down", "down")))
    ) as daemon:
        status = run_words(["status", "--profile", "main", "--socket", daemon.path])

    assert status == 75
    assert capsys.readouterr().out.startswith("openfit-tokend 0.1.0, up ")
    assert daemon.calls == [("status", {"profile": "main"})]

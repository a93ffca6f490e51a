"""`openfit-token status --openmetrics`: what a monitoring system reads from it."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import Metric, parser
from prometheus_client.openmetrics import parser as openmetrics

from fake_daemon import FakeDaemon, always
from openfit_token._cli import run as run_words
from openfit_token._client.health import CONDITIONS
from openfit_token._client.open_metrics import STATES, exposition
from openfit_token._shared.one_line import one_line

NOW = 1893456000.0
COUNTERS = {
    "tokens": 9,
    "logins": 2,
    "refreshes": 7,
    "rejected_refreshes": 1,
    "uncertain": 0,
    "failures": 3,
    "served": 12345,
    "waiting": 4,
}
PROFILE: dict[str, object] = {
    "state": "fresh",
    "health": {"condition": "well", "ready": True, "problems": []},
    "id": "0123456789abcdef",
    "expires_at": NOW + 2520.5,
    "expires_in": 2520.5,
    "refresh_at": NOW + 2220,
    "last_success_at": NOW - 1080,
    "session_ends_at": NOW + 2592000,
    "degraded": None,
    "logins_left": 3,
    "counters": COUNTERS,
}
LOCKED: dict[str, object] = {"condition": "locked", "ready": False, "problems": []}
GONE: dict[str, object] = PROFILE | {
    "state": "locked",
    "health": LOCKED,
    "expires_at": None,
    "expires_in": None,
    "refresh_at": None,
    "degraded": {"code": "LOGIN_REJECTED", "message": "wrong"},
}

Read = Callable[[str], Iterable[Metric]]
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def status(**profiles: object) -> dict[str, object]:
    return {
        "v": 1,
        "version": "0.1.0",
        "pid": 7,
        "started_at": NOW - 11520,
        "connections": 3,
        "requests": 1234,
        "config_error": None,
        "profiles": profiles,
    }


def families(text: str) -> list[Metric]:
    """Return what OpenMetrics' own parser reads, which is strict."""
    read = cast("Read", openmetrics.text_string_to_metric_families)  # pyright: ignore[reportUnknownMemberType] -- untyped
    return list(read(text))


def samples(text: str) -> Samples:
    return by_name(families(text))


def by_name(found: Iterable[Metric]) -> Samples:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in found
        for sample in family.samples
    }


def of(name: str, **labels: str) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())


def test_expiry_last_success_counters_and_state_are_told_of_each_profile() -> None:
    told = samples(exposition(status(main=PROFILE, etl=GONE)))

    main = {"profile": "main"}
    assert told[of("openfit_token_expiration_timestamp_seconds", **main)] == NOW + 2520.5
    assert told[of("openfit_token_last_success_timestamp_seconds", **main)] == NOW - 1080
    assert told[of("openfit_token_served_total", **main)] == 12345
    assert told[of("openfit_token_logins_left", **main)] == 3
    assert told[of("openfit_token_degraded", **main)] == 0
    assert told[of("openfit_token_degraded", profile="etl")] == 1
    states = {
        state: told[of("openfit_token_state", state=state, profile="etl")] for state in STATES
    }
    assert states == dict.fromkeys(STATES, 0) | {"locked": 1}
    conditions = {
        each: told[of("openfit_token_condition", condition=each, profile="etl")]
        for each in CONDITIONS
    }
    assert conditions == dict.fromkeys(CONDITIONS, 0) | {"locked": 1}
    assert told[of("openfit_tokend_build_info", version="0.1.0")] == 1
    assert told[of("openfit_tokend_requests_total")] == 1234


def test_what_doesnt_apply_is_not_there() -> None:
    told = samples(exposition(status(etl=GONE)))

    assert of("openfit_token_expiration_timestamp_seconds", profile="etl") not in told
    assert of("openfit_token_last_success_timestamp_seconds", profile="etl") in told


def test_a_refused_reload_is_told() -> None:
    refused = status(main=PROFILE) | {"config_error": "line 3: what?"}

    assert samples(exposition(status()))[of("openfit_tokend_config_refused")] == 0
    assert samples(exposition(refused))[of("openfit_tokend_config_refused")] == 1


def test_a_fleets_store_and_the_requests_under_way_are_told() -> None:
    claimed = PROFILE | {"fleet": {"by": "a", "at": NOW, "claim": {"by": "a", "since": NOW - 2}}}
    idle = PROFILE | {"fleet": {"by": "a", "at": NOW, "claim": None}}
    reached = status(main=claimed, etl=idle) | {"fleet": {"member": "a", "store": None}}
    lost = reached | {"fleet": {"member": "a", "store": {"code": "UNAVAILABLE"}}}

    told = samples(exposition(reached))

    assert told[of("openfit_fleet_store_up")] == 1
    assert told[of("openfit_fleet_claim_timestamp_seconds", profile="main")] == NOW - 2
    assert of("openfit_fleet_claim_timestamp_seconds", profile="etl") not in told
    assert samples(exposition(lost))[of("openfit_fleet_store_up")] == 0
    assert of("openfit_fleet_store_up") not in samples(exposition(status(main=PROFILE)))


def test_each_family_has_a_help_text_a_type_and_one_set_of_labels() -> None:
    for family in families(exposition(status(main=PROFILE, etl=GONE))):
        assert family.documentation.endswith(".")
        assert family.type in ("gauge", "counter")  # all that node_exporter's collector knows
        assert len({frozenset(sample.labels) for sample in family.samples}) == 1


def test_the_older_text_format_reads_the_same_values() -> None:
    text = exposition(status(main=PROFILE))

    assert by_name(parser.text_string_to_metric_families(text)) == samples(text)


@given(st.text(max_size=20), st.text(max_size=20))
def test_any_name_and_version_are_quoted_and_stay_in_their_line(name: str, version: str) -> None:
    told = samples(exposition(status(**{name: PROFILE}) | {"version": version}))

    assert told[of("openfit_token_logins_left", profile=one_line(name))] == 3
    assert told[of("openfit_tokend_build_info", version=one_line(version))] == 1


def test_it_is_printed_with_the_exit_status_of_the_probe(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with FakeDaemon(place / "s", always(status(main=GONE))) as daemon:
        told = run_words(["status", "--openmetrics", "--socket", daemon.path])

    printed = capsys.readouterr().out
    assert (told, printed) == (77, exposition(status(main=GONE)))
    assert printed.endswith("# EOF\n")


def test_it_is_one_picture_and_not_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_words(["status", "--openmetrics", "--watch"]) == 64
    assert run_words(["status", "--openmetrics", "--json"]) == 64
    assert "not allowed with argument" in capsys.readouterr().err

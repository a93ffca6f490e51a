"""A status for monitoring, as OpenMetrics.

There are gauges and counters alone: node_exporter's textfile collector reads the older text
format, which knows no stateset and no info, and refuses a file that has one.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from openfit_token._client.calls import fields
from openfit_token._client.health import (
    CONDITIONS,
    Answer,
    condition_of,
    number,
    profiles_of,
)
from openfit_token._shared.one_line import one_line

STATES: Final = (
    *("empty", "logging_in", "fresh", "refreshing", "retrying", "down", "locked", "logged_out"),
)

_GAUGES: Final = (
    ("expiration_timestamp_seconds", "expires_at", "When the token ends; none while none is live."),
    ("refresh_timestamp_seconds", "refresh_at", "When the next request is planned."),
    ("last_success_timestamp_seconds", "last_success_at", "When a token was last obtained."),
    ("session_end_timestamp_seconds", "session_ends_at", "When the refresh token ends."),
    ("logins_left", "logins_left", "Logins that may fail before no more are sent."),
)
"""Of a profile: name, key of the status, help."""
_COUNTERS: Final = (
    ("obtained", "tokens", "Tokens obtained."),
    ("logins", "logins", "Logins sent."),
    ("refreshes", "refreshes", "Refreshes sent."),
    ("rejected_refreshes", "rejected_refreshes", "Refresh tokens that were rejected."),
    ("uncertain", "uncertain", "Requests whose answer was lost."),
    ("failures", "failures", "Requests that failed."),
    ("served", "served", "Tokens handed out."),
)

Sample = tuple[Mapping[str, str], float | None]
"""Labels, and a value; one that is None isn't there."""


def exposition(found: Answer) -> str:
    """Return a status as the text of an OpenMetrics exposition."""
    return "".join([*_of_daemon(found), *_of_profiles(profiles_of(found)), "# EOF\n"])


def _of_daemon(found: Answer) -> Iterable[str]:
    version = {"version": str(found.get("version"))}
    yield _family("openfit_tokend_build_info", "gauge", "The daemon's version.", [(version, 1)])
    for name, kind, key, text in (
        ("start_timestamp_seconds", "gauge", "started_at", "When the daemon started."),
        ("connections", "gauge", "connections", "Clients connected."),
        ("requests", "counter", "requests", "Requests of clients."),
    ):
        yield _family(f"openfit_tokend_{name}", kind, text, [({}, number(found.get(key)))])
    refused = float(found.get("config_error") is not None)
    text = "1 if the last reload was refused."
    yield _family("openfit_tokend_config_refused", "gauge", text, [({}, refused)])
    if (fleet := found.get("fleet")) is not None:
        up = float(fields(fleet).get("store") is None)
        text = "1 if the fleet's store can be reached."
        yield _family("openfit_fleet_store_up", "gauge", text, [({}, up)])


def _of_profiles(profiles: Mapping[str, Answer]) -> Iterable[str]:
    counters = {name: fields(each.get("counters") or {}) for name, each in profiles.items()}
    for name, key, text in _GAUGES:
        samples = [({"profile": p}, number(each.get(key))) for p, each in profiles.items()]
        yield _family(f"openfit_token_{name}", "gauge", text, samples)
    for name, key, text in _COUNTERS:
        samples = [({"profile": p}, number(each.get(key))) for p, each in counters.items()]
        yield _family(f"openfit_token_{name}", "counter", text, samples)
    claims = [
        (
            {"profile": p},
            number(fields(fields(each.get("fleet") or {}).get("claim") or {}).get("since")),
        )
        for p, each in profiles.items()
    ]
    text = "Since when a request of some daemon of the fleet is under way; none while none is."
    yield _family("openfit_fleet_claim_timestamp_seconds", "gauge", text, claims)
    waiting = [({"profile": p}, number(each.get("waiting"))) for p, each in counters.items()]
    yield _family("openfit_token_waiting", "gauge", "Calls that wait for a token.", waiting)
    degraded = [
        ({"profile": p}, float(each.get("degraded") is not None)) for p, each in profiles.items()
    ]
    text = "1 if something keeps the token from being replaced, or will."
    yield _family("openfit_token_degraded", "gauge", text, degraded)
    conditions = [
        ({"profile": p, "condition": condition}, float(condition_of(each) == condition))
        for p, each in profiles.items()
        for condition in CONDITIONS
    ]
    text = "1 for how the profile is."
    yield _family("openfit_token_condition", "gauge", text, conditions)
    states = [
        ({"profile": p, "state": state}, float(each.get("state") == state))
        for p, each in profiles.items()
        for state in STATES
    ]
    yield _family("openfit_token_state", "gauge", "1 for the state the profile is in.", states)


def _family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> str:
    suffix = "_total" if kind == "counter" else ""
    lines = [
        f"{name}{suffix}{_labels(labels)} {value!r}\n"
        for labels, value in samples
        if value is not None
    ]
    if not lines:
        return ""
    return f"# HELP {name} {_escaped(text)}\n# TYPE {name} {kind}\n{''.join(lines)}"


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
    return f"{{{pairs}}}"


def _escaped(text: str) -> str:
    """Return a text as it stands in quotes, or behind HELP, in one line."""
    return one_line(text).replace("\\", "\\\\").replace('"', '\\"')

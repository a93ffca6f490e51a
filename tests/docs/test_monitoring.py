"""Alerts and dashboard: what they name is there."""

import re

from daemons import RunningDaemon
from monitoring import alerts, dashboard, metrics, offered, panels, shown
from openfit_token._client.health import CONDITIONS
from openfit_token._client.open_metrics import STATES, exposition
from openfit_tokend.core.reports.health import Condition
from openfit_tokend.core.session import State

OTHERS = {"node_textfile_mtime_seconds"}
"""Metrics that node_exporter tells of itself."""
OF_A_FLEET: dict[str, object] = {
    "fleet": {"store": None},
    "profiles": {"main": {"health": {}, "fleet": {"claim": {"since": 0.0}}}},
}
CORE = {"state-timeline", "stat", "table", "timeseries"}
"""The kinds of panels used that come with Grafana itself."""
UNITS = {"none", "reqps", "s", "short"}


def told(status: dict[str, object]) -> set[str]:
    """Return the metrics of a status."""
    lines = exposition(status).splitlines()
    return {re.split("[{ ]", line)[0] for line in lines if not line.startswith("#")}


def test_each_metric_of_an_alert_is_told_by_a_real_daemon(daemon: RunningDaemon) -> None:
    named = {name for each in alerts() for name in metrics(each)}

    assert named - told(daemon.call("status")) - told(OF_A_FLEET) == OTHERS


def test_the_dashboard_shows_each_metric_of_a_real_daemon_and_no_other(
    daemon: RunningDaemon,
) -> None:
    named = {name for each in shown() for name in metrics(each)}

    assert named == told(daemon.call("status")) | {
        name for name in told(OF_A_FLEET) if name.startswith("openfit_fleet_")
    }


def test_each_state_that_is_asked_for_is_one() -> None:
    assert words_of("state") <= set(STATES) == set(State)


def test_each_condition_that_is_asked_for_is_one() -> None:
    assert words_of("condition") <= set(CONDITIONS) == set(Condition)


def words_of(label: str) -> set[str]:
    """Return the values of a label that alerts and dashboard ask for."""
    asked = [*alerts(), *shown()]
    named = [word for each in asked for word in re.findall(label + r'[=!]~?"([a-z_|]+)"', each)]
    assert named
    return {word for each in named for word in each.split("|")}


def test_the_dashboard_has_a_number_for_each_state_and_its_name_for_the_number() -> None:
    (expression,) = [each for each in shown() if "openfit_token_state" in each]
    panel = next(each for each in panels() if each["title"] == "State")
    texts = panel["fieldConfig"]["defaults"]["mappings"][0]["options"]

    numbers = dict(re.findall(r'(\d+) \* \(openfit_token_state\{[^}]*state="(\w+)"', expression))

    assert numbers == {number: text["text"] for number, text in texts.items()}
    assert sorted(numbers.values()) == sorted(STATES)


def test_the_dashboard_can_be_imported_whatever_prometheus_is_called() -> None:
    """There is no Grafana to ask here; this is what commonly goes wrong."""
    source = {"type": "prometheus", "uid": "${datasource}"}
    first, *variables = dashboard()["templating"]["list"]

    assert (first["name"], first["type"], first["query"]) == (
        *("datasource", "datasource", "prometheus"),
    )
    assert len(offered()) == len(variables)
    assert all(each["datasource"] == source for each in variables)
    for panel in panels():
        assert panel["datasource"] == source
        assert all(target["datasource"] == source for target in panel["targets"])
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert "id" not in dashboard()


def test_the_dashboards_panels_need_no_plugin_and_dont_overlap() -> None:
    places = [panel["gridPos"] for panel in panels()]
    cells = [
        (x, y)
        for place in places
        for x in range(place["x"], place["x"] + place["w"])
        for y in range(place["y"], place["y"] + place["h"])
    ]

    assert {panel["type"] for panel in panels()} == CORE
    assert len({panel["id"] for panel in panels()}) == len(panels())
    assert len(set(cells)) == len(cells) == 24 * (max(y for _, y in cells) + 1)
    for panel in panels():
        unit = panel["fieldConfig"]["defaults"].get("unit")
        assert unit in UNITS or panel["type"] == "state-timeline"

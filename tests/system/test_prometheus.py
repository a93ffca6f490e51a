"""Debian's Prometheus scrapes a real daemon through nginx, as docs/operations.md says."""

from collections.abc import Generator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from daemons import RunningDaemon, await_that, profile
from emulators import running_emulator
from fenced import in_section
from http_wire import http_daemon, place
from monitoring import OPERATIONS, Prometheus, offered, running_prometheus, shown
from ports import free_port, need_ipv6
from proxies import Proxy, nginx_serves

pytestmark = [pytest.mark.system, pytest.mark.slow]


@pytest.fixture(scope="module")
def daemon() -> Generator[RunningDaemon]:
    with running_emulator() as emulator, http_daemon(profile(emulator.url)) as daemon:
        daemon.await_state("fresh")
        yield daemon


@pytest.fixture(scope="module")
def nginx(daemon: RunningDaemon) -> Generator[Proxy]:
    need_ipv6()
    (block,) = in_section(OPERATIONS, "Prometheus", "nginx")
    with TemporaryDirectory(prefix="oft-metrics-") as name:
        proxy = Proxy(Path(name), free_port())
        text = block.text
        for old, new in (
            (":946;", f":{proxy.port};"),
            ("server {\n", f"server {{\n    listen unix:{proxy.socket};\n"),
            ("/run/openfit-tokend/http.socket", str(place(daemon))),
        ):
            assert old in text
            text = text.replace(old, new)
        with nginx_serves(proxy, text):
            yield proxy


@pytest.fixture(scope="module")
def prometheus(nginx: Proxy) -> Generator[Prometheus]:
    with running_prometheus(nginx.port) as prometheus:
        enough = "count_over_time(openfit_tokend_build_info[1m]) >= 3"
        await_that(lambda: bool(prometheus.ask(enough)), prometheus.log)
        yield prometheus


def test_nginx_passes_on_the_metrics_and_nothing_else(nginx: Proxy) -> None:
    for at in ("127.0.0.1", "::1"):
        assert b"openfit_token_state" in nginx.ask("GET", "/metrics", at=at).body
    for path in ("/v1/token", "/metrics/../v1/token", "/metrics/", "/"):
        assert nginx.ask("GET", path, at="127.0.0.1").status == 404


def test_nginx_passes_nothing_on_to_whoever_names_another_host(nginx: Proxy) -> None:
    answer = nginx.ask("GET", "/metrics", fields={"Host": "evil.example"}, at="127.0.0.1")

    assert (answer.status, b"openfit" in answer.body) == (421, False)


def test_each_expression_of_the_dashboard_has_an_answer(prometheus: Prometheus) -> None:
    answered = {each: bool(prometheus.ask(each)) for each in shown()}

    assert answered == {each: "openfit_fleet_" not in each for each in shown()}


def test_the_dashboards_variables_offer_what_there_is(prometheus: Prometheus, nginx: Proxy) -> None:
    values = {label: prometheus.values(label, selector) for selector, label in offered()}

    assert values == {"instance": [f"127.0.0.1:{nginx.port}"], "profile": ["main"]}


def test_a_state_is_shown_by_its_number(prometheus: Prometheus) -> None:
    (expression,) = [each for each in shown() if "openfit_token_state" in each]

    (series,) = prometheus.ask(expression)

    assert (series["metric"]["profile"], series["value"][1]) == ("main", "1")


def test_no_alert_is_raised_by_a_daemon_that_is_well_and_one_is_by_a_logout(
    daemon: RunningDaemon, prometheus: Prometheus
) -> None:
    def states() -> dict[str, str]:
        return {
            name: f"{rule['health']} {rule['state']}" for name, rule in prometheus.rules().items()
        }

    await_that(lambda: "unknown" not in str(states()), prometheus.log)  # not yet evaluated
    assert set(states().values()) == {"ok inactive"}

    daemon.call("logout")

    await_that(lambda: states()["OpenFitLocked"] == "ok pending", lambda: str(states()))


def test_a_daemon_that_is_gone_raises_an_alert_that_names_it(
    daemon: RunningDaemon, nginx: Proxy, prometheus: Prometheus
) -> None:
    daemon.kill()

    def named() -> set[str]:
        alerts = prometheus.rules()["OpenFitSilent"]["alerts"]
        return {alert["labels"].get("instance", "") for alert in alerts}

    await_that(lambda: f"127.0.0.1:{nginx.port}" in named(), lambda: str(prometheus.rules()))

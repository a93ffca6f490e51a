"""What docs/ has for a monitoring system: alerts and a dashboard; and a real Prometheus.

with running_prometheus(port) as prometheus:
    ... prometheus.ask("openfit_token_state == 1"), prometheus.rules() ...
"""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, cast, final

import pytest

from daemons import PATIENCE, Fields, await_that
from fenced import ROOT, in_section
from ports import free_port

ALERTS: Final = ROOT / "docs/alerts.yml"
DASHBOARD: Final = ROOT / "docs/grafana.json"
OPERATIONS: Final = ROOT / "docs/operations.md"
TARGET: Final = "localhost:946"
_ALERT: Final = re.compile(r"expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)")
_METRIC: Final = re.compile(r"\b((?:openfit|node)_\w+)")
_VARIABLES: Final = {"$instance": ".*", "$profile": ".*", "$__rate_interval": "1m"}
"""What Grafana puts in their places."""


def metrics(expression: str) -> set[str]:
    """Return the metrics that an expression names."""
    return set(_METRIC.findall(expression))


def alerts() -> list[str]:
    """Return the alerts' expressions."""
    found = [folded or plain for folded, plain in _ALERT.findall(ALERTS.read_text())]
    assert len(found) == ALERTS.read_text().count("- alert:")
    return found


def dashboard() -> Fields:
    """Return the dashboard."""
    return cast("Fields", json.loads(DASHBOARD.read_text()))


def panels() -> list[Fields]:
    """Return the dashboard's panels."""
    return cast("list[Fields]", dashboard()["panels"])


def shown() -> list[str]:
    """Return the dashboard's expressions, as Grafana asks them when everything is selected."""
    return [_filled(target["expr"]) for panel in panels() for target in panel["targets"]]


def offered() -> list[tuple[str, str]]:
    """Return what the dashboard's variables offer: a selector, and the label whose values it has."""
    queries = [each["query"]["query"] for each in dashboard()["templating"]["list"][1:]]
    found = [re.fullmatch(r"label_values\((.+), (\w+)\)", each) for each in queries]
    return [(_filled(each[1]), each[2]) for each in found if each is not None]


def _filled(text: str) -> str:
    for name, value in _VARIABLES.items():
        text = text.replace(name, value)
    assert "$" not in text, f"a variable that isn't there: {text}"
    return text


@final
class Prometheus:
    """A running Prometheus."""

    def __init__(self, port: int, log: Path) -> None:
        self._api = f"http://127.0.0.1:{port}/api/v1/"
        self._log = log

    def ask(self, expression: str) -> list[Fields]:
        """Return what an expression is now."""
        return cast("list[Fields]", self._get("query", query=expression)["result"])

    def values(self, label: str, selector: str) -> list[str]:
        """Return the values of a label."""
        return cast("list[str]", self._get(f"label/{label}/values", **{"match[]": selector}))

    def rules(self) -> dict[str, Fields]:
        """Return the alerts, by name."""
        (group,) = self._get("rules")["groups"]
        return {rule["name"]: rule for rule in group["rules"]}

    def log(self) -> str:
        """Return what it has logged."""
        return self._log.read_text()

    def _get(self, path: str, **parameters: str) -> Any:  # noqa: ANN401 -- whatever JSON it is
        try:
            with urllib.request.urlopen(  # noqa: S310 -- http
                f"{self._api}{path}?{urllib.parse.urlencode(parameters)}", timeout=PATIENCE
            ) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            if error.code == HTTPStatus.SERVICE_UNAVAILABLE:
                raise  # it is starting
            pytest.fail(f"{parameters}: {error.read().decode()}")


@contextmanager
def running_prometheus(port: int) -> Generator[Prometheus]:
    """Run a Prometheus with our alerts, which scrapes loopback as docs/operations.md says."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("prometheus isn't installed: run .ci/install_packages")
    (block,) = in_section(OPERATIONS, "Prometheus", "yaml")
    assert TARGET in block.text
    with TemporaryDirectory(prefix="oft-prometheus-") as name:
        config, log, own = Path(name) / "prometheus.yml", Path(name) / "log", free_port()
        config.write_text(
            "global: {scrape_interval: 1s, evaluation_interval: 1s}\n"
            f"rule_files: [{ALERTS}]\n" + block.text.replace(TARGET, f"127.0.0.1:{port}")
        )
        command = [
            program,
            f"--config.file={config}",
            f"--storage.tsdb.path={name}/data",
            f"--web.listen-address=127.0.0.1:{own}",
        ]
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file)
        prometheus = Prometheus(own, log)

        def answers() -> bool:
            assert process.poll() is None, f"it ended:\n{log.read_text()}"
            with suppress(urllib.error.URLError):
                return bool(prometheus.ask("up == 1"))
            return False

        try:
            await_that(answers, prometheus.log)
            yield prometheus
        finally:
            process.terminate()
            process.wait(PATIENCE)

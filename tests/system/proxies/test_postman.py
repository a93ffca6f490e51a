"""The collection in docs/postman/, run by Postman's own runner through the shipped proxies."""

import json
from pathlib import Path

import pytest

import processes
from fenced import ROOT
from peers import peer
from proxies import Between

pytestmark = [pytest.mark.system, pytest.mark.slow]

FILES = ROOT / "docs/postman"


@pytest.fixture(params=["nginx"])
def program(request: pytest.FixtureRequest) -> str:
    """Return the proxy that the documents name for programs that can't be changed."""
    return str(request.param)


def run(between: Between, report: Path) -> dict[str, bool]:
    """Run the collection, and return which of its tests passed."""
    between.proxy.await_port("localhost")
    done = processes.run(
        *(peer("node_modules/.bin/newman"), "run"),
        FILES / "openfit.postman_collection.json",
        *("--environment", FILES / "openfit.postman_environment.json"),
        *("--env-var", f"url=http://localhost:{between.proxy.port}"),
        *("--reporters", "json", "--reporter-json-export", report),
    )
    assert report.exists(), done.stdout + done.stderr
    (execution,) = json.loads(report.read_text())["run"]["executions"]
    return {each["assertion"]: "error" not in each for each in execution["assertions"]}


def test_a_request_needs_no_token_of_its_own(on_loopback: Between, tmp_path: Path) -> None:
    environment = json.loads((FILES / "openfit.postman_environment.json").read_text())
    assert {each["key"]: each["value"] for each in environment["values"]} == {
        "url": "http://localhost:848",
        "path": "/v1/me",
    }

    assert run(on_loopback, tmp_path / "well") == {
        "the API takes the token": True,
        "there is a token": True,
    }
    assert [(seen.method, seen.path, seen.token) for seen in on_loopback.api.seen] == [
        ("GET", "/v1/me", "token-a")
    ]

"""The protocol's document says what a real daemon does."""

import re
import sys
from pathlib import Path
from typing import cast

import pytest

from daemons import RunningDaemon
from openfit_tokend.core.callers.rights import Rights
from openfit_tokend.core.session import State
from openfit_tokend.serving.calls import Backend, Calls
from openfit_tokend.serving.profiles import Profiles
from processes import done

TEXT = (Path(__file__).parents[2] / "docs" / "protocol.md").read_text()
METHOD = re.compile(r"^### (\w+)\n\n`\{([\w, ]*)\}`", re.MULTILINE)
NAME = re.compile(r"`(\w+)`")


def part(heading: str, text: str = TEXT) -> str:
    """Return what stands below a heading, until the next of its rank."""
    rank = heading.count("#")
    below = text.split(f"{heading}\n", 1)[1]
    return re.split(rf"^#{{2,{rank}}} ", below, maxsplit=1, flags=re.MULTILINE)[0]


def first_column(text: str) -> set[str]:
    rows = [line for line in text.split("\n") if line.startswith("| `")]
    return {name for row in rows for name in NAME.findall(row.split("|")[1])}


def names(text: str) -> set[str]:
    """Return all names in code, also those of maps."""
    return {name for code in re.findall(r"`([^`]+)`", text) for name in re.findall(r"\w+", code)}


def _nothing(*_: object) -> None:
    """Hand out no token."""


def test_each_method_is_there_with_its_parameters() -> None:
    told = {name: set(params.split(", ")) - {""} for name, params in METHOD.findall(TEXT)}
    nobody = cast("Backend", None)  # no method is called

    methods = Calls(nobody, Profiles(Rights()), _nothing)._methods  # pyright: ignore[reportPrivateUsage] -- there is no other list of them
    assert told == {name: set(params) for name, (_, params) in methods.items()}


def test_the_states_are_those_of_the_core() -> None:
    assert first_column(part("## States")) == set(State)


def test_hello_and_token_have_the_keys_that_are_told(daemon: RunningDaemon) -> None:
    assert set(daemon.call("hello")) <= names(part("### hello"))
    assert set(daemon.call("get_token")) <= names(part("### get_token"))


def test_status_has_the_keys_that_are_told_and_no_others(daemon: RunningDaemon) -> None:
    status = daemon.call("status")
    (main,) = status["profiles"].values()
    (client,) = status["clients"].values()
    whole, each = part("### status").split("Each profile:")

    assert first_column(whole) == set(status)
    assert first_column(each) | {"username"} == set(main)
    assert set(main["counters"]) | set(client) <= names(part("### status"))


def test_the_simplest_client_gets_a_token(daemon: RunningDaemon) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    client = code.replace("/run/openfit-tokend/socket", daemon.environment["OPENFIT_TOKEN_SOCKET"])

    assert done(sys.executable, "-c", client).startswith("http")


@pytest.mark.parametrize("exchange", re.findall(r"`(\[[012], .*?)`", TEXT))
def test_no_message_has_another_form_than_the_three(exchange: str) -> None:
    assert exchange.startswith(("[0, msgid, method", "[1, msgid, error", "[2, method, params"))

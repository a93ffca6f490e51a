"""What is made from the code is current, and the words around it are true."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given

import generate
from generator import claims, states
from generator.settings import FLEET, PROFILE, TOP
from openfit_tokend.core.events import Adopted, Failed, Granted
from openfit_tokend.core.session import State, state
from openfit_tokend.core.settings.parser import PASSWORD_KEYS, PROFILE_KEYS, TOP_KEYS, parse
from openfit_tokend.core.settings.table import Source
from openfit_tokend.core.settings.values import Settings
from walks import Taken, walks

NEEDED = {"environment": '"production"', "client_id": '"c"', "username": '"u"'}


def test_documents_and_man_pages_are_as_the_code_would_have_them_now() -> None:
    assert generate.stale() == [], "run: python docs/generate.py"


def test_a_block_that_differs_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in generate.DOCS.glob("*.md"):
        (tmp_path / path.name).write_text(path.read_text().replace("| 75 |", "| 0 |"))
    monkeypatch.setattr(generate, "DOCS", tmp_path)

    assert tmp_path / "protocol.md" in generate.stale()


def test_every_key_has_its_words_and_there_are_none_besides() -> None:
    assert (set(TOP), set(PROFILE)) == (set(TOP_KEYS), set(PROFILE_KEYS))


def parsed(top: str, profile: dict[str, str]) -> Settings:
    lines = "\n".join(f"{key} = {value}" for key, value in profile.items())
    text = f"{top}\n[profiles.main]\n{lines}\n"
    found = parse(Source("/etc/x.toml", tomllib.loads(text)))
    assert isinstance(found, Settings), found
    return found


@pytest.mark.parametrize("key", [key for key in TOP if key != "profiles"])
def test_each_example_at_the_top_is_taken(key: str) -> None:
    parsed(f"{key} = {TOP[key].example}", NEEDED)


@pytest.mark.parametrize("key", PROFILE)
def test_each_example_of_a_profile_is_taken(key: str) -> None:
    custom = {"environment": '"custom"'} | {
        name: PROFILE[name].example for name in ("id_server", "api_url")
    }
    foreign = {name: custom[name] for name in ("environment", "api_url")} | {
        "token_url": PROFILE["token_url"].example
    }
    needed: dict[str, dict[str, str]] = {
        **dict.fromkeys(("environment", "id_server", "api_url"), custom),
        "password_environment": {"password_command": '["op"]'},
        "client_secret_environment": {"client_secret_command": '["op"]'},
        "client_auth": {"client_secret_env": '"SECRET"'},
        "loopback_user": custom | {"id_server": '"http://localhost"'},
        **dict.fromkeys(("token_url", "revocation_url"), foreign),
    }

    parsed("", NEEDED | needed.get(key, {}) | {key: _example(key)})


def _example(key: str) -> str:
    return '"custom"' if key == "environment" else PROFILE[key].example


def test_each_other_token_server_that_is_described_is_taken() -> None:
    document = (generate.DOCS / "configuration.md").read_text()
    section = document.partition("## Another token server\n")[2].partition("\n## ")[0]
    blocks = re.findall(r"```toml\n(.*?)```", section, re.DOTALL)

    assert len(blocks) == 2
    for block in blocks:
        assert isinstance(parse(Source("/etc/x.toml", tomllib.loads(block))), Settings)


STORE = """\
[fleet]
store = "etcd://localhost"
key_file = "k"
"""
DEFAULTS = {
    (table, key): setting.default
    for table, settings in (("top", TOP), ("profile", PROFILE), ("fleet", FLEET))
    for key, setting in settings.items()
    if setting.default.startswith("`")
}


@pytest.mark.parametrize(("table", "key"), DEFAULTS)
def test_to_write_a_default_out_changes_nothing(table: str, key: str) -> None:
    default = DEFAULTS[table, key].strip("`")
    line = f"{key} = {default}\n"
    needed = NEEDED | ({"client_secret_env": '"SECRET"'} if key == "client_auth" else {})

    match table:
        case "top":
            written = parsed(f"{line}{STORE}", NEEDED)
        case "profile":
            written = parsed(STORE, needed | {key: default})
        case _:
            written = parsed(f"{STORE}{line}", NEEDED)

    same = written == parsed(STORE, needed)
    assert same, f"docs/generator/settings.py: the default of {key} isn't {default}"


@pytest.mark.parametrize("key", [key for key in PROFILE if PROFILE[key].default == "needed"])
def test_what_is_said_to_be_needed_is(key: str) -> None:
    without = {name: value for name, value in NEEDED.items() if name != key}

    assert not isinstance(parse(Source("/etc/x.toml", {"profiles": {"main": without}})), Settings)


def test_only_what_is_said_to_be_needed_is() -> None:
    assert set(NEEDED) == {key for key, each in PROFILE.items() if each.default == "needed"}
    assert not set(NEEDED) & set(PASSWORD_KEYS)


@given(walks())
def test_no_walk_takes_a_way_that_the_diagram_has_not(walk: tuple[Taken, ...]) -> None:
    taken = {
        states.Edge(
            state(step.before, step.moment.now),
            states.word_of(step.event),
            state(step.after, step.moment.now),
        )
        for step in walk
        if step.answers or not isinstance(step.event, Granted | Failed)  # a late answer is void
        if not isinstance(step.event, Adopted)  # to any state, as the text says
    }

    assert taken <= states.edges()


def test_each_state_can_be_reached_and_left() -> None:
    ways = [edge for edge in states.edges() if edge.before is not edge.after]

    assert {edge.after for edge in ways} == {edge.before for edge in ways} == set(State)


def test_a_profile_of_a_fleet_comes_to_all_that_it_may_be_doing_and_out_of_it() -> None:
    ways = [edge for edge in claims.edges() if edge.before is not edge.after]

    assert {edge.after for edge in ways} == set(claims.Doing)
    assert {edge.before for edge in ways} == set(claims.Doing) - {claims.Doing.GONE}

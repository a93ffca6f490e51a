"""A profile is written into a configuration, and all else stays as its author left it."""

import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.config import config_file
from openfit_tokend.core.settings import Settings
from openfit_tokend.setup import config_text, configuration
from openfit_tokend.setup.configuration import Location, Present
from openfit_tokend.setup.failure import SetupFailed

VALUES = {"environment": "test", "client_id": "new", "username": "new"}
BY_HAND = """\
# ours, do not touch
admin_groups = []  # nobody

  [profiles.main]   # the important one
environment = "test"
client_id = "old"
username = '''old'''
scope = "a b" # narrow

# the other one
# has two lines
[profiles."etl.x"]
environment = "test"
client_id = "c"
username = "u"

# the end
"""


def present(directory: Path, text: str) -> tuple[Present, Location]:
    """Return a configuration as it is found on disk, and where."""
    path = directory / "config.toml"
    if text:
        path.write_text(text)
    where = Location(path, 0o600, None, for_service=False)
    return configuration.present(where), where


def with_profile(directory: Path, text: str, name: str) -> str:
    now, where = present(directory, text)
    return configuration.with_profile(now, where, name, VALUES)


def settings(directory: Path, text: str) -> Settings:
    (directory / "config.toml").write_text(text)
    return config_file.load(directory / "config.toml")


def test_the_first_profile_makes_a_configuration(tmp_path: Path) -> None:
    text = with_profile(tmp_path, "", "main")

    assert text.startswith("# openfit-tokend's configuration.")
    assert list(settings(tmp_path, text).profiles) == ["main"]


def test_a_further_profile_comes_last_and_every_line_by_hand_is_still_there(tmp_path: Path) -> None:
    text = with_profile(tmp_path, BY_HAND, "third")

    assert text.startswith(BY_HAND)
    found = settings(tmp_path, text)
    assert list(found.profiles) == ["main", "etl.x", "third"]
    assert found.default_profile is None, "there was none before"


def test_the_only_profile_stays_the_default_when_another_one_comes(tmp_path: Path) -> None:
    one = BY_HAND[: BY_HAND.index("# the other one")]

    text = with_profile(tmp_path, one, "second")

    assert text.startswith('default_profile = "main"\n')
    assert one.strip() in text
    assert settings(tmp_path, text).default_profile == "main"


@pytest.mark.parametrize("text", ["", f"{config_text.HEAD}\n{BY_HAND}", BY_HAND])
def test_a_place_for_the_socket_comes_first_and_all_else_is_left(tmp_path: Path, text: str) -> None:
    now, where = present(tmp_path, text)

    now = configuration.with_socket(now, where)
    made = configuration.with_profile(now, where, "third", VALUES)

    assert BY_HAND in made or not text
    assert made.startswith(config_text.HEAD) == (text != BY_HAND)
    found = settings(tmp_path, made)
    assert found.socket == now.settings.socket == f"{tmp_path}/run/socket"
    assert "third" in found.profiles


def test_a_socket_that_could_not_be_made_there_is_refused_with_the_reason(tmp_path: Path) -> None:
    directory = tmp_path / ("x" * (96 - len(f"{tmp_path}/run/socket")))  # 97 bytes with the /
    directory.mkdir()
    now, where = present(directory, "")
    assert configuration.with_socket(now, where).settings.socket == f"{directory}/run/socket"

    longer = directory.rename(directory.with_name(f"{directory.name}xx"))
    with pytest.raises(SetupFailed) as caught:
        configuration.with_socket(*present(longer, ""))

    assert "XDG_RUNTIME_DIR is not set" in caught.value.message
    assert "98 bytes" in caught.value.message


def test_a_replaced_profile_keeps_what_is_not_asked_for_and_all_comments_above_others(
    tmp_path: Path,
) -> None:
    text = with_profile(tmp_path, BY_HAND, "main")

    kept = BY_HAND.splitlines()
    assert text.splitlines() == [
        *kept[:3],
        "[profiles.main]",
        'environment = "test"',
        'client_id = "new"',
        'username = "new"',
        *kept[7:],
    ]


def test_the_last_profile_can_be_replaced_too(tmp_path: Path) -> None:
    text = with_profile(tmp_path, BY_HAND, "etl.x")

    assert text.startswith(BY_HAND[: BY_HAND.index('[profiles."etl.x"]')])
    assert text.endswith("\n\n# the end\n")
    assert settings(tmp_path, text).profiles["etl.x"].identity.client_id == "new"


DOTTED = """\
profiles.main.environment = "test"
profiles.main.client_id = "c"
profiles.main.username = "u"
default_profile = "main"
"""
INLINE = 'profiles = { main = { environment = "test", client_id = "c", username = "u" } }\n'


@pytest.mark.parametrize(("text", "name"), [(DOTTED, "main"), (INLINE, "main"), (INLINE, "other")])
def test_what_cannot_be_changed_here_is_left_and_what_to_write_is_shown(
    tmp_path: Path, text: str, name: str
) -> None:
    with pytest.raises(SetupFailed) as caught:
        with_profile(tmp_path, text, name)

    assert f"[profiles.{name}]" in str(caught.value.hint)
    assert (tmp_path / "config.toml").read_text() == text


def test_a_profile_of_an_included_file_is_changed_there(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/a.toml").write_text(config_text.section("etl", VALUES))
    main = f'include = "conf.d/*.toml"\n{config_text.section("main", VALUES)}'

    with pytest.raises(SetupFailed) as caught:
        with_profile(tmp_path, main, "etl")

    assert "included" in caught.value.message


@given(
    st.lists(
        st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True), min_size=1, max_size=4
    ),
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1),
)
def test_whatever_names_and_values_the_text_says_them(names: list[str], value: str) -> None:
    text, expected = "", {}
    for name in names:
        values = {"client_id": value, "username": f"{value} {name}"}
        known = name in expected
        expected[name] = values
        if known:
            text = config_text.replaced(text, name, values)
        else:
            text = config_text.added(text, name, values, None)

    assert tomllib.loads(text)["profiles"] == expected

"""A profile is written into a file of its own, and all else stays as its author left it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_token._shared.secret import Secret
from openfit_tokend.config import config_file
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.setup import configuration
from openfit_tokend.setup.configuration import HEAD, OWN_HEAD, Location, Present
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


OWN = """\
[profiles.etl]
environment = "test"
client_id = "old"
username = "old"
refresh_before = 120  # ours
allow_users = [
  "root",
]
"""


def present(directory: Path, text: str, name: str = "main") -> tuple[Present, Location]:
    """Return a configuration as it is found on disk, and where."""
    path = directory / "config.toml"
    if text:
        path.write_text(text)
    where = Location(path, 0o600, None, for_service=False)
    return configuration.present(where, name), where


def write(directory: Path, text: str, name: str) -> Settings:
    """Write a profile, and return the whole configuration as a daemon reads it then."""
    now, where = present(directory, text, name)
    texts = configuration.with_profile(now, where, name, VALUES)
    configuration.store(now, where, name, texts, Secret("p"))
    return config_file.load(where.config)


def files(directory: Path) -> dict[str, str]:
    found = sorted(directory.rglob("*.*"))
    return {str(each.relative_to(directory)): each.read_text() for each in found if each.is_file()}


def test_the_first_profile_makes_a_configuration_that_includes_it(tmp_path: Path) -> None:
    found = write(tmp_path, "", "main")

    assert list(found.profiles) == ["main"]
    assert files(tmp_path) == {
        "conf.d/main.password": "p\n",
        "conf.d/main.toml": (
            f'{OWN_HEAD}[profiles.main]\nenvironment = "test"\nclient_id = "new"\nusername = "new"\n'
        ),
        "config.toml": f'{HEAD}include = "conf.d/*.toml"\n',
    }
    write(tmp_path, "", "etl.x")
    assert list(config_file.load(tmp_path / "config.toml").profiles) == ["etl.x", "main"]


def test_a_configuration_by_hand_gets_an_include_above_it_and_keeps_every_line(
    tmp_path: Path,
) -> None:
    found = write(tmp_path, BY_HAND, "third")

    assert (tmp_path / "config.toml").read_text() == f'include = "conf.d/*.toml"\n\n{BY_HAND}'
    assert list(found.profiles) == ["main", "etl.x", "third"]
    assert found.default_profile is None, "there was none before"


def test_the_only_profile_stays_the_default_when_another_one_comes(tmp_path: Path) -> None:
    one = BY_HAND[: BY_HAND.index("# the other one")]

    found = write(tmp_path, one, "second")

    assert (tmp_path / "config.toml").read_text().endswith(f"\n{one}")
    assert found.default_profile == "main"


def test_what_the_main_file_includes_already_says_where_the_file_goes(tmp_path: Path) -> None:
    (tmp_path / "ours").mkdir()
    main = f'include = "ours/*.toml"\n{BY_HAND}'

    found = write(tmp_path, main, "third")

    assert set(files(tmp_path)) == {"config.toml", "ours/third.password", "ours/third.toml"}
    assert (tmp_path / "config.toml").read_text() == main
    assert "third" in found.profiles


def test_a_replaced_profile_keeps_the_keys_that_are_not_asked_for(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d/etl.toml").write_text(OWN + 'form = { "a.b" = "c d", audience = "ü" }\n')
    (tmp_path / "conf.d/etl.toml").chmod(0o640)
    main = f'include = "conf.d/*.toml"\n{BY_HAND}'

    found = write(tmp_path, main, "etl").profiles["etl"]

    assert (found.identity.username, found.policy.refresh_before) == ("new", 120)
    assert found.allow_users == ("root",)
    assert found.identity.form == (("a.b", "c d"), ("audience", "ü"))
    assert (tmp_path / "config.toml").read_text() == main
    assert (tmp_path / "conf.d/etl.toml").stat().st_mode & 0o777 == 0o640


def test_of_a_profile_in_the_main_file_the_password_alone_is_replaced(tmp_path: Path) -> None:
    same = BY_HAND.replace("old", "new")

    write(tmp_path, same, "main")

    assert files(tmp_path) == {"config.toml": same, "main.password": "p\n"}


SHARED = f"{OWN}[profiles.more]\n{OWN.partition(chr(10))[2]}"


@pytest.mark.parametrize(
    ("name", "include", "others", "said"),
    [
        ("main", "", {}, "has no file of its own"),
        ("etl", "conf.d/*.toml", {"conf.d/a.toml": OWN}, "has no file of its own"),
        ("etl", "conf.d/*.toml", {"conf.d/etl.toml": SHARED}, "has no file of its own"),
        ("etl", "conf.d/a.toml", {"conf.d/a.toml": OWN.replace("etl", "a")}, "includes conf.d/a"),
        ("b", "conf.d/*.toml", {"conf.d/b.toml": OWN}, "conf.d/b.toml is there"),
        ("b", "", {"conf.d/stray.toml": OWN}, "conf.d/stray.toml is there"),
        ("b", "", {"conf.d/b.toml": "no TOML"}, "conf.d/b.toml is there"),
    ],
)
def test_what_somebody_else_has_written_is_left_and_what_to_write_is_shown(
    tmp_path: Path, name: str, include: str, others: dict[str, str], said: str
) -> None:
    (tmp_path / "conf.d").mkdir()
    for other, text in others.items():
        (tmp_path / other).write_text(text)
    main = f'include = "{include}"\n{BY_HAND}' if include else BY_HAND

    with pytest.raises(SetupFailed) as caught:
        write(tmp_path, main, name)

    assert said in caught.value.message
    assert f'[profiles.{name}]\nenvironment = "test"' in str(caught.value.hint)
    assert files(tmp_path) == {"config.toml": main, **others}


@given(
    st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,8}", fullmatch=True),
    st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=50),
)
def test_whatever_name_and_values_the_file_says_them(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: str
) -> None:
    directory = tmp_path_factory.mktemp("any")
    now, where = present(directory, "", name)
    texts = configuration.with_profile(now, where, name, {**VALUES, "client_id": value})
    configuration.store(now, where, name, texts, Secret("p"))

    assert config_file.load(where.config).profiles[name].identity.client_id == value

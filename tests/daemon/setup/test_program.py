"""Which interpreter the service could not run, and how its path is written into a unit."""

import shlex
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openfit_tokend.setup import units
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.program import NAME, Program, find, refuse_unrunnable
from openfit_tokend.setup.tree import Tree

NOBODY = 65534


def program_in(root: Path, place: str) -> Program:
    """Make a tree that has the program at a place."""
    command = root / place / "bin" / NAME
    command.parent.mkdir(parents=True)
    command.touch(mode=0o755)
    return Program(Path("/", place, "bin", NAME), (Path("/", place),))


def refusal(program: Program, root: Path) -> str:
    with pytest.raises(SetupFailed) as caught:
        refuse_unrunnable(program, Tree(root), NOBODY, NOBODY)
    assert "/usr/bin/python3 -m venv /opt/openfit-tokend-" in str(caught.value.hint)
    return caught.value.message


@pytest.fixture(autouse=True)
def _our_code_is_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this working tree lies is not the question here."""
    monkeypatch.setattr("openfit_tokend.setup.program._code", list[Path])


@pytest.mark.parametrize(
    "place", ["home/a/venv", "root/venv", "run/user/1/v", "tmp/v", "var/tmp/v"]
)
def test_a_program_that_the_unit_cannot_see_is_refused(tmp_path: Path, place: str) -> None:
    said = refusal(program_in(tmp_path, place), tmp_path)

    assert "which is hidden from the service" in said
    assert f"/{Path(place).parts[0]}" in said


def test_a_program_behind_a_closed_directory_is_refused_by_that_directorys_name(
    tmp_path: Path,
) -> None:
    program = program_in(tmp_path, "srv/closed/venv")
    (tmp_path / "srv/closed").chmod(0o750)

    assert refusal(program, tmp_path).endswith("other users have no access to /srv/closed")


def test_a_symlink_on_the_way_is_followed_to_what_it_really_is(tmp_path: Path) -> None:
    program = program_in(tmp_path, "opt/venv")
    (tmp_path / "root").mkdir()
    (tmp_path / "opt/venv").rename(tmp_path / "root/venv")
    (tmp_path / "opt/venv").symlink_to("../root/venv")

    assert "is below /root" in refusal(program, tmp_path)


def test_a_program_that_everybody_can_run_is_taken(tmp_path: Path) -> None:
    refuse_unrunnable(program_in(tmp_path, "opt/venv"), Tree(tmp_path), NOBODY, NOBODY)


def test_symlinks_in_a_circle_have_an_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")

    refuse_unrunnable(Program(Path("/a/x"), ()), Tree(tmp_path), NOBODY, NOBODY)


def test_the_program_is_named_as_it_is_inside_of_the_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program_in(tmp_path, "opt/venv")
    (tmp_path / "opt/venv/bin/python").touch()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "opt/venv/bin/python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "opt/venv"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")

    found = find(Tree(tmp_path))

    assert found.command == Path("/opt/venv/bin", NAME)
    assert found.places == (Path("/opt/venv"), Path("/usr"), Path("/opt/venv/bin"))


@pytest.mark.parametrize(
    ("started", "kept"),
    [
        ("opt/v/bin", "/opt/v"),
        ("local", "/opt/v"),  # by a link to the command in there
        ("opt/v-1/bin", "/opt/v-1"),
    ],
)
def test_a_program_that_was_started_by_a_link_to_its_version_keeps_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: str, kept: str
) -> None:
    """So the link can lead to the next version."""
    program_in(tmp_path, "opt/v-1")
    (tmp_path / "opt/v-1/bin/python").touch()
    (tmp_path / "opt/v").symlink_to("v-1")
    (tmp_path / "local").mkdir()
    (tmp_path / "local" / NAME).symlink_to(tmp_path / "opt/v/bin" / NAME)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "opt/v-1/bin/python"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path / "opt/v-1"))
    monkeypatch.setattr(sys, "base_prefix", "/usr")
    monkeypatch.setattr(sys, "argv", [str(tmp_path / started / NAME), "install"])

    found = find(Tree(tmp_path))

    assert found.command == Path(kept, "bin", NAME)
    assert found.places[:2] == (Path(kept), Path("/usr"))


def test_the_units_start_the_program_and_may_run_code_from_its_places() -> None:
    program = Program(Path("/opt/v/bin", NAME), (Path("/opt/v"), Path("/usr"), Path("/opt/python")))
    for part in (*units.SYSTEM_PARTS, *units.USER_PARTS):
        lines = units.content(part, program).decode().splitlines()
        commands = [line for line in lines if line.startswith("Exec") and "Paths" not in line]
        assert all("=/opt/v/bin/openfit-tokend " in line for line in commands)
        if part.source == "system/openfit-tokend.service":
            assert len(commands) == 2
            assert "ExecPaths=/usr /opt/v /opt/python -/bin -/sbin -/lib -/lib64" in lines


@given(st.text(st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1))
def test_a_path_is_one_word_to_systemd_and_as_it_stands(name: str) -> None:
    """Its quoting is a shell's; besides, $ and % are doubled (systemd.service(5))."""
    path = Path("/opt", name.replace("/", "_"))
    if not str(path).isprintable():
        with pytest.raises(SetupFailed):
            units.quoted(path)
        return

    (word,) = shlex.split(units.quoted(path).replace("$$", "\\$").replace("%%", "%"))

    assert word.replace("\\$", "$") == str(path)

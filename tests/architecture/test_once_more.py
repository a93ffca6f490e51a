"""What failed in CI runs once more if it was little: `.ci/once-more`."""

import sys
from pathlib import Path

import pytest

import processes

ONCE_MORE = Path(__file__).parents[2] / ".ci/once-more"
PYTEST = Path(sys.executable).with_name("pytest")
FLAKY = """
from pathlib import Path
def test_{0}():
    ran = Path("{0}")
    first = not ran.exists()
    ran.touch()
    assert not first
"""
FAILING = "def test_{}(): assert False\n"


def run(directory: Path, *words: str | Path) -> int:
    own = ("-o", "addopts=", "-p", "xdist")  # no other plugin: they start slowly
    done = processes.run(*words, *own, directory=directory, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")
    return done.returncode


@pytest.mark.parametrize(
    ("tests", "passes"),
    [
        pytest.param(FLAKY.format("a"), True, id="one that passes alone"),
        pytest.param(FLAKY.format("a") + FAILING.format("b"), False, id="one fails again"),
        pytest.param("".join(map(FLAKY.format, "abc")), True, id="three"),
        pytest.param("".join(map(FLAKY.format, "abcd")), False, id="too many"),
    ],
)
def test_what_failed_passes_only_if_it_was_little_and_passes_alone(
    tmp_path: Path, tests: str, *, passes: bool
) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text(tests)
    assert run(tmp_path, PYTEST) == pytest.ExitCode.TESTS_FAILED

    assert (run(tmp_path, ONCE_MORE, PYTEST) == 0) is passes


def test_a_run_that_failed_without_a_failed_test_fails(tmp_path: Path) -> None:
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_it.py").write_text("def test_it(): pass\n")
    assert run(tmp_path, PYTEST) == 0

    assert run(tmp_path, ONCE_MORE, PYTEST) != 0

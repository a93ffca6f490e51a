"""What people copy: the commands that help, manuals, README and demo show."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = (
    ROOT / "README.md",
    *sorted((ROOT / "client/openfit_token/_cli").rglob("*.py")),
    *sorted((ROOT / "daemon/openfit_tokend/cli").rglob("*.*")),
    *sorted((ROOT / "emulator/openfit_emulator/demo").glob("*.*")),
    *sorted((ROOT / "docs/man").iterdir()),
    *sorted((ROOT / "docs").glob("*.md")),
)
IN_ARGUMENTS = re.compile(r"""curl[^|\n]*(-H|--header|--oauth2-bearer)\s*=?\s*"?\$\(openfit""")
WITHOUT_A_URL = re.compile(r"--format curl\s*\|")

shown = pytest.mark.parametrize(
    "path",
    [path for path in SHOWN if path.suffix != ".pyc"],
    ids=lambda path: str(path.relative_to(ROOT)),
)


@shown
def test_no_command_puts_a_token_where_all_users_can_read_it(path: Path) -> None:
    """The arguments of a process are everybody's to read."""
    assert IN_ARGUMENTS.search(unfolded(path)) is None


@shown
def test_no_command_sends_a_request_if_there_is_no_token(path: Path) -> None:
    """curl goes on with an empty configuration, unless its URL would have come with the token."""
    assert WITHOUT_A_URL.search(unfolded(path)) is None


def unfolded(path: Path) -> str:
    """Return a text with its folded lines in one, and without a manual's backslashes."""
    return path.read_text().replace("\\\n", " ").replace("\\-", "-")


def test_the_first_request_that_help_shows_keeps_the_token_out_of_the_arguments() -> None:
    text = (ROOT / "client/openfit_token/_cli/command_line/texts.py").read_text()

    first = next(line for line in text.splitlines() if "curl" in line)
    assert "openfit-token curl --" in first

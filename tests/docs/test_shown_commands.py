"""What people copy: the commands that help, manuals, README and demo show."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SHOWN = (
    ROOT / "README.md",
    *sorted((ROOT / "client/openfit_token/_cli").glob("*.py")),
    *sorted((ROOT / "daemon/openfit_tokend/cli").rglob("*.*")),
    *sorted((ROOT / "docs/man").iterdir()),
)
IN_ARGUMENTS = re.compile(r"""curl[^|\n]*(-H|--header|--oauth2-bearer)\s*=?\s*"?\$\(openfit""")


@pytest.mark.parametrize(
    "path",
    [path for path in SHOWN if path.suffix != ".pyc"],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_command_puts_a_token_where_all_users_can_read_it(path: Path) -> None:
    """The arguments of a process are everybody's to read."""
    text = path.read_text().replace("\\\n", " ").replace("\\-", "-")

    assert IN_ARGUMENTS.search(text) is None


def test_the_first_request_that_help_shows_keeps_the_token_out_of_the_arguments() -> None:
    text = (ROOT / "client/openfit_token/_cli/command_line/texts.py").read_text()

    first = next(line for line in text.splitlines() if "curl" in line)
    assert "openfit-token get --format curl | curl -K -" in first

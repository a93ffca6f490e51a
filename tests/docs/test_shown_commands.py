"""What people copy: the commands that help, manuals, README and demo show."""

import re
from pathlib import Path

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


def test_no_command_puts_a_token_where_all_users_can_read_it() -> None:
    """The arguments of a process are everybody's to read."""
    assert those_with(IN_ARGUMENTS) == []


def test_no_command_sends_a_request_if_there_is_no_token() -> None:
    """curl goes on with an empty configuration, unless its URL would have come with the token."""
    assert those_with(WITHOUT_A_URL) == []


def those_with(pattern: re.Pattern[str]) -> list[str]:
    """Return where it stands: lines that are folded are one, and a manual's backslashes are none."""
    texts = {
        path: path.read_text().replace("\\\n", " ").replace("\\-", "-")
        for path in SHOWN
        if path.suffix != ".pyc"
    }
    return [str(path.relative_to(ROOT)) for path, text in texts.items() if pattern.search(text)]


def test_the_first_request_that_help_shows_keeps_the_token_out_of_the_arguments() -> None:
    text = (ROOT / "client/openfit_token/_cli/command_line/texts.py").read_text()

    first = next(line for line in text.splitlines() if "curl" in line)
    assert "openfit-token curl --" in first

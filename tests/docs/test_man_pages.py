"""The man pages are well formed, and hold what they should."""

import shutil
from pathlib import Path

import pytest

import generate
from generator import roff
from openfit_token._cli.command_line.parser import parser as client_parser
from openfit_tokend.cli import parser as daemon_parser
from openfit_tokend.core.settings.fleet import FLEET_KEYS
from openfit_tokend.core.settings.parser import PROFILE_KEYS, TOP_KEYS
from processes import run

PAGES = sorted((generate.DOCS / "man").iterdir())
MANDOC = shutil.which("mandoc")


def test_there_is_a_page_for_each_command_for_the_file_and_for_the_wire() -> None:
    assert [page.name for page in PAGES] == [
        "openfit-token.1",
        "openfit-tokend-protocol.7",
        "openfit-tokend.8",
        "openfit-tokend.toml.5",
    ]


@pytest.mark.skipif(MANDOC is None, reason="mandoc isn't installed (Debian: mandoc)")
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_mandoc_finds_nothing_to_complain_of(page: Path) -> None:
    ended = run("mandoc", "-Tlint", "-Wwarning", page)

    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")


def shown(name: str) -> str:
    """Return a page's text without its roff."""
    text = (generate.DOCS / "man" / name).read_text()
    return text.replace("\\fB", "").replace("\\fI", "").replace("\\fR", "").replace("\\-", "-")


@pytest.mark.parametrize(
    ("name", "help_text"),
    [
        ("openfit-token.1", client_parser().format_help()),
        ("openfit-tokend.8", daemon_parser().format_help()),
    ],
)
def test_a_commands_page_has_each_line_of_its_help_below_the_options(
    name: str, help_text: str
) -> None:
    epilog = help_text.partition("exit status:")[2].strip().split("\n")

    assert [line for line in epilog if line.strip().replace("'", "\\(aq") not in shown(name)] == []


def test_the_files_page_has_each_key() -> None:
    heads = {line[4:] for line in shown("openfit-tokend.toml.5").split("\n") if line[:3] == ".SS"}

    assert heads == {*TOP_KEYS, *PROFILE_KEYS, *FLEET_KEYS}


def test_no_text_can_be_taken_for_a_request() -> None:
    assert roff.body(".so /etc/passwd\n'x\n\\(bu `a\\b`") == (
        "\\&.so /etc/passwd 'x \\e(bu \\fBa\\eb\\fR\n"
    )
    assert roff.example("'quoted'\n.dot") == (".RS 4\n.EX\n\\(aqquoted\\(aq\n\\&.dot\n.EE\n.RE\n")

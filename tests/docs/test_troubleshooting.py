"""Troubleshooting: its tables have the codes of the wire, and all exit statuses of both commands."""

import re
from pathlib import Path

from openfit_token._cli.command_line.parser import parser as client_parser
from openfit_token.errors import BY_CODE
from openfit_tokend.cli import parser as daemon_parser

TEXT = (Path(__file__).parents[2] / "docs/troubleshooting.md").read_text()
OF_A_LOGIN = {"LOGIN_REJECTED", "CLIENT_REJECTED", "UNAVAILABLE", "BUDGET_SPENT"}
OF_RIGHTS = {"NOT_ALLOWED", "NO_SUCH_PROFILE"}
STATUS = re.compile(r"\b[67]\d\b")


def test_each_code_is_one_of_the_wire_and_those_that_users_meet_are_there() -> None:
    named = set(re.findall(r"`([A-Z_]+)`", TEXT))

    assert named <= set(BY_CODE)
    assert named >= OF_A_LOGIN | OF_RIGHTS | {"SECRET_UNAVAILABLE"}


def test_each_exit_status_that_a_help_names_has_a_row_and_no_other() -> None:
    helps = [each.format_help() for each in (client_parser(), daemon_parser())]
    told = {status for each in helps for status in STATUS.findall(each.split("exit status:")[1])}

    assert re.findall(r"^\| (\d+) \|", TEXT, re.MULTILINE) == sorted(told)

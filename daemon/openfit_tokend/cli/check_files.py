"""`openfit-tokend check`: what profiles name besides their secrets: files of others, and programs."""

import os
from collections.abc import Iterable, Iterator

from openfit_token._cli.report import Report, Verdict, fail, ok
from openfit_tokend.core.settings import Profile
from openfit_tokend.host.child_process import Unstartable, judge_program
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.keeping.trust import NoAuthorities, Trust
from openfit_tokend.reporting.token_writing import judge_place


async def check_files(profiles: Iterable[Profile], report: Report) -> None:
    """Report on each `ca_file`, `token_file` and `notify_command`, once if several profiles name it."""
    named = list(profiles)
    trust = Trust()
    for path in dict.fromkeys(each.ca_file for each in named if each.ca_file is not None):
        try:
            await trust.context(path)
        except NoAuthorities as error:
            report.say(fail("ca_file", error.message, error.hint, os.EX_CONFIG))
        else:
            report.say(ok("ca_file", path))
    for verdict in (*_token_files(named), *_commands(named)):
        report.say(verdict)


def _token_files(profiles: Iterable[Profile]) -> Iterator[Verdict]:
    for path in (each.token_file.path for each in profiles if each.token_file is not None):
        try:
            judge_place(path)
        except Unusable as unusable:
            text = f"{path}: {unusable.reason}"
            yield fail("token_file", text, unusable.remedy, os.EX_CANTCREAT)
        else:
            yield ok("token_file", path)


def _commands(profiles: Iterable[Profile]) -> Iterator[Verdict]:
    commands = (each.notify_command for each in profiles)
    for program in dict.fromkeys(argv[0] for argv in commands if argv is not None):
        try:
            judge_program(program)
        except Unstartable as error:
            text = f"{program}: {error.reason}"
            yield fail("notify_command", text, error.remedy, os.EX_CONFIG)
        else:
            yield ok("notify_command", program)

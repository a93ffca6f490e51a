"""`openfit-tokend check`: what profiles name besides their secrets: files of others, and programs."""

import os
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from openfit_token._cli.report import Report, fail, ok
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host.child_process import judged_program
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.keeping.trust import NoAuthorities, Trust
from openfit_tokend.reporting.token_writing import judge_place


async def check_files(profiles: Iterable[Profile], report: Report, *, chown: bool) -> None:
    """Report on each `ca_file`, `token_file` and `notify_command`, once if several profiles name it.

    `chown`: whether the daemon may give files to other groups.
    """
    named = list(profiles)
    trust = Trust()
    for path in dict.fromkeys(each.ca_file for each in named if each.ca_file is not None):
        try:
            await trust.context(path)
        except NoAuthorities as error:
            report.say(fail("ca_file", error.message, error.hint, os.EX_CONFIG))
        else:
            report.say(ok("ca_file", path))
    tokens = {
        each.token_file.path: partial(judge_place, each.token_file, chown=chown)
        for each in named
        if each.token_file is not None
    }
    _judge("token_file", tokens, os.EX_CANTCREAT, report)
    programs = {
        each.notify_command[0]: partial(judged_program, each.notify_command[0])
        for each in named
        if each.notify_command is not None
    }
    _judge("notify_command", programs, os.EX_CONFIG, report)


def _judge(
    what: str, named: Mapping[str, Callable[[], object]], status: int, report: Report
) -> None:
    for name, judge in named.items():
        try:
            judge()
        except Unusable as error:
            report.say(fail(what, f"{name}: {error.message}", error.hint, status))
        else:
            report.say(ok(what, name))

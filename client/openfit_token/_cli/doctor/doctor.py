"""`openfit-token doctor`: check the chain from the caller to the token, and say where it is broken.

One verdict for each link, in order. If a link is broken, those after it can't be checked. Nothing is
asked that could make the daemon send a request: no login is spent. The API is asked only on demand.
"""

import os
from collections.abc import Iterator
from contextlib import closing
from time import time  # noqa: TID251 -- the daemon tells moments; people want "in 5 min"

from openfit_token._cli.doctor import support
from openfit_token._cli.doctor.answers import asked
from openfit_token._cli.doctor.api import asked_api
from openfit_token._cli.doctor.places import connected, placed
from openfit_token._cli.doctor.profiles import judgement
from openfit_token._cli.doctor.surroundings import service, variables
from openfit_token._cli.output import put
from openfit_token._cli.report import Report, Verdict


def doctor(
    profile: str | None, socket: str | None, api: str | None = None, *, for_support: bool = False
) -> int:
    """Print a verdict for each link; give the exit status of the first that failed, else 0.

    Args:
        profile: the option's.
        socket: the option's.
        api: a path to get from the API; None: it isn't asked.
        for_support: whether to print what a support ticket needs, too.
    """
    report = Report()
    for verdict in _links(profile, socket, api):
        report.say(verdict)
    report.end(login=False)
    if for_support:
        put(f"\n{support.report(profile, socket, time())}")
    return report.status


def _links(profile: str | None, socket: str | None, api: str | None) -> Iterator[Verdict]:
    path = yield from placed(socket)
    connection = None if path is None else (yield from connected(path))
    found = None
    if connection is not None:
        with closing(connection):
            found = yield from asked(connection, profile)
    yield from service(path, found)
    profiles = {} if found is None else found.profiles
    for name, each in profiles.items():
        yield from judgement(name, each, time())
        if api is not None and path is not None:
            yield from asked_api(name, each, path, api)
    yield from variables(os.environ, profiles, time())

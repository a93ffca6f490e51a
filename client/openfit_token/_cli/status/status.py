"""`openfit-token status`: how the daemon and its profiles are, for people, programs and probes."""

# ruff: noqa: PLC0415 -- a probe needs one form
from time import time  # noqa: TID251 -- the daemon tells moments; people want "in 5 min"

from openfit_token._cli.formats import as_json
from openfit_token._cli.get import profile_of
from openfit_token._cli.output import put
from openfit_token._client.blocking import TokenClient
from openfit_token._client.health import Answer, judge


def status(profile: str | None, socket: str | None, form: str, *, watch: bool) -> int:
    """Print the daemon's status, and return the exit status that tells how well it is.

    Args:
        profile: the option's.
        socket: the option's.
        form: text, json or openmetrics.
        watch: print it again and again; doesn't return then.
    """

    def look() -> Answer:
        with TokenClient(profile_of(profile), socket) as client:
            return client.status()

    found = look()
    if watch:
        from openfit_token._cli.status.repeated import repeat

        repeat(found, look, _shown, form)
    put(_shown(found, form))
    return judge(found)


def _shown(found: Answer, form: str) -> str:
    """Return a status in one of the forms text, json and openmetrics."""
    match form:
        case "json":
            return as_json(found)
        case "openmetrics":
            from openfit_token._client.open_metrics import exposition

            return exposition(found)
        case _:
            from openfit_token._cli.status.table import for_this_terminal

            return for_this_terminal(found, time())

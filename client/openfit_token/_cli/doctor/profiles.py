"""The last links: what a profile holds, and what keeps it from getting a token.

Pure: from a profile's part of `status` to verdicts. The vendor's page names four causes why a login
fails; each problem that is one of them says so.
"""

from collections.abc import Iterator
from typing import Final

from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._client.health import WELL, Answer, judge_profile, number, problems_of
from openfit_token._shared.durations import duration
from openfit_token.errors import BY_CODE

WRONG_CLIENT: Final = 'on OpenFIT\'s page: "Using the wrong client_id"'
WRONG_LOGIN: Final = 'on OpenFIT\'s page: "Incorrect username or password"'
WRONG_URL: Final = 'on OpenFIT\'s page: "Using the wrong endpoint URL"'
MISSING: Final = 'on OpenFIT\'s page: "Missing required parameters in the request"'

_CHECK: Final = "`openfit-tokend check --network` looks from the daemon's side"
_ELSEWHERE: Final = ("404", "redirects", "page instead of JSON", "isn't JSON", "TLS", "resolved")
"""Parts of messages that suggest a wrong address."""


def judgement(name: str, profile: Answer, now: float) -> Iterator[Verdict]:
    """Return the verdicts on one profile.

    Args:
        name: the profile's.
        profile: its part of a status.
        now: Unix seconds.
    """
    held = f"{profile.get('state')}, {_held(profile, now)}"
    status, problems = judge_profile(profile), problems_of(profile)
    if not problems and status == WELL:
        yield ok(name, held)
    elif not problems:
        yield fail(name, f"{held}, and nothing has failed", "wait a little, and look again", status)
    for problem in problems:
        text, fix = f"{held}: {_message(problem, now)}", _fix(problem)
        if status == WELL:
            yield warn(name, text, fix, cause(problem))
        else:
            known = BY_CODE.get(str(problem.get("code")))
            failed = known.exit_status if known else status
            yield fail(name, text, fix, failed, cause(problem))
    yield from _budget(name, profile, now)


def cause(error: Answer) -> str | None:
    """Return which of the vendor's four causes an error is, if it may be one."""
    message = str(error.get("message"))
    match None if "no longer lets" in message else error.get("code"):
        case "CLIENT_REJECTED" if "invalid_scope" in message or "unsupported_grant" in message:
            return MISSING
        case "CLIENT_REJECTED":
            return WRONG_CLIENT
        case "LOGIN_REJECTED" if "invalid_request" in message:
            return MISSING
        case "LOGIN_REJECTED" | "BUDGET_SPENT":
            return WRONG_LOGIN
        case "UNAVAILABLE" if any(sign in message for sign in _ELSEWHERE):
            return WRONG_URL
        case _:
            return None


def _held(profile: Answer, now: float) -> str:
    left = number(profile.get("expires_in"))
    if left is None or left <= 0:
        return "no token"
    refresh = number(profile.get("refresh_at"))
    planned = "" if refresh is None else f", next refresh in {duration(refresh - now)}"
    return f"a token for {duration(left)}{planned}"


def _message(error: Answer, now: float) -> str:
    at = number(error.get("at"))
    return f"{error.get('message')}{'' if at is None else f' ({duration(now - at)} ago)'}"


def _fix(error: Answer) -> str:
    """Return the daemon's hint, and where to look on."""
    advice = [str(error["hint"])] if error.get("hint") else []
    if error.get("code") == "UNAVAILABLE":
        advice.append(_CHECK)
    return "; ".join(advice)


def _budget(name: str, profile: Answer, now: float) -> Iterator[Verdict]:
    left = number(profile.get("logins_left"))
    possible = number(profile.get("login_possible_at"))
    if left is None or possible is None:
        return
    yield warn(
        name,
        f"{left:.0f} more logins may be rejected before the daemon sends no more,"
        f" the next is possible in {duration(possible - now)}",
        "make sure of user name and password first: the server locks the account soon after",
    )

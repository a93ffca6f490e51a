"""The last links: what a profile holds, and what keeps it from getting a token.

Pure: from a profile's part of `status` to verdicts. The vendor's page names four causes why a login
fails; each problem that is one of them says so.
"""

from collections.abc import Iterator
from shlex import quote
from typing import Final

from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._cli.status.health import WELL, Answer, judge_profile, number
from openfit_token._cli.terminal import duration
from openfit_token._client.calls import fields
from openfit_token.errors import BY_CODE

WRONG_CLIENT: Final = 'on OpenFIT\'s page: "Using the wrong client_id"'
WRONG_LOGIN: Final = 'on OpenFIT\'s page: "Incorrect username or password"'
WRONG_URL: Final = 'on OpenFIT\'s page: "Using the wrong endpoint URL"'
MISSING: Final = 'on OpenFIT\'s page: "Missing required parameters in the request"'

_CHECK: Final = "`openfit-tokend check --network` looks from the daemon's side"
_ELSEWHERE: Final = ("404", "redirects", "page instead of JSON", "isn't JSON", "TLS", "resolved")
"""Parts of messages that suggest a wrong address."""
_NOT_CONNECTED: Final = ("can't be reached", "no connection")


def judgement(name: str, profile: Answer, now: float) -> Iterator[Verdict]:
    """Return the verdicts on one profile.

    Args:
        name: the profile's.
        profile: its part of a status.
        now: Unix seconds.
    """
    error = fields(profile.get("last_error") or profile.get("degraded") or {})
    state = str(profile.get("state"))
    status = judge_profile(profile)
    if status == WELL and state != "retrying":
        yield ok(name, f"{state}, {_held(profile, now)}")
    elif status == WELL:
        text = f"{state}, {_held(profile, now)}: {_message(error, now)}"
        yield warn(name, text, _unavailable(error), cause(error))
    elif not error and state in ("empty", "logging_in"):
        text = f"{state}: the first login isn't done yet"
        yield fail(name, text, "wait a little, and look again", status)
    else:
        known = BY_CODE.get(str(error.get("code")))
        text = f"{state}, {_held(profile, now)}: {_message(error, now)}"
        fix = _fix(name, profile, error, now)
        yield fail(name, text, fix, known.exit_status if known else status, cause(error))
    yield from _budget(name, profile, now)


def cause(error: Answer) -> str | None:
    """Return which of the vendor's four causes an error is, if it may be one."""
    message = str(error.get("message"))
    match error.get("code"):
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
    if not error:
        return "it doesn't say why"
    at = number(error.get("at"))
    return f"{error.get('message')}{'' if at is None else f' ({duration(now - at)} ago)'}"


def _fix(name: str, profile: Answer, error: Answer, now: float) -> str:
    login = f"openfit-token login --profile {quote(name)}"  # people paste it
    code = "LOGGED_OUT" if profile.get("state") == "logged_out" else error.get("code")
    match code:
        case "LOGIN_REJECTED":
            fix = "store the right password and user name, then: openfit-tokend reload"
            fix += " (a systemd credential: systemctl restart openfit-tokend)"
            fix += f"; or, with another password this once: {login} --ask"
        case "CLIENT_REJECTED":
            fix = f"put the exact client_id from support@openfit.care into [profiles.{name}]"
            fix += ' (scope is "OpenFitApi offline_access"), then: openfit-tokend reload'
        case "BUDGET_SPENT":
            possible = number(profile.get("login_possible_at"))
            when = "" if possible is None else f" in {duration(possible - now)}"
            fix = f"make sure of the password; a login is possible{when}: {login}"
        case "SECRET_UNAVAILABLE" if "--ask" in str(error.get("hint")):
            fix = f"{login} --ask"
        case "SECRET_UNAVAILABLE":
            fix = str(error.get("hint") or "store the password where the message says")
        case "LOGGED_OUT":
            fix = login
        case _:
            fix = _unavailable(error)
    return fix


def _unavailable(error: Answer) -> str:
    advice = [str(error["hint"])] if error.get("hint") else []
    message = str(error.get("message"))
    if any(sign in message for sign in _NOT_CONNECTED) and "proxy" not in message:
        advice.append("behind a proxy: HTTPS_PROXY and NO_PROXY of the daemon")
    return "; ".join([*advice, _CHECK])


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

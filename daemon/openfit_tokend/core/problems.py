"""Problems: why something failed, in the words that callers and operators are told.

What the token server's answers say is in `oauth.py`, and why it wasn't reached in `keeping/`.
"""

from dataclasses import replace
from math import inf
from typing import Final

from openfit_token._shared.durations import duration
from openfit_token._shared.frozen import frozen
from openfit_token.errors import (
    BudgetSpent,
    LoggedOut,
    LoginRejected,
    SecretUnavailable,
    TokenError,
    Unavailable,
)

STORE_ANOTHER: Final = (
    "store the right password, then openfit-tokend reload (a systemd credential:"
    " openfit-tokend restart); or openfit-token login --ask --profile {profile}"
)
"""What to do about a rejected password. Nothing that would send the same one again."""
RETRIED: Final = "no action needed; it will be retried"


@frozen
class Problem:
    """Why something failed, for people.

    `raises` is the error that a caller gets; `until` is when a retry can help, where that is known
    beforehand. `{profile}` in the hint stands for the profile's name: see `hint_for`.
    """

    raises: type[TokenError]
    message: str
    hint: str | None
    at: float
    until: float | None = None


def hint_for(profile: str, hint: str | None) -> str | None:
    """Return a problem's hint with the profile's name filled in."""
    return None if hint is None else hint.replace("{profile}", profile)


def logged_out(now: float) -> Problem:
    """Return the problem of a profile that an operator logged out."""
    return Problem(
        LoggedOut,
        "an operator logged this profile out",
        "to log it in again: openfit-token login --profile {profile}",
        now,
    )


# What keeps a login from being sent


def rejected_before(now: float) -> Problem:
    """Return the problem of a password that was rejected before."""
    return Problem(
        LoginRejected,
        "the token server rejected this user name and password before; they aren't sent again",
        STORE_ANOTHER,
        now,
    )


def budget_spent(until: float, now: float) -> Problem:
    """Return the problem of an account whose ledger allows no login before `until`."""
    return Problem(
        BudgetSpent,
        "too many rejected logins: nothing is sent, so that the account isn't locked",
        "make sure that the right password is stored, then openfit-tokend reload (a systemd"
        " credential: openfit-tokend restart before it): the daemon logs in by itself"
        " when the wait is over",
        now,
        until=until,
    )


def over_budget(until: float, now: float) -> Problem:
    """Return the problem of a login that the ledger allows no sooner than `until`; inf: never."""
    return rejected_before(now) if until == inf else budget_spent(until, now)


def ledger_not_written(now: float) -> Problem:
    """Return the problem of a login that can't be written down, so its rejection might be forgotten."""
    return Problem(
        Unavailable,
        "the ledger of rejected logins can't be written, so no automatic login is sent",
        "fix what the daemon's log gives as the reason (state_not_written); openfit-token login"
        " sends one anyway",
        now,
    )


def secret_unread(message: str, hint: str | None, now: float) -> Problem:
    """Return the problem of a secret that can't be read."""
    return Problem(SecretUnavailable, message, hint, now)


def file_not_written(path: str, reason: str, hint: str | None, now: float) -> Problem:
    """Return the problem of a `token_file` that can't be kept current."""
    return Problem(Unavailable, f"token_file {path}: {reason}", hint, now)


def session_ends(of: Problem, left: float) -> Problem:
    """Return the problem of a session that ends in `left` seconds, as nothing but a person can help."""
    when = f"ends in {duration(left)}" if left > 0 else "may end at any time"
    return replace(of, message=f"the session {when}: {of.message}")


# What becomes of a request


def not_needed(now: float) -> Problem:
    """Return the problem of a request that nobody waits for any more."""
    return Problem(Unavailable, "the request isn't needed any more", None, now)


def store_not_reached(why: str, hint: str | None, now: float) -> Problem:
    """Return the problem of a request that can't be claimed."""
    return Problem(Unavailable, f"the fleet's store can't be reached: {why}", hint or RETRIED, now)


def superseded(now: float) -> Problem:
    """Return the problem of a request that the fleet gave up before its answer came."""
    return Problem(
        Unavailable, "other daemons of the fleet went on before the answer came", RETRIED, now
    )


def not_sent(now: float) -> Problem:
    """Return the problem of a request that the daemon's end kept from being sent."""
    return Problem(Unavailable, "the daemon was stopped before this was sent", RETRIED, now)


def interrupted(now: float) -> Problem:
    """Return the problem of a request that was under way when the daemon was restarted."""
    return Problem(
        Unavailable, "the daemon was restarted before the token server's answer came", RETRIED, now
    )


def given_up(by: str, now: float) -> Problem:
    """Return the problem of a request that another daemon of the fleet began, and left unanswered."""
    return Problem(
        Unavailable,
        f"{by} asked the token server, and no word of the answer came",
        RETRIED,
        now,
    )


def ended_on_arrival(now: float) -> Problem:
    """Return the problem of a token that had ended when it arrived."""
    return Problem(
        Unavailable,
        "the token server's answer took longer than its token lives",
        "the token server is slow, or its tokens are too short-lived to be used",
        now,
    )


def internal_error(now: float) -> Problem:
    """Return the problem of a request that failed in the daemon itself."""
    return Problem(
        Unavailable,
        "internal error in the daemon",
        "the daemon's log has the details; it will be retried",
        now,
    )

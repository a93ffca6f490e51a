"""What keeps a request from being sent, in words: the problems that no token server has told of."""

from math import inf

from openfit_token.errors import BudgetSpent, LoginRejected, Unavailable
from openfit_tokend.core.events import OverBudget
from openfit_tokend.core.session import STORE_ANOTHER, Problem
from openfit_tokend.host import clock


def internal_problem() -> Problem:
    """Say that the daemon itself failed."""
    return Problem(
        Unavailable,
        "a fault of the daemon",
        "its log has the details; it is tried again",
        clock.boot(),
    )


def void_problem() -> Problem:
    """Say that nobody waits for this login any more."""
    return Problem(Unavailable, "the login isn't needed any more", None, clock.boot())


def unsent_problem() -> Problem:
    """Say that the daemon ended before this request was sent."""
    return Problem(
        Unavailable,
        "the daemon was stopped before this was sent",
        "nothing needs doing: it is tried again",
        clock.boot(),
    )


def unwritten_problem() -> Problem:
    """Say that the ledger couldn't take the login down, and so may forget that it was rejected."""
    return Problem(
        Unavailable,
        "the ledger of rejected logins can't be written, so no login is sent by itself",
        "the daemon's log says why (state_not_written): mend that; openfit-token login sends one"
        " all the same",
        clock.boot(),
    )


def over_budget_problem(refused: OverBudget) -> Problem:
    """Say why the account's ledger lets no login be sent."""
    if refused.until == inf:
        return Problem(
            LoginRejected,
            "the token server rejected this user name and password before; they aren't sent again",
            STORE_ANOTHER,
            clock.boot(),
        )
    return Problem(
        BudgetSpent,
        "too many rejected logins: nothing is sent, so that the account isn't locked",
        "make sure that the right password is stored, then openfit-tokend reload (a systemd"
        " credential: systemctl restart openfit-tokend before it): the daemon logs in by itself"
        " when the wait is over",
        clock.boot(),
        until=refused.until,
    )

"""Promise 9, and what all promises stand on: words."""

from typing import TYPE_CHECKING

from openfit_token.errors import TokenError
from openfit_tokend.core.events import Failed, Granted, Kind
from openfit_tokend.core.session import Idle, State, state
from simulation.promises.promise import promise
from simulation.requests import Request

if TYPE_CHECKING:  # the shell is what is watched
    from simulation.daemon import Taken


@promise(9)
def nothing_is_told(taken: "Taken") -> str | None:
    """No secret is in a repr, an error or a status."""
    shown = f"{taken.after!r} {taken.event!r} {taken.effects!r}"
    return shown if "hush" in shown else None


@promise(9)
def stays_with_its_account(one: Request) -> str | None:
    """A password is sent only for the account it was given for."""
    account = one.identity.username.removeprefix("user-")
    return f"{one} as {account}" if one.password.split("-")[2] != account else None


@promise(9)
def no_error_tells(told: object) -> str | None:
    """No secret is in an error."""
    shown = f"{told!r}" if isinstance(told, TokenError) else ""
    return shown if "hush" in shown else None


@promise(0)
def shown_as_it_is(taken: "Taken", now: float) -> str | None:
    """A session that is well is shown as such."""
    after = taken.after
    well = isinstance(after.doing, Idle) and after.failures == 0 and after.access is not None
    shown = state(after, now)
    return f"it is well, but shown as {shown}" if well and shown is not State.FRESH else None


@promise(0)
def classified(one: Request, event: Granted | Failed) -> str | None:
    """Each answer is taken for what it is."""
    if one.fate is None:
        return None
    fault = one.fate.fault
    got = event.kind if isinstance(event, Failed) else None
    if one.fate.ends >= 60.0:
        wanted: object = Kind.UNCERTAIN
    elif fault is not None and fault.value.kind is not None:
        wanted = fault.value.kind
    elif one.said is None or one.said[0] == 200:
        wanted = None
    else:
        bad = b"invalid_client" in one.said[1]
        wanted = Kind.CLIENT_REJECTED if bad else Kind.GRANT_REJECTED
    return f"{one}: {one.fate} was taken for {got}" if got != wanted else None

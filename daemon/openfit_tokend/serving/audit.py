"""Who did what, for the log. A flood of one user's calls can't fill the disk: its lines are limited."""

import logging
from typing import Final

from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import log
from openfit_tokend.host.peers import Peer, named, program_of, unit_of
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.connection import Connection

MAX_NAMED: Final = 256
"""Callers of one token that are remembered as named."""
BURST: Final = 20
"""Lines of one kind about one user in log_limits.PERIOD seconds."""


def operator_call(peer: Peer, method: str, profile: str | None = None) -> None:
    """Log what an operator ordered."""
    log.info("operator_call", method=method, profile=profile, **named(peer))


def call_refused(caller: Connection, method: str, profile: str | None = None) -> None:
    """Log a call that its caller may not make. `profile`: as it was asked for; None: the method, or any."""
    if (who := _admitted("call_refused", caller)) is not None:
        log.warning("call_refused", method=method, profile=profile, **who)


def token_refused(caller: Connection, profile: str, token: str) -> None:
    """Log that a caller reports the current token as refused by the API."""
    if (who := _admitted("token_refused", caller)) is not None:
        log.info("token_refused", profile=profile, id=token, **who)


def token_wanted(caller: Connection, method: str, profile: str) -> None:
    """Log for which caller a live token is replaced before its time, or soon will be."""
    if (who := _admitted("token_wanted", caller)) is not None:
        log.info("token_wanted", method=method, profile=profile, **who)


def wanted_too_often(caller: Connection, method: str, profile: str) -> None:
    """Log a caller that wants live tokens replaced again and again."""
    if (who := _admitted("tokens_wanted_too_often", caller, burst=1)) is not None:
        log.warning("tokens_wanted_too_often", method=method, profile=profile, **who)


def is_detailed() -> bool:
    """Return whether each token handed out is to be logged."""
    return log.shows(logging.DEBUG)


def token_handed_out(
    caller: Connection, keeper: Keeper, access: AccessToken, now: float, *, at_info: bool
) -> None:
    """Log which caller got a token: at debug each time, and for the first time at info, if that is wanted.

    A caller is a uid with a unit and a program. One whose line is suppressed is named at another time.
    """
    peer, callers = caller.peer, keeper.counters.callers
    who = (peer.uid, unit_of(peer), program_of(peer))
    is_new = at_info and who not in callers
    if is_new or is_detailed():
        told = _admitted(f"token_handed_out, {is_new}", caller)
        if told is None:
            return
        token = {"profile": keeper.profile.name, "id": access.id}
        told |= {"expires_in": access.expires - now, "unit": who[1]}
        if is_new:
            log.info("token_handed_out", **token, **told)
        else:
            log.debug("token_handed_out_again", **token, **told)
    if is_new:
        if len(callers) >= MAX_NAMED:
            callers.clear()  # they are named once more
        callers.add(who)
    caller.named = access.id


def _admitted(event: str, caller: Connection, burst: int = BURST) -> dict[str, object] | None:
    """Return the fields that name a caller in a line; None: its user's lines are too many."""
    missing = log.admit(event, caller.user.uid, burst)
    return None if missing is None else {**named(caller.peer), "suppressed": missing or None}

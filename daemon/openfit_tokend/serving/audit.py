"""Who did what, for the log. A flood of one user's calls can't fill the disk: its lines are limited."""

import logging
from typing import Final

from openfit_tokend.core.session import AccessToken
from openfit_tokend.host import log
from openfit_tokend.host.peers import Peer, program_of, unit_of
from openfit_tokend.serving.connection import Connection

BURST: Final = 20
"""Lines of one kind about one user in log_limits.PERIOD seconds."""


def operator_call(peer: Peer, method: str, profile: str | None = None) -> None:
    """Log what an operator ordered."""
    log.info("operator_call", method=method, profile=profile, **_who(peer))


def call_refused(caller: Connection, method: str, profile: str | None = None) -> None:
    """Log a call that its caller may not make. `profile`: as it was asked for; None: the method, or any."""
    missing = log.admit("call_refused", caller.user.uid, BURST)
    if missing is not None:
        who = _who(caller.peer)
        log.warning(
            "call_refused", method=method, profile=profile, **who, suppressed=missing or None
        )


def token_refused(caller: Connection, profile: str, token: str) -> None:
    """Log that a caller reports the current token as refused by the API."""
    missing = log.admit("token_refused", caller.user.uid, BURST)
    if missing is not None:
        who = _who(caller.peer)
        log.info("token_refused", profile=profile, id=token, **who, suppressed=missing or None)


def token_wanted(caller: Connection, method: str, profile: str) -> None:
    """Log for which caller a live token is replaced before its time, or soon will be."""
    missing = log.admit("token_wanted", caller.user.uid, BURST)
    if missing is not None:
        who = _who(caller.peer)
        log.info("token_wanted", method=method, profile=profile, **who, suppressed=missing or None)


def wanted_too_often(caller: Connection, method: str, profile: str) -> None:
    """Log a caller that wants live tokens replaced again and again."""
    missing = log.admit("tokens_wanted_too_often", caller.user.uid)
    if missing is not None:
        log.warning(
            "tokens_wanted_too_often",
            method=method,
            profile=profile,
            **_who(caller.peer),
            suppressed=missing or None,
        )


def is_detailed() -> bool:
    """Return whether each token handed out is to be logged."""
    return log.shows(logging.DEBUG)


def token_handed_out(caller: Connection, profile: str, access: AccessToken, now: float) -> None:
    """Log which caller got a token."""
    peer = caller.peer
    missing = log.admit("token_handed_out", caller.user.uid, BURST)
    if missing is not None:
        log.debug(
            "token_handed_out",
            profile=profile,
            id=access.id,
            expires_in=access.expires - now,
            uid=peer.uid,
            pid=peer.pid,
            unit=unit_of(peer),
            suppressed=missing or None,
        )


def _who(peer: Peer) -> dict[str, object]:
    return {"uid": peer.uid, "pid": peer.pid, "program": program_of(peer)}

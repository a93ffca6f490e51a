"""A session as bytes, the form in which it outlives the daemon.

They are the SHA-256 of the rest, the form's version in two bytes, then MessagePack. The checksum
covers the version and comes first in every version, so a newer daemon's bytes can be distinguished
from damaged ones.
"""

from dataclasses import KW_ONLY
from hashlib import sha256
from math import inf
from typing import Final, assert_never

from openfit_token._shared.frozen import frozen
from openfit_token.errors import BY_CODE
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import (
    AccessToken,
    Bar,
    Doing,
    Idle,
    Login,
    Refresh,
    RefreshToken,
    Requesting,
    Session,
    Stopped,
    behind,
)
from openfit_tokend.core.settings.values import Identity
from openfit_tokend.storage import plain
from openfit_tokend.storage.plain import Damaged, Plain

VERSION: Final = 3
"""The version of the form. A daemon reads older ones, and leaves newer ones alone."""
_FORMER: Final = (0, -inf)
"""What earlier daemons counted here, and still read: refusals, and the last one's moment."""
_SUM: Final = 32
"""Bytes of the checksum."""
_HEAD: Final = _SUM + 2
"""Bytes of the checksum and the version."""


class Newer(ValueError):
    """These bytes are whole, and from a newer daemon."""


@frozen
class StoredSession:
    """What is stored of a profile. Times are seconds of CLOCK_BOOTTIME, of the boot that it names."""

    _: KW_ONLY
    sequence: int
    """Counts all stored sessions, of any profile: the highest is the newest."""
    boot_id: str
    profile: str
    identity: bytes
    """Its digest: the session is dropped if the configuration has another."""
    policy: Policy
    """The policy by which the token's `due` was chosen."""
    session: Session
    last_success_at: float | None
    at: float
    """When it was stored; inf: by an earlier version, which didn't say."""
    unwritten: bool
    """The ledger's file lacked a rejection of the profile's account."""


def digest(identity: Identity, *, shared: bool = False) -> bytes:
    """Return the digest of an identity; `shared`: its session is a whole fleet's."""
    parts: list[object] = [
        *(identity.id_server, identity.client_id, identity.scope, identity.username)
    ]
    if not identity.token_path or identity.form:  # else as earlier daemons made it
        parts.append([identity.token_path, identity.form])
    if shared:
        parts.append("fleet")
    return sha256(plain.packed(parts)).digest()


def encoded(stored: StoredSession) -> bytes:
    """Return the bytes. They hold the tokens, so they must not leave memory."""
    body = VERSION.to_bytes(2) + plain.packed(_formed(stored))
    return sha256(body).digest() + body


def decoded(data: bytes) -> StoredSession:
    """Return the session that `encoded` was given.

    Raises:
        Damaged: these aren't such bytes.
        Newer: they are, in a form that this daemon doesn't know.
    """
    if len(data) < _HEAD or sha256(data[_SUM:]).digest() != data[:_SUM]:
        raise Damaged
    version = int.from_bytes(data[_SUM:_HEAD])
    if version > VERSION:
        raise Newer
    try:
        value = plain.unpacked(data[_HEAD:])
        return _stored_session(value if version == VERSION else _of_this_version(value))
    except ValueError as error:
        raise Damaged from error


# Values to plain lists: only the two functions of a pair know the order


def _formed(stored: StoredSession) -> object:
    policy = stored.policy
    return [
        stored.sequence,
        stored.boot_id,
        stored.profile,
        stored.identity,
        [policy.refresh_before, policy.refresh_token_lifetime],
        formed_session(stored.session),
        stored.last_success_at,
        stored.at,
        stored.unwritten,
    ]


def _stored_session(value: Plain) -> StoredSession:
    match value:
        case [sequence, boot_id, profile, identity, policy, session, success, at, unwritten]:
            return StoredSession(
                sequence=plain.whole(sequence),
                boot_id=plain.text(boot_id),
                profile=plain.text(profile),
                identity=plain.octets(identity),
                policy=_policy(policy),
                session=parsed_session(session),
                last_success_at=None if success is None else plain.number(success),
                at=plain.number(at),
                unwritten=plain.flag(unwritten),
            )
        case _:
            raise Damaged


def _of_this_version(value: Plain) -> Plain:
    """Return what an earlier version stored; its rejections hadn't been written down."""
    match value:
        case [*same, [bytes(), [*_proven], [*_lost], [*rejected]]]:
            return [*same, inf, bool(rejected)]
        case _:
            raise Damaged


def _policy(value: Plain) -> Policy:
    match value:
        case [refresh_before, refresh_token_lifetime]:
            return Policy(plain.number(refresh_before), plain.number(refresh_token_lifetime))
        case _:
            raise Damaged


def formed_session(session: Session) -> object:
    """Return a session as plain values."""
    return [
        _formed_doing(session.doing),
        None if session.access is None else _formed_access(session.access),
        None if session.refresh is None else _formed_refresh(session.refresh),
        session.number,
        session.failures,
        None if session.error is None else _formed_problem(session.error),
        None if session.bar is None else _formed_bar(session.bar),
        session.wanted,
        *_FORMER,
        session.ended,
    ]


def parsed_session(value: Plain) -> Session:
    """Return the session that `formed_session` was given, or raise Damaged."""
    match value:
        case [
            doing, access, refresh, number, failures, error, bar, wanted, _, _, ended
        ]:  # fmt: skip
            return Session(
                doing=_doing(doing),
                access=None if access is None else _access(access),
                refresh=None if refresh is None else _refresh(refresh),
                number=plain.whole(number),
                failures=plain.whole(failures),
                error=None if error is None else _problem(error),
                bar=None if bar is None else _bar(bar),
                wanted=plain.flag(wanted),
                ended=plain.number(ended),
            )
        case _:
            raise Damaged


def _formed_doing(doing: Doing) -> object:
    match doing:
        case Idle(due):
            return ["idle", due]
        case Requesting(request, login_after):
            if isinstance(request, Login):  # what was given with it is for nobody else to send
                return ["login", request.insisted, login_after is not None]
            return ["refresh", request.token.reveal, login_after is not None]
        case Stopped():
            return ["stopped"]
        case _:
            assert_never(doing)


def _doing(value: Plain) -> Doing:
    match value:
        case ["idle", due]:
            return Idle(plain.number(due))
        case ["login", insisted, login_after]:
            return _requesting(Login(plain.flag(insisted)), login_after)
        case ["refresh", token, *_, login_after]:  # version 1: a time-out between them
            return _requesting(Refresh(plain.secret(token)), login_after)
        case ["stopped"]:
            return Stopped()
        case _:
            raise Damaged


def _requesting(request: Login | Refresh, login_after: Plain) -> Requesting:
    ordered = plain.flag(login_after)
    return behind(request, Login(insisted=True)) if ordered else Requesting(request)


def _formed_access(access: AccessToken) -> object:
    return [
        access.value.reveal,
        access.id,
        access.scope,
        access.number,
        access.sent,
        access.lifetime,
        access.obtained,
        access.due,
    ]


def _access(value: Plain) -> AccessToken:
    match value:
        case [token, name, scope, number, sent, lifetime, obtained, due]:
            return AccessToken(
                value=plain.secret(token),
                id=plain.text(name),
                scope=plain.text(scope),
                number=plain.whole(number),
                sent=plain.finite(sent),
                lifetime=plain.finite(lifetime),
                obtained=plain.number(obtained),
                due=plain.number(due),
            )
        case _:
            raise Damaged


def _formed_refresh(refresh: RefreshToken) -> object:
    return [refresh.value.reveal, refresh.since, refresh.lost, refresh.unclear]


def _refresh(value: Plain) -> RefreshToken:
    match value:
        case [token, since, lost, unclear]:
            return RefreshToken(
                plain.secret(token), plain.number(since), plain.whole(lost), plain.whole(unclear)
            )
        case _:
            raise Damaged


def _formed_bar(bar: Bar) -> object:
    return [bar.until, _formed_problem(bar.error), bar.count]


def _bar(value: Plain) -> Bar:
    match value:
        case [until, error, count]:
            return Bar(plain.number(until), _problem(error), plain.whole(count))
        case _:
            raise Damaged


def _formed_problem(problem: Problem) -> object:
    return [problem.raises.code, problem.message, problem.hint, problem.at, problem.until]


def _problem(value: Plain) -> Problem:
    match value:
        case [str() as code, message, hint, at, until] if code in BY_CODE:
            return Problem(
                BY_CODE[code],
                plain.text(message),
                None if hint is None else plain.text(hint),
                plain.number(at),
                None if until is None else plain.number(until),
            )
        case _:
            raise Damaged

"""A row as the store holds it: sealed, so that the store and its backups reveal nothing.

The bytes are the form (1), the name of the key (8), a nonce (12), then the row in MessagePack,
encrypted and authenticated by AES-256-GCM. Form, key name, the row's key and its tag are
authenticated too, so a row can't be given to another account, nor an old one be passed off as newer.

A row that can't be read is neither used nor written over: whoever can read it may need it.
"""

from collections.abc import Sequence
from hashlib import sha256
from secrets import token_bytes
from typing import Final, final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from openfit_tokend.core.budget import Attempt, Entry, Fingerprint, Ledger
from openfit_tokend.core.fleet.row import Claim, Row, Shared
from openfit_tokend.core.session import Requesting
from openfit_tokend.core.settings.values import Account
from openfit_tokend.fleet.store import TAG_SIZE, RowTrouble
from openfit_tokend.storage import plain
from openfit_tokend.storage.plain import Damaged, Plain
from openfit_tokend.storage.session_form import formed_session, parsed_session

FORM: Final = 1
"""The form that is written. A release reads the next one before any release writes it."""
ID_SIZE: Final = 16
"""Bytes of a claim's id, and of a row's salt."""
_NAME: Final = 8
"""Bytes of a key's name."""
_NONCE: Final = 12
"""Bytes of a nonce. Random ones do for 2**32 rows of one key: 4,000 years at a row a minute and 2,000
accounts."""
_HEAD: Final = 1 + _NAME + _NONCE


class Unreadable(RowTrouble):
    """A row that this daemon can't read: for it, that is as if the store were away."""


@final
class Keys:
    """The keys of a fleet: the first seals, and each opens what it has sealed."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        """Take keys of 32 bytes each, one at least."""
        self._ciphers = {_name_of(key): AESGCM(key) for key in keys}
        self._first = _name_of(keys[0])

    def is_old_seal(self, data: bytes) -> bool:
        """Return whether another key than the first sealed these bytes."""
        return data[1 : 1 + _NAME] != self._first

    def seal(self, text: bytes, key: str, tag: bytes) -> bytes:
        """Return the bytes of a row for the place of this key and tag."""
        nonce = token_bytes(_NONCE)
        head = bytes([FORM]) + self._first
        cipher = self._ciphers[self._first]
        return head + nonce + cipher.encrypt(nonce, text, head + key.encode() + tag)

    def open(self, data: bytes, key: str, tag: bytes) -> bytes:
        """Return what was sealed.

        Raises:
            Damaged: these bytes weren't sealed for this place.
            Unreadable: they are of a newer form, or another key sealed them.
        """
        if len(data) < _HEAD or data[0] == 0:
            raise Damaged
        if data[0] > FORM:
            raise Unreadable(
                "the fleet's row was written by a newer version of openfit-tokend",
                "upgrade openfit-tokend on this host",
            )
        name, nonce = data[1 : 1 + _NAME], data[1 + _NAME : _HEAD]
        cipher = self._ciphers.get(name)
        if cipher is None:
            raise Unreadable(
                "the fleet's row is sealed with a key that this host doesn't have",
                "give all hosts the same keys, then openfit-tokend reload",
            )
        try:
            return cipher.decrypt(nonce, data[_HEAD:], data[: 1 + _NAME] + key.encode() + tag)
        except InvalidTag:
            raise Damaged from None


def row_key(account: Account) -> str:
    """Return the key of an account's row, which doesn't reveal the account to a glance."""
    return sha256(plain.packed([account.id_server, account.username])).hexdigest()


def sealed(keys: Keys, key: str, row: Row) -> bytes:
    """Return a row as bytes, to be written with its tag."""
    assert not row.ledger.under_way  # noqa: S101 -- the claims say it
    return keys.seal(plain.packed(_formed(row)), key, row.tag)


def opened(keys: Keys, key: str, tag: bytes | None, data: bytes | None) -> Row:
    """Return the row that `sealed` was given.

    Raises:
        Unreadable: these bytes are damaged, of a newer form, or sealed with another key.
    """
    try:
        tag, data = plain.octets(tag, TAG_SIZE), plain.octets(data)  # etcd has them apart
        return _row(plain.unpacked(keys.open(data, key, tag)), tag)
    except Damaged:
        raise Unreadable(
            "the fleet's row is damaged, or was meant for another place",
            "restore it from a backup; if there is none, delete it: it is then made anew",
        ) from None


def _name_of(key: bytes) -> bytes:
    return sha256(b"openfit-tokend fleet" + key).digest()[:_NAME]


# Values to plain lists: only the two functions of a pair know the order


def _formed(row: Row) -> object:
    return [
        row.salt,
        _formed_ledger(row.ledger),
        [[identity, *_formed_shared(shared)] for identity, shared in row.sessions.items()],
        list(row.done),
    ]


def _row(value: Plain, tag: bytes) -> Row:
    match value:
        case [salt, ledger, [*sessions], [*done]]:
            return Row(
                tag,
                plain.octets(salt, ID_SIZE),
                _ledger(ledger),
                dict(_named(each) for each in sessions),
                tuple(plain.octets(each, ID_SIZE) for each in done),
            )
        case _:
            raise Damaged


def _formed_shared(shared: Shared) -> list[object]:
    claim = shared.claim
    assert isinstance(shared.session.doing, Requesting) == (claim is not None)  # noqa: S101 -- see Shared
    return [
        formed_session(shared.session),
        None if claim is None else _formed_claim(claim),
        shared.by,
        shared.stamp,
    ]


def _named(value: Plain) -> tuple[bytes, Shared]:
    match value:
        case [identity, session, claim, by, stamp]:
            shared = Shared(
                parsed_session(session),
                None if claim is None else _claim(claim),
                plain.text(by),
                plain.octets(stamp, TAG_SIZE),
            )
            if isinstance(shared.session.doing, Requesting) != (shared.claim is not None):
                raise Damaged
            return plain.octets(identity), shared
        case _:
            raise Damaged


def _formed_claim(claim: Claim) -> list[object]:
    return [
        claim.id,
        claim.by,
        claim.term,
        None if claim.attempt is None else [claim.attempt.sent, claim.attempt.fingerprint],
    ]


def _claim(value: Plain) -> Claim:
    match value:
        case [claim, by, term, None]:
            return Claim(plain.octets(claim, ID_SIZE), plain.text(by), plain.finite(term))
        case [claim, by, term, [sent, fingerprint]]:
            attempt = Attempt(plain.finite(sent), _fingerprint(fingerprint))
            return Claim(plain.octets(claim, ID_SIZE), plain.text(by), plain.finite(term), attempt)
        case _:
            raise Damaged


def _formed_ledger(ledger: Ledger) -> list[object]:
    return [
        [[entry.at, entry.clear, entry.lost] for entry in ledger.entries],
        ledger.clear,
        list(ledger.rejected),
        list(ledger.proven),
        ledger.announced,
        ledger.refused_sent,
    ]


def _ledger(value: Plain) -> Ledger:
    match value:
        case [[*entries], clear, [*rejected], [*proven], announced, refused_sent]:
            return Ledger(
                entries=tuple(_entry(each) for each in entries),
                clear=plain.whole(clear),
                rejected=tuple(_fingerprint(each) for each in rejected),
                proven=tuple(_fingerprint(each) for each in proven),
                announced=plain.number(announced),
                refused_sent=plain.number(refused_sent),
            )
        case _:
            raise Damaged


def _entry(value: Plain) -> Entry:
    match value:
        case [at, clear, lost]:
            fingerprint = None if lost is None else _fingerprint(lost)
            return Entry(plain.finite(at), plain.flag(clear), fingerprint)
        case _:
            raise Damaged


def _fingerprint(value: Plain) -> Fingerprint:
    return Fingerprint(plain.whole(value))

"""The token endpoint's language: the forms to send, and what each answer means.

OAuth 2.0 is RFC 6749, revocation RFC 7009. OpenFIT runs IdentityServer, which answers every OAuth
error with 400 and JSON; other servers use 401 or 403, an empty body, or another word. So the
meaning is taken from status and body together, never from the content type.
"""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from email.utils import parsedate_to_datetime
from typing import Final, Literal, assert_never, cast
from urllib.parse import quote_plus

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import ClientRejected, LoginRejected, TokenError, Unavailable
from openfit_tokend.core.events import Grant, Kind
from openfit_tokend.core.problems import STORE_ANOTHER
from openfit_tokend.core.session import Login, Refresh
from openfit_tokend.core.settings.values import Identity

CHECK_URL: Final = "check environment, id_server or token_url"
"""What to do where a wrong URL may be the cause."""

MAX_BODY: Final = 64 * 1024
"""Bytes of an answer: many times the largest token seen."""
DEFAULT_LIFETIME: Final = 3600.0
"""Seconds, if the server doesn't say."""
MAX_LIFETIME: Final = 30 * 86400.0
"""Seconds for which a token is trusted at most, whatever the server says."""

_CLIENT_WORDS: Final = frozenset(
    {"invalid_client", "unauthorized_client", "invalid_scope", "unsupported_grant_type"}
)
_PASSWORD_FORBIDDEN: Final = frozenset({"unauthorized_client", "unsupported_grant_type"})
"""Of these: the client may be right, and this grant isn't allowed (RFC 6749, section 5.2)."""
_GRANT_WORDS: Final = frozenset({"invalid_grant", "invalid_request"})
_BUSY_WORDS: Final = frozenset({"temporarily_unavailable", "slow_down"})
_NOT_READ: Final = frozenset({404, 405, 406, 407, 410, 411, 413, 414, 415, 417, 421, 425, 426, 431})
"""Statuses of who didn't look at the form (RFC 9110, RFC 6585). Any other refusal may be a rejection."""
_BUSY: Final = frozenset({408, 429, 503})
_USABLE: Final = re.compile(r"[\x21-\x7e]+")
"""What may follow `Bearer ` in a header. Anything else would break the caller's request."""

Form = dict[str, str]


@frozen
class Failure:
    """An answer that brings no token. `message` and `hint` are for people, without secrets."""

    kind: Kind
    raises: type[TokenError]
    message: str
    hint: str | None = None


def login_form(identity: Identity, password: Secret) -> Form:
    """Return the form of a login (RFC 6749, section 4.3.2). It holds the password: drop it soon."""
    return {
        "grant_type": "password",
        **({"scope": identity.scope} if identity.scope else {}),
        "client_id": identity.client_id,
        "username": identity.username,
        "password": password.reveal,
        **dict(identity.form),
    }


def refresh_form(identity: Identity, token: Secret) -> Form:
    """Return the form of a refresh (RFC 6749, section 6). IdentityServer needs the client_id."""
    return {
        "grant_type": "refresh_token",
        "refresh_token": token.reveal,
        "client_id": identity.client_id,
        **dict(identity.form),
    }


def revocation_form(identity: Identity, token: Secret) -> Form:
    """Return the form that revokes a refresh token (RFC 7009, section 2.1)."""
    return {
        "token": token.reveal,
        "token_type_hint": "refresh_token",
        "client_id": identity.client_id,
    }


def authenticated(
    form: Form, secret: Secret, auth: Literal["basic", "post"]
) -> tuple[Form, Mapping[str, str]]:
    """Return a form, and the headers to send it with, that prove which client sends it.

    As RFC 6749, section 2.3.1 says: both parts of a header are encoded like a form's fields, and a client
    that has one isn't named again.
    """
    if auth == "post":
        return {**form, "client_secret": secret.reveal}, {}
    credentials = f"{quote_plus(form['client_id'])}:{quote_plus(secret.reveal)}".encode()
    unnamed = {name: value for name, value in form.items() if name != "client_id"}
    return unnamed, {"authorization": f"Basic {b64encode(credentials).decode()}"}


def secrets(
    form: Form, headers: Mapping[str, str], client_secret: Secret | None, said: Grant | Failure
) -> Iterator[str]:
    """Return the secrets of a request and of its answer; `headers`: of `authenticated`."""
    yield from (credentials.rpartition(" ")[2] for credentials in headers.values())
    if client_secret is not None:
        yield client_secret.reveal
    yield from (form[name] for name in ("password", "refresh_token") if name in form)
    if isinstance(said, Grant):
        yield said.access_token.reveal
        if said.refresh_token is not None:
            yield said.refresh_token.reveal


def meaning(
    request: Login | Refresh,
    scope: str,
    status: int,
    body: bytes | None,
    *,
    worked: bool = False,
) -> Grant | Failure:
    """Return what an answer means. `body` None: larger than MAX_BODY, or not readable.

    `scope` is what was asked for: a server that grants exactly that needn't repeat it. `worked`: the
    server gave this client tokens before.
    """
    if 200 <= status < 300:  # noqa: PLR2004 -- RFC 9110's success
        return _grant(scope, status, body)
    if status in _BUSY:
        return _failure(Kind.TRANSIENT, f"the token server answered {status}: it is busy")
    if status >= 500:  # noqa: PLR2004 -- RFC 9110's server errors
        return _failure(Kind.UNCERTAIN, f"the token server answered {status}")
    hint = CHECK_URL
    if 300 <= status < 400:  # noqa: PLR2004 -- RFC 9110's redirects
        message = "redirects are not followed"
    elif status in _NOT_READ:
        message, hint = "no token endpoint is there", f"{hint}: a wrong URL looks like this"
    else:
        return _refusal(request, status, body, worked=worked)
    return _failure(Kind.TRANSIENT, f"the token server answered {status}: {message}", hint)


def retry_after(value: str | None, now: float) -> float | None:
    """Return the seconds of a Retry-After header (RFC 9110, section 10.2.3), None if unusable.

    `now` is Unix seconds, for the form with a date.
    """
    if value is None:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def refresh_token(value: object) -> Secret | None:
    """Return a refresh token that can be used; None: it can't."""
    return Secret(value) if isinstance(value, str) and value.isprintable() and value else None


def token_id(access_token: str) -> str:
    """Return the name of an access token: the first 16 hex digits of its SHA-256."""
    return hashlib.sha256(access_token.encode()).hexdigest()[:16]


def _failure(kind: Kind, message: str, hint: str | None = None) -> Failure:
    return Failure(kind, Unavailable, message, hint)


def _grant(scope: str, status: int, body: bytes | None) -> Grant | Failure:
    fields = _fields(body)
    if fields is None:
        return _unusable(status, "something that isn't JSON")
    token = fields.get("access_token")
    if not isinstance(token, str) or not _USABLE.fullmatch(token):
        return _unusable(status, "no usable access_token")
    lifetime = _lifetime(fields.get("expires_in"))
    if lifetime is None:
        return _unusable(status, "an expires_in that is no positive number of seconds")
    granted = fields.get("scope")
    return Grant(
        access_token=Secret(token),
        id=token_id(token),
        lifetime=lifetime,
        refresh_token=refresh_token(fields.get("refresh_token")),
        scope=granted if isinstance(granted, str) and granted.isprintable() else scope,
    )


def _unusable(status: int, what: str) -> Failure:
    return _failure(
        Kind.UNCERTAIN,
        f"the token server answered {status} with {what}",
        f"{CHECK_URL}; if it is right, the token server is at fault",
    )


def _refusal(request: Login | Refresh, status: int, body: bytes | None, *, worked: bool) -> Failure:
    fields = _fields(body)
    if fields is None:  # some servers put a page in place of their own answer
        return _failure(
            Kind.UNCLEAR,
            f"the token server answered {status} with a page instead of JSON",
            f"{CHECK_URL}, and any proxy or firewall in between",
        )
    # Only a known word is repeated: anything else may echo what the server was sent.
    word = fields.get("error")
    if not isinstance(word, str):
        word = ""
    by_password = isinstance(request, Login) and request.given is None
    if by_password and word in _PASSWORD_FORBIDDEN:
        refuses = "no longer lets" if worked else "doesn't let"
        return Failure(
            Kind.CLIENT_REJECTED,
            ClientRejected,
            f"the token server {refuses} this client log in with a password: {word}",
            f"{'' if worked else 'check client_id; if it is right, '}obtain a refresh token in another way, which"
            " the server's support may know: openfit-token login --refresh-token --profile {profile}",
        )
    if word in _CLIENT_WORDS:
        return Failure(
            Kind.CLIENT_REJECTED,
            ClientRejected,
            f"the token server rejected the client: {word}",
            "check client_id, its secret if it has one, and scope: use the values given by the token server's support (OpenFIT:"
            ' client_id from support@openfit.care, scope "OpenFitApi offline_access"),'
            " then: openfit-tokend reload",
        )
    if word in _GRANT_WORDS:
        return _rejected(request, word)
    if word in _BUSY_WORDS:
        return _failure(Kind.TRANSIENT, f"the token server is busy: {word}")
    if word == "server_error":
        return _failure(Kind.UNCERTAIN, f"the token server failed: {word}")
    return _failure(
        Kind.UNCLEAR,
        f"the token server answered {status} without saying why",
        "the cause may be user name, password, client_id or a firewall: ask the token server's support",
    )


def _rejected(request: Login | Refresh, word: str) -> Failure:
    match request:
        case Login(given=Secret()):
            return Failure(
                Kind.GRANT_REJECTED,
                LoginRejected,
                f"the token server rejected the refresh token that was given: {word}",
                "it may be spent, expired or another client's: obtain another one; what the daemon held"
                " before, it holds still",
            )
        case Login():
            return Failure(
                Kind.GRANT_REJECTED,
                LoginRejected,
                f"the token server rejected user name or password: {word}",
                STORE_ANOTHER,
            )
        case Refresh():
            return _failure(
                Kind.GRANT_REJECTED,
                f"the token server rejected the refresh token: {word}",
                "if this happens repeatedly, another program is using this login",
            )
        case _:
            assert_never(request)


def _lifetime(value: object) -> float | None:
    """Return the seconds of an expires_in, or None for one that can't be used."""
    if value is None:
        return DEFAULT_LIFETIME
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not value > 0:  # NaN, too, isn't
        return None
    return float(min(value, MAX_LIFETIME))


def _fields(body: bytes | None) -> Mapping[str, object] | None:
    """Return the JSON object of an answer; an empty one for other JSON or nothing; None for no JSON."""
    if body is None:
        return None
    if not body.strip():
        return {}
    try:
        value: object = json.loads(_text(body))
    except (ValueError, RecursionError):
        return None
    # JSON's objects have only string keys.
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _text(body: bytes) -> str:
    """Return an answer's text: JSON is in UTF-8 (RFC 8259), but some describe errors in Latin-1."""
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        return body.decode("latin-1")

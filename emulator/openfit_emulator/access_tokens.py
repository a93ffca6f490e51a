"""Tokens that look like IdentityServer's. Their validity is looked up, never read from them."""

import base64
import json
import secrets
from collections.abc import Mapping
from dataclasses import KW_ONLY
from typing import Final

from openfit_token._shared.frozen import frozen

_KEY_ID: Final = "5F1C7D9A3B8E4C26A0D4E7B91F3C5A68RS256"
_SIGNATURE: Final = 256
"""Bytes of an RS256 signature. It is random, since nobody checks it."""


@frozen
class Claims:
    """The claims of an access token. `issued` and `expires` are whole Unix seconds."""

    _: KW_ONLY
    issuer: str
    client_id: str
    username: str
    scope: str
    logged_in: int
    issued: int
    expires: int


def access_token(claims: Claims) -> str:
    """Return a new token in the form of a JWT (RFC 7519), about 970 characters."""
    header = {"alg": "RS256", "kid": _KEY_ID, "x5t": secrets.token_urlsafe(20), "typ": "at+jwt"}
    payload = {
        "iss": claims.issuer,
        "nbf": claims.issued,
        "iat": claims.issued,
        "exp": claims.expires,
        "aud": ["OpenFitApi", f"{claims.issuer}/resources"],
        "scope": claims.scope.split(),
        "amr": ["pwd"],
        "client_id": claims.client_id,
        "sub": claims.username,
        "auth_time": claims.logged_in,
        "idp": "local",
        "role": "ApiUser",
        "jti": secrets.token_hex(16).upper(),
    }
    parts = (_compact(header), _compact(payload), secrets.token_bytes(_SIGNATURE))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts)


def refresh_token() -> str:
    """Return a new handle like IdentityServer's: 64 hexadecimal digits."""
    return secrets.token_hex(32).upper()


def _compact(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()

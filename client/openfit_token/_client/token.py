"""The access token as a script gets it."""

# No dataclass: importing that module alone costs 15 ms, more than the whole of `get_token`.


class Token:
    """An access token and what is known of it. Immutable; `str` and `repr` never show the secret.

    Attributes:
        profile: the profile it belongs to.
        access_token: the bearer token itself: a secret.
        token_type: "Bearer".
        id: the first 16 hex digits of its SHA-256: identifies it without revealing it.
        scope: what the token server granted, or what was asked for.
        api_url: the URL of the API it is for, without a trailing slash.
        obtained_at: Unix seconds.
        expires_at: Unix seconds; don't use it from then on.
        expires_in: seconds it had left when the daemon answered.
        refresh_at: Unix seconds; ask the daemon again from then on.
        degraded: None, or `{"code", "message"}` of what keeps the daemon from replacing it.

    >>> token = get_token()
    >>> token.access_token in f"{token} {token!r}"
    False
    >>> token.authorization.startswith("Bearer ")
    True
    """

    __slots__ = (
        "access_token",
        "api_url",
        "degraded",
        "expires_at",
        "expires_in",
        "id",
        "obtained_at",
        "profile",
        "refresh_at",
        "scope",
        "token_type",
    )

    profile: str
    access_token: str
    token_type: str
    id: str
    scope: str
    api_url: str
    obtained_at: float
    expires_at: float
    expires_in: float
    refresh_at: float
    degraded: dict[str, str] | None

    def __init__(self, fields: dict[str, object]) -> None:
        """Take the daemon's answer; unknown keys are ignored.

        Raises:
            KeyError: a field is missing.
        """
        for name in self.__slots__:
            object.__setattr__(self, name, fields[name])

    @property
    def authorization(self) -> str:
        """The value of the HTTP header `Authorization` (RFC 6750, section 2.1), a secret."""
        return f"{self.token_type} {self.access_token}"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a Token is immutable: {name}")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"a Token is immutable: {name}")

    def __repr__(self) -> str:
        return f"<Token {self.id} of {self.profile}, expires_at={self.expires_at:.0f}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Token):
            return NotImplemented
        return self.profile == other.profile and self.access_token == other.access_token

    def __hash__(self) -> int:
        return hash((self.profile, self.access_token))

    def __reduce__(self) -> tuple[type["Token"], tuple[dict[str, object]]]:
        return Token, ({name: getattr(self, name) for name in self.__slots__},)

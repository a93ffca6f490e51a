"""All errors that callers can get: one class for each code of the wire, with its exit status.

    TokenError
     ├─ answered by the daemon (their `code` is the protocol's: add, never change, never reuse)
     │   ├─ BadRequest  NoSuchMethod  NoSuchProfile  NotAllowed
     │   ├─ LoginRejected  ClientRejected  SecretUnavailable  BudgetSpent  LoggedOut
     │   ├─ Unavailable  TimedOut  MinTtl
     │   └─ Overloaded  Stopping  ConfigRejected  Internal
     └─ raised on the way to it (no code on the wire)
         ├─ DaemonUnreachable  DaemonUntrusted  ProtocolViolation
         └─ ForeignOrigin

The daemon raises and sends the very same classes, so there is one table of errors, this one.
"""

# Plain classes, no enum and no dataclass: importing those costs more than the whole client.


class TokenError(Exception):
    """A failure with what to do about it. Never holds a secret.

    Attributes:
        message: what failed, and why.
        hint: what to do, or None.
        retry_after: seconds until trying again can help, or None.

    >>> try:
    ...     get_token("nobody")
    ... except TokenError as error:
    ...     print(error.code, "-", error)
    NO_SUCH_PROFILE - there is no profile 'nobody' (there are: main)
    """

    code = ""
    """The code on the wire."""
    exit_status = 70
    """The exit status of a command that ends with this error (sysexits.h)."""

    def __init__(
        self, message: str, hint: str | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message, hint, retry_after)
        self.message = message
        self.hint = hint
        self.retry_after = retry_after

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message


class BadRequest(TokenError):
    """The request isn't a valid message, or has a wrong or unknown parameter."""

    code = "BAD_REQUEST"
    exit_status = 76


class NoSuchMethod(TokenError):
    """The daemon has no method of this name."""

    code = "NO_SUCH_METHOD"
    exit_status = 76


class NoSuchProfile(TokenError):
    """No profile of this name that the caller may use; the hint lists those it may."""

    code = "NO_SUCH_PROFILE"
    exit_status = 78


class NotAllowed(TokenError):
    """The caller's user and groups may not do this, or may use no profile at all."""

    code = "NOT_ALLOWED"
    exit_status = 77


class LoginRejected(TokenError):
    """The token server rejected username or password, and the profile is locked; or a refresh token that was given."""

    code = "LOGIN_REJECTED"
    exit_status = 77


class ClientRejected(TokenError):
    """The token server rejected client_id, scope or grant; the profile is locked."""

    code = "CLIENT_REJECTED"
    exit_status = 78


class SecretUnavailable(TokenError):
    """The profile's password, or its client's secret, can't be read; the message says which source and why."""

    code = "SECRET_UNAVAILABLE"
    exit_status = 78


class BudgetSpent(TokenError):
    """Too many rejected passwords: nothing is sent until `retry_after` has passed."""

    code = "BUDGET_SPENT"
    exit_status = 75


class Unavailable(TokenError):
    """The token server can't be reached or is failing, and no token that would do is held."""

    code = "UNAVAILABLE"
    exit_status = 75


class TimedOut(TokenError):
    """The `wait` of the call is over."""

    code = "TIMED_OUT"
    exit_status = 75


class MinTtl(TokenError):
    """Even a new token doesn't live as long as requested."""

    code = "MIN_TTL"
    exit_status = 64


class LoggedOut(TokenError):
    """An operator logged this profile out."""

    code = "LOGGED_OUT"
    exit_status = 77


class Overloaded(TokenError):
    """A limit of the daemon was reached."""

    code = "OVERLOADED"
    exit_status = 75


class Stopping(TokenError):
    """The daemon is shutting down."""

    code = "STOPPING"
    exit_status = 75


class ConfigRejected(TokenError):
    """The new configuration is invalid, so the old one stays in force. The message lists all errors."""

    code = "CONFIG_REJECTED"
    exit_status = 78


class Internal(TokenError):
    """An internal error in the daemon; see its log. Also any code this client doesn't know."""

    code = "INTERNAL"
    exit_status = 70


class DaemonUnreachable(TokenError):
    """No daemon listens, the socket may not be opened, or the daemon doesn't answer."""

    exit_status = 69


class DaemonUntrusted(TokenError):
    """The listener is neither root, nor the caller, nor the owner of the socket's directory."""

    exit_status = 77


class ProtocolViolation(TokenError):
    """The peer broke the protocol."""

    exit_status = 76


class ForeignOrigin(TokenError):
    """The token isn't for the origin that a request goes to; nothing was sent."""

    exit_status = 64


BY_CODE = {kind.code: kind for kind in TokenError.__subclasses__() if kind.code}
"""The error class of each code of the wire."""

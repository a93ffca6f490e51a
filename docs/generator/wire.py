"""The tables of the protocol's document: errors and limits, as the code has them."""

from typing import Final

from openfit_token import errors
from openfit_token._shared import protocol
from openfit_token.errors import TokenError
from openfit_tokend.core.schedule import MAX_SPACING, RECENT
from openfit_tokend.host import listener
from openfit_tokend.serving import rpc, server, users

_LIMITS: Final = (
    ("a request", f"{protocol.MAX_REQUEST // 1024} KiB"),
    ("nested arrays and maps, in a request", f"{protocol.MAX_NESTING}"),
    ("msgid", f"0 to {protocol.MAX_MSGID:,}"),
    ("`wait`", f"0 to {protocol.MAX_WAIT:g} s; {protocol.DEFAULT_WAIT:g} s by default"),
    (
        "a password given with `login`",
        f"1 to {protocol.MAX_PASSWORD} characters, no control character, no byte order mark at the beginning",
    ),
    (
        "a refresh token given with `login`",
        f"1 to {protocol.MAX_REFRESH_TOKEN:,} printable characters",
    ),
    ("calls of one connection that wait", f"{rpc.MAX_PARKED}; then it isn't read"),
    (
        "calls of a user that wait, and its subscriptions",
        "together as many as it may have connections; then `OVERLOADED`",
    ),
    (
        "unread answers of a connection whose call has waited",
        f"{rpc.MAX_UNREAD // 1024} KiB; beyond that it is closed",
    ),
    (
        "unread answers of all connections of a user",
        f"{server.MAX_UNREAD_USER // 1024 // 1024} MiB; the connection that exceeds it is closed",
    ),
    (
        "connections of a user, subordinate uids included",
        f"{users.MAX_CONNECTIONS:,}, root {users.MAX_CONNECTIONS_ROOT:,}; at most half of the descriptors",
    ),
    ("connections that wait to be accepted", f"{listener.BACKLOG:,}, as far as the system allows"),
    (
        "replacements that clients ask for",
        (
            f"one every {RECENT:g} s for each profile; for a user who wants young tokens replaced again"
            f" and again, ever fewer: up to {MAX_SPACING:g} s apart, with `OVERLOADED` in between"
        ),
    ),
    (
        "an answer, as the clients accept it",
        f"{protocol.MAX_ANSWER // 1024 // 1024} MiB",
    ),
)


def error_table() -> str:
    """Return each code of the wire with its meaning and the client's exit status."""
    rows = ["| code | meaning | exit |", "| --- | --- | --- |"]
    rows += [
        f"| `{code}` | {_meaning(kind)} | {kind.exit_status} |"
        for code, kind in errors.BY_CODE.items()
    ]
    return "\n".join(rows)


def limit_table() -> str:
    """Return the limits."""
    rows = [
        "| what | limit |",
        "| --- | --- |",
        *(f"| {what} | {most} |" for what, most in _LIMITS),
    ]
    return "\n".join(rows)


def version() -> str:
    """Say which version of the protocol this is."""
    return f"This is version {protocol.PROTOCOL} of the protocol."


def _meaning(kind: type[TokenError]) -> str:
    text = " ".join((kind.__doc__ or "").split()).removesuffix(".")
    return text[0].lower() + text[1:] if text[1:2].islower() else text

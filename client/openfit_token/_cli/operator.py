"""`openfit-token login` and `logout`: for root, the daemon's user, and its admin groups."""

import sys
from collections.abc import Iterator
from getpass import getpass

from openfit_token._cli.get import profile_of
from openfit_token._cli.output import put
from openfit_token._cli.terminal import WrongUsage, printable
from openfit_token._client.blocking import TokenClient
from openfit_token._client.health import number, profiles_of
from openfit_token._shared.durations import duration
from openfit_token._shared.protocol import MAX_PASSWORD
from openfit_token.errors import BudgetSpent, ClientRejected, LoginRejected, TokenError

_MAX_LINE = 4 * MAX_PASSWORD
"""Characters to read of a line: enough to see that it is too long."""


def login(profile: str | None, socket: str | None, wait: float, *, ask: bool) -> int:
    """Have the daemon log in again, with a password to be typed if `ask`. Return the exit status.

    Raises:
        WrongUsage: what was typed in can't be a password.
    """
    chosen = profile_of(profile)
    password = _password(chosen) if ask else None
    with TokenClient(chosen, socket) as client:
        try:
            token = client.login(password, wait=wait)
        except (LoginRejected, ClientRejected, BudgetSpent) as error:
            error.hint = "; ".join(filter(None, (error.hint, *_what_is_left(client))))
            raise
    put(f"{printable(token.profile)}: logged in, a token for {duration(token.expires_in)}\n")
    return 0


def logout(profile: str | None, socket: str | None) -> int:
    """Have the daemon forget its tokens until the next login. Return the exit status."""
    chosen = profile_of(profile)
    with TokenClient(chosen, socket) as client:
        client.logout()
    put("logged out\n" if chosen is None else f"{printable(chosen)}: logged out\n")
    return 0


def _what_is_left(client: TokenClient) -> Iterator[str]:
    """Yield what a profile still has after a rejected login, as far as it can be found out."""
    try:
        (profile,) = profiles_of(client.status()).values()
    except (TokenError, ValueError):  # several, and none was named
        return
    left = number(profile.get("expires_in"))
    if left is not None and profile.get("session_began_at") is not None:
        yield f"the session goes on, its token is good for {duration(left)}"
    elif left is not None:
        yield f"the token held is good for {duration(left)}"
    logins = number(profile.get("logins_left"))
    if logins:
        yield f"{logins:.0f} more may fail before no login is sent for some time"


def _password(profile: str | None) -> str:
    """Read a password without echo, or a line where standard input is no terminal."""
    try:
        if sys.stdin is None:  # `<&-` closed it
            password = ""
        elif sys.stdin.isatty():
            password = getpass(
                f"Password{'' if profile is None else f' for {printable(profile)}'}: "
            )
        else:
            password = sys.stdin.readline(_MAX_LINE).removesuffix("\n")
        password.encode()
    except EOFError:
        password = ""
    except UnicodeError as error:
        raise WrongUsage("login: the password is not valid text in this locale") from error
    if not password:
        raise WrongUsage("login: no password was given, so none was sent")
    if len(password) > MAX_PASSWORD:
        raise WrongUsage(
            f"login: the password is longer than {MAX_PASSWORD} characters, so it was not sent",
            "OpenFIT has none that long, and counts each wrong one",
        )
    return password

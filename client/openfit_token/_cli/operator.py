"""`openfit-token login` and `logout`: for root, the daemon's user, and its admin groups."""

import sys
from collections.abc import Iterator
from getpass import getpass
from typing import Final

from openfit_token._cli.get import profile_of
from openfit_token._cli.output import put
from openfit_token._cli.terminal import WrongUsage, printable
from openfit_token._client.blocking import TokenClient
from openfit_token._client.health import number, profiles_of
from openfit_token._shared.durations import duration
from openfit_token._shared.protocol import MAX_PASSWORD, MAX_REFRESH_TOKEN
from openfit_token.errors import BudgetSpent, ClientRejected, LoginRejected, TokenError

_LONGEST: Final = {"password": MAX_PASSWORD, "refresh token": MAX_REFRESH_TOKEN}


def login(profile: str | None, socket: str | None, wait: float, *, ask: str | None) -> int:
    """Have the daemon log in again, with what is typed if it is to `ask`: a "password" or a "refresh token". Return the exit status.

    Raises:
        WrongUsage: what was typed in can't be that.
    """
    chosen = profile_of(profile)
    given = None if ask is None else _typed(ask, chosen)
    password, refresh_token = (None, given) if ask == "refresh token" else (given, None)
    with TokenClient(chosen, socket) as client:
        try:
            token = client.login(password, refresh_token=refresh_token, wait=wait)
        except (LoginRejected, ClientRejected, BudgetSpent) as error:
            error.hint = "; ".join(filter(None, (error.hint, *_what_is_left(client))))
            raise
    put(f"{printable(token.profile)}: logged in, a token for {duration(token.expires_in)}\n")
    if refresh_token is not None:
        put("the refresh token is the daemon's now: whoever else has it must forget it\n")
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


def _typed(what: str, profile: str | None) -> str:
    """Read a secret without echo, or a line where standard input is no terminal."""
    longest = _LONGEST[what]
    try:
        if sys.stdin is None:  # `<&-` closed it
            typed = ""
        elif sys.stdin.isatty():
            whose = "" if profile is None else f" for {printable(profile)}"
            typed = getpass(f"{what.capitalize()}{whose}: ")
        else:
            typed = sys.stdin.readline(4 * longest).removesuffix("\n")  # to see that it is too long
        typed.encode()
    except EOFError:
        typed = ""
    except UnicodeError as error:
        raise WrongUsage(f"login: the {what} is not valid text in this locale") from error
    if not typed:
        raise WrongUsage(f"login: no {what} was given, so none was sent")
    if len(typed) > longest:
        raise WrongUsage(
            f"login: the {what} is longer than {longest} characters, so it was not sent",
            "OpenFIT has none that long, and counts each wrong one" if what == "password" else None,
        )
    return typed

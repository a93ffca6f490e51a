"""`openfit-token completion`: scripts for bash, zsh and fish, made from the parser itself.

Names of profiles are asked of the daemon at each completion, by `openfit-token profiles`.
"""

from argparse import ArgumentParser
from contextlib import suppress
from typing import Final, cast

from openfit_token._client import calls
from openfit_token._client.connection import Connection
from openfit_token._client.paths import connect
from openfit_token._shared.profile_name import is_profile_name
from openfit_token.cli import shells
from openfit_token.cli.ask import ask
from openfit_token.cli.grammar import Option, commands_of
from openfit_token.cli.output import put
from openfit_token.errors import TokenError

_PATIENCE: Final = 1.0
"""Seconds. Somebody has pressed a key and waits."""


def completion(parser: ArgumentParser, shell: str) -> int:
    """Print the completions of a shell. Gives the exit status."""
    put(script(parser, shell))
    return 0


def profiles(socket: str | None) -> int:
    """Print the names of the profiles, one a line; none where the daemon can't be asked now.

    Only what a profile may be called: a shell puts it into a command line, and would run more.
    """
    with suppress(TokenError, OSError):
        connection = Connection(connect(socket))
        try:
            hello = calls.fields(ask(connection, calls.hello(), _PATIENCE))
        finally:
            connection.close()
        put("".join(f"{name}\n" for name in _list(hello.get("profiles")) if is_profile_name(name)))
    return 0


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []


def script(parser: ArgumentParser, shell: str, default: str | None = "get") -> str:
    """Return the completions of a command for one of the shells.

    Args:
        parser: the command's, with its subcommands.
        shell: bash, zsh or fish.
        default: the command whose options may stand without it.
    """
    commands = commands_of(parser)
    lone = next((each.options for each in commands if each.name == default), ())
    lone = [*lone, Option("--version", "print the version")]
    write = {"bash": shells.bash, "zsh": shells.zsh, "fish": shells.fish}[shell]
    return "".join(f"{line}\n" for line in write(parser.prog, commands, lone))

"""`openfit-token completion`: scripts for bash, zsh and fish, made from the parser itself.

So what is completed is what is parsed. The scripts ask the daemon for the names of profiles, by
`openfit-token profiles`.
"""

from argparse import REMAINDER, Action, ArgumentParser
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Final, cast

from openfit_token._cli.get import FORMATS
from openfit_token._cli.output import put
from openfit_token._cli.shells import SHELLS, Command, Option
from openfit_token._client import calls
from openfit_token._client.blocking import ask
from openfit_token._client.connection import Connection
from openfit_token._client.paths import connect
from openfit_token._shared.profile_name import is_profile_name
from openfit_token.errors import TokenError

_PATIENCE: Final = 1.0
"""Seconds. Somebody has pressed a key and waits."""
_PATHS: Final = ("PATH", "FILE", "DIR")
"""The metavars of options that name a file."""


def completion(parser: ArgumentParser, shell: str) -> int:
    """Print the completions of a shell. Return the exit status."""
    put(script(parser, shell))
    return 0


def profiles(socket: str | None) -> int:
    """Print the names of the profiles, one a line; none if the daemon can't be asked now.

    Only valid names: a shell puts them into a command line, and would run anything else.
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
        default: the command whose options are also valid without a command.
    """
    commands = _commands(parser)
    lone = next((each.options for each in commands if each.name == default), ())
    lone = [*lone, Option("--version", "print the version")]
    return "".join(f"{line}\n" for line in SHELLS[shell](parser.prog, commands, lone))


def _commands(parser: ArgumentParser) -> list[Command]:
    """Return the commands that the help shows."""
    (subparsers,) = (each for each in _actions(parser) if isinstance(each.choices, dict))
    parsers = cast("Mapping[str, ArgumentParser]", subparsers.choices)
    shown = cast("Iterable[Action]", subparsers._get_subactions())  # type: ignore[attr-defined] # noqa: SLF001 -- argparse has no public way to look into a parser
    return [_command(each.dest, each.help or "", parsers[each.dest]) for each in shown]


def _command(name: str, about: str, parser: ArgumentParser) -> Command:
    actions = _actions(parser)
    positional = [each for each in actions if not each.option_strings]
    return Command(
        name,
        about,
        [_option(each) for each in actions if each.option_strings],
        [str(word) for each in positional for word in each.choices or ()],
        any(each.nargs == REMAINDER for each in positional),
    )


def _actions(parser: ArgumentParser) -> list[Action]:
    return parser._actions  # noqa: SLF001 -- argparse has no public way to look into a parser


def _option(action: Action) -> Option:
    flag, about = action.option_strings[-1], action.help or ""
    if action.nargs == 0:
        return Option(flag, about)
    if action.choices is not None:
        return Option(flag, about, "words", [str(word) for word in action.choices])
    if action.dest == "format":
        return Option(flag, about, "words", FORMATS)
    if action.dest == "profile":
        return Option(flag, about, "profile")
    return Option(flag, about, "file" if action.metavar in _PATHS else "other")

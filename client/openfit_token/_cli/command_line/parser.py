"""The parser of the command line, with its help. Its class is also that of the daemon's command."""

from argparse import (
    REMAINDER,
    ArgumentParser,
    ArgumentTypeError,
    RawDescriptionHelpFormatter,
    _SubParsersAction,  # pyright: ignore[reportPrivateUsage] -- argparse gives it no other name
)
from collections.abc import Callable
from typing import NoReturn, TypeAlias, TypeVar

from openfit_token import __version__
from openfit_token._cli.command_line import texts
from openfit_token._cli.completion import SHELLS
from openfit_token._cli.get import (
    FORMATS,
    seconds,
    valid_format,
    valid_path,
    valid_text,
    wait_seconds,
)
from openfit_token._cli.output import put
from openfit_token._cli.terminal import WrongUsage
from openfit_token._shared.protocol import DEFAULT_WAIT

T = TypeVar("T")


class Parser(ArgumentParser):
    """Raises what is wrong with a command line as an error, which says where to look."""

    def error(self, message: str) -> NoReturn:
        raise WrongUsage(message, f"see: {self.prog} --help")

    def _print_message(self, message: str, file: object = None) -> None:  # noqa: ARG002 -- argparse's
        put(message)  # argparse's own swallows a failure to write


_Commands: TypeAlias = "_SubParsersAction[Parser]"


def parser() -> ArgumentParser:
    """Return the parser of `openfit-token`."""
    whole = Parser(
        prog="openfit-token",
        description="Ask the local daemon for the current OpenFIT access token.",
        epilog=texts.MAIN,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    whole.add_argument("--version", action="version", version=f"openfit-token {__version__}")
    commands = whole.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands"
    )
    _add_token_commands(commands)
    _add_operators_commands(commands)
    _add_looking_commands(commands)
    completion = _command(commands, "completion", "print a shell's completions", common=False)
    completion.add_argument("shell", choices=SHELLS, help="for which shell")
    return whole


def _add_token_commands(commands: _Commands) -> None:
    get = _command(commands, "get", "print the current token (also with no command at all)")
    _min_ttl(get)
    _wait(get)
    _format(get)
    refresh = _command(commands, "refresh", "have the token replaced, and print the new one")
    _wait(refresh)
    _format(refresh)
    refuse = _command(
        commands, "refuse", "say that the API answered 401 to a token, and print the next"
    )
    refuse.add_argument(
        "id",
        metavar="ID",
        nargs="?",
        type=checked(valid_text),
        help="the token's id; left out: the token itself is read from standard input",
    )
    _wait(refuse)
    _format(refuse)
    curl = _command(commands, "curl", "run curl with the token; after a 401 once more with another")
    curl.usage = "%(prog)s [options] ARG ..."
    _wait(curl)
    curl.add_argument(
        "words", metavar="ARG", nargs=REMAINDER, help="an option of curl's, or the URL"
    )
    execute = _command(commands, "exec", "run a command that finds the token in its environment")
    execute.usage = "%(prog)s [options] -- CMD ..."
    _min_ttl(execute)
    _wait(execute)
    execute.add_argument("words", metavar="CMD", nargs=REMAINDER, help="what to run")


def _add_operators_commands(commands: _Commands) -> None:
    login = _command(
        commands, "login", "log in anew, also after a rejected password (for operators)"
    )
    given = login.add_mutually_exclusive_group()
    given.add_argument(
        "--ask", action="store_true", help="ask for the password, use it once, and forget it"
    )
    given.add_argument(
        "--refresh-token",
        action="store_true",
        help="ask for a refresh token that was obtained elsewhere, and go on from it",
    )
    _wait(login)
    _command(
        commands, "logout", "forget and revoke the tokens until the next login (for operators)"
    )


def _add_looking_commands(commands: _Commands) -> None:
    status = _command(
        commands, "status", "show the state of the daemon and its profiles (exit 0: all is well)"
    )
    form = status.add_mutually_exclusive_group()
    for name, helps in (
        ("json", "for programs; a promise"),
        ("openmetrics", "for monitoring: expiry, last success, counters, state"),
    ):
        form.add_argument(
            f"--{name}", dest="form", action="store_const", const=name, default="text", help=helps
        )
    status.add_argument("--watch", action="store_true", help="look each second, until Ctrl-C")
    inspect = _command(commands, "inspect", "show what the current token says of itself")
    _wait(inspect)
    inspect.add_argument(
        "--json",
        dest="form",
        action="store_const",
        const="json",
        default="text",
        help="for programs; a promise",
    )
    watch = _command(commands, "watch", "print a line, or run a command, at each new token")
    watch.usage = "%(prog)s [options] [-- CMD ...]"
    watch.add_argument("words", metavar="CMD", nargs=REMAINDER, help="what to run")
    doctor = _command(commands, "doctor", "find the link that fails, and say what to do")
    doctor.add_argument(
        "--api",
        metavar="API_PATH",
        type=checked(_api_path),
        help="also ask the API whether it takes the token: a GET of this path",
    )
    doctor.add_argument(
        "--report",
        action="store_true",
        help="also print what a support ticket needs; it has no secret in it",
    )


def _command(commands: _Commands, name: str, does: str, *, common: bool = True) -> Parser:
    added = commands.add_parser(
        name,
        help=does,
        description=does,
        epilog=texts.BY_COMMAND[name],
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    if common:
        added.add_argument(
            "--profile",
            metavar="P",
            type=checked(valid_text),
            help="left out: $OPENFIT_PROFILE, else the daemon's default",
        )
        added.add_argument(
            "--socket", metavar="PATH", type=checked(valid_path), help="where the daemon listens"
        )
    return added


def _min_ttl(to: ArgumentParser) -> None:
    to.add_argument(
        "--min-ttl",
        metavar="TIME",
        type=checked(seconds),
        help="how long it must still live: seconds, or 90s, 10m, 1h",
    )


def _wait(to: ArgumentParser) -> None:
    to.add_argument(
        "--wait",
        metavar="TIME",
        type=checked(wait_seconds),
        default=DEFAULT_WAIT,
        help=f"how long to wait for a token: seconds, or 2m (default {DEFAULT_WAIT:.0f})",
    )


def _format(to: ArgumentParser) -> None:
    to.add_argument(
        "--format",
        metavar="F",
        type=checked(valid_format),
        default="raw",
        help=f"{', '.join(FORMATS)} (default raw)",
    )


def _api_path(text: str) -> str:
    if not (text.startswith("/") and text.isascii() and text.isprintable() and " " not in text):
        raise ValueError(f"{text!r} is not a path such as /v1/me")
    return text


def checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Return a converter whose error argparse shows, instead of the converter's name."""

    def checked(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return checked

"""The command line, with help and all: for what `openfit_token.cli.get.quick` doesn't read."""

from argparse import ArgumentParser, ArgumentTypeError, Namespace, RawDescriptionHelpFormatter
from collections.abc import Callable
from functools import partial
from typing import NoReturn, TypeVar

from openfit_token import __version__
from openfit_token.cli.get import (
    FORMATS,
    Get,
    seconds,
    valid_format,
    valid_text,
    wait_seconds,
)
from openfit_token.cli.output import put
from openfit_token.cli.terminal import WrongUsage
from openfit_token.protocol import DEFAULT_WAIT

T = TypeVar("T")

Command = Callable[[], int]
"""Carries out what the command line says, and gives the exit status."""

_EXAMPLES = """\
examples:
  curl -H "$(openfit-token get --format header)" https://api.openfit.care/…
  openfit-token get --format curl | curl -K - https://api.openfit.care/…
  eval "$(openfit-token get --min-ttl 600 --format env)"
  printf %s "$TOKEN" | openfit-token refuse     (the API said 401)
  openfit-token status

environment:
  OPENFIT_PROFILE       the profile, where --profile doesn't say it
  OPENFIT_TOKEN_SOCKET  the daemon's socket, where --socket doesn't say it

exit status:
  0  done                         74  the output can't be written
  64 wrong usage                  75  not now: try again later
  69 no daemon                    76  a fault in the protocol
  70 a fault of the daemon        77  not allowed, or login rejected
                                  78  a fault in the configuration
""".replace("…", "...")


class _Parser(ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise WrongUsage(message, f"see: {self.prog} --help")

    def _print_message(self, message: str, file: object = None) -> None:  # noqa: ARG002 -- argparse's
        put(message)  # argparse's own swallows a failure to write


def parse(words: list[str]) -> Command:
    """Give what the command line orders. No word at all means `get`.

    Raises:
        WrongUsage: it isn't one of ours.
    """
    try:
        given = _parser().parse_args(_command_first(words))
    except SystemExit:
        return _said
    return _command(given)


def _said() -> int:
    """Leave it at what argparse printed: the help, or the version."""
    return 0


def _command(given: Namespace) -> Command:
    match given.command:
        case "get":
            return Get(given.profile, given.min_ttl, given.wait, given.socket, given.format)
        case "status":
            from openfit_token.cli.status import status  # noqa: PLC0415 -- each loads its own

            return partial(status, given.profile, given.socket, as_json=given.json)
        case "refresh":
            from openfit_token.cli.replace import refresh  # noqa: PLC0415 -- each loads its own

            return partial(refresh, given.profile, given.socket, given.wait, given.format)
        case "refuse":
            from openfit_token.cli.replace import refuse  # noqa: PLC0415 -- each loads its own

            return partial(refuse, given.id, given.profile, given.socket, given.wait, given.format)
        case "login":
            from openfit_token.cli.operator import login  # noqa: PLC0415 -- each loads its own

            return partial(login, given.profile, given.socket, given.wait, ask=given.ask)
        case "logout":
            from openfit_token.cli.operator import logout  # noqa: PLC0415 -- each loads its own

            return partial(logout, given.profile, given.socket)
        case _:
            raise AssertionError(given.command)


def _command_first(words: list[str]) -> list[str]:
    """Put the command before the options that all commands have; put in `get` where there is none."""
    at = 0
    while at < len(words):
        if words[at] in ("--profile", "--socket"):
            at += 2
        elif words[at].startswith(("--profile=", "--socket=")):
            at += 1
        else:
            break
    rest = words[at:]
    if rest and (not rest[0].startswith("-") or rest[0] in ("-h", "--help", "--version")):
        return [rest[0], *words[:at], *rest[1:]]
    return ["get", *words]


def _parser() -> ArgumentParser:
    parser = _Parser(
        prog="openfit-token",
        description="Ask the local daemon for the current OpenFIT access token.",
        epilog=_EXAMPLES,
        formatter_class=RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"openfit-token {__version__}")
    commands = parser.add_subparsers(
        dest="command", required=True, metavar="COMMAND", title="commands"
    )

    def command(name: str, does: str) -> ArgumentParser:
        added = commands.add_parser(name, help=does, description=does, allow_abbrev=False)
        added.add_argument(
            "--profile",
            metavar="P",
            type=_checked(valid_text),
            help="left out: $OPENFIT_PROFILE, else the daemon's default",
        )
        added.add_argument("--socket", metavar="PATH", help="where the daemon listens")
        return added

    get = command("get", "print the current token (also with no command at all)")
    get.add_argument(
        "--min-ttl", metavar="S", type=_checked(seconds), help="seconds it must still live"
    )
    _wait(get)
    _format(get)
    status = command("status", "tell how daemon and profiles are (exit 75 or 77 if not well)")
    status.add_argument("--json", action="store_true", help="for programs; a promise")
    refresh = command("refresh", "have the token replaced, and print the new one")
    _wait(refresh)
    _format(refresh)
    refuse = command("refuse", "say that the API answered 401 to a token, and print the next")
    refuse.add_argument(
        "id",
        metavar="ID",
        nargs="?",
        type=_checked(valid_text),
        help="the token's id; left out: the token itself is read from standard input",
    )
    _wait(refuse)
    _format(refuse)
    login = command("login", "log in anew, also after a rejected password (for operators)")
    login.add_argument(
        "--ask", action="store_true", help="ask for the password, use it once, and forget it"
    )
    _wait(login)
    command("logout", "forget and revoke the tokens until the next login (for operators)")
    return parser


def _wait(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--wait",
        metavar="S",
        type=_checked(wait_seconds),
        default=DEFAULT_WAIT,
        help=f"seconds to wait for a token (default {DEFAULT_WAIT:.0f})",
    )


def _format(parser: ArgumentParser) -> None:
    parser.add_argument(
        "--format",
        metavar="F",
        type=_checked(valid_format),
        default="raw",
        help=f"{', '.join(FORMATS)} (default raw)",
    )


def _checked(convert: Callable[[str], T]) -> Callable[[str], T]:
    """Have argparse show what a converter complains of, and not its name."""

    def checked(text: str) -> T:
        try:
            return convert(text)
        except ValueError as error:
            raise ArgumentTypeError(str(error)) from error

    return checked

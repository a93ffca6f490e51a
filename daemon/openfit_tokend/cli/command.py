"""The command `openfit-tokend`."""

import argparse
import gc
import os
import sys
from collections.abc import Sequence
from typing import Final, NoReturn

from openfit_token._cli.command_line.parser import Parser, checked
from openfit_token._cli.completion import SHELLS
from openfit_token._cli.get import valid_path
from openfit_token._cli.terminal import WrongUsage
from openfit_tokend import __version__
from openfit_tokend.cli.complaints import ended
from openfit_tokend.host import log
from openfit_tokend.host.log import FORMATS, LEVELS
from openfit_tokend.host.own_process import harden_process
from openfit_tokend.host.signals import NO_TERMINAL, hold_back_hangups

CLIENT_COMMANDS: Final = (
    *("get", "status", "inspect", "refresh", "refuse", "login", "logout", "exec", "watch"),
    *("curl", "doctor"),
)
"""Commands of `openfit-token` that people may type here by mistake."""

_PATH: Final = checked(valid_path)

_EPILOG: Final = """\
exit status:
  0   success                71  error from the system
  64  usage error            73  the socket can't be created
  69  no daemon              74  the output can't be written
  70  internal error         75  not now: try again later
  76  protocol error         77  not allowed, or login rejected
                             78  configuration error

To try it without configuring anything:  openfit-tokend demo
"""


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run a command and exit with its status."""
    _open_standard_descriptors()
    arguments = list(sys.argv[1:] if argv is None else argv)
    sys.exit(ended(lambda: _run(arguments)))


def _open_standard_descriptors() -> None:
    """Open standard descriptors that are closed, lest the next file opened be taken for one of them."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one
    if sys.stdout is None:
        sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 -- a descriptor, for the whole run
    if sys.stderr is None:
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115 -- a descriptor, for the whole run


def _run(arguments: list[str]) -> int:  # noqa: C901, PLR0911, PLR0912 -- one for each command
    # Each command is imported when it is called: HTTP and the emulator are large.
    # ruff: noqa: PLC0415
    terminal = hold_back_hangups() if arguments[:1] == ["run"] else NO_TERMINAL
    if arguments[:1] == ["emulator"]:  # it parses its many options itself
        from openfit_emulator.command import main as emulator

        return emulator(arguments[1:])
    if arguments[:1] and arguments[0] in CLIENT_COMMANDS:
        raise WrongUsage(
            f"{arguments[0]} is a command of the client, openfit-token",
            f"openfit-token {arguments[0]}",
        )
    if arguments[:2] == ["complete", "--"]:
        from openfit_token._cli.completion import complete

        return complete(parser(), arguments[2:], None)
    options = parser().parse_args(arguments)
    match options.command:
        case "run":
            gc.disable()  # what is imported stays; `run` enables it again
            log.set_up(options.log_level, options.log_format)
            harden_process()  # before the rest is imported, which takes longer than all until here
            from openfit_tokend.cli.run import run

            return run(options.config, options.socket, options.log_format, terminal)
        case "check":
            from openfit_tokend.cli.check import check

            return check(
                options.config,
                network=options.network,
                login=options.login,
                socket=options.socket,
            )
        case "reload":
            from openfit_tokend.cli.reload import reload

            return reload(options.config, options.socket)
        case "restart":
            from openfit_tokend.cli.restart import restart

            return restart()
        case "fleet-key":
            from openfit_tokend.config.fleet_keys import new_key

            print(new_key())
            return 0
        case "completion":
            from openfit_token._cli.completion import script

            return script("openfit-tokend", options.shell)
        case "init":
            from openfit_tokend.cli.init import Given, init

            return init(
                Given(
                    environment=options.environment,
                    id_server=options.id_server,
                    token_url=options.token_url,
                    api_url=options.api_url,
                    client_id=options.client_id,
                    username=options.username,
                    password_file=options.password_file,
                    has_password=not options.no_password,
                    profile=options.profile,
                    yes=options.yes,
                    replace=options.replace,
                    login=not options.no_login,
                )
            )
        case "install":
            from openfit_tokend.cli.install import install

            return install(user=options.user, root=options.root)
        case "uninstall":
            from openfit_tokend.cli.install import uninstall

            return uninstall(user=options.user, root=options.root)
        case _:
            from openfit_emulator.demo.demo import demo

            return demo(forever=options.forever, fleet=options.fleet)


def parser() -> argparse.ArgumentParser:
    """Return the parser of `openfit-tokend`."""
    parser = Parser(
        prog="openfit-tokend",
        description="Keeps OpenFIT access tokens fresh and serves them over a Unix socket.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"openfit-tokend {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="run the daemon in the foreground")
    _add_config(run)
    _add_socket(run)
    run.add_argument("--log-level", choices=LEVELS, default="info", help="default: info")
    run.add_argument("--log-format", choices=FORMATS, default="text", help="default: text")

    check = commands.add_parser("check", help="report everything wrong with the configuration")
    _add_config(check)
    _add_socket(check)
    check.add_argument(
        "--network", action="store_true", help="check the token servers, and a fleet's store, too"
    )
    check.add_argument(
        "--login", action="store_true", help="really log in; a wrong password counts"
    )

    reload = commands.add_parser("reload", help="have the running daemon reread its configuration")
    _add_config(reload)
    _add_socket(reload)

    commands.add_parser("restart", help="restart the service, if its configuration is valid")

    init = commands.add_parser(
        "init",
        help="write a configuration, asking for the values",
        allow_abbrev=False,  # --password must not be taken for --password-file
    )
    _add_answers(init)
    for name, does in (
        ("install", "install it as a systemd service"),
        ("uninstall", "remove what install added; configuration and secrets stay"),
    ):
        command = commands.add_parser(name, help=does)
        command.add_argument("--user", action="store_true", help="for yourself only")
        command.add_argument(
            "--root", metavar="DIR", type=_PATH, help="into a system that isn't running"
        )

    commands.add_parser("fleet-key", help="print a new key for the key_file of a fleet")
    completion = commands.add_parser("completion", help="print a completion script for a shell")
    completion.add_argument("shell", choices=SHELLS, help="the shell")
    commands.add_parser("emulator", help="run a token server on loopback, for trials and tests")
    demo = commands.add_parser("demo", help="show how it works; needs no configuration")
    how = demo.add_mutually_exclusive_group()
    how.add_argument("--forever", action="store_true", help="run until Ctrl-C")
    how.add_argument("--fleet", action="store_true", help="three daemons that share a session")
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", metavar="FILE", type=_PATH, help="the configuration (TOML)")


def _add_socket(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--socket", metavar="PATH", type=_PATH, help="the socket")


def _add_answers(parser: argparse.ArgumentParser) -> None:
    """Add what `init` would ask for. There is no --password: others can read a command line."""
    add = parser.add_argument
    add("--profile", metavar="NAME", default="main", help="default: main")
    add("--environment", metavar="ENV", help="production, test, or custom")
    add("--id-server", metavar="URL", help="token server of a custom environment")
    add("--token-url", metavar="URL", help="instead of it: another server's token endpoint")
    add("--api-url", metavar="URL", help="API of a custom environment")
    add("--client-id", metavar="ID", help="from OpenFIT's support")
    add("--username", metavar="NAME", help="user name for the login")
    password = parser.add_mutually_exclusive_group()
    password.add_argument(
        "--password-file",
        metavar="FILE",
        type=_PATH,
        help="file with the password; - for standard input",
    )
    password.add_argument(
        "--no-password",
        action="store_true",
        help="store none: an operator will give a refresh token (openfit-token login --refresh-token)",
    )
    add(
        "--yes",
        action="store_true",
        help="ask nothing; a missing value without a default is an error",
    )
    add(
        "--replace",
        action="store_true",
        help="change the existing profile; its values are the defaults",
    )
    add("--no-login", action="store_true", help="don't try to log in")

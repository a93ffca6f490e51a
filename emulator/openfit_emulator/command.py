"""`openfit-tokend emulator`: run the emulator as a program."""

import argparse
import errno
import json
import os
import signal
import ssl
from collections.abc import Callable, Sequence
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from openfit_emulator.emulated import Emulator
from openfit_emulator.failure import Failed
from openfit_emulator.faults import KINDS, WORDS
from openfit_emulator.identity import FORBIDDEN_CLIENT, Rules
from openfit_emulator.server import Address, loopback, serve
from openfit_token._cli.command_line.parser import Parser, checked
from openfit_token._cli.get import valid_path, valid_text
from openfit_token._cli.output import OutputFailed, put
from openfit_token.errors import TokenError
from openfit_token.testing._emulator import PASSWORD, USERNAME

DEFAULT_PORT: Final = 8901
LAST_PORT: Final = 65_535
_RULES: Final = Rules()

_FAULTS: Final = "".join(
    f"  {name + kind.takes:<24}{kind.summary}\n"
    for name, kind in KINDS.items()
    if name not in WORDS
)
_EPILOG: Final = f"""\
faults, NAME[=ARGUMENT][@WHEN]:
{_FAULTS}
  {", ".join(WORDS[:3])},
  {", ".join(WORDS[3:6])},
  {", ".join(WORDS[6:])}
  [=400|401|403]        this OAuth error, without acting

WHEN: without it, the next token request; @2: the second one since the start; @2-5; @2-;
@login:1, @refresh:2-3: counting only that kind; @10s-20s: seconds since the start;
@*, @refresh:*: always. Faults can be added while it runs:
  curl -H 'Content-Type: application/json' -d '{{"fault": "lost-answer"}}' URL/admin/faults
Also: /admin/forget, password, lock, unlock, revoke, lifetime. GET /admin/state shows everything.

The client {FORBIDDEN_CLIENT} exists too, but isn't allowed to use any grant.
"""


class _Options(argparse.Namespace):
    """The options after parsing, with their types. Those of Rules have the names of its fields."""

    host: str
    port: int
    username: str
    password: str
    user: list[tuple[str, str]]
    client_id: str
    scopes: frozenset[str]
    fault: list[str]
    tls_cert: Path | None
    tls_key: Path | None


def main(argv: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit status.

    Raises:
        Failed: it can't serve.
        OutputFailed: the output can't be written.
        WrongUsage: an option is wrong.
        SystemExit: after --help.
    """
    parser = _parser()
    options = parser.parse_args(argv, _Options())
    try:
        loopback(options.host)
        emulator = Emulator(
            {options.username: options.password, **dict(options.user)},
            Rules(**{each.name: getattr(options, each.name) for each in fields(Rules)}),
            options.fault,
        )
    except ValueError as error:
        parser.error(str(error))
    if options.tls_key and not options.tls_cert:
        parser.error("--tls-key needs --tls-cert too")
    address = Address(
        host=options.host, port=options.port, tls_cert=options.tls_cert, tls_key=options.tls_key
    )

    async def run() -> TokenError | None:  # a task group would wrap it if it were raised
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with anyio.create_task_group() as tasks:
                try:
                    url = await tasks.start(serve, emulator, address)
                    put(_greeting(url, options))
                    await anext(signals)
                except OSError as error:
                    return Failed(_hindrance(error, options))
                except OutputFailed as error:
                    return error
                finally:
                    tasks.cancel_scope.cancel()
        return None

    if failed := anyio.run(run):
        raise failed
    return 0


def _hindrance(error: OSError, options: _Options) -> str:
    """Say why it can't serve. OpenSSL doesn't say which file it couldn't read."""
    files = [path for path in (options.tls_cert, options.tls_key) if path is not None]
    for path in files:
        try:
            path.open("rb").close()
        except OSError as unreadable:
            return f"can't read {path}: {unreadable.strerror}"
    if isinstance(error, ssl.SSLError):
        return f"no PEM certificate with its key: {' and '.join(map(str, files))}"
    where = f"{options.host} port {options.port}"
    if error.errno == errno.EADDRINUSE:
        taken = f"{os.strerror(errno.EADDRINUSE)} (choose another --port; 0 takes any free one)"
        return f"can't serve at {where}: {taken}"
    return f"can't serve at {where}: {error.strerror or error}"


def _greeting(url: str, options: _Options) -> str:
    default = (options.username, options.password) == (USERNAME, PASSWORD)
    password = (
        f'password_command = ["echo", "{PASSWORD}"]  # for `init`: {PASSWORD}'
        if default
        else 'password_env = "EMULATOR_PASSWORD"  # the one given with --password'
    )
    toml = partial(json.dumps, ensure_ascii=False)  # JSON's texts are TOML's too
    return f"""\
The emulator listens at {url}. Its counters: /admin/state. Ctrl-C stops it.
For openfit-tokend's config.toml:

[profiles.emulator]
environment = "custom"
id_server = "{url}"
api_url = "{url}/api"
client_id = {toml(options.client_id)}
scope = {toml(" ".join(sorted(options.scopes)))}
username = {toml(options.username)}
{password}
"""


def _user(text: str) -> tuple[str, str]:
    name, colon, password = valid_text(text).partition(":")
    if not (name and colon and password):
        raise ValueError("write NAME:PASSWORD")
    return name, password


def _whole(least: int, most: int | None = None) -> Callable[[str], int]:
    wanted = f"a whole number from {least}" + ("" if most is None else f" to {most}")

    def parse(text: str) -> int:
        number = int(text) if text.isascii() and text.isdigit() else -1
        if number < least or (most is not None and number > most):
            raise argparse.ArgumentTypeError(f"{text!r} is not {wanted}")
        return number

    return parse


def _parser() -> Parser:
    parser = Parser(
        prog="openfit-tokend emulator",
        description="An imitation of IdentityServer on loopback, with an API and scripted faults.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    add, text = parser.add_argument, checked(valid_text)

    def seconds(name: str, default: float, more: str = "") -> None:
        shown = f"{more}(%(default)s)"
        add(name, type=_whole(1), default=int(default), metavar="SECONDS", help=shown)

    add("--host", default="127.0.0.1", help="a loopback address (%(default)s)")
    add(
        "--port",
        type=_whole(0, LAST_PORT),
        default=DEFAULT_PORT,
        help="0: any free one (%(default)s)",
    )
    add("--username", type=text, default=USERNAME, help="(%(default)s)")
    add("--password", type=text, default=PASSWORD, help="don't use a real one (%(default)s)")
    add(
        "--user",
        type=checked(_user),
        action="append",
        default=[],
        metavar="NAME:PASSWORD",
        help="another user",
    )
    add("--client-id", type=text, default=_RULES.client_id, help="(%(default)s)")
    add(
        "--scope",
        dest="scopes",
        type=checked(lambda text: frozenset(valid_text(text).split())),
        default=" ".join(sorted(_RULES.scopes)),
        metavar="SCOPE",
        help="allowed scopes (%(default)s)",
    )
    seconds("--token-lifetime", _RULES.token_lifetime)
    seconds("--refresh-lifetime", _RULES.refresh_lifetime, "counted from the login ")
    add("--old-access-dies", action="store_true", help="a refresh ends the old access token")
    add("--reuse-revokes", action="store_true", help="using a refresh token twice ends its session")
    add(
        "--lockout-after",
        type=_whole(0),
        default=_RULES.lockout_after,
        metavar="N",
        help="wrong passwords in a row until the lockout; 0: never (%(default)s)",
    )
    seconds("--lockout-seconds", _RULES.lockout_seconds)
    add("--fault", action="append", default=[], metavar="FAULT", help="see below; repeatable")
    path = checked(lambda text: Path(valid_path(text)))
    add("--tls-cert", type=path, metavar="FILE", help="serve https with this PEM chain")
    add("--tls-key", type=path, metavar="FILE", help="its key, unless that is in the same file")
    return parser

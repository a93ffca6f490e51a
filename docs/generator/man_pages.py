"""The man pages: commands from their parsers, the file and the wire from their documents."""

from argparse import ArgumentParser
from collections.abc import Mapping
from typing import Final

from generator import commands, roff
from openfit_token import __version__
from openfit_token._cli.command_line.parser import parser as client_parser
from openfit_tokend.cli import parser as daemon_parser

DATE: Final = "2026-11-24"
"""Of the newest release; `.ci/release-check` compares it with the changelog's."""
SOURCE: Final = f"openfit-tokend {__version__}"

_DAEMON: Final = """\
`openfit-tokend` logs in to OpenFIT once, keeps the access token fresh, and hands it to every program on the
machine that has access, over a Unix socket. It reads openfit-tokend.toml(5) and speaks
openfit-tokend-protocol(7); openfit-token(1) asks it.
"""
_DAEMON_MORE: Final = """\
## Signals

| signal | does |
| --- | --- |
| SIGTERM, SIGINT | stop cleanly: wait for token requests under way, and tell waiting calls to ask again; a second signal stops at once. A SIGINT that is ignored at the start, as in a script's background job, stays ignored |
| SIGHUP | reload the configuration; a faulty one is rejected as a whole. If the terminal in which the daemon was started has closed, and it wasn't started by nohup(1): stop cleanly |

## Environment

| variable | means |
| --- | --- |
| `OPENFIT_TOKEND_CONFIG` | the configuration, unless `--config` is given |
| `CONFIGURATION_DIRECTORY` | the directory of `config.toml`, unless one of these is given; set by systemd |
| `STATE_DIRECTORY` | the directory of the ledger of rejected logins; set by systemd |
| `CREDENTIALS_DIRECTORY` | the directory of credentials; set by systemd |
| `HTTPS_PROXY`, `NO_PROXY`, `SSL_CERT_FILE`, `SSL_CERT_DIR` | proxy and certificate authorities for the token server |

## Files

| file | is |
| --- | --- |
| `/etc/openfit-tokend/config.toml` | root's configuration; a user's is `~/.config/openfit-tokend/config.toml` |
| `/run/openfit-tokend/socket` | root's socket; a user's is `$XDG_RUNTIME_DIR/openfit-tokend/socket`, or `~/.openfit-tokend/socket` |
| `/run/openfit-tokend/credential.socket` | the socket for `LoadCredential=` of other units |
| `/var/lib/openfit-tokend/ledger.json` | the rejected logins of the last quarter of an hour, and the profiles that are logged out |

## See also

openfit-token(1), openfit-tokend.toml(5), openfit-tokend-protocol(7), systemd.exec(5)
"""
_CLIENT: Final = """\
`openfit-token` asks the local daemon, openfit-tokend(8), for the current OpenFIT access token, and prints it.
Without a command it is `openfit-token get`. `--profile` and `--socket` may also be given before the command.

Without `--socket` the socket is the one that `$OPENFIT_TOKEN_SOCKET` names, else the first that exists of the
user's own, `$XDG_RUNTIME_DIR/openfit-tokend/socket` (without that variable, below `/run/user/UID`) and
`~/.openfit-tokend/socket`, and the machine's, `/run/openfit-tokend/socket`. All directories
and links on the way must belong to root or the caller, and be writable by nobody else; but the last directory of a socket
that is named, or of the machine's, may belong to a service's user. The listener must be root, the caller, or that user.
"""
_CLIENT_MORE: Final = """\
## See also

openfit-tokend(8), openfit-tokend-protocol(7)
"""
_FILE_MORE: Final = """\
## See also

openfit-tokend(8), systemd.exec(5)
"""
_WIRE_MORE: Final = """\
## See also

openfit-token(1), openfit-tokend(8), unix(7)
"""


def pages(configuration: str, protocol: str) -> Mapping[str, str]:
    """Return each page by the name of its file; the documents are Markdown."""
    return {
        "openfit-tokend.8": _command(
            "openfit-tokend",
            8,
            "keep OpenFIT access tokens fresh",
            daemon_parser(),
            _DAEMON,
            _DAEMON_MORE,
        ),
        "openfit-token.1": _command(
            "openfit-token",
            1,
            "get the current OpenFIT access token",
            client_parser(),
            _CLIENT,
            _CLIENT_MORE,
        ),
        "openfit-tokend.toml.5": _document(
            "openfit-tokend.toml", 5, "configuration of openfit-tokend", configuration + _FILE_MORE
        ),
        "openfit-tokend-protocol.7": _document(
            "openfit-tokend-protocol",
            7,
            "how to ask openfit-tokend for a token",
            protocol + _WIRE_MORE,
        ),
    }


def _head(name: str, section: int, about: str) -> str:
    return (
        f'.\\" Made by docs/generate.py: change what it is made from.\n'
        f"{roff.header(name, section, DATE, SOURCE)}"
        f"{roff.section('Name')}{roff.code(name)} \\- {about}\n"
    )


def _command(  # noqa: PLR0913, PLR0917 -- what a page has
    name: str, section: int, about: str, parser: ArgumentParser, first: str, more: str
) -> str:
    return "".join(
        [
            _head(name, section, about),
            roff.section("Synopsis"),
            commands.synopsis(parser),
            roff.section("Description"),
            roff.body(first),
            roff.section("Commands"),
            commands.commands(parser),
            roff.section("Examples and exit status"),
            commands.epilog(parser),
            roff.body(more),
        ]
    )


def _document(name: str, section: int, about: str, markdown: str) -> str:
    return _head(name, section, about) + roff.section("Description") + roff.body(markdown)

"""What a command line orders, unless `openfit_token._cli.get.quick` has read it."""

# ruff: noqa: PLC0415 -- each command loads its own modules
from argparse import Namespace
from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

from openfit_token._cli.command_line.parser import parser
from openfit_token._cli.get import get
from openfit_token._cli.terminal import WrongUsage

Command = Callable[[], int]
"""Does what the command line says, and returns the exit status."""

_DAEMONS_WORDS: Final = (
    *("run", "check", "reload", "restart", "fleet-key", "init", "install", "uninstall"),
    *("emulator", "demo"),
)
"""Commands of `openfit-tokend`, which people type here."""


def parse(words: list[str]) -> Command:
    """Return what the command line orders. No words mean `get`.

    Raises:
        WrongUsage: it isn't valid.
    """
    if words[:2] == ["complete", "--"]:  # the shells' own: whatever words follow are no arguments
        from openfit_token._cli.completion import complete

        return partial(complete, parser(), words[2:])
    command, *rest = _command_first(words)
    if command in _DAEMONS_WORDS:
        raise WrongUsage(
            f"{command} is a command of openfit-tokend, the daemon", f"openfit-tokend {command}"
        )
    if command not in _ORDERS and not command.startswith("-"):
        raise WrongUsage(
            f"there is no command {command}: choose from {', '.join(_ORDERS)}",
            "see: openfit-token --help",
        )
    if command == "curl" and rest[:1] not in (["-h"], ["--help"]):  # curl's own options follow ours
        at = _count_options(rest, "--profile", "--socket", "--wait")
        rest[at:at] = ["--"]
    try:
        given = parser().parse_args([command, *rest])
    except SystemExit:
        return _said
    return _ORDERS[given.command](given)


def _said() -> int:
    """Do nothing more: argparse has printed the help, or the version."""
    return 0


def _command_first(words: list[str]) -> list[str]:
    """Put the command before the options that all commands have; insert `get` if there is none."""
    at = _count_options(words, "--profile", "--socket")
    rest = words[at:]
    if rest and (not rest[0].startswith("-") or rest[0] in ("-h", "--help", "--version")):
        return [rest[0], *words[:at], *rest[1:]]
    return ["get", *words]


def _count_options(words: list[str], *options: str) -> int:
    """Return how many words at the start are these options and their values."""
    at = 0
    while at < len(words):
        if words[at] in options:
            at += 2
        elif words[at].partition("=")[0] in options:
            at += 1
        else:
            break
    return at


def _get(given: Namespace) -> Command:
    return partial(get, given.profile, given.min_ttl, given.wait, given.socket, given.format)


def _status(given: Namespace) -> Command:
    from openfit_token._cli.status.status import status

    if given.watch and given.form == "openmetrics":
        raise WrongUsage(
            "status: --openmetrics prints once, --watch again and again", "leave one of them out"
        )
    return partial(status, given.profile, given.socket, given.form, watch=given.watch)


def _inspect(given: Namespace) -> Command:
    from openfit_token._cli.inspect import inspect

    return partial(inspect, given.profile, given.socket, given.wait, given.form)


def _refresh(given: Namespace) -> Command:
    from openfit_token._cli.replace import refresh

    return partial(refresh, given.profile, given.socket, given.wait, given.format)


def _refuse(given: Namespace) -> Command:
    from openfit_token._cli.replace import refuse

    return partial(refuse, given.id, given.profile, given.socket, given.wait, given.format)


def _login(given: Namespace) -> Command:
    from openfit_token._cli.operator import login

    what = "password" if given.ask else "refresh token" if given.refresh_token else None
    return partial(login, given.profile, given.socket, given.wait, ask=what)


def _logout(given: Namespace) -> Command:
    from openfit_token._cli.operator import logout

    return partial(logout, given.profile, given.socket)


def _exec(given: Namespace) -> Command:
    from openfit_token._cli.exec import execute

    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    if not words:
        raise WrongUsage(
            "exec: run what? Put the command after --",
            "for example: openfit-token exec -- ./nightly.sh",
        )
    return partial(execute, given.profile, given.socket, given.min_ttl, given.wait, words)


def _curl(given: Namespace) -> Command:
    from openfit_token._cli.curl import curl

    return partial(curl, given.profile, given.socket, given.wait, given.words[1:])


def _watch(given: Namespace) -> Command:
    from openfit_token._cli.watch import watch

    words = given.words[1:] if given.words[:1] == ["--"] else given.words
    return partial(watch, given.profile, given.socket, words)


def _doctor(given: Namespace) -> Command:
    from openfit_token._cli.doctor.doctor import doctor

    return partial(doctor, given.profile, given.socket, given.api, for_support=given.report)


def _completion(given: Namespace) -> Command:
    from openfit_token._cli.completion import script

    return partial(script, "openfit-token", given.shell)


_ORDERS: Final[Mapping[str, Callable[[Namespace], Command]]] = {
    "get": _get,
    "status": _status,
    "inspect": _inspect,
    "refresh": _refresh,
    "refuse": _refuse,
    "login": _login,
    "logout": _logout,
    "curl": _curl,
    "exec": _exec,
    "watch": _watch,
    "doctor": _doctor,
    "completion": _completion,
}

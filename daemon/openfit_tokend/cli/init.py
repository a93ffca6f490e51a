"""`openfit-tokend init`: write a configuration and its secret, and try a login."""

import os
import shlex
import sys
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY
from functools import partial
from getpass import getpass
from pathlib import Path
from typing import Final

from openfit_token._cli.terminal import columns, wrapped
from openfit_token._shared import profile_name
from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_token.errors import ConfigRejected, LoginRejected, TokenError
from openfit_tokend.cli.check import check, logins_left
from openfit_tokend.cli.complaints import complain
from openfit_tokend.config.passwords import MAX_SECRET_FILE, secret_in
from openfit_tokend.core.budget import WINDOW
from openfit_tokend.core.settings import fields
from openfit_tokend.core.settings.parser import ENVIRONMENTS
from openfit_tokend.core.settings.table import Wrong
from openfit_tokend.host.home import user_directory
from openfit_tokend.host.listener import SocketUnusable
from openfit_tokend.host.regular_file import Unusable
from openfit_tokend.serving.places import export_line, socket_path
from openfit_tokend.setup import configuration, service, units
from openfit_tokend.setup.configuration import Location, Present
from openfit_tokend.storage.ledger_file import LedgerFile, ledger_path

UMASK: Final = 0o077
DEFAULT_PROFILE: Final = "main"
CUSTOM: Final = "custom"
_AGAIN: Final = "the password was rejected; type it again, or press Ctrl-C"
_LAST: Final = (
    f"{_AGAIN}. If one more is rejected, no login is sent for {WINDOW / 60:.0f} minutes, since the"
    " server may lock the account"
)


class _Unusable(TokenError):
    """An option or an answer is missing or invalid."""

    exit_status = os.EX_USAGE


@frozen
class Given:
    """The options of the command line; None: ask for the value. Named as the keys of a profile are."""

    _: KW_ONLY
    environment: str | None = None
    id_server: str | None = None
    token_url: str | None = None
    api_url: str | None = None
    client_id: str | None = None
    username: str | None = None
    password_file: str | None = None
    has_password: bool = True
    profile: str = DEFAULT_PROFILE
    yes: bool = False
    replace: bool = False
    login: bool = True


def init(given: Given) -> int:
    """Ask for what isn't given, write the configuration, try a login; return the exit status."""
    os.umask(UMASK)
    try:
        where = configuration.locate()
        if not profile_name.is_profile_name(given.profile):
            raise _Unusable(f"--profile: {profile_name.RULE}")
        now = configuration.present(where, given.profile)
        _refuse_taken(given, now, where)
        asked = _values(given, now.profile)
        password = _password(given, asked["username"])
        values = asked if password is None else asked | dict([where.source(given.profile)])
        default = configuration.new_default(now, given.profile)
        texts = configuration.with_profile(now, where, given.profile, values)
        store = partial(configuration.store, now, where, given.profile, texts)
        for path, done in store(password).items():
            print(f"{done:<14} {path}", flush=True)
        if default is not None:
            print(
                f"               default_profile = {default}: still used where no profile is named"
            )
    except ConfigRejected as error:
        complain(error)
        print("  fix it first; openfit-tokend check shows whether it is valid", file=sys.stderr)
        return error.exit_status
    except TokenError as error:
        return complain(error)
    runs = _daemon_runs(where)
    export = _export_line(now, where, runs=runs)
    if runs:
        print(
            "no login tried: a daemon uses this configuration, and only it counts rejected logins"
        )
    elif given.login and password is not None:
        status = _try_login(given, where, asked["username"], store)
        if status != 0:
            print(f"\n{_correction(given, status)}", file=sys.stderr)
            if export is not None:
                print(f"\nin each shell:\n  {export}")
            return status
    _say_next(where, given, export, runs=runs)
    return 0


def _try_login(
    given: Given, where: Location, username: str, store: Callable[[Secret | None], object]
) -> int:
    """Try a login with what was stored, and return the exit status.

    Who has typed a password that is rejected is asked again, while the budget of rejected logins lasts.
    """
    while True:
        status = check(str(where.config), network=False, login=True, just_stored=given.profile)
        if status != LoginRejected.exit_status or given.password_file is not None:
            return status
        try:
            left = logins_left(where.config, given.profile)
            if left == 0:
                return status
            said = wrapped(_LAST if left == 1 else _AGAIN, columns(sys.stderr))
            print("", *said, sep="\n", file=sys.stderr, flush=True)
            store(_password(given, username))
        except TokenError as error:
            complain(error)
            return status


def _refuse_taken(given: Given, now: Present, where: Location) -> None:
    """Refuse to replace an existing profile unless --replace or an answer allows it."""
    if given.profile not in now.settings.profiles or given.replace:
        return
    question = f"{where.config} already has a profile {given.profile}. Replace it? [y/N] "
    if not _may_ask(given) or _line(question).lower() not in {"y", "yes"}:
        raise _Unusable(
            f"{where.config} already has a profile {given.profile}; nothing was changed",
            "--replace replaces it, --profile NAME adds another one",
        )


def _environment(value: object) -> str:
    given = fields.text(value)
    if given != CUSTOM and given not in ENVIRONMENTS:
        raise Wrong("must be production, test or custom")
    return given


_QUESTIONS: Final[Mapping[str, tuple[str, Callable[[object], str]]]] = {
    "environment": ("production, test or custom", _environment),
    "id_server": ("https://..., the token server", fields.url),
    "token_url": ("https://..., its token endpoint", fields.endpoint),
    "api_url": ("https://..., the API", fields.url),
    "client_id": ("from OpenFIT's support", fields.name),
    "username": ("for the login", fields.name),
}
"""The values of a profile, except for the password: how to ask for each, and how to parse it."""
_CUSTOM_ONLY: Final = ("id_server", "token_url", "api_url")


def _values(given: Given, before: Mapping[str, object]) -> dict[str, str]:
    """Return the profile's values except for the password; those in `before` are the defaults."""
    values: dict[str, str] = {}
    if given.id_server and given.token_url:
        raise _Unusable(
            "--id-server and --token-url are two ways to say one thing", "leave one out"
        )
    foreign = given.token_url or ("token_url" in before and not given.id_server)
    for key in _QUESTIONS:
        if key == ("id_server" if foreign else "token_url"):
            continue
        if key in _CUSTOM_ONLY and values["environment"] != CUSTOM:
            if getattr(given, key):
                raise _Unusable("--id-server, --token-url and --api-url need --environment custom")
            continue
        default = before.get(key, "production" if key == "environment" else None)
        values[key] = _value(given, key, None if default is None else str(default))
    return values


def _value(given: Given, key: str, default: str | None) -> str:
    """Return a value from the command line, or else from a prompt that repeats until it is valid."""
    what, parse = _QUESTIONS[key]
    option = f"--{key.replace('_', '-')}"
    value: str | None = getattr(given, key)
    if value is None and not _may_ask(given):
        value = default
        if value is None:
            raise _Unusable(f"{option} is missing", "openfit-tokend init --help")
    if value is not None:
        try:
            return parse(value)
        except Wrong as wrong:
            raise _Unusable(f"{option}: {wrong}") from None
    suffix = f" [{default}]" if default else ""
    while True:
        try:
            return parse(_line(f"{key} ({what}){suffix}: ") or default or "")
        except Wrong as wrong:
            print(f"  it {wrong}", file=sys.stderr)


def _password(given: Given, username: str) -> Secret | None:
    """Return the password: from the file, from standard input, or typed in without echo; None: none is to be."""
    if not given.has_password:
        return None
    if given.password_file == "-":  # noqa: S105 -- a place, no password
        return _validated(
            "the password on standard input", sys.stdin.buffer.read(MAX_SECRET_FILE + 1)
        )
    if given.password_file is not None:
        return _validated(f"--password-file {given.password_file}", _content(given.password_file))
    if not _may_ask(given):
        raise _Unusable("--password-file is missing", "--password-file - reads standard input")
    try:
        return _validated("the password", getpass(f"password of {username} (hidden): ").encode())
    except EOFError:
        raise _no_answer() from None


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            return file.read(MAX_SECRET_FILE + 1)
    except OSError as error:
        raise _Unusable(f"--password-file {path}: {error.strerror}") from None


def _validated(what: str, raw: bytes) -> Secret:
    try:
        return secret_in(raw)
    except Unusable as unusable:
        raise _Unusable(f"{what}: {unusable.message}", unusable.hint) from None


def _may_ask(given: Given) -> bool:
    return not given.yes and sys.stdin is not None and sys.stdin.isatty()


def _line(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        raise _no_answer() from None
    except UnicodeError:
        raise _Unusable("the input is not valid text in this locale") from None


def _no_answer() -> _Unusable:
    return _Unusable("no answer; nothing was written")


def _daemon_runs(where: Location) -> bool:
    """Return whether a daemon runs with this configuration: then that daemon counts the logins."""
    path = service.STATE / "ledger.json" if where.for_service else ledger_path(where.config)
    return LedgerFile(path).is_locked()


def _users_unit() -> Path:
    return user_directory("config") / "systemd/user" / units.USER_UNITS[0]


def _correction(given: Given, status: int) -> str:
    """Return what to do after a failed check: `init` can correct only what it asked for."""
    if status in (os.EX_CANTCREAT, os.EX_OSERR):
        return "the configuration is written; fix the problem above, then: openfit-tokend check"
    profile = [] if given.profile == DEFAULT_PROFILE else ["--profile", given.profile]
    again = shlex.join(["openfit-tokend", "init", "--replace", *profile])
    return f"to correct it: {again}"


def _say_next(where: Location, given: Given, export: str | None, *, runs: bool) -> None:
    """Print the next steps. `export`: the line that a shell needs to find the daemon, if it needs one."""
    systemctl = "systemctl" if where.for_service else "systemctl --user"
    by_unit = where.for_service or _users_unit().exists()
    print("\nnext:")
    if where.for_service and runs:
        print("  openfit-tokend restart     (loads the new credential; tokens are kept)")
    elif runs:
        print("  openfit-tokend reload")
    elif by_unit:
        print(f"  {systemctl} enable --now openfit-tokend.socket openfit-tokend")
    else:
        install = "install" if os.geteuid() == 0 else "install --user"
        print(f"  openfit-tokend run     (or openfit-tokend {install}, for a systemd service)")
    if export is not None:
        print(f"  {export}")
    named = "" if given.profile == DEFAULT_PROFILE else f" --profile {given.profile}"
    if not given.has_password:
        print(f"  openfit-token login --refresh-token{named}     (asks for one that you have)")
    elif runs:
        print(f"  openfit-token login{named}     (tests the password now)")
    print(f"  openfit-token get{named}")


def _export_line(now: Present, where: Location, *, runs: bool) -> str | None:
    """Return the line that a shell needs so that its clients find the daemon, if it needs one."""
    # The unit, or the command that started the daemon, determines the socket.
    elsewhere = _users_unit().exists() or (runs and now.settings.socket is None)
    if where.for_service or elsewhere:
        return None
    try:
        return export_line(socket_path(None, now.settings))
    except SocketUnusable:  # which `check` tells
        return None

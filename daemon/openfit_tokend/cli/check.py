"""`openfit-tokend check`: report problems before they matter."""

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from email.utils import parsedate_to_datetime
from functools import partial
from math import ceil
from pathlib import Path
from typing import Final

import anyio

from openfit_token._cli.report import Report, Verdict, fail, ok, warn
from openfit_token._client.paths import SYSTEM_SOCKET
from openfit_token._shared.trusted_path import Untrusted, judge_directory, user_name
from openfit_token.errors import ConfigRejected, LoginRejected, SecretUnavailable, TokenError
from openfit_tokend.cli.check_files import check_files
from openfit_tokend.cli.complaints import complain, ended
from openfit_tokend.config import config_file
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core import budget
from openfit_tokend.core.events import Failed, Granted, Kind, OverBudget
from openfit_tokend.core.oauth import CHECK_URL, Failure
from openfit_tokend.core.problems import Problem, hint_for, ledger_not_written
from openfit_tokend.core.schedule import REQUEST_TIMEOUT
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings.values import FleetSettings, PasswordSource, Profile, Settings
from openfit_tokend.host import clock
from openfit_tokend.host.listener import SocketUnusable, judge_place, who_is_kept_out
from openfit_tokend.keeping.claims import Claims
from openfit_tokend.keeping.endpoint import Endpoint, Order, Probe
from openfit_tokend.keeping.record import Counters
from openfit_tokend.keeping.token_requests import TokenRequests
from openfit_tokend.serving.driver import ServingLoop
from openfit_tokend.serving.places import http_socket_path, socket_path
from openfit_tokend.setup import service
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.storage.accounts import Accounts
from openfit_tokend.storage.ledger_file import LedgerFile, ledger_path

MAX_SKEW: Final = 30.0
"""Seconds by which the clocks may differ without a warning. Beyond, expiry times are shown wrong."""

_READ: Final = "can be read, but not by others"


def check(
    config: str | None,
    *,
    network: bool,
    login: bool,
    just_stored: str | None = None,
    socket: str | None = None,
) -> int:
    """Print a report; return the exit status of its first failure.

    `just_stored`: check only this profile, whose password has just been stored. `socket`: as for `run`.
    If root checks the system service, this is done with the service's rights, credentials and ledger.
    """
    try:
        path = config_file.locate(config)
        if config is None and service.is_its(path):
            path = service.config()
        look = partial(_look, path, just_stored, socket, network=network, login=login)
        if service.is_meant(path):
            its = partial(look, socket_is_systemds=socket is None, chown=False)
            return service.in_its_place(lambda: ended(its))
    except TokenError as error:
        return complain(error)
    return look(socket_is_systemds=False, chown=True)


def logins_left(config: Path, name: str) -> int:
    """Return how many logins of a profile may still be rejected before none is sent for a while.

    Raises:
        TokenError: it can't be found out.
    """

    def look() -> int:
        account = config_file.load(config).profiles[name].account
        ledger = Accounts(LedgerFile(ledger_path(config))).ledger(account)
        return budget.logins_left(ledger, clock.boot())

    if not service.is_meant(config):
        return look()
    left = service.in_its_place(look)
    if left not in range(budget.LIMIT + 1):  # its status is that of a failure, which is printed
        raise SetupFailed(f"the logins that are left for {name} can't be counted", None)
    return left


def _look(  # noqa: PLR0913 -- one for each option
    path: Path,
    just_stored: str | None,
    socket: str | None,
    *,
    network: bool,
    login: bool,
    socket_is_systemds: bool,
    chown: bool,
) -> int:
    """Do as `check`. `chown`: whether the daemon may give files to other groups."""
    try:
        settings = config_file.load(path)
    except ConfigRejected as error:
        return complain(error)
    report = Report()
    report.say(ok("config", f"{path}, {_many(len(settings.profiles), 'profile')}"))
    for line in settings.unknown_names:
        report.say(warn("names", line, "until then it lets nobody in"))
    if just_stored is not None:
        settings = replace(settings, profiles={just_stored: settings.profiles[just_stored]})
    if socket_is_systemds:
        report.say(ok("socket", f"is made by systemd: {service.SOCKET_UNIT}"))
    else:
        _check_socket("socket", partial(socket_path, socket, settings), settings, report)
    if settings.http_socket is not None:
        other = Path(SYSTEM_SOCKET) if socket_is_systemds else _named(socket, settings)
        place = partial(http_socket_path, settings.http_socket, other)
        _check_socket("http", place, settings, report)
    ledger = LedgerFile(ledger_path(path))
    login = _check_state(ledger.path.parent, report) and login
    if login and settings.fleet is not None:
        what = "the logins of a fleet are counted in its store, so only a daemon sends them"
        report.say(fail("login", what, _login(_name(settings)), os.EX_USAGE))
        login = False
    if login and not ledger.lock():
        what = "a daemon runs with this configuration, and it counts the logins"
        report.say(fail("login", what, _login(_name(settings)), os.EX_USAGE))
        login = False
    profiles = partial(
        _check_profiles,
        settings,
        report,
        Accounts(ledger),
        network=network,
        login=login,
        stored=just_stored is not None,
        chown=chown,
    )
    anyio.run(profiles, backend="asyncio", backend_options={"loop_factory": ServingLoop})
    ledger.unlock()
    report.end(login=login)
    return report.status


def _named(option: str | None, settings: Settings) -> Path | None:
    """Return the path for the socket; None if nothing names it, which is told by then."""
    try:
        return socket_path(option, settings)
    except SocketUnusable:
        return None


def _check_socket(what: str, place: Callable[[], Path], settings: Settings, report: Report) -> None:
    """Report on a socket that the daemon makes. `place` may raise SocketUnusable."""
    try:
        path = place()
        lives = judge_place(path, settings.socket_group)
    except SocketUnusable as error:
        report.say(fail(what, error.message, error.hint, os.EX_CANTCREAT))
    except OSError as error:
        report.say(fail(what, f"can't be checked: {error.strerror}", None, os.EX_CANTCREAT))
    else:
        if lives or _can_make(path):
            report.say(ok(what, f"{path}{', in use by a daemon' if lives else ''}"))
            if kept_out := who_is_kept_out(
                path.parent, settings.socket_mode, settings.socket_group
            ):
                report.say(warn(what, kept_out, f"chmod and chgrp {path.parent}, or remove it"))
            return
        text = f"{path} can't be created by {_user()}: its directory is not writable"
        fix = "run this check as the daemon's user; chown the directory, or name another socket"
        report.say(fail(what, text, fix, os.EX_CANTCREAT))


def _check_state(directory: Path, report: Report) -> bool:
    """Report on the state directory; return whether it may be used."""
    try:
        with suppress(FileNotFoundError):
            judge_directory(str(directory))
    except Untrusted as untrusted:
        text = f"others could replace the ledger: {untrusted}"
        report.say(fail("state", text, untrusted.hint, os.EX_CONFIG))
        return False
    except OSError:
        pass  # nor can it be written
    if _can_make(directory / "ledger.json"):
        if _has_room(directory):
            report.say(ok("state", str(directory)))
        else:
            text = f"no space is left in {directory}"
            report.say(
                warn(
                    "state",
                    text,
                    "without space the daemon sends no automatic login, and forgets logouts at a restart",
                )
            )
        return True
    text = f"{_user()} can't write to {directory}: the daemon would send no automatic login"
    fix = "run this check as the daemon's user; chown the directory, or set STATE_DIRECTORY"
    report.say(fail("state", text, fix, os.EX_OSERR))
    return True


def _can_make(path: Path) -> bool:
    """Return whether this process could create a file and the missing directories above it."""
    there = next(each for each in path.parents if each.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK, effective_ids=True)


def _has_room(directory: Path) -> bool:
    there = next(each for each in (directory, *directory.parents) if each.exists())
    room = os.statvfs(there)
    return room.f_bavail > 0 and (room.f_favail > 0 or room.f_files == 0)  # 0: it has no limit


def _user() -> str:
    return user_name(os.geteuid())


async def _check_profiles(  # noqa: PLR0913 -- what is asked of each check
    settings: Settings,
    report: Report,
    accounts: Accounts,
    *,
    network: bool,
    login: bool,
    stored: bool,
    chown: bool,
) -> None:
    """Check each profile."""
    passwords = Passwords()
    endpoint = Endpoint(passwords)
    for profile in settings.profiles.values():
        await _check_secret(passwords, accounts, profile, report)
    await check_files(settings.profiles.values(), report, chown=chown)
    whole = settings.fleet is None or await _check_fleet(passwords, settings.fleet, report)
    if network:
        for profile in _one_each_server(settings):
            await _check_network(endpoint, profile, report)
        if settings.fleet is not None and whole:
            from openfit_tokend.cli.check_store import check_store  # noqa: PLC0415 -- few have a fleet

            await check_store(passwords, settings.fleet, settings.profiles.values(), report)
    if login:
        for profile in settings.profiles.values():
            if stored:
                accounts.announce(profile.account)
            await _check_login(endpoint, accounts, passwords, profile, report, stored=stored)


async def _check_secret(
    passwords: Passwords, accounts: Accounts, profile: Profile, report: Report
) -> None:
    if profile.client_secret is not None:
        await _check_client_secret(passwords, profile, profile.client_secret.source, report)
    what = f"{profile.name}: secret"
    if profile.password is None:
        report.say(warn(what, "none is stored", f"{_login(profile.name)} --ask, once it runs"))
        return
    try:
        secret = await passwords.read(profile.password)
    except SecretUnavailable as error:
        report.say(_failed(profile, what, error, os.EX_CONFIG))
        return
    if await accounts.was_rejected(profile.account, secret):
        fix = f"store the right one; or, if it is right after all, start the daemon and run: {_login(profile.name)}"
        text = "is not sent again: this password was rejected before"
        report.say(fail(what, text, fix, os.EX_NOPERM))
        return
    report.say(ok(what, _READ))


async def _check_client_secret(
    passwords: Passwords, profile: Profile, source: PasswordSource, report: Report
) -> None:
    what = f"{profile.name}: client secret"
    try:
        await passwords.read(source, "client_secret")
    except SecretUnavailable as error:
        report.say(_failed(profile, what, error, os.EX_CONFIG))
    else:
        report.say(ok(what, _READ))


def _failed(
    profile: Profile, what: str, of: SecretUnavailable | Failure | Problem, status: int
) -> Verdict:
    """Return the verdict on what failed for a profile, whose name its hint may want."""
    return fail(what, of.message, hint_for(profile.name, of.hint), status)


async def _check_fleet(passwords: Passwords, fleet: FleetSettings, report: Report) -> bool:
    """Report on a fleet's packages and secrets; return whether its store may be asked."""
    from openfit_tokend.fleet.lacking import refuse_lacking  # noqa: PLC0415 -- few have a fleet

    try:
        refuse_lacking(fleet.store)
        keys = await passwords.keys(fleet.key)
        if fleet.password is not None:
            await passwords.read(fleet.password)
    except (ConfigRejected, SecretUnavailable) as error:
        report.say(fail("fleet", error.message, error.hint, os.EX_CONFIG))
        return False
    report.say(ok("fleet", f"has {_many(len(keys), 'key')}, not readable by others"))
    return True


def _one_each_server(settings: Settings) -> list[Profile]:
    each = {(one.identity.id_server, one.ca_file): one for one in settings.profiles.values()}
    return list(each.values())


async def _check_network(endpoint: Endpoint, profile: Profile, report: Report) -> None:
    server = profile.identity.token_url
    found = await endpoint.probe(profile)
    if not isinstance(found, Probe):
        told = replace(found, message=f"{server}: {found.message}")
        report.say(_failed(profile, "token server", told, os.EX_TEMPFAIL))
        return
    if found.status == 404:  # noqa: PLR2004 -- the status itself
        text = f"no token endpoint is at {server}"
        report.say(fail("token server", text, CHECK_URL, os.EX_TEMPFAIL))
        return
    report.say(ok("token server", f"{server} answers (HTTP {found.status} to a GET)"))
    skew = _skew(found.date)
    if skew is not None and abs(skew) > MAX_SKEW:
        text = f"{abs(skew):.0f} s {'behind' if skew > 0 else 'ahead of'} {server}"
        report.say(warn("clock", text, "timedatectl set-ntp true; tokens stay valid all the same"))


def _skew(date: str | None) -> float | None:
    """Return how many seconds a server's Date header is ahead of the wall clock."""
    try:
        return None if date is None else parsedate_to_datetime(date).timestamp() - clock.wall()
    except (ValueError, OverflowError):
        return None


async def _check_login(  # noqa: PLR0913 -- the parts of a daemon that a login takes
    endpoint: Endpoint,
    accounts: Accounts,
    passwords: Passwords,
    profile: Profile,
    report: Report,
    *,
    stored: bool,
) -> None:
    what = f"{profile.name}: login"
    order = Order(
        profile=profile,
        request=Login(),
        password=None,
        deadline=clock.boot() + REQUEST_TIMEOUT,
        is_void=lambda: False,
    )
    requests = TokenRequests(endpoint, accounts, passwords, Counters())
    ended = await requests.log_in(1, order, None, Claims(accounts))
    await accounts.write()
    match ended:
        case Granted(grant=grant):
            report.say(ok(what, f"returned a token that lives {grant.lifetime:.0f} s"))
            if grant.refresh_token is not None:
                await endpoint.revoke(profile, grant.refresh_token)
            else:
                report.say(warn(what, "returned no refresh token", "scope needs offline_access"))
        case Failed(kind=Kind.SECRET_UNAVAILABLE | OverBudget(known=True)):
            pass  # reported already
        case Failed(kind=OverBudget() as refused):
            _report_unsent(refused, report, stored=stored, what=what)
        case Failed(error=error) if error == ledger_not_written(error.at):
            fix = "see state above; the password would be sent again after a restart if it is rejected"
            report.say(fail(what, "not sent: the ledger can't be written", fix, os.EX_OSERR))
        case Failed(error=error) if stored and error.raises is LoginRejected:
            # `init` says more.
            report.say(fail(what, error.message, None, LoginRejected.exit_status))
        case Failed(error=error):
            report.say(_failed(profile, what, error, error.raises.exit_status))


def _report_unsent(refused: OverBudget, report: Report, *, stored: bool, what: str) -> None:
    """Report a login that the ledger doesn't allow. A new password is stored: the daemon will try it."""
    minutes = ceil((refused.until - clock.boot()) / 60)
    why = "too many logins were rejected; another might lock the account"
    if stored:
        report.say(
            warn(what, f"stored; the daemon will log in by itself in {minutes} min: {why}", None)
        )
    else:
        report.say(fail(what, f"not sent: {why}", f"try again in {minutes} min", os.EX_NOPERM))


def _name(settings: Settings) -> str:
    """Return the name of the only profile, or what stands for one."""
    return next(iter(settings.profiles)) if len(settings.profiles) == 1 else "NAME"


def _login(name: str) -> str:
    """Return the command that logs this profile in, whichever profile is the default."""
    return f"openfit-token login --profile {name}"


def _many(number: int, thing: str) -> str:
    return f"{number} {thing}{'' if number == 1 else 's'}"

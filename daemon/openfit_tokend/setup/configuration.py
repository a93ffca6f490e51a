"""Writes a profile to the configuration, and its password to a file that nobody else can read."""

import os
import signal
import stat
import tomllib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, cast

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_tokend.config import config_file, passwords
from openfit_tokend.core.settings import Settings, fields
from openfit_tokend.core.settings.parser import parse
from openfit_tokend.core.settings.table import Source, Wrong
from openfit_tokend.host.regular_file import named_once
from openfit_tokend.setup import config_text, service
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import Done, Owner, Tree
from openfit_tokend.setup.units import CREDENTIALS

ASKED: Final = ("environment", "id_server", "api_url", "client_id", "username")
"""The keys that `init` asks for, besides the password."""


@frozen
class Location:
    """Where the configuration and secrets are. `owner` None: the user who writes them."""

    config: Path
    mode: int
    owner: Owner | None
    for_service: bool

    def secret(self, profile: str) -> Path:
        """Return the file of a profile's password."""
        if self.for_service:
            return CREDENTIALS / profile
        return self.config.parent / f"{profile}.password"

    def source(self, profile: str) -> tuple[str, str]:
        """Return the key and the value with which the configuration names that file."""
        if self.for_service:
            return "password_credential", f"{passwords.CREDENTIAL}{profile}"
        return "password_file", f"{profile}.password"


def locate() -> Location:
    """Return the system service's place for root, else the user's own.

    Raises:
        SetupFailed: for root, if the service isn't installed yet.
    """
    config = config_file.locate(None)
    user = service.account()
    if not service.is_its(config):
        return Location(named_once(config), 0o600, None, for_service=False)
    if user is not None:
        return Location(service.CONFIG, 0o640, Owner(0, user.pw_gid), for_service=True)
    if service.systemd_runs():
        raise SetupFailed(
            f"there is no user {service.ACCOUNT} yet", "first: openfit-tokend install"
        )
    return Location(service.CONFIG, 0o600, None, for_service=False)  # a container without systemd


@frozen
class Present:
    """The existing configuration; without a file it has no profiles."""

    text: str
    settings: Settings


def present(where: Location) -> Present:
    """Read the configuration.

    Raises:
        ConfigRejected: it has faults, which must be fixed first.
    """
    if not os.path.lexists(where.config):
        return Present("", Settings(profiles={}))
    settings = config_file.load(where.config)
    return Present((Tree().read(where.config) or b"").decode("utf-8-sig"), settings)


def with_socket(now: Present, where: Location) -> Present:
    """Add a path for the socket, in its own directory next to the configuration.

    Raises:
        SetupFailed: the path is not possible for a socket.
    """
    path = where.config.parent / "run" / "socket"
    try:
        fields.socket_path(str(path))
    except Wrong as wrong:
        raise SetupFailed(
            f"XDG_RUNTIME_DIR is not set, and the socket can't be next to {where.config}: its path"
            f" {wrong}",
            "set XDG_RUNTIME_DIR to a directory of your own, with a short path",
        ) from None
    text = config_text.with_socket(now.text, str(path))
    return Present(text, replace(now.settings, socket=str(path)))


def values_of(now: Present, name: str) -> Mapping[str, str]:
    """Return those values of a profile in the main file that `init` asks for."""
    return {
        key: value
        for key, value in _table(now.text, name).items()
        if key in ASKED and isinstance(value, str)
    }


def new_default(now: Present, name: str) -> str | None:
    """Return the profile that has to become the default if this one is added; None: none.

    So clients that name no profile keep the one they have.
    """
    profiles = now.settings.profiles
    alone = len(profiles) == 1 and now.settings.default_profile is None and name not in profiles
    return next(iter(profiles)) if alone else None


def with_profile(now: Present, where: Location, name: str, values: Mapping[str, str]) -> str:
    """Return the text with a profile added, or with these values in the existing one.

    An existing profile keeps the keys that `init` doesn't ask for, so that nobody's rights change.

    Raises:
        SetupFailed: that isn't possible without changing more.
    """
    before = _main_settings(now.text, where)
    profiles, default = now.settings.profiles, now.settings.default_profile
    kept: dict[str, object] = {}
    if name in before.profiles:
        kept = {k: v for k, v in _table(now.text, name).items() if not _is_asked(k)}
        text = config_text.replaced(now.text, name, values, kept)
    elif name in profiles:
        raise SetupFailed(f"profile {name} is in an included file", "change it there")
    else:
        new = new_default(now, name)
        default = default or new
        text = config_text.added(now.text, name, values, new)
    section = config_text.section(name, values)
    told = _parsed({"profiles": {name: {**kept, **values}}}, where)
    wanted = {**before.profiles, **told.profiles}
    if not _says(text, where, replace(before, default_profile=default, profiles=wanted)):
        raise SetupFailed(
            f"{where.config} is written in a way that can't be edited automatically",
            f"add this to it yourself:\n{section}",
        )
    return text


def store(where: Location, name: str, text: str, password: Secret | None) -> dict[Path, Done]:
    """Write both configuration and secret, even on Ctrl-C, and return what was done to each.

    Raises:
        SetupFailed: they can't be written.
    """
    tree, secret = Tree(), where.secret(name)
    mode, owner = where.mode, where.owner
    if where.config.exists():
        there = where.config.stat()
        mode, owner = stat.S_IMODE(there.st_mode), Owner(there.st_uid, there.st_gid)
    done: dict[Path, Done] = {}
    with _undisturbed():
        tree.make(where.config.parent, 0o700)
        if password is not None:
            # The reader strips one newline, so this one is not part of the password.
            content = f"{password.reveal}\n".encode()
            done[secret] = tree.put(secret, content, 0o600)
        done[where.config] = tree.put(where.config, text.encode(), mode, owner)
    return done


def _main_settings(text: str, where: Location) -> Settings:
    """Return the settings of a text on its own; an empty one lacks nothing."""
    return _parsed(tomllib.loads(text), where)


def _parsed(table: Mapping[str, object], where: Location) -> Settings:
    parsed = parse(Source(str(where.config), table), complete=False)
    return Settings(profiles={}) if isinstance(parsed, tuple) else parsed


def _table(text: str, name: str) -> Mapping[str, object]:
    """Return a profile's table in the main file; empty if there is none."""
    # The text was parsed and checked before: `profiles` is a table of tables.
    profiles = cast("Mapping[str, Mapping[str, object]]", tomllib.loads(text).get("profiles", {}))
    return profiles.get(name, {})


def _is_asked(key: str) -> bool:
    """Return whether `init` asks for a key: it does for every source of the password."""
    return key in ASKED or key.startswith("password")


def _says(text: str, where: Location, wanted: Settings) -> bool:
    try:
        return _main_settings(text, where) == wanted
    except tomllib.TOMLDecodeError:
        return False


@contextmanager
def _undisturbed() -> Generator[None]:
    """Hold back Ctrl-C and similar signals meanwhile."""
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)

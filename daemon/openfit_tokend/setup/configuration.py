"""Writes a profile to a file of its own, and its password to another that nobody else can read."""

import json
import os
import re
import stat
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, cast

from openfit_token._shared.frozen import frozen
from openfit_token._shared.secret import Secret
from openfit_tokend.config import config_file, passwords
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.host.regular_file import named_once
from openfit_tokend.setup import service
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.tree import Done, Owner, Tree
from openfit_tokend.setup.units import CREDENTIALS

ASKED: Final = ("environment", "id_server", "token_url", "api_url", "client_id", "username")
"""The keys that `init` asks for, besides the password."""
HEAD: Final = """\
# openfit-tokend's configuration. All keys: docs/configuration.md or openfit-tokend.toml(5). `openfit-tokend check` checks it.
"""
OWN_HEAD: Final = """\
# Written by `openfit-tokend init`. `init --replace` keeps the keys that it doesn't ask for, but no comments.
"""
INCLUDE: Final = "conf.d/*.toml"
"""What the main file includes if it says nothing else."""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


@frozen
class Location:
    """Where the configuration is. `owner` None: the user who writes it.

    `mode` and `owner` are those of new files.
    """

    config: Path
    mode: int
    owner: Owner | None
    for_service: bool

    def source(self, profile: str) -> tuple[str, str]:
        """Return the key and the value with which the configuration names a profile's password."""
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
    """The existing configuration; without a file it has no profiles.

    `main` is the text of the main file. `file` has the profile that is to be written, or will have it;
    `profile` is what it says of it.
    """

    main: str
    settings: Settings
    file: Path
    profile: Mapping[str, object]


def present(where: Location, name: str) -> Present:
    """Read the configuration, for a profile of this name.

    Raises:
        ConfigRejected: it has faults, which must be fixed first.
    """
    main, settings = "", Settings(profiles={})
    if os.path.lexists(where.config):
        settings = config_file.load(where.config)
        main = _text(where.config)
    own = named_once(where.config.parent / _included(main)).with_name(f"{name}.toml")
    file = where.config if name in _profiles(main) else own
    known = _text(file) if name in settings.profiles else ""
    return Present(main, settings, file, _profiles(known).get(name, {}))


def new_default(now: Present, name: str) -> str | None:
    """Return the profile that has to become the default if this one is added; None: none.

    So clients that name no profile keep the one they have.
    """
    profiles = now.settings.profiles
    alone = len(profiles) == 1 and now.settings.default_profile is None and name not in profiles
    return next(iter(profiles)) if alone else None


def with_profile(
    now: Present, where: Location, name: str, values: Mapping[str, str]
) -> dict[Path, str]:
    """Return the files to write, in this order, so that the profile has these values.

    An existing profile keeps the keys that `init` doesn't ask for, so that nobody's rights change.

    Raises:
        SetupFailed: `init` would have to edit what somebody else has written.
    """
    wanted = {**values, **{k: v for k, v in now.profile.items() if not _is_asked(k)}}
    if wanted == now.profile:
        return {where.config: now.main}
    section = f"[profiles.{name if _BARE.fullmatch(name) else _quoted(name)}]\n{_lines(wanted)}"
    keys = {}
    if name in now.settings.profiles:
        if now.file == where.config or list(_profiles(_text(now.file))) != [name]:
            raise SetupFailed(
                f"profile {name} has no file of its own, and init edits no other",
                f"change it where it is, to:\n{section}",
            )
    else:
        keys = _inclusion(now, where, section)
        if (default := new_default(now, name)) is not None:
            keys["default_profile"] = default
    return {now.file: f"{OWN_HEAD}{section}", where.config: _with_keys(now.main, keys)}


def _inclusion(now: Present, where: Location, section: str) -> dict[str, str]:
    """Return the key that the main file needs in order to read a new profile's file, and no other one."""
    keys = {} if "include" in tomllib.loads(now.main) else {"include": INCLUDE}
    pattern = Path(_included(now.main))
    if not fnmatchcase(now.file.name, pattern.name):
        raise SetupFailed(
            f"{where.config} includes {pattern}, so it would not read a new {now.file.name}",
            f"write this into a file that it reads:\n{section}",
        )
    for taken in now.file.parent.glob(pattern.name if keys else now.file.name):
        raise SetupFailed(
            f"{taken} is there, but {where.config} doesn't read this profile from it",
            f"move it away, or write this into a file that is read:\n{section}",
        )
    return keys


def store(
    now: Present, where: Location, name: str, texts: Mapping[Path, str], password: Secret | None
) -> dict[Path, Done]:
    """Write the files and the secret, if any, even on Ctrl-C, and return what was done to each.

    Raises:
        SetupFailed: they can't be written.
    """
    tree = Tree()
    mode, owner = where.mode, where.owner
    if where.config.exists():
        mode, owner = _mode_and_owner(where.config)
    secret = CREDENTIALS / name if where.for_service else now.file.parent / f"{name}.password"
    with service.held_back(service.ENDS):
        made = tree.make(where.config.parent, 0o700 if owner is None else 0o750)
        if where.for_service:  # as tmpfiles.d has both
            tree.make(CREDENTIALS, 0o700)
            if made is Done.MADE and owner is not None:
                os.chown(where.config.parent, *owner)
        tree.make(now.file.parent, 0o755 if mode & 0o077 else 0o700)
        done = dict[Path, Done]()
        if password is not None:
            # The reader strips one newline, so this one is not part of the password.
            done[secret] = tree.put(secret, f"{password.reveal}\n".encode(), 0o600)
        for path, text in texts.items():
            as_before = _mode_and_owner(path) if path.exists() else (mode, owner)
            done[path] = tree.put(path, text.encode(), *as_before)
    return done


def _mode_and_owner(path: Path) -> tuple[int, Owner]:
    found = path.stat()
    return stat.S_IMODE(found.st_mode), Owner(found.st_uid, found.st_gid)


def _text(path: Path) -> str:
    return (Tree().read(path) or b"").decode("utf-8-sig")


# The files were loaded before, so their keys have the right types.
def _included(main: str) -> str:
    return cast("str", tomllib.loads(main).get("include", INCLUDE))


def _profiles(text: str) -> Mapping[str, Mapping[str, object]]:
    return cast("Mapping[str, Mapping[str, object]]", tomllib.loads(text).get("profiles", {}))


def _with_keys(main: str, values: Mapping[str, str]) -> str:
    """Return the main file's text with keys that it hasn't, above all others."""
    if not values:
        return main
    new = _lines(values)
    if not main.strip() or main.startswith(HEAD):
        return f"{HEAD}{new}{main.removeprefix(HEAD)}"
    return f"{new}\n{main}"


def _lines(values: Mapping[str, object]) -> str:
    return "".join(f"{key} = {_quoted(value)}\n" for key, value in values.items())


def _quoted(value: object) -> str:
    """Return a value in TOML: printable text, a number or a list of texts has the form of JSON."""
    if isinstance(value, dict):
        fields = cast("Mapping[str, object]", value).items()
        return f"{{ {', '.join(f'{_quoted(name)} = {_quoted(each)}' for name, each in fields)} }}"
    return json.dumps(value, ensure_ascii=False)


def _is_asked(key: str) -> bool:
    """Return whether `init` asks for a key: it does for every source of the password."""
    return key in ASKED or key.startswith("password")

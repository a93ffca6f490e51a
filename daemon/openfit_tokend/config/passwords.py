"""Reads a profile's password, or its client's secret, from its source each time it is needed."""

import os
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final, assert_never, final
from unicodedata import category

from openfit_token._shared.protocol import MAX_PASSWORD
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config import fleet_keys
from openfit_tokend.config.password_command import TIME_LIMIT, output_of
from openfit_tokend.config.password_keyring import from_keyring
from openfit_tokend.core.settings.values import (
    PasswordCommand,
    PasswordCredential,
    PasswordEnv,
    PasswordFile,
    PasswordKeyring,
    PasswordSource,
)
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.child_process import Commands
from openfit_tokend.host.regular_file import Unusable, read, refuse_readable

CREDENTIALS: Final = "/etc/openfit-tokend/credentials"
"""The directory whose files the shipped unit passes on as credentials."""
CREDENTIAL: Final = "password_"
"""The prefix that the shipped unit's LoadCredential puts before such a file's name."""
MAX_SECRET_FILE: Final = 4096
"""Bytes: ten times what 100 characters can take. A larger file is the wrong file."""

MAX_CLIENT_SECRET: Final = 1000
"""Characters: ten times those that servers make."""
_LONGEST: Final[Mapping[str, int]] = {"password": MAX_PASSWORD, "client_secret": MAX_CLIENT_SECRET}

_taken: Final[dict[str, Secret]] = {}
"""Secrets taken out of environment variables, by variable."""

_RESTART: Final = "then openfit-tokend restart"


@final
class Passwords:
    """Reads passwords. A source that hangs doesn't block the others."""

    def __init__(self) -> None:
        self._files = BlockingCalls("password_file")
        self._keyring = BlockingCalls("password_keyring", at_once=1)
        self._commands = Commands()

    async def read(self, source: PasswordSource | None, key: str = "password") -> Secret:
        """Return the current secret. One newline at its end is removed, nothing else.

        `key`: the first part of its settings, "password" or "client_secret". May wait 30 s for a file
        system, a command or a keyring. Can be cancelled: the command is killed.

        Raises:
            SecretUnavailable: it can't be read, others could read it too, or no server would accept
                it.
        """
        if source is None:
            raise SecretUnavailable(
                "no password is stored for this profile",
                "an operator logs in, again after each reboot: openfit-token login --ask --profile {profile},"
                " or --refresh-token instead of --ask",
            )
        with _told_as(source, key):
            return secret_in(await self._raw(source), _LONGEST[key])

    async def keys(self, source: PasswordFile | PasswordCredential) -> tuple[bytes, ...]:
        """Return the keys of a fleet, read like a password.

        Raises:
            SecretUnavailable: as `read` does, or what was read isn't keys.
        """
        with _told_as(source, "key"):
            return fleet_keys.keys_from(await self._raw(source))

    async def _raw(self, source: PasswordSource) -> bytes:
        """Return a source's content. Raises `Unusable`."""
        match source:
            case PasswordFile(path):
                return await self._content(path, partial(_read_file, path))
            case PasswordCredential(name):
                return await self._credential(name)
            case PasswordCommand():
                return await output_of(source, self._commands)
            case PasswordEnv(name):
                return _variable(name)
            case PasswordKeyring(service, username):
                return await from_keyring(self._keyring, service, username)
            case _:
                assert_never(source)

    async def _credential(self, name: str) -> bytes:
        directory = os.environ.get("CREDENTIALS_DIRECTORY")
        file = f"{CREDENTIALS}/{name.removeprefix(CREDENTIAL)}"
        load = f"put LoadCredential={name}:{file} into the unit"
        if name.startswith(CREDENTIAL):
            load = f"write it to {file}"
        if not directory:
            raise Unusable(
                "$CREDENTIALS_DIRECTORY is not set: no credential was passed by systemd",
                f"{load}, {_RESTART}: a daemon that is started by hand has none",
            )
        path = f"{directory}/{name}"
        try:
            return await self._content(path, partial(_read_credential, path))
        except Unusable as unusable:
            raise Unusable(unusable.message, f"{load}, {_RESTART}") from None

    async def _content(self, path: str, read_it: Callable[[], bytes]) -> bytes:
        try:
            return await self._files.run(path, read_it, TIME_LIMIT)
        except TimeoutError:
            reason = f"no answer within {TIME_LIMIT:.0f} s"
            raise Unusable(reason, "its file system hangs") from None
        except OSError as error:
            raise Unusable(f"can't be read: {error.strerror}") from None


@contextmanager
def _told_as(source: PasswordSource, key: str) -> Generator[None]:
    """Name a source whose content is unusable by its setting; `key`: as for `Passwords.read`."""
    try:
        yield
    except Unusable as unusable:
        match source:
            case PasswordFile(path):
                what = f"{key}_file {path}"
            case PasswordCredential(name):
                what = f"{key}_credential {name}"
            case PasswordCommand(argv):
                what = f"{key}_command {argv[0]}"
            case PasswordEnv(name):
                what = f"{key}_env {name}"
            case PasswordKeyring(service):
                what = f"{key}_keyring {service}"
            case _:
                assert_never(source)
        raise SecretUnavailable(f"{what}: {unusable.message}", unusable.hint) from None


def take_variables(sources: Iterable[PasswordSource]) -> None:
    """Move the secrets of these sources out of the environment; `Passwords` keeps them."""
    for source in sources:
        if isinstance(source, PasswordEnv):
            _take(source.name)


def _take(name: str) -> Secret | None:
    value = os.environ.pop(name, None)
    if value is not None:
        _taken[name] = Secret(value)
    return _taken.get(name)


def secret_in(raw: bytes, longest: int = MAX_PASSWORD) -> Secret:
    """Return the secret in what was read, without a final newline. Errors reveal nothing of it.

    Raises:
        Unusable: no server would accept it.
    """
    try:
        password = raw.removesuffix(b"\n").decode()
    except UnicodeDecodeError:
        raise Unusable("is not UTF-8", "save it with this encoding") from None
    if fault := fault_of(password, longest):
        raise Unusable(*fault)
    return Secret(password)


def fault_of(password: str, longest: int = MAX_PASSWORD) -> tuple[str, str] | None:
    """Return why no server would accept this password, and what to do; None: one might."""
    if not password:
        return "is empty", "put the password there"
    if password.startswith("\ufeff"):
        return "begins with a byte order mark", "save it as UTF-8 without BOM"
    if password.endswith("\r"):
        reason = "ends with a carriage return (\\r): it was saved with Windows line endings"
        return reason, "save it with Unix line endings, for example: sed -i 's/\\r$//' FILE"
    if any(category(character) == "Cc" for character in password):
        reason = "has a control character in it, such as a line break"
        return reason, "store the password alone, as one line of plain UTF-8 text"
    if len(password) > longest:
        return (
            f"is longer than {longest} characters, which the server refuses",
            "make sure that nothing but the password is there",
        )
    return None


def _variable(name: str) -> bytes:
    value = _take(name)
    if value is None:
        raise Unusable(
            "this variable is not set in the daemon's environment",
            "set it where the daemon is started, and start it again",
        )
    return os.fsencode(value.reveal)


def _read_file(path: str) -> bytes:
    credential = _credential_at(path)
    if credential is None:
        return read(path, MAX_SECRET_FILE, refuse_readable)
    return read(credential, MAX_SECRET_FILE, _accept)


def _read_credential(path: str) -> bytes:
    credential = _credential_at(path)
    if credential is None:
        raise Unusable("is a symlink that leads out of $CREDENTIALS_DIRECTORY", "name a real file")
    return read(credential, MAX_SECRET_FILE, _accept)


def _credential_at(path: str) -> str | None:
    """Return the real path of a file below $CREDENTIALS_DIRECTORY, where systemd sets the modes.

    With systemd 257 they belong to root, with an ACL for the service's user, which looks like 0440.
    None: the path, or what it leads to, is elsewhere, where others may be able to change it.
    """
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory or not Path(os.path.normpath(path)).is_relative_to(directory):
        return None
    real = os.path.realpath(path)  # Path.resolve raises on a loop of symlinks
    return real if Path(real).is_relative_to(os.path.realpath(directory)) else None


def _accept(_path: str, _status: os.stat_result) -> None:
    pass

"""The certificate authorities that TLS trusts, read in threads, since a file system may hang."""

import os
import ssl
from functools import partial
from pathlib import Path
from typing import Final, final

from openfit_token._shared.frozen import frozen
from openfit_token._shared.trouble import Trouble
from openfit_tokend.host import log
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.regular_file import Unusable, explained, refuse_writable

READ_TIME: Final = 10.0
"""Seconds that a request waits for its certificate authorities."""
MAX_CACHED: Final = 32
"""TLS contexts that are cached: one takes 2 MB, and 50 ms to make."""


class NoAuthorities(Trouble):
    """There are no certificate authorities to trust."""


@frozen
class _Cached:
    """A context, and the identities of the files that it was read from."""

    source: tuple[object, ...]
    context: ssl.SSLContext


@final
class Trust:
    """TLS contexts. Each is cached until its files change."""

    def __init__(self, setting: str = "ca_file") -> None:
        """`setting`: the one that names a CA file."""
        self._setting = setting
        self._reading = BlockingCalls("trust")
        self._cache: dict[str | None, _Cached] = {}
        self._said: dict[str | None, str] = {}  # what was wrong with a file, as last logged

    async def context(self, ca_file: str | None) -> ssl.SSLContext:
        """Return a context that trusts a CA file, or without one what the system trusts.

        Raises:
            NoAuthorities: it can't be read, not within READ_TIME, or has no certificates; or somebody
                else can write to the CA file or replace it.
        """
        read = partial(_read, ca_file, self._cache.pop(ca_file, None))
        try:
            cached = await self._reading.share(ca_file or "", read, READ_TIME)
        except TimeoutError:
            hangs = Unusable(f"gives no answer within {READ_TIME:.0f} s", "its file system hangs")
            raise self._refused(ca_file, hangs) from None
        except OSError as error:  # no thread is left to read it
            failed = Unusable(f"can't be read: {error.strerror}", "it will be tried again")
            raise self._refused(ca_file, failed) from None
        except Unusable as unusable:
            raise self._refused(ca_file, unusable) from None
        self._said.pop(ca_file, None)
        self._cache[ca_file] = cached
        if len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]  # the least recently used
        return cached.context

    def _refused(self, ca_file: str | None, unusable: Unusable) -> NoAuthorities:
        """Log what is wrong, unless that was said, and return it: a person has to mend it."""
        what, hint = f"{self._setting} {ca_file}", unusable.hint
        if ca_file is None:
            what, hint = "the system's CA certificates", "check SSL_CERT_FILE and SSL_CERT_DIR"
        message = f"{what}: {unusable.message}"
        if self._said.get(ca_file) != message:
            self._said[ca_file] = message
            log.error("ca_file_unusable", message=message, hint=hint)
        return NoAuthorities(message, hint)


def _read(ca_file: str | None, cached: _Cached | None) -> _Cached:
    with explained():
        file, directories = (ca_file, []) if ca_file is not None else _system_places()
        places = directories if file is None else [file, *directories]
        if ca_file is not None:  # whoever could write it could answer as the token server
            refuse_writable(ca_file, Path(ca_file).stat())
        source = tuple((place, _identity(Path(place).stat())) for place in places)
        if cached is not None and cached.source == source:
            return cached
        try:
            # Not `cadata`: that is read without letting other threads run.
            context = ssl.create_default_context(cafile=file, capath=":".join(directories) or None)
        except ssl.SSLError:
            raise Unusable("has no certificate in it", "name a file in PEM format") from None
        return _Cached(source, context)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes when a file does, including the change time, which nobody can set back."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _system_places() -> tuple[str | None, list[str]]:
    """Return $SSL_CERT_FILE and $SSL_CERT_DIR, else the system's, else certifi's file.

    One that the environment names is used as it is, so that a FIFO isn't skipped.
    """
    paths = ssl.get_default_verify_paths()
    file = os.environ.get(paths.openssl_cafile_env, paths.openssl_cafile)
    directories = os.environ.get(paths.openssl_capath_env, paths.openssl_capath).split(":")
    found = [each for each in directories if Path(each).exists()]
    if Path(file).exists():
        return file, found
    if found:
        return None, found
    import certifi  # noqa: PLC0415 -- few need it

    return certifi.where(), []

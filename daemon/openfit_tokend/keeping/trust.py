"""The certificate authorities that TLS trusts, read in threads, since a file system may hang."""

import os
import ssl
from functools import partial
from pathlib import Path
from typing import Final, final

from openfit_token._shared.frozen import frozen
from openfit_tokend.host.blocking_calls import BlockingCalls

READ_TIME: Final = 10.0
"""Seconds that a request waits for its certificate authorities."""
MAX_CACHED: Final = 32
"""TLS contexts that are cached: one takes 2 MB, and 50 ms to make."""


@frozen
class _Cached:
    """A context, and the identities of the files that it was read from."""

    source: tuple[object, ...]
    context: ssl.SSLContext


@final
class Trust:
    """TLS contexts. Each is cached until its files change."""

    def __init__(self) -> None:
        self._reading = BlockingCalls("trust")
        self._cache: dict[str | None, _Cached] = {}

    async def context(self, ca_file: str | None) -> ssl.SSLContext:
        """Return a context that trusts a CA file, or without one what the system trusts.

        Raises:
            TimeoutError: it can't be read within READ_TIME.
            OSError: it can't be read, or has no certificates.
        """
        read = partial(_read, ca_file, self._cache.pop(ca_file, None))
        cached = await self._reading.share(ca_file or "", read, READ_TIME)
        self._cache[ca_file] = cached
        if len(self._cache) > MAX_CACHED:
            del self._cache[next(iter(self._cache))]  # the least recently used
        return cached.context


def _read(ca_file: str | None, cached: _Cached | None) -> _Cached:
    file, directories = (ca_file, []) if ca_file is not None else _system_places()
    places = directories if file is None else [file, *directories]
    source = tuple((place, _identity(Path(place).stat())) for place in places)
    if cached is not None and cached.source == source:
        return cached
    # Not `cadata`: that is read without letting other threads run.
    context = ssl.create_default_context(cafile=file, capath=":".join(directories) or None)
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

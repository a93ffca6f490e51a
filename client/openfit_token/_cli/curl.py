"""`openfit-token curl`: run the user's curl with the token, and once more if the API answers 401.

1. The token goes to the origin of its API, by the rule of the HTTP adapters. Each URL is judged before
   curl runs. A redirect to another origin is curl's: it leaves out the header there.
2. curl reads the token from a pipe: it is in no argument, variable or file.
3. Until the status is known nothing is printed. What a 401 brings is printed if it isn't repeated.
"""

import os
import re
import select
import selectors
import shutil
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from socket import create_connection
from time import sleep
from typing import Final
from urllib.parse import urljoin

from openfit_token._cli.curl_words import Words, listed, read
from openfit_token._cli.exec import not_found
from openfit_token._cli.formats import as_curl
from openfit_token._cli.get import profile_of
from openfit_token._cli.terminal import WrongUsage, printable
from openfit_token._client.supply import Supply
from openfit_token._client.token import Token
from openfit_token._shared.local_peer import has_ended
from openfit_token._shared.origin import Origin, origin_of
from openfit_token.errors import ForeignOrigin, TokenError, Unavailable

_PLAIN: Final = re.compile(r"https?://[\w.:\[\]-]+(?:[/?#].*)?", re.ASCII | re.IGNORECASE)
"""A URL whose host all programs read alike: without a user's name, escapes or curl's own patterns."""
_RESPONSE: Final = re.compile(rb"^HTTP/[\d.]+ (\d{3})", re.MULTILINE)
_LOCATION: Final = re.compile(rb"^location:[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)
_QUIET: Final = "--no-progress-meter"
_PATIENCE: Final = 10.0
"""Seconds to find out who listens on loopback."""
_STDERR: Final = 2
_CHUNK: Final = 64 * 1024
_MAX_HELD: Final = 1024 * 1024
"""Bytes of a 401 that are kept until it is repeated. A longer one is printed, and not repeated."""


def curl(profile: str | None, socket: str | None, wait: float, words: list[str]) -> int:
    """Run curl with these arguments and the token; return its exit status.

    Raises:
        WrongUsage: the arguments aren't possible with a token.
        ForeignOrigin: the token isn't for that URL; nothing was sent.
        TokenError: there is no token.
    """
    program = shutil.which("curl")
    if program is None:
        raise not_found("curl", "curl")
    _open_standard_streams()
    told = subprocess.run(  # noqa: S603 -- it is what was ordered
        [program, "-q", "--help", "all"],
        stdout=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    known = listed(told.stdout)
    given = read(words, known)
    command = [program, "-q", *([_QUIET] if _QUIET in known and _shows(given) else [])]
    return _Curl(profile_of(profile), socket=socket, wait=wait).run(command, given)


def _shows(given: Words) -> bool:
    """Return whether what is received goes to a terminal. curl, which sees a pipe, doesn't know it."""
    return given.prints and sys.stdout is not None and sys.stdout.isatty()


class _Curl(Supply):
    """Sends one command line's requests."""

    def run(self, command: list[str], given: Words) -> int:
        """Run curl, and once more if there is another token. Return the exit status."""
        token = self._token()
        urls = [f"{token.api_url}{url}" if url.startswith("/") else url for url in given.urls]
        command += given.words(urls)
        first = _Attempt(command, self._config(urls, token), urls[0], holds=given.can_be_repeated)
        if not first.was_refused:
            return first.end()
        if not first.holds:
            with suppress(TokenError):  # the next call has another token
                self._client.refuse(token.id, wait=0.0)
            return first.end()
        another = self._token(refused=token)
        if another.id == token.id:
            return first.end()
        return _Attempt(command, self._config(urls, another), urls[0], holds=False).end()

    def _config(self, urls: list[str], token: Token) -> str:
        """Return what curl is told about a token that may go to these URLs. Raises ForeignOrigin."""
        config = as_curl(token)
        try:
            for asked in {self._destination(url, token) for url in urls}:
                if asked.scheme == "http":
                    address = self._judged_address(asked)
                    config += (
                        f'noproxy = "*"\nconnect-to = "{_pair(asked.host, asked.port)}:{address}"\n'
                    )
        except ForeignOrigin as error:  # its hint is about the adapters
            raise ForeignOrigin(error.message, "to send no token: curl itself") from None
        return config

    def _destination(self, url: str, token: Token) -> Origin:
        if not _PLAIN.fullmatch(url):
            raise WrongUsage(
                f"curl: {printable(url)} is neither a URL that begins with https:// nor a path of the API"
            )
        try:
            asked = origin_of(url)
            self._origins.judge(asked, token.api_url)
        except ValueError as error:
            raise WrongUsage(f"curl: {printable(error)}") from None
        return asked

    def _judged_address(self, asked: Origin) -> str:
        """Return where on loopback curl may connect: who listens there was judged right before.

        That is less than the adapters do: see decision 62. Raises ForeignOrigin, Unavailable.
        """
        try:
            with create_connection((asked.host, asked.port), _PATIENCE) as own:
                for pause in self._judging(own, own, asked, _PATIENCE):
                    sleep(pause)
                if has_ended(own):  # so nobody was judged
                    raise ForeignOrigin(f"{asked} hung up before it was known who listens there")
                host, port, *_ = own.getpeername()
        except OSError as error:  # whoever listens a moment later isn't judged
            raise Unavailable(f"{asked} can't be reached: {error.strerror or error}") from None
        return _pair(host, port)


class _Attempt:
    """One run of curl, to its end.

    Attributes:
        holds: whether what a 401 brought is kept back, rather than printed.
    """

    def __init__(self, command: list[str], config: str, url: str, *, holds: bool) -> None:
        self.holds = holds
        self._url = url
        self._held: list[tuple[int, bytes]] = []
        self._headers = os.memfd_create("headers")
        theirs, ours = os.pipe()
        added = ["--dump-header", f"/proc/self/fd/{self._headers}"]
        added += ["--config", f"/proc/self/fd/{theirs}"]
        with subprocess.Popen(  # noqa: S603 -- it is what was ordered
            [*command, *added],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            pass_fds=(theirs, self._headers, *_passed()),
        ) as process:
            os.close(theirs)
            try:
                with _signals_for(process):
                    with suppress(BrokenPipeError), os.fdopen(ours, "wb", 0) as secret:
                        secret.write(config.encode())
                    self._follow(process)
            except BaseException:
                process.terminate()
                raise
        status = process.returncode
        self._status = 128 - status if status < 0 else status  # as a shell tells of a signal

    @property
    def was_refused(self) -> bool:
        """Return whether the last response was the API's 401, so far."""
        where, refused = self._url, False
        said = os.pread(self._headers, os.fstat(self._headers).st_size, 0)
        _, *parts = _RESPONSE.split(said)
        for status, header in zip(parts[::2], parts[1::2], strict=True):
            refused = int(status) == HTTPStatus.UNAUTHORIZED and _is_same(where, self._url)
            location = _LOCATION.search(header) if status.startswith(b"3") else None
            if location is not None:
                with suppress(ValueError):
                    where = urljoin(where, location[1].decode("ascii", "replace"))
        return refused

    def end(self) -> int:
        """Print what was held back, and return the exit status."""
        self._let_go()
        return self._status

    def _follow(self, process: "subprocess.Popen[bytes]") -> None:
        """Pass on what curl prints, until it closes its output."""
        with selectors.DefaultSelector() as selector:
            for number, pipe in ((1, process.stdout), (2, process.stderr)):
                if pipe is not None:
                    selector.register(pipe, selectors.EVENT_READ, (number, pipe))
            while selector.get_map():
                for key, _ in selector.select():
                    number, pipe = key.data
                    data = os.read(key.fd, _CHUNK)
                    if not data or not self._take(number, data):
                        selector.unregister(pipe)
                        pipe.close()

    def _take(self, stream: int, data: bytes) -> bool:
        """Print or hold what curl printed; return whether anybody wants more."""
        if not self.holds or not self.was_refused:
            self._let_go()  # what curl has tried again by itself
            return _put(stream, data)
        self._held.append((stream, data))
        if sum(len(each) for _, each in self._held) > _MAX_HELD:
            self.holds = False
            self._let_go()
        return True

    def _let_go(self) -> None:
        for stream, data in self._held:
            _put(stream, data)
        self._held.clear()


@contextmanager
def _signals_for(process: "subprocess.Popen[bytes]") -> Generator[None]:
    """Pass on meanwhile what would end this process alone. A signal that is ignored stays so."""
    usual = {each: signal.getsignal(each) for each in (signal.SIGTERM, signal.SIGHUP)}
    for each, handler in usual.items():
        if handler is not signal.SIG_IGN:
            signal.signal(each, lambda number, _: process.send_signal(number))
    try:
        yield
    finally:
        for each, handler in usual.items():
            signal.signal(each, handler)


def _pair(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _is_same(url: str, other: str) -> bool:
    try:
        return origin_of(url) == origin_of(other)
    except ValueError:
        return False


def _open_standard_streams() -> None:
    """Have nothing else get the number of a stream that the caller closed: `<&-`, `>&-`."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        os.set_inheritable(number, True)  # noqa: FBT003 -- its only way
    os.close(number)


def _passed() -> Iterator[int]:
    """Yield the descriptors that the caller has passed on: a shell does for each <(...)."""
    for number in map(int, os.listdir("/proc/self/fd")):  # noqa: PTH208 -- names, no paths
        with suppress(OSError):  # the directory itself is closed by now
            if os.get_inheritable(number) and number > _STDERR:
                yield number


def _put(stream: int, data: bytes) -> bool:
    while data:
        try:
            data = data[os.write(stream, data) :]
        except BlockingIOError:  # a full pipe, of a caller who made it so that it doesn't block
            select.select((), (stream,), ())
        except OSError:  # its reader left: curl is told so in the same way
            return False
    return True

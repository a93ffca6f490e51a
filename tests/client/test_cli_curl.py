"""`openfit-token curl`: the user's curl, with a token that goes to its API alone."""

import fcntl
import os
import re
import shutil
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import socket
from typing import Final
from urllib.parse import urlsplit

import pytest

from api import Api, running_api, tls
from daemons import PATIENCE, await_that, needs_root
from fake_daemon import FakeDaemon, Request, always, failing, token_fields
from listeners import listener_of
from openfit_token.errors import Unavailable
from others import EVE
from ports import free_port
from processes import OPENFIT_TOKEN, environment
from raw_server import raw_server, response
from replacing import Replacing
from terminals import Terminal

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl isn't installed"),
]

A: Final = "token-a"
B: Final = "token-b"
NO: Final = b"no"
"""What the API says with a 401."""
PAGE: Final = 4096
"""Bytes of the smallest pipe."""

Run = Callable[..., subprocess.CompletedProcess[bytes]]


@pytest.fixture
def run(place: Path, api: Api) -> Iterator[Run]:
    """Run `openfit-token curl --silent` with these words, where the daemon's token is for `api`."""
    with FakeDaemon(place / "s", Replacing(api_url=api.url)) as daemon:

        def run(
            *words: str, given: bytes = b"", **variables: str
        ) -> subprocess.CompletedProcess[bytes]:
            return subprocess.run(
                [*OPENFIT_TOKEN, "curl", "--silent", *words],
                env=environment(OPENFIT_TOKEN_SOCKET=daemon.path, HOME=str(place), **variables),
                cwd=place,
                input=given,
                capture_output=True,
                check=False,
                timeout=PATIENCE,
            )

        yield run


def curl_at(place: Path, url: str, *words: str) -> subprocess.CompletedProcess[bytes]:
    """Run `openfit-token curl` for this URL, which the daemon's token is for."""
    with FakeDaemon(place / "s", always(token_fields(api_url=url))) as daemon:
        return subprocess.run(
            [*OPENFIT_TOKEN, "curl", *words, url],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            capture_output=True,
            check=False,
            timeout=PATIENCE,
        )


def test_curl_sends_the_token_and_says_what_curl_says(api: Api, run: Run) -> None:
    done = run("-w", "%{http_code}", "--data", "hello", f"{api.url}/echo")
    failed = run("--show-error", "--fail", f"{api.url}/hop?to=/&status=404")

    assert (done.stdout, done.stderr, done.returncode) == (b"hello200", b"", 0)
    assert (failed.stdout, failed.returncode) == (b"", 22)
    assert failed.stderr.startswith(b"curl: (22)")
    assert api.tokens == [A, A]


def test_a_path_stands_for_the_apis_url_with_it(api: Api, run: Run) -> None:
    run("/echo")

    assert [(seen.path, seen.token) for seen in api.seen] == [("/echo", A)]


@pytest.mark.parametrize(
    "words", [["-i"], ["-f", "-S"], ["-d", "a=b"], ["-X", "PUT", "-T", "file"], ["-L", "-so", "-"]]
)
def test_a_refused_token_is_replaced_and_only_the_second_answer_is_printed(
    api: Api, run: Run, place: Path, words: list[str]
) -> None:
    (place / "file").write_bytes(b"file")
    api.refused = {A}
    done = run(*words, f"{api.url}/echo")

    assert (done.returncode, done.stderr) == (0, b"")
    assert NO not in done.stdout
    assert b"401" not in done.stdout
    assert api.tokens == [A, B]
    assert len({(seen.method, seen.path, seen.body) for seen in api.seen}) == 1


def test_a_second_401_is_the_answer(api: Api, run: Run) -> None:
    done = run("-w", " %{http_code}", f"{api.url}/refuse")

    assert (done.stdout, done.returncode) == (b"no 401", 0)
    assert api.tokens == [A, B]


def test_what_curl_itself_tries_again_is_printed_in_order(place: Path) -> None:
    answers = iter((response("401 Unauthorized"), response("200 OK", b"yes")))

    def answer(connection: socket, request: bytes) -> None:
        if request:  # else it was only judged who listens
            connection.sendall(next(answers))

    with raw_server(answer) as server:
        words = ("--silent", "-i", "--fail", "--retry", "1", "--retry-all-errors")
        done = curl_at(place, server.url, *words)

    assert re.findall(rb"HTTP/1.1 (\d+)|(yes)", done.stdout) == [
        (b"401", b""),
        (b"200", b""),
        (b"", b"yes"),
    ]


@pytest.mark.parametrize(
    "words",
    [
        ["-d", "@-"],
        ["-T", "-"],
        ["-F", "f=@-;type=text/plain"],
        ["-F", 'f=@ "-"'],
        ["-T", "{file,file}"],
        ["--data-urlencode", "name@/dev/stdin"],
        ["-C", "0"],
        ["URL"],
        ["URL?[1-2]"],
    ],
)
def test_what_curl_can_not_send_twice_is_sent_once_and_the_next_call_has_a_new_token(
    api: Api, run: Run, place: Path, words: list[str]
) -> None:
    (place / "file").write_bytes(b"file")
    api.refused = {A}
    url = f"{api.url}/echo"
    done = run(*(word.replace("URL", url) for word in words), url, given=b"data")

    assert NO in done.stdout
    assert set(api.tokens) == {A}
    api.seen.clear()
    run(url)
    assert api.tokens == [B]


def test_where_the_daemon_has_no_other_token_the_401_is_the_answer(api: Api, place: Path) -> None:
    def behave(request: Request) -> None:
        if request.method == "refuse":
            request.error(Unavailable("down"))
        else:
            request.result(token_fields(api_url=api.url))

    api.refused = {A}
    with FakeDaemon(place / "s", behave) as daemon:
        done = subprocess.run(
            [*OPENFIT_TOKEN, "curl", "--fail-with-body", "--no-progress-meter", "/echo"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            capture_output=True,
            check=False,
        )

    assert (done.stdout, done.returncode) == (NO, 22)
    assert api.tokens == [A]


@pytest.mark.parametrize(
    ("words", "about"),
    [
        (["OTHER/echo"], "the token is for API, and this request goes to OTHER"),
        (["API/echo", "OTHER/echo"], "the token is for API, and this request goes to OTHER"),
        (["-so", "file", "--url", "OTHER"], "the token is for API, and this request goes to OTHER"),
        (["-d", "API", "--", "OTHER"], "the token is for API, and this request goes to OTHER"),
        (["http://example.org/"], "a token is only sent over https"),
        (["API@OTHERHOST/"], "is neither a URL"),
        (["API{,@OTHERHOST}/"], "is neither a URL"),
        ([r"API\@OTHERHOST/"], "is neither a URL"),
        (["127.0.0.1/echo"], "is neither a URL"),
        (["--proto-redir", "http", "file:///etc/hostname"], "is neither a URL"),
        (["API/echo", "--next", "OTHER/echo"], "--next can't be combined with a token"),
        (["-sk", "API/echo"], "-k can't be combined with a token"),
        (["-K", "file", "API/echo"], "-K can't be combined with a token"),
        (["--locat", "API/echo"], "this curl lists no option --locat"),
        (["API/echo", "-o"], "-o lacks its value"),
        (["--fail"], "which URL?"),
    ],
)
def test_a_token_goes_nowhere_else_and_nothing_is_sent(
    api: Api, run: Run, words: list[str], about: str
) -> None:
    with running_api() as other:

        def meant(text: str) -> str:
            host = other.url.removeprefix("http://")
            return (
                text.replace("OTHERHOST", host).replace("OTHER", other.url).replace("API", api.url)
            )

        done = run(*map(meant, words))

    assert meant(about) in done.stderr.decode()
    assert done.returncode == 64
    assert api.seen == other.seen == []


def test_a_redirect_is_followed_elsewhere_without_the_token_and_its_401_is_no_refusal(
    api: Api, run: Run
) -> None:
    with running_api() as other:
        done = run("--location", f"{api.url}/hop?to={other.url}/refuse")

    assert (done.stdout, api.tokens, other.tokens) == (NO, [A], [None])


def test_a_refusal_after_a_redirect_within_the_api_is_repeated(api: Api, run: Run) -> None:
    api.elsewhere = "/refuse"
    run("--location", f"{api.url}/echo")

    assert api.tokens == [A, A, B, B]


def test_neither_a_curlrc_nor_a_proxy_takes_the_token_elsewhere(
    api: Api, run: Run, place: Path
) -> None:
    with running_api() as other:
        (place / ".curlrc").write_text(f"url = {other.url}/echo\nlocation-trusted\nnonsense\n")
        for words in ([], ["--proxy", other.url], ["--noproxy", "example.org"]):
            done = run(*words, f"{api.url}/echo", http_proxy=other.url)
            assert (done.returncode, done.stderr) == (0, b"")

    assert (api.tokens, other.seen) == ([A, A, A], [])


@needs_root
@pytest.mark.parametrize("manner", ["accepts", "hangs up first"])
def test_over_http_another_users_listener_gets_no_token(place: Path, manner: str) -> None:
    with listener_of(EVE, manner=manner) as eve:
        done = curl_at(place, eve.url)
        told = eve.told

    assert (done.returncode, told) == (64, b"")
    assert b"is at the other end, not root" in done.stderr or b"hung up" in done.stderr


@needs_root
def test_over_http_curl_connects_to_the_very_address_that_was_judged(place: Path) -> None:
    """curl has addresses of its own for localhost, whatever /etc/hosts says."""
    with running_api() as api, listener_of(EVE, urlsplit(api.url).port or 0, host="::1") as eve:
        curl_at(place, api.url.replace("127.0.0.1", "localhost"), "--ipv6")
        told = eve.told

    assert told == b""


def test_over_http_curl_is_given_no_token_where_nobody_listens(place: Path) -> None:
    done = curl_at(place, f"http://127.0.0.1:{free_port()}", "--retry-connrefused", "--retry", "9")

    assert (done.returncode, done.stdout) == (75, b"")


def test_over_https_curl_verifies_the_api(place: Path) -> None:
    context, trusted = tls(place)
    with running_api(context) as api:
        behaviour = always(token_fields(api_url=api.url))
        with FakeDaemon(place / "s", behaviour) as daemon:
            done = [
                subprocess.run(
                    [*OPENFIT_TOKEN, "curl", "-sS", *words, "/echo"],
                    env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
                    capture_output=True,
                    check=False,
                ).returncode
                for words in ([], ["--cacert", str(trusted)])
            ]

    assert (done, api.tokens) == ([60, 0], [A])


def test_the_token_is_in_no_argument_variable_or_file(place: Path, api: Api) -> None:
    (place / "curl").write_text(
        '#!/bin/sh\n[ "$2" = --help ] && exec /usr/bin/curl "$@"\n'
        f'tr "\\0" "\\n" </proc/$$/cmdline >{place}/told; env >>{place}/told\n'
        'exec /usr/bin/curl "$@"\n'
    )
    (place / "curl").chmod(0o755)
    with FakeDaemon(place / "s", always(token_fields(api_url=api.url))) as daemon:
        subprocess.run(
            [*OPENFIT_TOKEN, "curl", "-s", "/echo"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path, PATH=f"{place}:{os.environ['PATH']}"),
            cwd=place,
            check=True,
        )

    assert api.tokens == [A]
    files = [each.read_text() for each in place.iterdir() if each.is_file()]
    assert "/echo" in (place / "told").read_text()
    assert [text for text in files if A in text] == []


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_curl_runs_with_what_a_shell_passes_and_without_what_it_closes(
    place: Path, api: Api, closed: str
) -> None:
    api.refused = {A}
    with FakeDaemon(place / "s", Replacing(api_url=api.url)) as daemon:
        for body in ("@<(echo hello)", "hello"):
            subprocess.run(
                [
                    "/bin/bash",
                    "-c",
                    f'"$@" -s -d {body} /echo {closed}',
                    "-",
                    *OPENFIT_TOKEN,
                    "curl",
                ],
                env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
                capture_output=True,
                check=True,
                timeout=PATIENCE,
            )

    assert [(seen.body, seen.token) for seen in api.seen] == [(b"hello", A), (b"hello", B)]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_curl_too(place: Path, number: signal.Signals) -> None:
    (place / "curl").write_text(
        '#!/bin/sh\n[ "$2" = --help ] && exec /usr/bin/curl "$@"\necho $$; exec sleep 1000\n'
    )
    (place / "curl").chmod(0o755)
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        subprocess.Popen(
            [*OPENFIT_TOKEN, "curl", "/echo"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path, PATH=f"{place}:{os.environ['PATH']}"),
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        ) as process,
    ):
        assert process.stdout is not None
        curl = process.stdout.readline().decode().strip()
        process.send_signal(number)

        assert process.wait(PATIENCE) == 128 + number
        assert not Path("/proc", curl).exists()


def bytes_in(pipe: int) -> int:
    """Return how many bytes there are to read."""
    return int.from_bytes(fcntl.ioctl(pipe, termios.FIONREAD, bytes(4)), sys.byteorder)


def test_nothing_is_lost_where_a_pipe_that_does_not_block_is_full(place: Path, api: Api) -> None:
    """Node.js, say, makes such pipes."""
    body = b"0123456789" * 10_000
    (place / "body").write_bytes(body)
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, PAGE)
    os.set_blocking(writer, False)
    with (
        FakeDaemon(place / "s", always(token_fields(api_url=api.url))) as daemon,
        os.fdopen(reader, "rb") as printed,
        subprocess.Popen(
            [*OPENFIT_TOKEN, "curl", "-s", "--data-binary", f"@{place}/body", "/echo"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=writer,
        ) as process,
    ):
        os.close(writer)
        status = Path(f"/proc/{process.pid}/status")
        await_that(lambda: bytes_in(reader) == PAGE and "\nState:\tS" in status.read_text())

        assert printed.read() == body
        assert process.wait(PATIENCE) == 0


def test_at_a_terminal_curl_shows_no_progress(place: Path, api: Api) -> None:
    """curl itself would see a pipe, where it shows it."""
    with FakeDaemon(place / "s", always(token_fields(api_url=api.url))) as daemon:
        variables = environment(OPENFIT_TOKEN_SOCKET=daemon.path)
        with Terminal([*OPENFIT_TOKEN, "curl", "-d", "hello", "/echo"], variables) as terminal:
            assert (terminal.end(), terminal.shown) == (0, "hello")


def test_without_a_token_or_curl_nothing_is_sent(place: Path, api: Api) -> None:
    with FakeDaemon(place / "s", failing(Unavailable("down"))) as daemon:
        done = [
            subprocess.run(
                [*OPENFIT_TOKEN, "curl", f"{api.url}/echo"],
                env=environment(OPENFIT_TOKEN_SOCKET=daemon.path, PATH=path),
                capture_output=True,
                check=False,
            )
            for path in (os.environ["PATH"], str(place))
        ]

    assert [each.returncode for each in done] == [75, 127]
    assert [each.stderr for each in done] == [
        b"openfit-token: down\n",
        b"openfit-token: curl: there is no curl in $PATH\n",
    ]
    assert api.seen == []

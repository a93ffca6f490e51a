"""An API for tests of the HTTP adapters: real HTTP on loopback; the path determines the answer.

with running_api() as api:
    ... api.url, api.refused.add("token-a"), api.seen ...

    /echo             200 and the request's body
    /hop?to=URL       a redirect there: 307, or `&status=`
    /refuse           401, whatever the token
    /say?NAME=VALUE   200 with these header fields

TRACE and the like echo the request's header, as servers do. 401 answers all that bears a token in `refused`.
"""

import ssl
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple, cast
from urllib.parse import parse_qs, urlsplit

import trustme


class Seen(NamedTuple):
    """A received request. `token` is None if it had no header `Authorization: Bearer`."""

    method: str
    path: str
    token: str | None
    body: bytes


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128
    api: "Api"


class Api:
    """A server and the requests it received, in order."""

    def __init__(self, server: _Server, scheme: str) -> None:
        self._server = server
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"
        self.seen: list[Seen] = []
        self.refused: set[str] = set()
        """Access tokens that are answered with 401."""
        self.connections = 0
        self.elsewhere: str | None = None
        """Where requests that aren't refused are redirected to, if anywhere."""

    @property
    def tokens(self) -> list[str | None]:
        """Return the received tokens, in order."""
        return [request.token for request in self.seen]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def setup(self) -> None:
        self._api = cast("_Server", self.server).api
        self._api.connections += 1
        super().setup()

    def _answer(self) -> None:
        url = urlsplit(self.path)
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        bearer = token if scheme == "Bearer" else None
        body = self._body()
        self._api.seen.append(Seen(self.command, url.path, bearer, body))
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if bearer in self._api.refused or url.path == "/refuse":
            self._send(401, b"no", ("WWW-Authenticate", "Bearer"))
        elif url.path == "/say":
            self._send(200, body, *query.items())
        elif self._api.elsewhere is not None:
            self._send(302, b"", ("Location", self._api.elsewhere))
        elif url.path == "/hop":
            self._send(int(query.get("status", 307)), b"", ("Location", query["to"]))
        else:
            self._send(200, body)

    do_GET = do_POST = do_PUT = _answer  # noqa: N815 -- the names are http.server's

    def _echo(self) -> None:
        self._api.seen.append(Seen(self.command, self.path, None, b""))
        self._send(200, bytes(self.headers))

    do_TRACE = do_TRACK = do_trace = do_CONNECT = _echo  # noqa: N815 -- the names are http.server's

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _send(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        for name, value in (*headers, ("Content-Length", str(len(body)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's name
        """Log nothing."""


def tls(directory: Path, host: str = "127.0.0.1") -> tuple[ssl.SSLContext, Path]:
    """Return what makes an API https, and the file of the CA that its clients have to trust."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own, trusted = directory / "own.pem", directory / "ca.pem"
    authority.issue_cert(host).private_key_and_cert_chain_pem.write_to_path(str(own))
    authority.cert_pem.write_to_path(str(trusted))
    context.load_cert_chain(own)
    return context, trusted


@contextmanager
def running_api(
    secured: ssl.SSLContext | None = None, port: int = 0, enter: Callable[[], None] | None = None
) -> Generator[Api]:
    """Run an API on loopback, at a free port or this one.

    `enter`: moves a thread to another network.
    """
    with ThreadPoolExecutor(1, initializer=enter) as there:
        listening = there.submit(_Server, ("127.0.0.1", port), _Handler).result()
    with listening as server:
        if secured is not None:
            server.socket = secured.wrap_socket(server.socket, server_side=True)
        server.api = Api(server, "http" if secured is None else "https")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.api
        finally:
            server.shutdown()
            thread.join()

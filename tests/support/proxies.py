"""The shipped proxies, as real programs: their files from docs/proxy/, with other addresses.

with running_nginx(daemon.http_socket, api, trusted) as proxy:
    ... proxy.ask("GET", "/v1/me"), proxy.log() ...

with running_nginx(daemon.http_socket, api, trusted, *on_loopback("nginx")) as proxy:
    ... proxy.ask("GET", "/v1/me", at="::1") ...
"""

import http.client
import os
import shutil
import signal
import subprocess
from collections.abc import Generator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, final

import pytest

from api import Api
from daemons import PATIENCE, await_that, connected_to
from fake_http_daemon import FakeHttpDaemon
from fenced import ROOT, in_section
from ports import free_port, listens, need_ipv6
from service_managers import ManagedDaemon

SHIPPED: Final = ROOT / "docs/proxy"
DOCUMENT: Final = ROOT / "docs/proxy.md"
_LISTENS: Final = {
    "nginx": "    listen unix:/run/openfit-proxy/socket;\n",
    "caddy": "http:// {\n\tbind unix//run/openfit-proxy/socket\n",
}
"""What the shipped files have once."""
API_HOST: Final = "api.openfit.care"
_AROUND: Final = """\
daemon off;
{user}
worker_processes 2;
pid {directory}/pid;
error_log {directory}/errors info;
events {{ worker_connections 1024; }}
http {{
    access_log {directory}/access;
    client_body_temp_path {directory}/bodies;
    proxy_temp_path {directory}/answers;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/openfit.conf;
}}
"""
"""What is Debian's nginx.conf in production."""


class Answer(NamedTuple):
    """What a caller of the proxy gets."""

    status: int
    body: bytes
    fields: http.client.HTTPMessage


@final
class UnixHttp(http.client.HTTPConnection):
    """An HTTP connection over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        self.sock = connected_to(self._path)


@final
class Proxy:
    """A running proxy. It listens at a Unix socket, and, if it was told to, on loopback."""

    def __init__(self, directory: Path, port: int) -> None:
        self.directory = directory
        self.socket = directory / "socket"
        self.port = port

    def connection(self) -> UnixHttp:
        """Return a new connection to its Unix socket."""
        return UnixHttp(self.socket)

    def ask(
        self,
        method: str = "GET",
        path: str = "/v1/me",
        body: bytes | None = None,
        fields: Mapping[str, str] | None = None,
        *,
        at: str = "",
    ) -> Answer:
        """Send a request. `at`: to this address of loopback, not to the Unix socket."""
        if at:
            self.await_port(at)
        link = (
            http.client.HTTPConnection(at, self.port, timeout=PATIENCE) if at else self.connection()
        )
        with closing(link):
            link.request(method, path, body, fields or {})
            got = link.getresponse()
            return Answer(got.status, got.read(), got.headers)

    def await_port(self, at: str) -> None:
        """Wait until it listens at an address of loopback: it begins at one place after another."""
        await_that(lambda: listens(at, self.port), self.log)

    def log(self) -> str:
        """Return all that it has logged and left in files."""
        files = (each for each in self.directory.rglob("*") if each.is_file())
        return "\n".join(each.read_text(errors="replace") for each in files)


class Between(NamedTuple):
    """A proxy, and what is on either side of it."""

    daemon: FakeHttpDaemon
    proxy: Proxy
    api: Api


class Restarted(NamedTuple):
    """A proxy, and a daemon that may end."""

    daemon: ManagedDaemon
    proxy: Proxy


def shipped(name: str, *changes: tuple[str, str], port: int) -> str:
    """Return a shipped file in which each of these texts is replaced; each must be there.

    `port`: instead of the one on loopback, if the changes name that.
    """
    text = (SHIPPED / name).read_text()
    for old, new in changes:
        assert old in text, f"{name} has no {old!r}"
        text = text.replace(old, new)
    return text.replace(":848", f":{port}")


def on_loopback(program: str) -> tuple[tuple[str, str], ...]:
    """Return what an administrator changes to let a proxy listen on loopback, by IPv4 and IPv6."""
    need_ipv6()
    (block,) = in_section(DOCUMENT, "Loopback", "nginx" if program == "nginx" else "text")
    listens = _LISTENS[program]
    inside = program == "nginx"
    return ((listens, listens + block.text if inside else block.text + listens),)


@contextmanager
def running_nginx(
    daemon: Path, api: str, trusted: Path, *changes: tuple[str, str]
) -> Generator[Proxy]:
    """Run nginx with the shipped file. `api`: where that is, over TLS. `changes`: by its user."""
    with TemporaryDirectory(prefix="oft-nginx-") as name:
        proxy = Proxy(Path(name), free_port())
        text = shipped(
            "nginx.conf",
            *changes,
            ("/run/openfit-tokend/http.socket", str(daemon)),
            (f"server {API_HOST}:443", f"server {api.partition('://')[2]}"),
            ("/etc/ssl/certs/ca-certificates.crt", str(trusted)),
            ("/run/openfit-proxy/socket", str(proxy.socket)),
            port=proxy.port,
        )
        with nginx_serves(proxy, text):
            yield proxy


@contextmanager
def nginx_serves(proxy: Proxy, text: str) -> Generator[None]:
    """Run nginx with what Debian includes from conf.d; it listens at the proxy's socket and port."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("nginx isn't installed: run .ci/install_packages")
    name = proxy.directory
    (name / "openfit.conf").write_text(text)
    whole = name / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    whole.write_text(_AROUND.format(directory=name, user=user))
    with _running(proxy, [program, "-e", f"{name}/errors", "-c", str(whole)]):
        yield


@contextmanager
def running_caddy(
    daemon: Path, api: str, trusted: Path, *changes: tuple[str, str]
) -> Generator[Proxy]:
    """Run Caddy with the shipped file."""
    program = shutil.which("caddy")
    if program is None:
        pytest.skip("caddy isn't installed: run .ci/install_packages")
    with TemporaryDirectory(prefix="oft-caddy-") as name:
        proxy = Proxy(Path(name), free_port())
        text = shipped(
            "Caddyfile",
            *changes,
            ("/run/openfit-tokend/http.socket", str(daemon)),
            (f"https://{API_HOST}", api),
            (
                "# tls_trusted_ca_certs /etc/ssl/our-ca.pem",
                f"tls_trusted_ca_certs {trusted}\n\t\ttls_server_name {API_HOST}",
            ),
            ("/run/openfit-proxy/socket", str(proxy.socket)),
            ("/run/caddy/admin.socket", str(proxy.directory / "admin")),
            port=proxy.port,
        )
        whole = proxy.directory / "Caddyfile"
        whole.write_text(text)
        command = [program, "run", "--config", str(whole), "--adapter", "caddyfile"]
        with _running(proxy, command):
            yield proxy


PROXIES: Final = {"nginx": running_nginx, "caddy": running_caddy}


@contextmanager
def _running(proxy: Proxy, command: list[str]) -> Generator[None]:
    output = proxy.directory / "output"
    with output.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"HOME": str(proxy.directory)},
        )

    def answers() -> bool:
        assert process.poll() is None, f"it ended:\n{output.read_text()}"
        with suppress(FileNotFoundError, ConnectionRefusedError), closing(proxy.connection()) as it:
            it.connect()
            return True
        return False

    try:
        await_that(answers, proxy.log)
        yield
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

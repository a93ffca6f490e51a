"""The shipped proxies on a booted machine, set up by the commands of docs/proxy.md and nothing else."""

import shutil
from collections.abc import Generator
from pathlib import Path
from typing import Final

import pytest

from api import Api, running_api, tls
from box import Box
from daemons import await_that
from fenced import in_section
from machine import Machine
from proxies import API_HOST, DOCUMENT

pytestmark = [pytest.mark.service, pytest.mark.slow]

CURL: Final = ("curl", "--silent", "--unix-socket")
ASK: Final = (*CURL, "/run/openfit-proxy/socket", "http://localhost/v1/me")
ADMIN: Final = (*CURL, "/run/caddy/admin.socket", "http://localhost/config/")
NOT_CONNECTED: Final = 7
"""curl's exit status."""
LISTENING: Final = "0A"
TRUSTED: Final = "/etc/ssl/certs/ca-certificates.crt"
NGINX_DROP_IN: Final = "/etc/systemd/system/nginx.service.d/override.conf"
OTHER_SITE: Final = """
other.example:8443 {
	tls internal
	respond "another site"
}
"""


@pytest.fixture
def api(enabled: Machine, tmp_path: Path) -> Generator[Api]:
    """Run an API at its real name, which the machine trusts."""
    secured, authority = tls(tmp_path, API_HOST)
    trusted = enabled.box.outside(TRUSTED)
    before = trusted.read_text()
    trusted.write_text(before + authority.read_text())
    with running_api(secured, 443, enabled.box.enter_network) as api:
        yield api
    trusted.write_text(before)


def running(box: Box, program: str) -> None:
    """Start a proxy as its package does."""
    if shutil.which(program, path="/usr/sbin:/usr/bin") is None:
        pytest.skip(f"{program} isn't installed: run .ci/install_packages")
    box.run("systemctl", "start", program)


def follow(box: Box, program: str) -> None:
    """Do what docs/proxy.md says."""
    (block,) = in_section(DOCUMENT, f"Set up {program}", "console")
    installing, *commands = block.typed("#")
    assert installing == f"apt install {program.lower()}"
    for each in commands:
        box.run("sh", "-c", each)


def end(box: Box, program: str) -> None:
    """Leave nothing for another proxy to trip over."""
    box.run("systemctl", "stop", program)
    box.run("rm", "-rf", "/run/openfit-proxy", "/etc/nginx/conf.d/openfit.conf")


def ports(box: Box) -> set[str]:
    """Return at which addresses and ports somebody listens, as the kernel writes them."""
    lines = box.run("cat", "/proc/net/tcp", "/proc/net/tcp6").stdout.splitlines()
    return {each.split()[1] for each in lines if each.split()[3] == LISTENING}


def test_nginx_serves_the_group_and_nobody_else(enabled: Machine, api: Api) -> None:
    box = enabled.box
    running(box, "nginx")
    before = ports(box)
    try:
        follow(box, "nginx")
        await_that(box.outside("/run/openfit-proxy/socket").exists, box.journal)

        done = box.run(*ASK, user="bob", check=False)
        box.run(*ASK, "--fail", user="alice")

        assert done.returncode == NOT_CONNECTED
        assert api.tokens == [enabled.token()]
        assert ports(box) == before
    finally:
        end(box, "nginx")


def test_nginx_that_was_killed_starts_again_once_the_apis_name_can_be_resolved(
    enabled: Machine, api: Api
) -> None:
    """As docs/proxy.md says; it waits less than there between two starts."""
    box = enabled.box
    resolv_conf, drop_in = box.outside("/etc/resolv.conf"), box.outside(NGINX_DROP_IN)
    (block,) = in_section(DOCUMENT, "Set up nginx", "ini")
    waiting = block.text.replace("RestartSec=10", "RestartSec=3")
    assert waiting != block.text
    names = resolv_conf.read_text()
    running(box, "nginx")
    try:
        follow(box, "nginx")
        drop_in.parent.mkdir(parents=True)
        drop_in.write_text(waiting)
        box.run("systemctl", "daemon-reload")
        resolv_conf.write_text("nameserver 127.77.77.77\noptions timeout:1 attempts:1\n")
        box.run("systemctl", "kill", "--signal=KILL", "nginx")
        await_that(lambda: int(box.property("nginx", "NRestarts")) > 0, box.journal)

        resolv_conf.write_text(names)
        await_that(lambda: box.property("nginx", "ActiveState") == "active", box.journal)

        box.run(*ASK, "--fail", user="alice")
        assert len(api.seen) == 1
    finally:
        resolv_conf.write_text(names)
        end(box, "nginx")
        drop_in.unlink(missing_ok=True)
        box.run("systemctl", "daemon-reload")


def test_caddy_serves_the_group_and_nobody_else_and_its_other_sites_as_before(
    enabled: Machine, api: Api
) -> None:
    box = enabled.box
    with box.outside("/etc/caddy/Caddyfile").open("a") as file:
        file.write(OTHER_SITE)
    running(box, "caddy")
    before = ports(box)
    other = ("curl", "--silent", "--insecure", "https://other.example:8443/")
    try:
        follow(box, "Caddy")
        box.run("systemctl", "reload", "caddy")

        done = box.run(*ASK, user="bob", check=False)
        box.run(*ASK, "--fail", user="alice")
        box.run(*ASK, "--fail", "--header", "Host: other.example", user="alice")
        configured = box.run(*ADMIN, user="alice", check=False)

        assert (done.returncode, configured.returncode) == (NOT_CONNECTED, NOT_CONNECTED)
        assert api.tokens == [enabled.token()] * 2
        assert len(before) == len(ports(box)) + 1  # all but the port of Caddy's administration
        assert box.run(*other).stdout == "another site"
    finally:
        end(box, "caddy")

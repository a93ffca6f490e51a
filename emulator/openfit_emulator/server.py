"""Serves an emulator on loopback."""

import ipaddress
import socket
import ssl
from contextlib import suppress
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Final

from anyio import TASK_STATUS_IGNORED, create_task_group, sleep, wait_readable
from anyio.abc import TaskStatus

from openfit_emulator.emulated import Emulator
from openfit_emulator.endpoints import respond
from openfit_emulator.wire import Connection, Ended
from openfit_token._shared.frozen import frozen

_NO_ROOM: Final = 0.1
"""Seconds until a connection is accepted after one that couldn't be, as without free descriptors."""


@frozen
class Address:
    """Where to listen. `port` 0: any free one. With a certificate and its key: https."""

    _: KW_ONLY
    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None


async def serve(
    emulator: Emulator,
    address: Address | None = None,
    *,
    task_status: TaskStatus[str] = TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `task_status` gets the URL once connections are accepted.

    The same emulator may be served again later, even at the same port: for its clients that is an
    outage.

    Raises:
        ValueError: the host isn't a loopback one.
        OSError: it can't listen there, or the certificate or key can't be read.
    """
    address = address or Address()
    tls = None
    if address.tls_cert is not None:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(address.tls_cert, address.tls_key)
    with _listener(address) as listener:
        emulator.identity.issuer = url = _url(address, listener)
        async with create_task_group() as tasks:
            task_status.started(url)
            while True:
                await wait_readable(listener)
                try:
                    client, _ = listener.accept()
                except OSError:
                    await sleep(_NO_ROOM)
                else:
                    tasks.start_soon(_converse, emulator, Connection(client, tls, emulator.now))


async def _converse(emulator: Emulator, connection: Connection) -> None:
    """Answer one client's requests until it leaves, or a fault ends the connection."""
    try:
        with suppress(Ended):
            await connection.begin()
            while (request := await connection.request()) is not None:
                await respond(emulator, request, connection)
            connection.finish()
    finally:
        connection.close()


def loopback(host: str) -> str:
    """Return the address of a loopback host. Raises: ValueError: it isn't one."""
    if host == "localhost":
        return "127.0.0.1"
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or not address.is_loopback:
        raise ValueError(
            f"{host!r} is no loopback address: the emulator must not be reachable from a network"
        )
    return str(address)


def _listener(address: Address) -> socket.socket:
    host = loopback(address.host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, address.port), family=family, backlog=1024)
    listener.settimeout(0)
    return listener


def _url(address: Address, listener: socket.socket) -> str:
    host, port, *_ = listener.getsockname()
    name = f"[{host}]" if ":" in host else host
    return f"{'https' if address.tls_cert else 'http'}://{name}:{port}"

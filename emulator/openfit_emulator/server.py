"""Serves an emulator on loopback, with uvicorn's HTTP protocol.

The protocol is run here and not by `uvicorn.Server`, which takes over the signals, needs a fifth of
a second to stop, and waits for responses that a fault never sends.
"""

import asyncio  # noqa: TID251 -- uvicorn's protocols are asyncio's
import ipaddress
import socket
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Final, cast

import anyio
import uvicorn
from anyio.abc import TaskStatus
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from openfit_emulator import admin, endpoints
from openfit_emulator.emulated import Emulator
from openfit_token._shared.frozen import frozen


@frozen
class Address:
    """Where to listen. `port` 0: any free one. With a certificate and its key: https."""

    _: KW_ONLY
    host: str = "127.0.0.1"
    port: int = 0
    tls_cert: Path | None = None
    tls_key: Path | None = None


_TURNS: Final = 5
"""Turns of the loop: asyncio takes three from accepting a connection to reporting it, one to close it."""


async def serve(
    emulator: Emulator,
    address: Address | None = None,
    *,
    task_status: TaskStatus[str] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Serve until cancelled; `task_status` gets the URL once connections are accepted.

    The same emulator may be served again later, even at the same port: for its clients that is an
    outage. Runs only on asyncio.

    Raises:
        ValueError: the host isn't a loopback one.
        OSError: it can't listen there, or the certificate or key can't be read.
    """
    address = address or Address()
    config = _config(emulator, address)
    listener = _listener(address)
    state = ServerState()
    stopping = anyio.Event()
    server = await asyncio.get_running_loop().create_server(
        lambda: Connection(config, state, {"stopping": stopping}),
        sock=listener,
        ssl=config.ssl,
    )
    emulator.identity.issuer = url = _url(address, listener)
    try:
        task_status.started(url)
        await anyio.sleep_forever()
    finally:
        stopping.set()
        with anyio.CancelScope(shield=True):
            # asyncio forgets to close a connection that it has accepted but not yet reported when the
            # server is closed. So first accept no more, and let it report the last ones.
            asyncio.get_running_loop().remove_reader(listener)
            for _ in range(_TURNS):
                for connection in list(state.connections):
                    connection.transport.abort()
                await asyncio.sleep(0)
            server.close()
            while state.tasks:
                await asyncio.wait(state.tasks)


class Connection(H11Protocol):
    """uvicorn's connection; its requests know their transport, so that faults can break it."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Put the transport where the responses find it."""
        # asyncio guarantees a server's protocol a stream transport.
        super().connection_made(cast("asyncio.Transport", transport))
        self.app_state = {**self.app_state, "transport": transport}


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


def _config(emulator: Emulator, address: Address) -> uvicorn.Config:
    app = Starlette(routes=[*endpoints.routes(emulator), *admin.routes(emulator)])
    config = uvicorn.Config(
        app,
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        ssl_certfile=address.tls_cert,
        ssl_keyfile=address.tls_key,
    )
    config.load()
    return config


def _listener(address: Address) -> socket.socket:
    host = loopback(address.host)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.create_server((host, address.port), family=family, backlog=1024)
    # Accepted sockets inherit it. Without it the body waits 40 ms for the header's ACK; asyncio would
    # set it, but only on sockets created with the protocol's number.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


def _url(address: Address, listener: socket.socket) -> str:
    host = loopback(address.host)
    name = f"[{host}]" if ":" in host else host
    port: int = listener.getsockname()[1]
    return f"{'https' if address.tls_cert else 'http'}://{name}:{port}"

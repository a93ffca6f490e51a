"""A port for a server that is to start."""

import socket
from typing import Final

import pytest

LOOPBACK: Final = "127.0.0.1"


def free_port() -> int:
    """Return a port of loopback where nobody listens now."""
    with socket.socket() as free:
        free.bind((LOOPBACK, 0))
        return int(free.getsockname()[1])


def need_ipv6() -> None:
    """Skip the test where loopback has no address of IPv6."""
    try:
        with socket.socket(socket.AF_INET6) as tried:
            tried.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"needs IPv6: {error.strerror}")


def listens(host: str, port: int) -> bool:
    """Return whether somebody listens there."""
    try:
        with socket.create_connection((host, port)):
            return True
    except ConnectionRefusedError:
        return False

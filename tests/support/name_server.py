"""Two name servers: to one every name is 127.0.0.1, the other never answers."""

import os
import shutil
import socket
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Final

import pytest

from users import MAY_MOUNT

_HEADER: Final = 12
"""Bytes before the question (RFC 1035, section 4.1.1)."""
_ANSWER: Final = b"\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x7f\x00\x00\x01"
"""The name as in the question, type A, class IN, 60 s, 127.0.0.1."""
_TYPE_A: Final = b"\x00\x01"
_WITH_RESOLV_CONF: Final = 'mount --bind "$0" /etc/resolv.conf && exec "$@"'

needs_another_name_server = pytest.mark.skipif(
    not MAY_MOUNT or shutil.which("unshare") is None,
    reason="needs root: to name another name server",
)


@contextmanager
def silent_name_server(directory: Path) -> Generator[tuple[str, ...]]:
    """Receive questions and never answer; return the prefix of a command that is to use it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        own = os.getpid()  # two at one address would be one too many
        address = f"127.77.{own // 250 % 250}.{own % 250 + 1}"
        server.bind((address, 53))
        resolv_conf = directory / "resolv.conf"
        resolv_conf.write_text(f"nameserver {address}\noptions timeout:30 attempts:5\n")
        mounts = ("unshare", "--mount", "--propagation=private")
        yield (*mounts, "sh", "-c", _WITH_RESOLV_CONF, str(resolv_conf))


@contextmanager
def running_name_server(enter: Callable[[], object]) -> Generator[None]:
    """Answer at 127.0.0.1 port 53 of the network that `enter` moves a thread to."""
    ready, stop = Event(), Event()
    thread = Thread(target=_serve, args=(enter, ready, stop), daemon=True)
    thread.start()
    assert ready.wait(10)
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _serve(enter: Callable[[], object], ready: Event, stop: Event) -> None:
    enter()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 53))
        server.settimeout(0.1)
        ready.set()
        while not stop.is_set():
            try:
                query, client = server.recvfrom(512)
            except TimeoutError:
                continue
            server.sendto(_answer(query), client)


def _answer(query: bytes) -> bytes:
    """Answer one question; for a type other than A there is no data."""
    end = query.index(b"\0", _HEADER) + 5
    known = query[end - 4 : end - 2] == _TYPE_A
    counts = b"\0\1" + (b"\0\1" if known else b"\0\0") + b"\0\0\0\0"
    return query[:2] + b"\x84\x00" + counts + query[_HEADER:end] + (_ANSWER if known else b"")

"""Servers of another user of the machine, which listen on loopback and note what they are sent.

with listener_of(EVE) as listener:
    ... listener.url, listener.told ...
"""

import os
import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from tempfile import TemporaryFile
from typing import Final

from ports import LOOPBACK, need_ipv6

_PROGRAM: Final = r"""
import os, socket, sys, time
uid, host, port, manner, answer = sys.argv[1:]
if int(uid) != os.geteuid():  # here: another user may not execute every interpreter
    os.setgroups([])
    os.setgid(int(uid))
    os.setuid(int(uid))
place, family = (host, int(port)), socket.AF_INET6 if ":" in host else socket.AF_INET
is_told = False
while True:
    try:
        if host.startswith("/"):
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(host)
            listener.listen()
        else:
            listener = socket.create_server(place, family=family, dualstack_ipv6=host == "::")
    except OSError:
        time.sleep(0.001)  # it is the other one's turn
        continue
    with listener:
        if not is_told:
            is_told = True
            place = place if host.startswith("/") else listener.getsockname()[:2]
            print(place[1], file=sys.stderr, flush=True)
        if manner == "never accepts":
            sys.stdin.read()
        if manner == "hangs up first":
            listener.accept()[0].close()
        listener.settimeout(0.004 if manner == "takes turns" else None)
        try:
            while True:
                connection, _ = listener.accept()
                with connection:
                    connection.settimeout(5)
                    while data := connection.recv(65536):
                        os.write(1, data)
                        connection.sendall(bytes.fromhex(answer))
        except OSError:
            pass
    time.sleep(0.004)
"""


class Listener:
    """A server in a process of its own."""

    def __init__(self, port: int, told: int) -> None:
        self.port = port
        self._told = told

    @property
    def url(self) -> str:
        return f"http://{LOOPBACK}:{self.port}"

    @property
    def told(self) -> bytes:
        """Return what it was sent so far."""
        return os.pread(self._told, 2**20, 0)


@contextmanager
def listener_of(
    uid: int,
    port: int = 0,
    *,
    host: str = LOOPBACK,
    manner: str = "accepts",
    answer: bytes = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
) -> Generator[Listener]:
    """Run a server as a user, which gives this answer to all that comes. Only root can.

    Its manner: "accepts"; "never accepts"; "hangs up first", on the first connection alone; or "takes
    turns", where it listens for moments, again and again. Its host may be the path of a Unix socket.
    """
    if ":" in host:
        need_ipv6()
    command = [sys.executable, "-I", "-c", _PROGRAM]
    with TemporaryFile() as told:
        server = subprocess.Popen(
            [*command, str(uid), host, str(port), manner, answer.hex()],
            stdin=subprocess.PIPE,
            stdout=told,
            stderr=subprocess.PIPE,
        )
        with server:
            assert server.stderr is not None
            try:
                yield Listener(int(server.stderr.readline()), told.fileno())
            finally:
                server.kill()

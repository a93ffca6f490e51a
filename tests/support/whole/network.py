"""The network between the daemon and its token server, in memory."""

from collections.abc import Callable
from typing import final
from urllib.parse import parse_qsl

import anyio
from anyio.abc import ByteStream

from whole.time import Time

Form = dict[str, str]


@final
class Stream(ByteStream):
    """One connection: a request is gathered, and its answer comes when the world says so."""

    def __init__(self, time: Time, received: Callable[["Stream", str, Form], None]) -> None:
        self._time = time
        self._received = received
        self._sent = b""
        self._answer = b""
        self._news = anyio.Event()
        self._ended = False
        self.closed = False
        """Its sender waits no more."""
        self.given_up: Callable[[], object] = bool
        """Is called when the sender closes before it has an answer."""

    async def send(self, item: bytes) -> None:
        """Take bytes of the request; once it is whole the world hears of it."""
        self._sent += item
        head, found, body = self._sent.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode().split("\r\n")
        lengths = [int(line[15:]) for line in lines if line.lower().startswith("content-length:")]
        if lengths and len(body) >= lengths[0]:
            self._sent = b""
            form = dict(parse_qsl(body.decode(), keep_blank_values=True))
            try:
                self._received(self, lines[0].split()[1], form)
            except Exception as error:  # noqa: BLE001 -- the daemon must not take it for the network's
                self._time.broken = error

    async def receive(self, max_bytes: int = 65536) -> bytes:
        """Await what the server says."""
        if not self._answer and not self._ended:
            await self._news.wait()
        if self.closed:
            raise anyio.ClosedResourceError
        if not self._answer:
            raise anyio.EndOfStream
        data, self._answer = self._answer[:max_bytes], self._answer[max_bytes:]
        return data

    async def send_eof(self) -> None:
        """Say no more."""

    async def aclose(self) -> None:
        """Close."""
        if not self.closed and not self._ended:
            self.given_up()
        self._ended = self.closed = True

    def answer(self, data: bytes) -> None:
        """Say something and close; nobody may be there any more."""
        if self.closed:
            return
        self._answer, self._ended = data, True
        self._news.set()

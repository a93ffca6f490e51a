"""etcd as a fleet's store (3.4 and newer).

A row is two keys, `table/tag/KEY` and `table/data/KEY`, that are always written together. So a
transaction compares the tag itself, not a revision, which a restored cluster gives again; and those
who watch and poll are sent tags alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final, NamedTuple, cast, final

from anyio import (
    CancelScope,
    WouldBlock,
    create_memory_object_stream,
    move_on_after,
)
from anyio.abc import TaskGroup, TaskStatus
from anyio.streams.memory import MemoryObjectReceiveStream

from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.core.settings.store import Host
from openfit_tokend.fleet.engines.gateway import Fields, Gateway, Reading, parsed, understood
from openfit_tokend.fleet.store import (
    EXCHANGE,
    Password,
    Said,
    Tagged,
    Unreached,
    first_of,
    within,
)

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one message of a watch: the tags of a thousand rows that changed at once."""
_UNREAD: Final = 64
"""Messages of a watch that wait to be read; then the member waits."""


class _Watch(NamedTuple):
    """What the task that watches has heard, and how to end it."""

    news: MemoryObjectReceiveStream[list[Tagged] | Exception]
    scope: CancelScope


@final
class Etcd:
    """Keys below a prefix: see `Store`. `password` None: etcd's authentication is off."""

    def __init__(self, place: EtcdPlace, password: Password | None) -> None:
        self._hosts = place.hosts
        self._gateway = Gateway(place, password)
        self._watch: _Watch | None = None
        self._tags = f"{place.table}/tag/"
        self._prefixes = (self._tags, f"{place.table}/data/")

    async def connect(self, tasks: TaskGroup | None = None) -> None:
        """Find a member that answers, and watch there."""
        await self.close()

        async def connect(host: Host) -> None:
            self._gateway.host = host
            await self._all_tags()  # a watch that it refuses would end without a reason
            if tasks is not None:
                self._watch = await tasks.start(self._watching)

        await first_of(self._hosts, connect)

    async def read(self, key: str) -> Said:
        """Read tag and data in one transaction, which is linearizable."""
        wanted = [{"request_range": {"key": _coded(each + key)}} for each in self._prefixes]
        answer, reading = await self._ask("kv/txn", {"success": wanted})
        with understood():
            responses = cast("list[dict[str, Fields]]", answer["responses"])
            found = dict(pair for each in responses for pair in _pairs(each["response_range"]))
        tag, data = (found.get(each + key) for each in self._prefixes)
        return Said(tag, data, *reading)

    async def write(self, key: str, old_tag: bytes | None, tag: bytes, data: bytes) -> Said | None:
        """Put tag and data in one transaction, if the tag is still the old one."""
        compare: dict[str, object] = {"key": _coded(self._tags + key), "result": "EQUAL"}
        if old_tag is None:
            compare |= {"target": "VERSION", "version": "0"}
        else:
            compare |= {"target": "VALUE", "value": _coded(old_tag)}
        values = zip(self._prefixes, (tag, data), strict=True)
        puts = [
            {"request_put": {"key": _coded(each + key), "value": _coded(value)}}
            for each, value in values
        ]
        answer, reading = await self._ask("kv/txn", {"compare": [compare], "success": puts})
        return Said(tag, data, *reading) if answer.get("succeeded") else None

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        """Ask for the tags of all rows at once."""
        wanted = set(keys)
        return [each for each in await self._all_tags() if each.key in wanted]

    async def news(self, seconds: float) -> list[Tagged]:
        """Wait for what the watch tells."""
        if self._watch is None:
            raise Unreached("there is no connection")
        told: list[Tagged] | Exception = []
        try:
            told = self._watch.news.receive_nowait()
        except WouldBlock:
            with move_on_after(seconds):
                told = await self._watch.news.receive()
        if isinstance(told, Exception):
            await self.close()
            raise told
        return told

    async def close(self) -> None:
        """End the watch: there is no other connection."""
        if self._watch is not None:
            watch, self._watch = self._watch, None
            watch.scope.cancel()
            watch.news.close()

    async def _watching(self, *, task_status: TaskStatus[_Watch]) -> None:
        """Put what a member tells of tags into a stream, and last why it tells no more."""
        sent, news = create_memory_object_stream[list[Tagged] | Exception](_UNREAD)
        watch: _Watch | None = None
        received = b""
        created = {"create_request": _below(self._tags)}
        with sent, CancelScope() as scope:
            ended: Exception = Unreached("it ended the watch")
            try:
                async with self._gateway.response("watch", created) as response:
                    async for part in response.aiter_stream():
                        *lines, received = (received + part).split(b"\n")
                        for told in map(self._told, lines):
                            if watch is None:  # created: all that is written from now on is told
                                watch = _Watch(news, scope)
                                task_status.started(watch)
                            elif told:
                                await sent.send(told)
                        if len(received) > MAX_MESSAGE:
                            break
            except Exception as error:  # noqa: BLE001 -- who waits for news is told
                ended = error
            finally:
                if watch is None:
                    news.close()
            if watch is None:
                raise ended
            await sent.send(ended)

    def _told(self, line: bytes) -> list[Tagged]:
        """Return the tags in a message of a watch."""
        with understood():
            told = cast("Fields", parsed(line)["result"])  # or "error"
            if told.get("canceled"):
                raise Unreached("it ended the watch")
            events = cast("list[dict[str, dict[str, str]]]", told.get("events", []))
            return self._tagged({"kvs": [each["kv"] for each in events]})

    def _tagged(self, found: Fields) -> list[Tagged]:
        return [Tagged(name[len(self._tags) :], tag) for name, tag in _pairs(found)]

    async def _ask(self, path: str, message: object) -> tuple[Fields, Reading]:
        with within(EXCHANGE):
            return await self._gateway.ask(path, message)

    async def _all_tags(self) -> list[Tagged]:
        answer, _ = await self._ask("kv/range", _below(self._tags))
        with understood():
            return self._tagged(answer)


def _coded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def _below(prefix: str) -> dict[str, str]:
    """Return the range of all keys that begin with a prefix, which ends with a slash."""
    return {"key": _coded(prefix), "range_end": _coded(prefix[:-1] + chr(ord("/") + 1))}


def _pairs(found: Fields) -> list[tuple[str, bytes]]:
    """Return the keys and values of a range that was found; one that was deleted has b""."""
    pairs = cast("list[dict[str, str]]", found.get("kvs", []))
    return [(b64decode(each["key"]).decode(), b64decode(each.get("value", ""))) for each in pairs]

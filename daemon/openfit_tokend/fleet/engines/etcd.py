"""etcd as a fleet's store (3.4 and newer).

A row is two keys, `table/tag/KEY` and `table/data/KEY`, that are always written together. So a
transaction compares the tag itself, not a revision, which a restored cluster gives again; and those
who watch and poll are sent tags alone.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable
from typing import Final, cast, final

from anyio import move_on_after

from openfit_tokend.core.settings.etcd import EtcdPlace
from openfit_tokend.fleet.engines.gateway import Answer, Fields, Gateway, parsed, understood
from openfit_tokend.fleet.engines.streamed_http import Response
from openfit_tokend.fleet.store import EXCHANGE, Password, Said, Tagged, Unreached, within

MAX_MESSAGE: Final = 256 * 1024
"""Bytes of one message of a watch: the tags of a thousand rows that changed at once."""


@final
class Etcd:
    """Keys below a prefix: see `Store`. `password` None: etcd's authentication is off."""

    def __init__(self, place: EtcdPlace, password: Password | None) -> None:
        self._hosts = place.hosts
        self._gateway = Gateway(place, password)
        self._watch: _Watch | None = None
        self._tags = f"{place.table}/tag/"
        self._prefixes = (self._tags, f"{place.table}/data/")

    async def connect(self) -> None:
        """Find a member that answers, and watch there."""
        await self.close()
        failures: list[Unreached] = []
        for host in self._hosts:
            self._gateway.host = host
            try:
                with within(EXCHANGE / len(self._hosts)):
                    await self._all_tags()  # a watch that it refuses would end without a reason
                    self._watch = await self._watching()
            except Unreached as failure:
                failures.append(failure.at(host))
            else:
                return
        raise Unreached.everywhere(failures)

    async def read(self, key: str) -> Said:
        """Read tag and data in one transaction, which is linearizable."""
        wanted = [{"request_range": {"key": _coded(each + key)}} for each in self._prefixes]
        answer = await self._ask("kv/txn", {"success": wanted})
        with understood():
            responses = cast("list[dict[str, Fields]]", answer.fields["responses"])
            found = dict(pair for each in responses for pair in _pairs(each["response_range"]))
        tag, data = (found.get(each + key) for each in self._prefixes)
        return Said(tag, data, answer.clock, answer.before, answer.after)

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
        message = {"compare": [compare], "success": puts}
        answer = await self._ask("kv/txn", message)
        if not answer.fields.get("succeeded"):
            return None
        return Said(tag, data, answer.clock, answer.before, answer.after)

    async def tags(self, keys: Iterable[str]) -> list[Tagged]:
        """Ask for the tags of all rows at once."""
        wanted = set(keys)
        return [each for each in await self._all_tags() if each.key in wanted]

    async def news(self, seconds: float) -> list[Tagged]:
        """Wait for what the watch tells."""
        found: list[Tagged] = []
        with move_on_after(seconds):
            while not found:
                found = await self._watched().told()
        return found

    async def close(self) -> None:
        """End the watch: there is no other connection."""
        if self._watch is not None:
            watch, self._watch = self._watch, None
            await watch.close()

    async def _watching(self) -> "_Watch":
        created = {"create_request": _below(self._tags)}
        watch = _Watch(await self._gateway.post("watch", created), self._tags)
        try:
            await watch.told()  # that it was created: it will tell all that is written from now on
        except BaseException:
            await watch.close()
            raise
        return watch

    def _watched(self) -> "_Watch":
        if self._watch is None:
            raise Unreached("there is no connection")
        return self._watch

    async def _ask(self, path: str, message: object) -> Answer:
        with within(EXCHANGE):
            return await self._gateway.ask(path, message)

    async def _all_tags(self) -> list[Tagged]:
        answer = await self._ask("kv/range", _below(self._tags))
        with understood():
            return [Tagged(name[len(self._tags) :], tag) for name, tag in _pairs(answer.fields)]


@final
class _Watch:
    """What a member tells of keys below a prefix: messages, a line each, until it or we end."""

    def __init__(self, response: Response, prefix: str) -> None:
        self._response = response
        self._prefix = prefix
        self._received = b""

    async def told(self) -> list[Tagged]:
        """Wait for a message, and return the tags in it. It may be cancelled: nothing is lost.

        Raises:
            Unreached: the watch has ended.
        """
        while b"\n" not in self._received:
            part = await self._response.part()
            self._received += part
            if not part or len(self._received) > MAX_MESSAGE:
                raise Unreached("it ended the watch")
        line, _, self._received = self._received.partition(b"\n")
        with understood():
            told = cast("Fields", parsed(line)["result"])  # or "error"
            if told.get("canceled"):
                raise Unreached("it ended the watch")
            events = cast("list[dict[str, dict[str, str]]]", told.get("events", []))
            pairs = _pairs({"kvs": [each["kv"] for each in events]})
            return [Tagged(name[len(self._prefix) :], tag) for name, tag in pairs]

    async def close(self) -> None:
        """End it."""
        await self._response.close()


def _coded(text: str | bytes) -> str:
    return b64encode(text.encode() if isinstance(text, str) else text).decode()


def _below(prefix: str) -> dict[str, str]:
    """Return the range of all keys that begin with a prefix, which ends with a slash."""
    return {"key": _coded(prefix), "range_end": _coded(prefix[:-1] + chr(ord("/") + 1))}


def _pairs(found: Fields) -> list[tuple[str, bytes]]:
    """Return the keys and values of a range that was found; one that was deleted has b""."""
    pairs = cast("list[dict[str, str]]", found.get("kvs", []))
    return [(b64decode(each["key"]).decode(), b64decode(each.get("value", ""))) for each in pairs]

"""Messages as a hostile client may send them: from valid ones to noise, each from a seed."""

from collections.abc import Callable
from random import Random
from typing import Final, final

import msgpack

METHODS: Final = (
    *("hello", "get_token", "refuse", "refresh", "login", "logout", "reload", "status"),
    *("subscribe", "get_token\0", "GET_TOKEN", "", "__class__", "x" * 300),
)
KEYS: Final = ("profile", "wait", "min_ttl", "id", "password", "", "__init__", "x" * 200)
VALUES: Final[tuple[object, ...]] = (
    *(None, True, False, 0, 1, -1, 300, 301, 2**31, 2**63 - 1, 2**64 - 1, -(2**63)),
    *(0.0, -0.0, 0.5, 1e308, float("nan"), float("inf"), float("-inf")),
    *("", "main", "other", "none", "\0", "\x1b[2J\n", "ä€😀", "x" * 101, b"", b"main", b"\xff\xfe"),
    *(
        list[object](),
        dict[str, object](),
        [[None]],
        {"a": {"b": [0]}},
        msgpack.ExtType(1, b"x"),
        msgpack.Timestamp(0, 1),
    ),
)
IDS: Final = (0, 1, 127, 128, 255, 256, 65535, 65536, 2**31, 2**32 - 1)
ODD_IDS: Final[tuple[object, ...]] = (2**32, -1, True, None, "1", 1.0, b"1", [0], {0: 0})
HEADS: Final = (
    *(b"\xc6\x40\x00\x00\x00", b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff", b"\xc1"),
    *(b"\xc9\xff\xff\xff\xff\x01", b"\xdb\x7f\xff\xff\xff", b"\x91" * 600, b"\x81\xc0" * 300),
    *(b"\x81\x90\x00", b"\x81\x80\x00", b"\xa1\xff", b"\x94\x00\x01\xa5hello\x90\xc1"),
)
"""What announces more than there is, nests without end, or is no MessagePack."""

_LARGE: Final = 40_000
"""Bytes: more than twice what a request may have."""


@final
class Messages:
    """An endless source of messages."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)  # noqa: S311 -- to be repeated, not to be secret
        self._kinds: tuple[Callable[[], bytes], ...] = (
            *(self._valid,) * 6,
            *(self._odd_params,) * 5,
            *(self._spoilt,) * 5,
            *(self._odd_frame,) * 2,
            self._value,
            self._noise,
        )

    def next(self) -> bytes:
        """Return the bytes of one message, or of what isn't one."""
        return self.random.choice(self._kinds)()

    def _valid(self) -> bytes:
        choice = self.random.choice
        method = choice(METHODS[:9])
        params: dict[str, object] = {}
        if method not in ("hello", "reload"):
            params["profile"] = choice(("main", "other"))
        if method in ("get_token", "refuse", "refresh", "login"):
            params["wait"] = choice((0, 0, 0, 0.01, 5))
        if method == "refuse":
            params["id"] = choice(("0123456789abcdef", ""))
        return _pack([0, choice(IDS), method, [params] if params else []])

    def _odd_params(self) -> bytes:
        choice = self.random.choice
        params = {choice(KEYS): choice(VALUES) for _ in range(self.random.randrange(4))}
        return _pack([0, choice(IDS), choice(METHODS), [params]])

    def _odd_frame(self) -> bytes:
        choice = self.random.choice
        kind, msgid = choice((0, 0, 1, 2, 3, False, None)), choice((*IDS, *ODD_IDS))
        params = choice(([{"wait": 0}], [{"wait": 0}] * 2, *VALUES))
        frame: list[object] = [kind, msgid, choice(METHODS), params]
        return _pack(frame[: choice((4, 4, 4, 3, 2, 1, 0))])

    def _spoilt(self) -> bytes:
        """Return a message with a few of its bytes changed, left out, doubled or put in."""
        data = bytearray(self._valid() if self.random.random() < 0.5 else self._odd_params())
        for _ in range(self.random.choice((1, 1, 1, 2, 5))):
            at, byte = self.random.randrange(len(data) + 1), self.random.randrange(256)
            match self.random.randrange(5):
                case 0:
                    data[at : at + 1] = bytes([byte])
                case 1:
                    del data[at : at + self.random.randrange(1, 4)]
                case 2:
                    data[at:at] = bytes([byte])
                case 3:
                    data[at:at] = data[at : at + byte]
                case _:
                    del data[at:]
        return bytes(data)

    def _value(self) -> bytes:
        return _pack(self._nested(self.random.randrange(7)))

    def _nested(self, depth: int) -> object:
        choice, width = self.random.choice, self.random.randrange(4)
        if depth == 0:
            return choice(VALUES)
        if choice((True, False)):
            return [self._nested(depth - 1) for _ in range(width)]
        return {choice(("a", b"b", 3, 4.5, None)): self._nested(depth - 1) for _ in range(width)}

    def _noise(self) -> bytes:
        match self.random.randrange(20):
            case 0:
                size = self.random.choice((16_300, 16_384, 16_385, _LARGE))
                return _pack([0, 1, "get_token", [{"profile": "x" * size}]])
            case 1:
                return self.random.randbytes(self.random.randrange(2000))
            case kind if kind < 8:
                return self.random.choice(HEADS)
            case _:
                return self.random.randbytes(self.random.randrange(1, 40))


def _pack(value: object) -> bytes:
    return msgpack.packb(value)

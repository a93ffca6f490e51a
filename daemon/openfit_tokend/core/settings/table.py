"""The tables of a configuration: their keys are parsed one by one, and every fault is noted.

A parser of one value is a function that takes an `object` and returns the parsed value or raises
Wrong.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Final, TypeVar, cast, final

from openfit_token._shared.frozen import frozen

T = TypeVar("T")

MAX_QUOTED: Final = 80
"""Characters of an unknown key that a message shows: enough to find it."""


class SystemText(str):
    """Text that the system gets as bytes: a path, an argument, the name of a user or a group."""

    __slots__ = ()


@frozen
class Source:
    """One file's content as tomllib gives it. `path` is absolute, `encoding` the locale's."""

    path: str
    table: Mapping[str, object]
    encoding: str = "utf-8"

    @property
    def directory(self) -> str:
        """Return the directory that relative paths in this file start from."""
        return self.path.rpartition("/")[0]


@frozen
class Fault:
    """A mistake: in which file, at which key, and what is expected there."""

    path: str
    key: tuple[str, ...]
    text: str


class Wrong(Exception):
    """A value isn't what its key takes. The text says what the key takes, never the value."""


@final
class Table:
    """One table of a file: returns parsed values, and notes what is wrong with the others.

    `faults` is shared by all tables of a configuration, and only grows. `defaults` has the values of
    keys that this table hasn't; their faults are noted where they stand.
    """

    def __init__(
        self,
        source: Source,
        key: tuple[str, ...],
        values: Mapping[str, object],
        faults: list[Fault],
        defaults: "Table | None" = None,
    ) -> None:
        self.source = source
        self.values = values
        self._defaults = defaults
        self._key = key
        self._faults = faults

    def note(self, text: str, *key: str) -> None:
        """Note a fault of this table, or of a key in it."""
        self._faults.append(Fault(self.source.path, (*self._key, *key), text))

    def has(self, key: str) -> bool:
        """Return whether there is a value, or a default."""
        return key in self.values or (self._defaults is not None and self._defaults.has(key))

    def directory(self, key: str) -> str:
        """Return the directory that a relative path in this key starts from."""
        if key in self.values or self._defaults is None:
            return self.source.directory
        return self._defaults.directory(key)

    def optional(self, key: str, parse: Callable[[object], T]) -> T | None:
        """Return the parsed value; None if it is absent, or faulty and noted."""
        if key not in self.values:
            return None if self._defaults is None else self._defaults.optional(key, parse)
        try:
            parsed = parse(self.values[key])
            self._refuse_unencodable(parsed)
        except Wrong as wrong:
            self.note(str(wrong), key)
            return None
        return parsed

    def required(self, key: str, parse: Callable[[object], T], example: str) -> T | None:
        """Return the parsed value; None if it is absent or faulty, either of which is noted."""
        if not self.has(key):
            self.note(f"is missing: write {key} = {example}", key)
            return None
        return self.optional(key, parse)

    def refuse(self, reasons: Mapping[str, str]) -> None:
        """Note each key present that has a reason against it."""
        for key in self.values:
            if key in reasons:
                self.note(reasons[key], key)

    def refuse_unknown(self, known: Collection[str], refused: Collection[str]) -> None:
        """Note each key that is neither known nor refused already."""
        for key in self.values:
            if key not in known and key not in refused:
                self.note(_unknown(key, self.values[key], known), key)

    def _refuse_unencodable(self, parsed: object) -> None:
        texts = cast("tuple[object, ...]", parsed) if isinstance(parsed, tuple) else (parsed,)
        try:
            for text in texts:
                if isinstance(text, SystemText):
                    text.encode(self.source.encoding, "surrogateescape")
        except UnicodeEncodeError:
            raise Wrong(
                f"has a character that this locale ({self.source.encoding}) lacks: start it with one"
                " of UTF-8, such as LC_ALL=C.UTF-8"
            ) from None


def _unknown(key: str, value: object, known: Collection[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 -- 0.25 MB, for a faulty file alone

    near = get_close_matches(key[:MAX_QUOTED], known, n=1)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    if isinstance(value, dict):
        return 'unknown table; a name with a dot in it needs quotes: "a.b"'
    return f"unknown key; known here are {', '.join(sorted(known))}"

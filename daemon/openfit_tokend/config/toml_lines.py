"""The line of each key in a TOML text, which tomllib doesn't tell."""

import re
import tomllib
from collections.abc import Iterator
from typing import Final, cast

_TOKEN: Final = re.compile(
    r'"""(?:[^\\]|\\.)*?"{3,5}'  # may end with quotes that belong to it
    r"|'''.*?'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*"
    r"|[\[\]{}\n]",
    re.DOTALL,
)
_PART: Final = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_STATEMENT: Final = re.compile(
    rf"[ \t]*(?P<header>\[\[?[ \t]*)?(?P<key>{_PART}(?:[ \t]*\.[ \t]*{_PART})*)"
)
_STEP: Final = {"[": 1, "{": 1, "]": -1, "}": -1}


def lines(text: str) -> dict[tuple[str, ...], int]:
    """Return the line of the first mention of each key and table, counted from 1.

    The text must be valid TOML. Keys within inline tables are left out.
    """
    found: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for line, start in _statements(text):
        statement = _STATEMENT.match(text, start)
        if statement is None:  # an empty line or a comment
            continue
        key = _parts(statement["key"])
        if statement["header"]:
            table = key
        else:
            key = (*table, *key)
        for length in range(1, len(key) + 1):
            found.setdefault(key[:length], line)
    return found


def _statements(text: str) -> Iterator[tuple[int, int]]:
    """Return line and offset of each line that doesn't continue a value."""
    line, counted, depth = 1, 0, 0
    yield 1, 0
    for token in _TOKEN.finditer(text):
        if token[0] != "\n":
            depth += _STEP.get(token[0], 0)
        elif depth == 0:
            line += text.count("\n", counted, token.end())
            counted = token.end()
            yield line, counted


def _parts(key: str) -> tuple[str, ...]:
    """Return the parts of a dotted key; tomllib handles its quotes and escapes."""
    parts: list[str] = []
    value: object = tomllib.loads(f"{key} = 0")
    while isinstance(value, dict):
        ((part, value),) = cast("dict[str, object]", value).items()
        parts.append(part)
    return tuple(parts)

"""The text of a configuration with one profile more, and all else as its author left it."""

import json
import re
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Final

from openfit_tokend.config.toml_lines import lines

HEAD: Final = """\
# openfit-tokend's configuration. All its keys: docs/configuration.md or openfit-tokend.toml(5). `openfit-tokend check` judges it.
"""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ASIDE: Final = re.compile(r"\s*(#.*)?")


def section(name: str, values: Mapping[str, str]) -> str:
    """Return a profile's table. Values are texts without control characters."""
    key = name if _BARE.fullmatch(name) else _quoted(name)
    return "\n".join(
        [f"[profiles.{key}]", *(f"{each} = {_quoted(value)}" for each, value in values.items()), ""]
    )


def added(text: str, name: str, values: Mapping[str, str], default: str | None) -> str:
    """Return a valid text with a profile that it didn't have; `default` becomes the default profile.

    Whether the result says what it should is the caller's to see: TOML has many ways to be written.
    """
    before = f"{text.rstrip()}\n\n" if text.strip() else f"{HEAD}\n"
    first = "" if default is None else f"default_profile = {_quoted(default)}\n\n"
    return f"{first}{before}{section(name, values)}"


def with_socket(text: str, path: str) -> str:
    """Return a valid text with the socket's path, which it didn't have, before all other keys."""
    line = f"socket = {_quoted(path)}\n"
    if not text.strip() or text.startswith(HEAD):
        return f"{HEAD}{line}{text.removeprefix(HEAD)}"
    return f"{line}\n{text}"


def replaced(text: str, name: str, values: Mapping[str, str], kept: Collection[str] = ()) -> str:
    """Return a valid text with these values in the profile's own table, and of the others those `kept`. As `added`."""
    places = lines(text)
    start = places.get(("profiles", name), 0)
    if not start:  # it is in an inline table
        return text
    after = (line for key, line in places.items() if line > start and key[:2] != ("profiles", name))
    all_lines = text.splitlines(keepends=True)
    end = min(after, default=len(all_lines) + 1) - 1
    while end > start and _ASIDE.fullmatch(all_lines[end - 1].rstrip("\r\n")):
        end -= 1  # a comment above the next table belongs to that one
    own = {line: key[2] for key, line in places.items() if len(key) > 2 and start < line <= end}  # noqa: PLR2004 -- a key of the profile
    begins = sorted(own)
    stay = [
        line.rstrip("\r\n") + "\n"
        for first, last in pairwise([*begins, end + 1])
        if own[first] in kept
        for line in all_lines[first - 1 : last - 1]
    ]
    return "".join([*all_lines[: start - 1], section(name, values), *stay, *all_lines[end:]])


def _quoted(text: str) -> str:
    """Write a TOML text: as JSON does, where there are no control characters."""
    return json.dumps(text, ensure_ascii=False)

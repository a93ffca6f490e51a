"""Edits the text of a configuration and leaves everything else as its author wrote it."""

import json
import re
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Final

from openfit_tokend.config.toml_lines import lines

HEAD: Final = """\
# openfit-tokend's configuration. All keys: docs/configuration.md or openfit-tokend.toml(5). `openfit-tokend check` checks it.
"""
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")
_ASIDE: Final = re.compile(r"\s*(#.*)?")


def section(name: str, values: Mapping[str, str]) -> str:
    """Return a profile's table. Values must have no control characters."""
    key = name if _BARE.fullmatch(name) else _quoted(name)
    return "\n".join(
        [f"[profiles.{key}]", *(f"{each} = {_quoted(value)}" for each, value in values.items()), ""]
    )


def added(text: str, name: str, values: Mapping[str, str], default: str | None) -> str:
    """Return a valid text with a new profile added; `default` becomes the default profile.

    The caller must check the meaning of the result, since TOML can be written in many ways.
    """
    before = f"{text.rstrip()}\n\n" if text.strip() else f"{HEAD}\n"
    first = "" if default is None else f"default_profile = {_quoted(default)}\n\n"
    return f"{first}{before}{section(name, values)}"


def with_socket(text: str, path: str) -> str:
    """Return a valid text, which names no socket, with the socket's path before all other keys."""
    line = f"socket = {_quoted(path)}\n"
    if not text.strip() or text.startswith(HEAD):
        return f"{HEAD}{line}{text.removeprefix(HEAD)}"
    return f"{line}\n{text}"


def replaced(text: str, name: str, values: Mapping[str, str], kept: Collection[str] = ()) -> str:
    """Return a valid text with these values in the profile's table, and of its other keys only `kept`.

    The caller must check the result, as for `added`.
    """
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
    """Return a TOML string. Without control characters it is the same as in JSON."""
    return json.dumps(text, ensure_ascii=False)

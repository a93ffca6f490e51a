"""How a fault is put into the daemon on purpose."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

Patch = AbstractContextManager[object]
Method = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong with the daemon, in words, how it is done, and in which kind of run it shows."""

    words: str
    patch: Callable[[], Patch]
    kind: str = "hard"


def instead(owner: object, name: str, make: Callable[[Method], Method]) -> Patch:
    """Put another function in the place of one, made of the one that is there."""
    return patch.object(owner, name, make(getattr(owner, name)))

"""What a promise is: a sentence, and a function that complains where it doesn't hold."""

from collections.abc import Callable
from functools import wraps
from typing import Final, ParamSpec

P = ParamSpec("P")
A_LITTLE: Final = 1e-6
"""Seconds of rounding."""


class Broken(AssertionError):
    """A promise that doesn't hold."""

    def __init__(self, promise: int, rule: str, sentence: str, complaint: str) -> None:
        super().__init__(f"promise {promise} ({rule}): {sentence}\n  {complaint}")
        self.promise = promise
        self.rule = rule


def promise(number: int) -> Callable[[Callable[P, str | None]], Callable[P, None]]:
    """Raise Broken where the function complains."""

    def decorate(rule: Callable[P, str | None]) -> Callable[P, None]:
        @wraps(rule)
        def hold(*args: P.args, **kwargs: P.kwargs) -> None:
            complaint = rule(*args, **kwargs)
            if complaint is not None:
                name = getattr(rule, "__name__", "?")
                raise Broken(number, name, (rule.__doc__ or "").strip(), complaint)

        return hold

    return decorate

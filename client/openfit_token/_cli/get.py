"""`openfit-token get`, and a look at the command line that knows only its common forms.

argparse, which knows them all, takes more time to load than everything else here. `quick` reads
its part exactly as `openfit_token._cli.command_line.orders` does, and leaves the rest to it.
"""

import os

from openfit_token._cli.output import put
from openfit_token._client.blocking import get_token
from openfit_token._shared.durations import seconds_of
from openfit_token._shared.protocol import DEFAULT_WAIT, MAX_WAIT

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing is not loaded at run time: it would double the command's start
    from typing import Final, TypeAlias

    from openfit_token._client.token import Token

    Options: TypeAlias = tuple[str | None, float | None, float, str | None, str]
    """What `get` takes."""

FORMATS: "Final" = ("raw", "header", "json", "env", "curl")
_OPTIONS: "Final" = ("--profile", "--min-ttl", "--wait", "--socket", "--format")


def get(
    profile: str | None, min_ttl: float | None, wait: float, socket: str | None, form: str
) -> int:
    """Print the current token and return the exit status."""
    show(get_token(profile_of(profile), min_ttl=min_ttl, wait=wait, socket=socket), form)
    return 0


def quick(words: list[str]) -> "Options | None":
    """Read a plain `[get] [--option value]…`; return None for anything else, errors included."""
    given: dict[str, str] = {}
    rest = iter(words[1:] if words[:1] == ["get"] else words)
    for word in rest:
        name, equals, value = word.partition("=")
        if name not in _OPTIONS or name in given:
            return None  # argparse looks at each value of an option that is given twice
        if not equals:
            value = next(rest, "-")
            if value.startswith("-"):
                return None  # missing, a negative number, `--`: argparse knows what these mean
        given[name] = value
    try:
        return (
            valid_text(given["--profile"]) if "--profile" in given else None,
            seconds(given["--min-ttl"]) if "--min-ttl" in given else None,
            wait_seconds(given["--wait"]) if "--wait" in given else DEFAULT_WAIT,
            valid_path(given["--socket"]) if "--socket" in given else None,
            valid_format(given.get("--format", "raw")),
        )
    except ValueError:
        return None


def seconds(text: str) -> float:
    """Return the seconds of a duration. Raises ValueError if it is not a finite positive one or 0."""
    return _up_to(text, float("inf"), "a duration, such as 90, 90s, 10m or 1h")


def wait_seconds(text: str) -> float:
    """Return the seconds that a call may wait. Raises ValueError as `seconds`, or above the limit."""
    return _up_to(
        text, MAX_WAIT, f"a duration of at most {MAX_WAIT / 60:.0f}m, such as 30, 30s or 2m"
    )


def _up_to(text: str, most: float, expected: str) -> float:
    number = seconds_of(text)
    if number is None:
        try:
            number = float(text)
        except ValueError:
            number = -1.0
    if not 0 <= number <= most or number == float("inf"):
        raise ValueError(f"{text!r} is not {expected}")
    return number


def valid_text(text: str) -> str:
    """Return a text that can be sent. Raises ValueError for bytes that are invalid in this locale."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError(f"{text!r} is not valid text") from None
    return text


def valid_path(text: str) -> str:
    """Return a path. Raises ValueError if it is empty: what an unset variable becomes names nothing."""
    if not text:
        raise ValueError("the path is empty")
    return text


def valid_format(text: str) -> str:
    """Return the name of a format. Raises ValueError if there is no such format."""
    if text not in FORMATS:
        raise ValueError(f"{text!r} is not one of {', '.join(FORMATS)}")
    return text


def profile_of(option: str | None) -> str | None:
    """Return the profile to ask for: the option's, else the environment's, else the daemon's choice.

    Raises:
        WrongUsage: the environment's isn't valid text.
    """
    if option is not None:
        return option
    try:
        return valid_text(os.environ.get("OPENFIT_PROFILE", "")) or None
    except ValueError as error:
        from openfit_token._cli.terminal import WrongUsage  # noqa: PLC0415 -- not where all is well

        raise WrongUsage(f"$OPENFIT_PROFILE: {error}") from None


def show(token: "Token", form: str) -> None:
    """Print a token in one of FORMATS."""
    match form:
        case "raw":
            put(f"{token.access_token}\n")
        case "header":
            put(f"Authorization: {token.authorization}\n")
        case _:
            from openfit_token._cli.formats import formatted  # noqa: PLC0415 -- json takes 7 ms

            put(formatted(token, form))

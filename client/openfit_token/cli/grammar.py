"""What a command line may hold, read off its parser: so what is completed is what is parsed."""

from argparse import REMAINDER, Action, ArgumentParser
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, cast

from openfit_token.cli.get import FORMATS

SHELLS: Final = ("bash", "zsh", "fish")
"""Those that `completion` prints a script for."""
_PATHS: Final = ("PATH", "FILE", "DIR")
"""The metavars of options that name a file."""


@dataclass(frozen=True, slots=True)
class Option:
    """An option: its long flag; whether it takes a value, and which are known."""

    flag: str
    about: str
    takes: str = ""
    """"" for no value, else `words`, `profile`, `file` or `other`."""
    words: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Command:
    """A command: its options, the words it takes, whether it ends with a command to run."""

    name: str
    about: str
    options: Sequence[Option]
    words: Sequence[str] = ()
    runs: bool = False


def commands_of(parser: ArgumentParser) -> list[Command]:
    """Return the commands that the parser's help shows."""
    (subparsers,) = (each for each in _actions(parser) if isinstance(each.choices, dict))
    parsers = cast("Mapping[str, ArgumentParser]", subparsers.choices)
    shown = cast("Iterable[Action]", subparsers._get_subactions())  # type: ignore[attr-defined] # noqa: SLF001 -- argparse has no public way to look into a parser
    return [_command(each.dest, each.help or "", parsers[each.dest]) for each in shown]


def _command(name: str, about: str, parser: ArgumentParser) -> Command:
    actions = _actions(parser)
    positional = [each for each in actions if not each.option_strings]
    return Command(
        name,
        about,
        [_option(each) for each in actions if each.option_strings],
        [str(word) for each in positional for word in each.choices or ()],
        any(each.nargs == REMAINDER for each in positional),
    )


def _actions(parser: ArgumentParser) -> list[Action]:
    return parser._actions  # noqa: SLF001 -- argparse has no public way to look into a parser


def _option(action: Action) -> Option:
    flag, about = action.option_strings[-1], action.help or ""
    if action.nargs == 0:
        return Option(flag, about)
    if action.choices is not None:
        return Option(flag, about, "words", [str(word) for word in action.choices])
    if action.dest == "format":
        return Option(flag, about, "words", FORMATS)
    if action.dest == "profile":
        return Option(flag, about, "profile")
    return Option(flag, about, "file" if action.metavar in _PATHS else "other")

"""What argparse knows of a command, as sections of a man page."""

from argparse import REMAINDER, Action, ArgumentParser
from collections.abc import Iterator
from typing import cast

from generator import roff


def synopsis(parser: ArgumentParser) -> str:
    """Return each command with its options, as it is typed."""
    return ".PP\n".join(f"{_typed(name, each)}\n" for name, _about, each in _commands(parser))


def commands(parser: ArgumentParser) -> str:
    """Return what each command does, with its options and what its help says below them."""
    return "".join(
        f".SS {roff.bold(name)}\n{roff.prose(_sentence(about))}\n{_options(each)}{_epilog(each)}"
        for name, about, each in _commands(parser)
    )


def epilog(parser: ArgumentParser) -> str:
    """Return what the whole command's help says below its options."""
    return roff.example(parser.epilog or "")


def _commands(parser: ArgumentParser) -> Iterator[tuple[str, str, ArgumentParser]]:
    (subparsers,) = (each for each in _actions(parser) if isinstance(each.choices, dict))
    parsers = cast("dict[str, ArgumentParser]", subparsers.choices)
    for shown in cast("list[Action]", subparsers._get_subactions()):  # type: ignore[attr-defined] # noqa: SLF001 -- argparse has no public way to look into a parser
        yield shown.dest, shown.help or "", parsers[shown.dest]


def _actions(parser: ArgumentParser) -> list[Action]:
    return [
        each
        for each in parser._actions  # noqa: SLF001 -- argparse has no public way to look into a parser
        if "--help" not in each.option_strings
    ]


def _typed(name: str, parser: ArgumentParser) -> str:
    program = parser.prog.split()[0]
    parts = [roff.bold(program), roff.bold(name)]
    for each in _actions(parser):
        if each.option_strings:
            parts.append(f"[{_flag(each)}]")
        elif each.nargs == REMAINDER:
            parts.append(f"[{roff.bold('--')} {roff.italic(_value(each))} ...]")
        else:
            text = roff.italic(_value(each))
            parts.append(f"[{text}]" if each.nargs == "?" else text)
    return " ".join(parts)


def _flag(action: Action) -> str:
    flag = roff.bold(action.option_strings[-1])
    return flag if action.nargs == 0 else f"{flag} {roff.italic(_value(action))}"


def _value(action: Action) -> str:
    if action.metavar:
        return str(action.metavar)
    words = "|".join(str(choice) for choice in action.choices or ())
    return words or action.dest.upper()


def _options(parser: ArgumentParser) -> str:
    return "".join(
        roff.term(
            _flag(each) if each.option_strings else roff.italic(_value(each)),
            roff.prose((each.help or "").replace("%%", "%")),
        )
        for each in _actions(parser)
    )


def _epilog(parser: ArgumentParser) -> str:
    return f".PP\n{roff.example(parser.epilog)}" if parser.epilog else ""


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""

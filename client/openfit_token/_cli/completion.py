"""Completions: the scripts of the shells ask `complete`, which knows the parser and the profiles."""

from argparse import REMAINDER, Action, ArgumentParser
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, suppress
from typing import Final, cast

from openfit_token._cli.get import FORMATS
from openfit_token._cli.output import put
from openfit_token._client import calls
from openfit_token._client.blocking import ask
from openfit_token._client.connection import Connection
from openfit_token._client.paths import connect
from openfit_token._shared.profile_name import is_profile_name
from openfit_token.errors import TokenError

_PATIENCE: Final = 1.0
"""Seconds. Somebody has pressed a key and waits."""
_PATHS: Final = ("PATH", "FILE", "DIR")
"""The metavars of options that name a file."""
_FILES: Final = ":files"
_RUN: Final = ":run"

SHELLS: Final[Mapping[str, str]] = {
    "bash": r"""# bash completion for PROG
_IDENT() {
    local current=${COMP_WORDS[COMP_CWORD]} word about
    COMPREPLY=()
    [[ $current == = ]] && current=  # to bash, the = of --option=value is a word
    while IFS=$'\t' read -r word about; do
        case $word in
            :run) ((about == 0)) && mapfile -t COMPREPLY < <(compgen -c -- "$current") ;;
            :files) ;;  # bash's own
            "$current"*) COMPREPLY+=("$word") ;;
        esac
    done < <(PROG complete -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
}
complete -o bashdefault -o default -F _IDENT PROG
""",
    "zsh": r"""#compdef PROG
_IDENT() {
    local line
    local -a offered
    for line in "${(@f)$(PROG complete -- "${(@)words[2,CURRENT]}" 2>/dev/null)}"; do
        case $line in
            :run*)
                line=${line#*$'\t'}
                shift $((CURRENT - line - 1)) words
                CURRENT=$((line + 1))
                if ((line)); then _normal; else _command_names -e; fi
                return ;;
            :files*) compset -P '--*='; _files; return ;;
            ?*) offered+=("${line%%$'\t'*}:${line#*$'\t'}") ;;
        esac
    done
    compset -P '--*='
    _describe PROG offered
}
if [[ $funcstack[1] == _IDENT ]]; then _IDENT "$@"; else compdef _IDENT PROG; fi
""",
    "fish": r"""# fish completion for PROG
function __IDENT
    set -l words (commandline -opc) (commandline -ct)
    set -l option (string match -r -- '^--[^=]+=' $words[-1])
    for line in (PROG complete -- $words[2..] 2>/dev/null)
        switch $line
            case ':run*'
                __fish_complete_command
                __fish_complete_path $words[-1]
            case ':files*'
                __fish_complete_path (string replace -- "$option" '' $words[-1])
            case '*'
                printf '%s\n' "$option$line"
        end
    end
end
complete -c PROG -f -a '(__IDENT)'
""",
}
"""The script of each shell. IDENT is a name that it can give to a function."""


def script(prog: str, shell: str) -> int:
    """Print the completions of a command for a shell. Return the exit status."""
    put(SHELLS[shell].replace("PROG", prog).replace("IDENT", prog.replace("-", "_")))
    return 0


def complete(parser: ArgumentParser, words: list[str], default: str | None = "get") -> int:
    """Print what may stand in place of the last word, a line each. Return the exit status.

    A line is a word, a tab, and what it is about. Two lines are orders: `:files` to complete the names of
    files, and `:run N` to complete a command to run, whose name is N words before the last one.

    Args:
        parser: the command's, with its subcommands.
        words: those of the command line without the first, up to the cursor.
        default: the command whose options are also valid without a command.
    """
    offered = dict(_offered(parser, words, default))
    put("".join(f"{word}\t{about}\n" for word, about in offered.items()))
    return 0


def _profiles(socket: str | None) -> list[str]:
    """Return the profiles' names; none if the daemon can't be asked now.

    Only valid ones: a shell puts them into a command line, and would run anything else.
    """
    with suppress(TokenError, OSError):
        with closing(Connection(connect(socket))) as connection:
            hello = calls.fields(ask(connection, calls.hello(), _PATIENCE))
        if isinstance(found := hello.get("profiles"), list):
            names = cast("list[object]", found)
            return [str(name) for name in names if is_profile_name(name)]
    return []


def _offered(
    parser: ArgumentParser, words: list[str], default: str | None
) -> Iterator[tuple[str, object]]:
    commands = _commands(parser)
    options = {
        flag: action
        for each in commands.values()
        for action in _actions(each)
        for flag in action.option_strings
        if action.nargs != 0
    }
    before = [word for word in words if word != "="]  # to bash, the = of --option=value is a word
    current = before.pop() if words[-1:] != ["="] else ""
    command, at = "", 0
    given: dict[str, str] = {}
    while at < len(before):
        word, at = before[at], at + 1
        flag, equals, value = word.partition("=")
        if flag in options:
            if not equals and at == len(before):
                yield from _values(options[flag], given)
                return
            given[flag], at = (value, at) if equals else (before[at], at + 1)
        elif word == "--" and command in commands and _runs(commands[command]):
            yield _RUN, len(before) - at
            return
        elif not command and not word.startswith("-"):
            command = word
    flag, equals, _ = current.partition("=")
    if equals:
        yield from _values(options[flag], given) if flag in options else ()
    elif not command:
        shown = cast("Iterable[Action]", _subparsers(parser)._get_subactions())  # type: ignore[attr-defined] # noqa: SLF001 -- argparse has no public way to look into a parser
        yield from ((each.dest, each.help) for each in shown)
        yield from _flags(parser)
        yield from _flags(commands[default]) if default else ()
    elif command in commands:
        for action in _actions(commands[command]):
            yield from _values(action, given) if not action.option_strings else ()
        yield from _flags(commands[command])


def _commands(parser: ArgumentParser) -> Mapping[str, ArgumentParser]:
    return cast("Mapping[str, ArgumentParser]", _subparsers(parser).choices)


def _subparsers(parser: ArgumentParser) -> Action:
    (found,) = (each for each in _actions(parser) if isinstance(each.choices, dict))
    return found


def _actions(parser: ArgumentParser) -> list[Action]:
    return parser._actions  # noqa: SLF001 -- argparse has no public way to look into a parser


def _runs(command: ArgumentParser) -> bool:
    """Return whether a command takes another one to run."""
    return any(each.nargs == REMAINDER for each in _actions(command))


def _flags(parser: ArgumentParser) -> Iterator[tuple[str, object]]:
    for each in _actions(parser):
        if each.option_strings:
            yield each.option_strings[-1], each.help


def _values(action: Action, given: Mapping[str, str]) -> Iterator[tuple[str, object]]:
    if action.dest == "profile":
        words: Iterable[object] = _profiles(given.get("--socket"))
    elif action.metavar in _PATHS:
        words = (_FILES,)
    else:
        words = FORMATS if action.dest == "format" else action.choices or ()
    yield from ((str(word), "") for word in words)

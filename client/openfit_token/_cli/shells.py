"""A command line's options and commands, as completion scripts of bash, zsh and fish."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from openfit_token._shared.frozen import frozen


@frozen
class Option:
    """An option: its long flag; whether it takes a value, and which are known."""

    flag: str
    about: str
    takes: str = ""
    """"" for no value, else `words`, `profile`, `file` or `other`."""
    words: Sequence[str] = ()


@frozen
class Command:
    """A command: its options, the words it takes, whether it ends with a command to run."""

    name: str
    about: str
    options: Sequence[Option]
    words: Sequence[str] = ()
    runs: bool = False


def _identifier(prog: str) -> str:
    return "_" + prog.replace("-", "_")


def bash(prog: str, commands: Sequence[Command], lone: Sequence[Option]) -> Iterable[str]:
    """Return the lines of the script for bash."""
    options = {each.flag: each for one in commands for each in one.options}
    valued = [each for each in options.values() if each.takes]
    name = _identifier(prog)
    yield f"# bash completion for {prog}"
    yield f"{name}() {{"
    yield "    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD-1]}"
    yield "    local command= words= i name"
    yield "    COMPREPLY=()"
    yield "    # To bash, the = of --option=value is a word."
    yield "    if [[ $current == = ]]; then current="
    yield "    elif [[ $before == = ]]; then before=${COMP_WORDS[COMP_CWORD-2]}; fi"
    yield "    for ((i = 1; i < COMP_CWORD; i++)); do"
    yield "        case ${COMP_WORDS[i]} in"
    if valued:
        flags = " | ".join(each.flag for each in valued)
        yield f"            {flags}) [[ ${{COMP_WORDS[i+1]}} == = ]] && ((i++)); ((i++)) ;;"
    yield "            -* | =) ;;"
    yield "            *) command=${COMP_WORDS[i]}; break ;;"
    yield "        esac"
    yield "    done"
    running = "|".join(each.name for each in commands if each.runs)
    if running:
        yield f"    if [[ $command == @({running}) ]]; then"
        yield "        for ((i++; i < COMP_CWORD; i++)); do"
        yield "            [[ ${COMP_WORDS[i]} == -- ]] || continue"
        yield "            ((COMP_CWORD == i + 1)) &&"
        yield '                mapfile -t COMPREPLY < <(compgen -c -- "$current")'
        yield "            return"
        yield "        done"
        yield "    fi"
    yield "    case $before in"
    for each in valued:
        yield from _bash_values(prog, each)
    yield "        *) case $command in"
    for one in commands:
        words = [*one.words, *(each.flag for each in one.options)]
        yield f"            {one.name}) words='{' '.join(words)}' ;;"
    first = [*(one.name for one in commands), *(each.flag for each in lone)]
    yield f"            '') words='{' '.join(first)}' ;;"
    yield "        esac ;;"
    yield "    esac"
    yield '    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")'
    yield "}"
    yield f"complete -o bashdefault -o default -F {name} {prog}"


def _bash_values(prog: str, option: Option) -> Iterable[str]:
    match option.takes:
        case "words":
            yield f"        {option.flag}) words='{' '.join(option.words)}' ;;"
        case "profile":
            yield f"        {option.flag})"
            yield "            while IFS= read -r name; do"
            yield '                [[ $name == "$current"* ]] && COMPREPLY+=("$name")'
            yield f"            done < <({prog} profiles 2>/dev/null)"
            yield "            return ;;"
        case _:
            yield f"        {option.flag}) return ;;"


def zsh(prog: str, commands: Sequence[Command], lone: Sequence[Option]) -> Iterable[str]:
    """Return the lines of the script for zsh."""
    name = _identifier(prog)
    yield f"#compdef {prog}"
    yield f"{name}_profiles() {{"
    yield "    local -a names"
    yield f'    names=(${{(f)"$({prog} profiles 2>/dev/null)"}})'
    yield "    compadd -a names"
    yield "}"
    yield f"{name}() {{"
    yield "    local curcontext=$curcontext state line"
    yield "    local -a offered  # not `commands`, which is zsh's own"
    yield "    typeset -A opt_args"
    yield "    _arguments -C \\"
    for each in lone:
        yield f"        {_zsh_option(name, each)} \\"
    yield "        '1: :->command' '*:: :->rest'"
    yield "    case $state in"
    yield "        command)"
    yield "            offered=("
    for one in commands:
        yield f"                {_zsh_quoted(f'{one.name}:{one.about}')}"
    yield "            )"
    yield "            _describe command offered ;;"
    yield "        rest)"
    yield "            case $words[1] in"
    for one in commands:
        yield f"                {one.name})"
        yield "                    _arguments -S \\"
        for each in one.options:
            yield f"                        {_zsh_option(name, each)} \\"
        if one.runs:
            yield "                        '(-)1: :_command_names -e' '*:: :_normal' ;;"
        elif one.words:
            yield f"                        '1: :({' '.join(one.words)})' ;;"
        else:
            yield "                        && return ;;"
    yield "            esac ;;"
    yield "    esac"
    yield "}"
    yield f'if [[ $funcstack[1] == {name} ]]; then {name} "$@"; else compdef {name} {prog}; fi'


def _zsh_option(name: str, option: Option) -> str:
    about = option.about
    for special in "\\[]:":
        about = about.replace(special, f"\\{special}")
    values = {
        "": "",
        "words": f"=: :({' '.join(option.words)})",
        "profile": f"=: :{name}_profiles",
        "file": "=: :_files",
        "other": "=: : ",
    }[option.takes]
    sign, colon, action = values.partition(":")
    return _zsh_quoted(f"{option.flag}{sign}[{about}]{colon}{action}")


def _zsh_quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


def fish(prog: str, commands: Sequence[Command], lone: Sequence[Option]) -> Iterable[str]:
    """Return the lines of the script for fish."""
    yield f"# fish completion for {prog}"
    yield f"complete -c {prog} -f"
    for one in commands:
        about = _fish_quoted(one.about)
        yield f"complete -c {prog} -n __fish_use_subcommand -a {one.name} -d {about}"
    for each in lone:
        yield f"complete -c {prog} -n __fish_use_subcommand {_fish_option(prog, each)}"
    for one in commands:
        here = f"complete -c {prog} -n '__fish_seen_subcommand_from {one.name}'"
        for each in one.options:
            yield f"{here} {_fish_option(prog, each)}"
        if one.words:
            yield f"{here} -a '{' '.join(one.words)}'"
        if one.runs:
            yield f"{here} -F -a '(__fish_complete_command)'"


def _fish_option(prog: str, option: Option) -> str:
    values = {
        "": "",
        "words": f" -x -a '{' '.join(option.words)}'",
        "profile": f" -x -a '({prog} profiles 2>/dev/null)'",
        "file": " -r -F",
        "other": " -x",
    }[option.takes]
    return f"-l {option.flag.removeprefix('--')}{values} -d {_fish_quoted(option.about)}"


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


Script: TypeAlias = Callable[[str, Sequence[Command], Sequence[Option]], Iterable[str]]
"""The lines for a command: its name, its commands, the options it has without one."""

SHELLS: Final[Mapping[str, Script]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}

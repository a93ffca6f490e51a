"""Completions, as the shells themselves make them of what `openfit-token completion` prints."""

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, always, silent
from openfit_token._cli import completion
from openfit_token._cli import run as run_words
from openfit_token._cli.completion import SHELLS
from processes import OPENFIT_TOKEN, environment
from terminals import Terminal

pytestmark = pytest.mark.system

HELP = "show this help message and exit"
HELLO = {"profiles": ["main", "etl"]}
TERMINAL = {
    "bash": (("--norc", "-i"), "source script.bash"),
    "zsh": (
        ("-f", "-i", "-V"),
        "autoload -Uz compinit && compinit -u -D; source script.zsh",
    ),
}
"""What an interactive shell is started with, and what it needs to hear first."""
COMMANDS = (
    *("get", "refresh", "refuse", "exec", "login", "logout", "status", "inspect", "doctor"),
    "completion",
)


@pytest.fixture
def scripts(place: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A directory with each shell's script, and on its $PATH an `openfit-token`."""
    capsys.readouterr()
    for shell in SHELLS:
        assert run_words(["completion", shell]) == 0
        (place / f"script.{shell}").write_text(capsys.readouterr().out)
    command = place / "openfit-token"
    command.write_text(f'#!/bin/sh\nexec {shlex.join(OPENFIT_TOKEN)} "$@"\n')
    command.chmod(0o755)
    return place


Complete = Callable[[str], set[str]]
"""Gives what a shell offers for a command line that the user has typed so far."""


def bash(scripts: Path) -> Complete:
    ask = """
        source script.bash; read -ra COMP_WORDS <<<"${1//=/ = }"
        [[ $1 == *' ' ]] && COMP_WORDS+=('')
        COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
        complete -p openfit-token >/dev/null && _openfit_token; printf '%s\\n' "${COMPREPLY[@]}"
    """
    return lambda line: lines_of(scripts, "bash", "--norc", "-c", ask, "bash", line)


def fish(scripts: Path) -> Complete:
    ask = "source script.fish; complete -C $argv[1]"
    return lambda line: lines_of(scripts, "fish", "--no-config", "-c", ask, line)


def lines_of(scripts: Path, *command: str) -> set[str]:
    done = subprocess.run(
        command,
        cwd=scripts,
        env=environment_of(scripts),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    return {line.split("\t")[0] for line in done.stdout.splitlines() if line}


def environment_of(scripts: Path) -> dict[str, str]:
    own = {"PATH": f"{scripts}:{os.environ['PATH']}", "HOME": str(scripts), "TERM": "dumb"}
    return environment(OPENFIT_TOKEN_SOCKET=str(scripts / "s"), **own)


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture(
    params=[pytest.param(bash, marks=needs("bash")), pytest.param(fish, marks=needs("fish"))]
)
def complete(request: pytest.FixtureRequest, scripts: Path) -> Complete:
    made: Complete = request.param(scripts)
    return made


def test_commands_are_completed(complete: Complete) -> None:
    assert complete("openfit-token st") == {"status"}
    assert set(COMMANDS) <= complete("openfit-token ")


def test_options_and_their_words_are_completed(complete: Complete) -> None:
    assert {"--json", "--openmetrics", "--watch"} <= complete("openfit-token status --")
    assert {"--json", "--wait", "--profile"} <= complete("openfit-token inspect --")
    assert complete("openfit-token get --format h") == {"header"}
    assert complete("openfit-token completion z") == {"zsh"}
    assert "--min-ttl" in complete("openfit-token --mi")


def test_profiles_are_asked_of_the_daemon_at_each_completion(
    scripts: Path, complete: Complete
) -> None:
    with FakeDaemon(scripts / "s", always(HELLO)) as daemon:
        assert complete("openfit-token status --profile m") == {"main"}
        daemon.behaviour = always({"profiles": ["mine"]})
        assert complete("openfit-token --profile m") == {"mine"}


@pytest.mark.parametrize("before", ["--socket t", "--socket=t", "--socket s --socket t"])
def test_profiles_are_those_of_the_socket_that_the_line_names(
    scripts: Path, complete: Complete, before: str
) -> None:
    with (
        FakeDaemon(scripts / "s", always(HELLO)),
        FakeDaemon(scripts / "t", always({"profiles": ["mine"]})),
    ):
        assert complete(f"openfit-token get {before} --profile m") == {"mine"}


def test_only_what_a_profile_may_be_called_is_offered(scripts: Path, complete: Complete) -> None:
    """Who answers chooses the words: a shell would run `$(...)` as soon as the line is entered."""
    hostile = [
        "main$(id)",
        "$(id)",
        "`id`",
        "main;id",
        "-x",
        "a b",
        "a\nb",
        "é",
        "",
        7,
        None,
        "n" * 65,
    ]
    with FakeDaemon(scripts / "s", always({"profiles": [*hostile, "main", "e-t.l_1"]})) as daemon:
        assert complete("openfit-token get --profile ") == {"main", "e-t.l_1"}
        daemon.behaviour = always({"profiles": "main"})
        assert complete("openfit-token get --profile ") == set()


@pytest.mark.parametrize("shell", [pytest.param(name, marks=needs(name)) for name in TERMINAL])
def test_a_completed_line_that_is_entered_runs_no_profiles_name(scripts: Path, shell: str) -> None:
    named = always({"profiles": ["main$(touch${IFS}pwned)"]})
    with FakeDaemon(scripts / "s", named), interactive(scripts, shell) as terminal:
        enter(terminal, "openfit-token get --profile mai\t", "--profile mai")
        enter(terminal, "\necho do''ne\n", "done")

    assert not (scripts / "pwned").exists()


def test_exec_completes_commands(complete: Complete) -> None:
    assert "true" in complete("openfit-token exec -- tru")


@pytest.mark.skipif(shutil.which("zsh") is None, reason="zsh is not installed")
def test_zsh_completes_too(scripts: Path) -> None:
    with (
        FakeDaemon(scripts / "s", always({"profiles": ["mainly"]})),
        interactive(scripts, "zsh") as zsh,
    ):
        for typed, shown in (
            ("openfit-token sta", "openfit-token status"),
            ("openfit-token insp", "openfit-token inspect"),
            ("openfit-token get --format hea", "--format header"),
            ("openfit-token get --format=hea", "--format=header"),
            ("openfit-token login --profile mai", "--profile mainly"),
            ("openfit-token exec -- whoa", "exec -- whoami"),
            ("openfit-token exec -- cat script.z", "cat script.zsh"),
            ("openfit-token get --socket script.z", "--socket script.zsh"),
        ):
            enter(zsh, f"{typed}\t", shown)
            zsh.answer("", "\x15")  # Ctrl-U


def interactive(scripts: Path, shell: str) -> Terminal:
    """Start a shell on a terminal of its own, and await that it completes."""
    options, ready = TERMINAL[shell]
    variables = environment_of(scripts) | {"PS1": "> "}
    terminal = Terminal([shutil.which(shell) or "", *options], variables, scripts)
    enter(terminal, f"{ready}; echo rea''dy\n", "ready")
    return terminal


def enter(terminal: Terminal, keys: str, shown: str) -> None:
    """Type, and await what is to be shown then."""
    terminal.answer("", keys)
    terminal.read_until(shown)


def test_no_profiles_are_offered_where_no_daemon_answers_in_time(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(completion, "_PATIENCE", 0.1)
    words = ["complete", "--", "get", "--socket", str(place / "s"), "--profile", ""]
    with FakeDaemon(place / "s", silent):
        told = [run_words(words)]
    told.append(run_words(words))

    assert (told, capsys.readouterr()) == ([0, 0], ("", ""))


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (["exec", "--", "./run", "--profile", ""], {":run": "2"}),
        (["exec", "--min-ttl", "=", "9", "--", ""], {":run": "0"}),
        (["watch", "--", ""], {":run": "0"}),
        (["get", "--socket", ""], {":files": ""}),
        (["get", "--socket="], {":files": ""}),
        (["doctor", "--api", ""], {}),
        (["get", "--wait", ""], {}),
        (["get", "--nonsense=x"], {}),
        (["nonsense", ""], {}),
        (["completion", "--"], {**dict.fromkeys(SHELLS, ""), "--help": HELP}),
    ],
)
def test_complete_says_what_may_stand_in_place_of_the_last_word(
    capsys: pytest.CaptureFixture[str], words: list[str], offered: dict[str, str]
) -> None:
    assert run_words(["complete", "--", *words]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert dict(line.split("\t") for line in lines) == offered


def test_a_value_after_an_equals_sign_is_completed(complete: Complete, scripts: Path) -> None:
    with FakeDaemon(scripts / "s", always(HELLO)):
        assert {line.rpartition("=")[2] for line in complete("openfit-token get --format=h")} == {
            "header"
        }


@pytest.mark.parametrize("shell", SHELLS)
def test_the_daemons_command_has_completions_of_its_own(shell: str) -> None:
    def printed(*words: str) -> str:
        command = [sys.executable, "-m", "openfit_tokend", *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    script, offered = printed("completion", shell), printed("complete", "--", "")
    assert "openfit-tokend complete -- " in script
    assert {line.split("\t")[0] for line in offered.splitlines()} > {"run", "check", "--version"}
    assert "warning\t\n" in printed("complete", "--", "run", "--log-level", "w")
    if shutil.which(shell) is not None:
        subprocess.run([shell, "-n"], input=script, text=True, check=True)

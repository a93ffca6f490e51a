"""`openfit-token` as a process: how it ends when the world interferes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from fake_daemon import FakeDaemon, Request, always, silent, token_fields
from processes import OPENFIT_TOKEN, environment
from terminals import Terminal

pytestmark = pytest.mark.system


def test_a_token_is_printed(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        done = subprocess.run(
            [*OPENFIT_TOKEN, "get"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            capture_output=True,
            check=True,
        )

    assert (done.stdout, done.stderr) == (b"token-a\n", b"")


def test_its_process_has_the_commands_name_for_ps_and_for_the_daemons_log(place: Path) -> None:
    names: list[str] = []

    def answer(request: Request) -> None:
        names.append(Path(f"/proc/{process.pid}/comm").read_text())
        request.result(token_fields())

    with (
        FakeDaemon(place / "s", answer) as daemon,
        subprocess.Popen(
            [*OPENFIT_TOKEN, "get"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=subprocess.DEVNULL,
        ) as process,
    ):
        process.wait()

    assert names == ["openfit-token\n"]


@pytest.mark.parametrize("words", [["get"], ["--help"], ["--version"]])
def test_a_full_disk_ends_with_74_and_a_line_that_says_so(place: Path, words: list[str]) -> None:
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        Path("/dev/full").open("w") as full,
    ):
        done = subprocess.run(
            [*OPENFIT_TOKEN, *words],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        74,
        "openfit-token: can't write the output: No space left on device\n",
    )


@pytest.mark.parametrize("words", [["get"], ["get", "--format", "json"], ["--help"]])
def test_a_closed_pipe_ends_with_74_silently(place: Path, words: list[str]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        done = subprocess.run(
            [*OPENFIT_TOKEN, *words],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=writer,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    os.close(writer)

    assert (done.returncode, done.stderr) == (74, "")


def test_a_closed_standard_output_ends_with_74(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        done = subprocess.run(
            ["/bin/sh", "-c", 'exec "$@" >&-', "sh", *OPENFIT_TOKEN, "get"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )

    assert (done.returncode, done.stderr) == (
        74,
        "openfit-token: can't print: standard output is closed\n",
    )


@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
def test_where_errors_cant_be_told_the_exit_status_still_does(
    place: Path, redirection: str
) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", f'exec "$@" {redirection}', "sh", *OPENFIT_TOKEN, "get"],
        env=environment(OPENFIT_TOKEN_SOCKET=f"{place}/s"),
        stdout=subprocess.PIPE,
        check=False,
    )

    assert (done.returncode, done.stdout) == (69, b"")


def test_ctrl_c_ends_it_silently_and_by_the_signal_so_that_a_shells_loop_ends_too(
    place: Path,
) -> None:
    with (
        FakeDaemon(place / "s", silent) as daemon,
        subprocess.Popen(
            [*OPENFIT_TOKEN, "get"],
            env=environment(OPENFIT_TOKEN_SOCKET=daemon.path),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process,
    ):
        daemon.next_request()
        process.send_signal(signal.SIGINT)

        assert process.communicate() == (b"", b"")
    assert process.returncode == -signal.SIGINT


def test_a_password_is_asked_for_on_the_terminal_without_echo(place: Path) -> None:
    command = [*OPENFIT_TOKEN, "login", "--ask", "--profile", "main"]
    with (
        FakeDaemon(place / "s", always(token_fields())) as daemon,
        Terminal(command, environment(OPENFIT_TOKEN_SOCKET=daemon.path)) as terminal,
    ):
        terminal.answer(": ", "hunter2\n")
        assert terminal.end() == 0

    assert terminal.shown == "Password for main: \r\nmain: logged in, a token for 60 min\r\n"
    assert daemon.calls == [("login", {"profile": "main", "password": "hunter2", "wait": 30.0})]


def test_refuse_on_a_terminal_doesnt_wait_for_input(place: Path) -> None:
    variables = environment(OPENFIT_TOKEN_SOCKET=f"{place}/s")
    with Terminal([*OPENFIT_TOKEN, "refuse"], variables) as terminal:
        assert terminal.end() == 64

    assert terminal.shown.startswith("openfit-token: refuse: which token?")

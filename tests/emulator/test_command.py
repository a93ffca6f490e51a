"""`openfit-tokend emulator` as a process: what it prints, and how it ends."""

import signal
import subprocess
import sys
import tomllib
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

COMMAND = [sys.executable, "-m", "openfit_tokend", "emulator", "--port", "0"]

pytestmark = pytest.mark.system


@contextmanager
def emulator(*options: str) -> Generator[subprocess.Popen[str]]:
    pipe = subprocess.PIPE
    with subprocess.Popen([*COMMAND, *options], stdout=pipe, stderr=pipe, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def refusal(*options: str) -> tuple[int, str]:
    """Return the exit status and the text of an emulator that doesn't begin."""
    command = [*COMMAND, *options]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    assert ended.stdout == ""
    return ended.returncode, ended.stderr


def greeting(process: subprocess.Popen[str], lines: int = 11) -> list[str]:
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(lines)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_silently(number: signal.Signals) -> None:
    with emulator() as process:
        greeting(process)

        process.send_signal(number)
        out, err = process.communicate(timeout=20)

    assert (process.returncode, out, err) == (0, "", "")


def test_it_says_where_it_listens_and_how_to_use_it() -> None:
    with emulator("--token-lifetime", "7") as process:
        first, *rest = greeting(process)
        profile = tomllib.loads("\n".join(rest[1:]))["profiles"]["emulator"]
        form = {
            "grant_type": "password",
            "scope": profile["scope"],
            "client_id": profile["client_id"],
            "username": profile["username"],
            "password": profile["password_command"][1],
        }

        answer = httpx.post(f"{profile['id_server']}/connect/token", data=form, trust_env=False)

        assert profile["id_server"] in first
        assert profile["api_url"] == f"{profile['id_server']}/api"
        assert answer.json()["expires_in"] == 7


def test_a_password_that_was_given_is_not_shown() -> None:
    with emulator("--username", 'a"\nb', "--password", "sesame", "--user", "c:other") as process:
        text = "\n".join(greeting(process))

    assert 'username = "a\\"\\nb"' in text
    assert "sesame" not in text
    assert "other" not in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--host", "0.0.0.0"], "'0.0.0.0' is no loopback address"),  # noqa: S104 -- refused
        (["--fault", "rest@2"], "there is no fault 'rest'; did you mean reset?"),
        (["--token-lifetime", "0"], "'0' is not a whole number from 1"),
        (["--port", "65536"], "'65536' is not a whole number from 0 to 65535"),
        (["--user", "name"], "write NAME:PASSWORD"),
        (["--user", "\udcff:word"], "is not valid text"),
        (["--username", "\udcff"], "is not valid text"),
        (["--scope", "\udcff"], "is not valid text"),
        (["--client-id", "\udcff"], "is not valid text"),
        (["--fault", "expires-in=\udcff"], "is invalid in expires-in"),
        (["--tokenlifetime", "5"], "unrecognized arguments"),
        (["--tls-key", "/nowhere/key.pem"], "--tls-key needs --tls-cert too"),
    ],
)
def test_a_wrong_option_is_named_with_exit_64(options: list[str], said: str) -> None:
    status, text = refusal(*options)

    assert status == 64
    assert said in text
    assert text.startswith("openfit-tokend: ")
    assert text.endswith("\n  see: openfit-tokend emulator --help\n")


def test_a_port_that_is_taken_is_said_with_exit_71() -> None:
    with emulator() as process:
        url = greeting(process)[0].split()[4].rstrip(".")

        status, text = refusal("--port", url.rpartition(":")[2])

    assert status == 71
    assert "Address already in use (choose another --port; 0 takes any free one)" in text
    assert text.count("\n") == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--tls-cert=none.pem"], "can't read none.pem: No such file or directory"),
        (
            ["--tls-cert=cert.pem", "--tls-key=none.pem"],
            "can't read none.pem: No such file or directory",
        ),
        (["--tls-cert=cert.pem"], "no PEM certificate with its key: cert.pem"),
        (
            ["--tls-cert=cert.pem", "--tls-key=key.pem"],
            "no PEM certificate with its key: cert.pem and key.pem",
        ),
    ],
)
def test_files_that_are_missing_or_no_certificate_with_its_key_are_named_with_exit_71(
    options: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("cert.pem", "key.pem"):
        Path(name).write_text("nothing of the kind\n")

    status, text = refusal(*options)

    assert (status, text) == (71, f"openfit-tokend: {said}\n")


def test_a_full_disk_is_said_with_exit_74() -> None:
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            COMMAND, stdout=full, stderr=subprocess.PIPE, text=True, timeout=20, check=False
        )

    assert ended.returncode == 74
    assert ended.stderr == "openfit-tokend: can't write the output: No space left on device\n"

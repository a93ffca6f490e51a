"""The service on a booted machine, as its operator and clients see it."""

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread
from typing import Final, cast

from box import Box
from daemons import Fields, Wire, await_that, call_at, write_secret
from emulators import RunningEmulator
from fenced import INSTALL, in_section
from openfit_token import TokenClient, TokenError
from processes import Completed

UNIT: Final = "openfit-tokend.service"
SOCKET: Final = "/run/openfit-tokend/socket"
HTTP_UNIT: Final = "openfit-tokend-http.socket"
CREDENTIAL_SOCKET: Final = "/run/openfit-tokend/credential.socket"
DROP_IN: Final = f"/run/systemd/system/{UNIT}.d/test.conf"
LIBRARY_CLIENTS: Final = 10
SCRIPTS: Final = 10


@dataclass
class Asked:
    """The answers to 20 clients that keep asking."""

    answers: list[int]
    tokens: set[str] = field(default_factory=set[str])
    library_failures: list[str] = field(default_factory=list[str])
    script_failures: list[str] = field(default_factory=list[str])

    def await_an_answer_each(self) -> None:
        """Wait until each client has asked anew, and was answered."""
        before = list(self.answers)
        await_that(
            lambda: all(now > then + 1 for now, then in zip(self.answers, before, strict=True)),
            lambda: f"{before} {self}",
        )


class Machine:
    """A box with a running service, and its token server."""

    def __init__(self, box: Box, emulator: RunningEmulator) -> None:
        self.box = box
        self.emulator = emulator
        self.socket = box.outside(SOCKET)
        self.config = box.outside("/etc/openfit-tokend/config.toml")
        self.profile = box.outside("/etc/openfit-tokend/conf.d/main.toml")
        self._secrets = box.outside("/etc/openfit-tokend/credentials")

    # What an operator does

    def systemctl(self, verb: str) -> Completed:
        """Have systemd do something with the service."""
        return self.box.run("systemctl", verb, UNIT)

    def start(self) -> None:
        """Start the service, whatever its state."""
        self.box.run("systemctl", "reset-failed")
        self.systemctl("start")

    def enable_http(self) -> None:
        """Do what docs/install.md says."""
        (block,) = in_section(INSTALL, "The HTTP socket", "console")
        for command in block.typed("#"):
            self.box.run("sh", "-c", command)

    def write_config(self, text: str) -> None:
        """Write the main file, as an editor does; owner and mode stay."""
        self.config.write_text(text)

    def write_profile(self, text: str) -> None:
        """Write the file of the profile `main` in the same way."""
        self.profile.write_text(text)

    def write_secret(self, name: str, password: str) -> None:
        """Write a credential's file."""
        write_secret(self._secrets / name, password)

    def remove_profiles_but(self, name: str) -> bool:
        """Remove the files and credentials of other profiles, and return whether the daemon knew of them."""
        others = [path for path in self.profile.parent.iterdir() if path.name != f"{name}.toml"]
        for path in (*others, *(each for each in self._secrets.iterdir() if each.name != name)):
            path.unlink()
        return bool(others)

    def drop_in(self, text: str) -> None:
        """Change the service's unit, and restart it."""
        path = self.box.outside(DROP_IN)
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        self.box.run("systemctl", "daemon-reload")
        self.systemctl("restart")

    def remove_drop_in(self) -> None:
        """Restore the shipped unit."""
        path = self.box.outside(DROP_IN)
        if path.exists():
            path.unlink()
            self.box.run("systemctl", "daemon-reload")
            self.systemctl("restart")

    @property
    def pid(self) -> int:
        """Return the daemon's pid inside; 0: none runs."""
        return int(self.box.property(UNIT, "MainPID"))

    def signal(self, name: str) -> None:
        """Send a signal to the daemon."""
        self.box.run("systemctl", "kill", "--kill-who=main", f"--signal={name}", UNIT)

    def await_another(self, pid: int) -> None:
        """Wait until another daemon than this one is ready."""
        await_that(lambda: self.pid not in {0, pid} and self._is_active(), self.box.journal)

    def _is_active(self) -> bool:
        return self.box.property(UNIT, "ActiveState") == "active"

    # What a client does

    def call(self, method: str, **params: object) -> Fields:
        """Call a method, as `call_at` does."""
        return call_at(self.socket, method, **params)

    def token(self, profile: str | None = None) -> str:
        """Return the current token."""
        return str(self.call("get_token", profile=profile, wait=0)["access_token"])

    def profile_status(self, name: str = "main") -> Fields:
        """Return one profile's status."""
        return cast("Fields", self.call("status", profile=name)["profiles"][name])

    @contextmanager
    def asking(self) -> Generator[Asked]:
        """Let 20 clients keep asking: half use the library, half are scripts that try once."""
        asked = Asked([0] * (LIBRARY_CLIENTS + SCRIPTS))
        stop = Event()
        threads = [
            Thread(target=_ask, args=(number, self.socket, asked, stop))
            for number in range(len(asked.answers))
        ]
        for thread in threads:
            thread.start()
        try:
            asked.await_an_answer_each()
            yield asked
            asked.await_an_answer_each()
        finally:
            stop.set()
            for thread in threads:
                thread.join()


@contextmanager
def getting(box: Box, command: str) -> Generator[list[str]]:
    """Have the client's command run again and again; yield what it says when it fails."""
    failures: list[str] = []
    stop = Event()

    def get() -> None:
        while not stop.is_set():
            done = box.run(command, "get", check=False)
            if done.returncode:
                failures.append(done.stderr)

    thread = Thread(target=get)
    thread.start()
    try:
        yield failures
    finally:
        stop.set()
        thread.join()


def _ask(number: int, socket: Path, asked: Asked, stop: Event) -> None:
    if number < LIBRARY_CLIENTS:
        with TokenClient(socket=str(socket)) as client:
            while not stop.wait(0.002):
                try:
                    asked.tokens.add(client.get_token().access_token)
                    asked.answers[number] += 1
                except TokenError as error:
                    asked.library_failures.append(repr(error))
    else:
        while not stop.wait(0.002):
            try:
                with Wire(socket) as wire:
                    answer = wire.call("get_token")
            except (OSError, EOFError) as error:
                asked.script_failures.append(repr(error))
                continue
            if answer.result is None:
                asked.script_failures.append(str(answer.error))
                continue
            asked.tokens.add(str(answer.result["access_token"]))
            asked.answers[number] += 1

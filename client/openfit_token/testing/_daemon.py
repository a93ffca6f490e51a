"""A real daemon as a process, with a directory of its own."""

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep
from typing import Final, Self, cast

from openfit_token._client.blocking import TokenClient
from openfit_token.errors import TokenError
from openfit_token.testing._emulator import Emulator
from openfit_token.testing._processes import (
    PATIENCE,
    PYTHON,
    Program,
    await_rest,
    not_started,
    temporary_parent,
)

_LOOK: Final = 0.01
"""Seconds between two looks whether it answers."""
_LONGEST_LOGIN: Final = 10.0
"""Seconds to wait for the first login: it may be meant to hang."""

Setting = str | float | list[str] | None
"""The value of a key of the configuration."""


class Daemon(Program):
    """A context manager: a running daemon with one profile, `main`, of an emulator's account.

    Args:
        emulator: where it logs in.
        pause: seconds from one token to the next that a client may cause, by `refuse` or `refresh`.
            In production it is 10, which no test wants to wait for.
        directory: where all its files are. Without it, they are in a temporary one, which is deleted at
            the end.
        process_group: of its process, as in `subprocess.Popen`.
        settings: more keys of the profile, as in `config.toml`; None leaves out a default one.
    """

    def __init__(
        self,
        emulator: Emulator,
        *,
        pause: float = 0.0,
        directory: Path | None = None,
        process_group: int | None = None,
        **settings: Setting,
    ) -> None:
        super().__init__(process_group)
        self._temporary: TemporaryDirectory[str] | None = None
        if directory is None:
            self._temporary = TemporaryDirectory(prefix="openfit-", dir=temporary_parent())
            directory = Path(self._temporary.name)
        self.directory: Path = directory
        self.socket: Path = self.directory / "socket"
        self.config: Path = self.directory / "config.toml"
        self.password_file: Path = self.directory / "password"
        self._log = self.directory / "log"
        self._pause = pause
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(emulator.password)
        profile: dict[str, Setting] = {
            "environment": "custom",
            "id_server": emulator.url,
            "api_url": emulator.api_url,
            "client_id": emulator.client_id,
            "username": emulator.username,
            "password_file": str(self.password_file),
        }
        profile.update(settings)
        # JSON's texts, numbers and lists are TOML's too.
        lines = [
            f"{key} = {json.dumps(value, ensure_ascii=False)}"
            for key, value in profile.items()
            if value is not None
        ]
        self.config.write_text("\n".join(["[profiles.main]", *lines, ""]))

    def client(self) -> TokenClient:
        """Return a client of it, which the caller closes."""
        return TokenClient(socket=str(self.socket))

    def start(self) -> None:
        """Start it and wait until it is ready: it has a token, or its first login has failed.

        As for systemd, it is ready after 10 seconds even if the token server hasn't answered.

        Raises:
            NotStarted: it ended instead.
            RuntimeError: it runs already.
        """
        super().start()
        options = ("run", f"--config={self.config}", f"--socket={self.socket}")
        words = (*PYTHON, "-m", "openfit_emulator.hurried", str(self._pause), *options)
        with self._log.open("ab") as log:
            out = log.fileno()
            self._begin(words, out, out, STATE_DIRECTORY=str(self.directory / "state"))
        if not self._await(PATIENCE, self._answers):
            self.stop()
            raise not_started("daemon", self.log())
        self._await(_LONGEST_LOGIN, self._has_tried)

    def _await(self, seconds: float, holds: Callable[[], bool]) -> bool:
        """Return whether it holds within that many seconds; False too if the process ends."""
        for _ in range(round(seconds / _LOOK)):
            if not self.is_running:
                return False
            with suppress(TokenError):
                if holds():
                    return True
            sleep(_LOOK)
        return False

    def _answers(self) -> bool:
        with self.client() as client:
            return bool(client.hello())

    def _has_tried(self) -> bool:
        with self.client() as client:
            # What our own daemon tells (the protocol's `status`).
            profiles = cast("dict[str, dict[str, object]]", client.status()["profiles"])
        main = profiles["main"]
        return main["last_error"] is not None or main["state"] not in {"empty", "logging_in"}

    def restart(self) -> None:
        """Stop it and start it again."""
        self.stop()
        self.start()

    def log(self) -> str:
        """Return its log, over all its starts, once it has nothing left to do."""
        if self._process is not None and self.is_running:
            await_rest(self._process.pid)
        return self._log.read_text(errors="replace")

    def __enter__(self) -> Self:
        try:
            return super().__enter__()
        except BaseException:
            self._remove()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._remove()

    def _remove(self) -> None:
        if self._temporary is not None:
            self._temporary.cleanup()

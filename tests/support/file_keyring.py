"""A keyring for tests: keeps its passwords in the file that $FILE_KEYRING names.

A process that has this directory in its path uses it by PYTHON_KEYRING_BACKEND=file_keyring.FileKeyring.
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

from keyring.backend import KeyringBackend


class FileKeyring(KeyringBackend):
    """One JSON file."""

    priority = 1.0  # pyright: ignore[reportAssignmentType] -- as keyring's manual does it

    def __init__(self) -> None:
        begin: Callable[[], None] = super().__init__  # which has no types
        begin()

    def get_password(self, service: str, username: str) -> str | None:
        """Return what was set."""
        return self._read().get(f"{service} {username}")

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a password."""
        self._write(self._read() | {f"{service} {username}": password})

    def delete_password(self, service: str, username: str) -> None:
        """Forget it."""
        self._write(
            {key: kept for key, kept in self._read().items() if key != f"{service} {username}"}
        )

    def _read(self) -> dict[str, str]:
        path = Path(os.environ["FILE_KEYRING"])
        kept: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
        return kept

    def _write(self, kept: dict[str, str]) -> None:
        Path(os.environ["FILE_KEYRING"]).write_text(json.dumps(kept))

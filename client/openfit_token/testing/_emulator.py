"""An emulated OpenFIT as a process: token server and API on loopback, with injected faults."""

import json
import os
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from http import HTTPStatus
from select import select
from tempfile import TemporaryFile
from typing import IO, Final
from urllib.parse import urlsplit

from openfit_token._shared.frozen import frozen
from openfit_token.testing._processes import PATIENCE, PYTHON, Program, not_started

USERNAME: Final = "demo@example.org"
PASSWORD: Final = "emulated"  # noqa: S105 -- it protects nothing
CLIENT_ID: Final = "openfit-emulator"


@frozen
class State:
    """What an emulator has counted so far. `logins` and `refreshes` are the granted ones."""

    logins: int
    logins_rejected: int
    refreshes: int
    refreshes_rejected: int
    token_requests: int
    api_ok: int
    api_refused: int
    faults: Sequence[str]
    """Those still to come."""
    login_requests: int
    faulted: int
    """Token requests that a fault affected."""
    max_concurrent: Mapping[str, int]
    """The most token requests of each user that were under way at once."""


class Orders(ABC):
    """What an emulator can be told, however it is told."""

    @abstractmethod
    def _order(self, name: str, **fields: object) -> None:
        """Post to the admin endpoint. Raises: ValueError: the order is wrong."""

    def fault(self, text: str) -> None:
        """Add a fault, NAME[=ARGUMENT][@WHEN]; without WHEN it affects the next token request.

        `openfit-tokend emulator --help` names them all: lost-answer, hang, slow=3@refresh:1,
        429=5, invalid_grant, error-503@10s-20s ... They never affect the API.

        Raises:
            ValueError: there is no such fault.
        """
        self._order("faults", fault=text)

    def clear_faults(self) -> None:
        """Forget all faults."""
        self._order("forget")

    @contextmanager
    def outage(self, kind: str = "error-503") -> Generator[None]:
        """Let the token server fail for a while: error-503, reset, hang ... The API goes on."""
        fault = f"{kind}@*"
        self.fault(fault)
        try:
            yield
        finally:
            self._order("forget", fault=fault)

    def reject_next(self) -> None:
        """Reject the next token request: a password as wrong, a refresh token as used."""
        self.fault("invalid_grant")

    def set_token_lifetime(self, seconds: int) -> None:
        """Set the lifetime of the access tokens that are issued from now on."""
        self._order("lifetime", seconds=seconds)

    def set_password(self, password: str, username: str = USERNAME) -> None:
        """Change an account's password, or add an account. Sessions go on."""
        self._order("password", username=username, password=password)

    def lock(self) -> None:
        """Lock the accounts, as after too many wrong passwords."""
        self._order("lock")

    def unlock(self) -> None:
        """Unlock the accounts."""
        self._order("unlock")

    def revoke_access_tokens(self) -> None:
        """Let the API refuse all access tokens that were issued so far."""
        self._order("revoke", kind="access")

    def revoke_refresh_tokens(self) -> None:
        """End the sessions: each takes a new login. Access tokens live on."""
        self._order("revoke", kind="refresh")


class Emulator(Program, Orders):
    """A context manager: a running emulator.

    It knows one account, `username` with `password`. Its API answers each path below `api_url` with
    200 if the request bears a live token, with 401 otherwise.

    Args:
        token_lifetime: seconds an access token lives.
        faults: what goes wrong, and when: see `fault`.
        options: more options, as in `openfit-tokend emulator --help`.
        process_group: of its process, as in `subprocess.Popen`.
    """

    username = USERNAME
    password = PASSWORD
    client_id = CLIENT_ID

    def __init__(
        self,
        *,
        token_lifetime: int = 3600,
        faults: Sequence[str] = (),
        options: Sequence[str] = (),
        process_group: int | None = None,
    ) -> None:
        super().__init__(process_group)
        self.url: str = ""
        """Where the token server is."""
        self._options = [
            f"--token-lifetime={token_lifetime}",
            *(f"--fault={fault}" for fault in faults),
            *options,
        ]
        self._log: IO[bytes] | None = None

    @property
    def api_url(self) -> str:
        """Where the API is."""
        return f"{self.url}/api"

    @property
    def logins(self) -> int:
        """How many logins were granted."""
        return self.state().logins

    @property
    def refreshes(self) -> int:
        """How many refreshes were granted."""
        return self.state().refreshes

    def state(self) -> State:
        """Return all that was counted."""
        told = json.loads(self._ask("GET", "state"))
        # Our own emulator tells a class with these very fields, and more.
        return State(**{each.name: told[each.name] for each in fields(State)})

    def start(self) -> None:
        """Start it and wait until it listens.

        Raises:
            NotStarted: it ended instead.
            RuntimeError: it runs already.
        """
        super().start()
        command = (*PYTHON, "-m", "openfit_tokend", "emulator", "--port=0", *self._options)
        self._log = TemporaryFile()  # noqa: SIM115 -- until it is stopped
        process = self._begin(command, out=subprocess.PIPE, err=self._log.fileno())
        found = _greeting(process).split("listens at ")
        if len(found) == 1:
            said = self.log()
            self.stop()
            raise not_started("emulator", said)
        self.url = found[1].split()[0].rstrip(".")

    def stop(self) -> None:
        """Stop it. It forgets everything."""
        super().stop()
        if self._log is not None:
            self._log.close()
            self._log = None

    def log(self) -> str:
        """Return what it has logged: nothing, as long as all is well."""
        if self._log is None:
            return ""
        # At an offset: the emulator shares the file's position.
        size = os.fstat(self._log.fileno()).st_size
        return os.pread(self._log.fileno(), size, 0).decode(errors="replace")

    def _order(self, name: str, **fields: object) -> None:
        self._ask("POST", name, json.dumps(fields))

    def _ask(self, method: str, name: str, body: str | None = None) -> bytes:
        # A test asks often, most runs of pytest never: so it is loaded here.
        from http.client import HTTPConnection  # noqa: PLC0415 -- the plugin is loaded by all runs

        connection = HTTPConnection(urlsplit(self.url).netloc, timeout=PATIENCE)
        try:
            connection.request(method, f"/admin/{name}", body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            text = answer.read()
        finally:
            connection.close()
        if answer.status == HTTPStatus.BAD_REQUEST:
            raise ValueError(json.loads(text)["error"])
        return text


def _greeting(process: "subprocess.Popen[bytes]") -> str:
    """Return the first line that a process prints; "" if it ends instead, or prints nothing."""
    out = process.stdout
    assert out is not None, "it was asked for"  # noqa: S101 -- can't happen
    with out:
        return out.readline().decode() if select([out], [], [], PATIENCE)[0] else ""

"""After every fault that a token server can have: no secret, nor a part of one, is anywhere to be seen."""

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from secrets import token_urlsafe
from typing import Final

import pytest

from daemons import await_that, needs_root, profile, write_secret
from emulators import CLIENT_ID, RunningEmulator, running_emulator
from openfit_emulator.faults import KINDS, RUBBISH
from openfit_emulator.identity import IdentityServer, Issued, Rules, Session
from openfit_token import TokenError
from service_managers import ManagedDaemon, Manager, managed_daemon

pytestmark = [pytest.mark.system, pytest.mark.slow, needs_root]

FRAGMENT: Final = 12
"""Characters: so much of a secret is as good as a part of it."""
ARGUMENTS: Final = {
    "hang": ["=0.1"],
    "slow": ["=0.1"],
    "stall-header": ["=0.1"],
    "stall-body": ["=0.1"],
    "rubbish": [f"={body}" for body in RUBBISH],
    "expires-in": ["=-1", "=soon", "=null"],
    "429": ["=1"],
    "503": ["=1"],
}
FAULTS: Final = [f"{name}{more}" for name in KINDS for more in ARGUMENTS.get(name, [""])]
"""Each of the emulator's, each odd body."""
LIFETIME: Final = 4
"""Seconds of a token's life: its refresh comes after three."""


class Seen:
    """All that was told, shown or written, by where that was."""

    def __init__(self) -> None:
        self.texts: dict[str, str] = {}

    def add(self, where: str, what: object) -> None:
        self.texts[where] = self.texts.get(where, "") + str(what)

    def places_of(self, secrets: list[str]) -> set[str]:
        """Name where a fragment of one of them is, and of which."""
        fragments = {
            text[at : at + FRAGMENT]: number
            for number, text in enumerate(secrets)
            for at in range(len(text) - FRAGMENT + 1)
        }
        return {
            f"{where}: {fragments[piece]}"
            for where, text in self.texts.items()
            for at in range(len(text) - FRAGMENT + 1)
            if (piece := text[at : at + FRAGMENT]) in fragments
        }


@pytest.fixture
def issued(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every token that the emulator makes from now on, whether or not it arrives."""
    tokens: list[str] = []
    issue = IdentityServer._issue  # pyright: ignore[reportPrivateUsage] -- what it makes is told nowhere

    def noted(self: IdentityServer, session: Session, now: float) -> Issued:
        new = issue(self, session, now)
        tokens.extend(token for token in (new.access_token, new.refresh_token) if token)
        return new

    monkeypatch.setattr(IdentityServer, "_issue", noted)
    return tokens


def names() -> list[str]:
    return [f"p{number}" for number in range(len(FAULTS))]


def tables(
    emulator: RunningEmulator, directory: Path, passwords: dict[str, str], client_secret: str
) -> Iterator[str]:
    """Return a profile for each fault, each of a user of its own, and one whose client is refused."""
    yield 'default_profile = "p0"'
    client = write_secret(directory / "client", client_secret)
    keys = {"client_secret_file": f'"{client}"', "client_auth": '"post"'}
    yield profile(emulator.url, "refused", **keys | {"client_auth": '"basic"'})
    for name, password in passwords.items():
        file = write_secret(directory / f"{name}.pw", password)
        yield profile(emulator.url, name, username=f'"{name}@x"', password_file=f'"{file}"', **keys)


def all_met(emulator: RunningEmulator) -> bool:
    return not emulator.state().faults


def await_refresh(emulator: RunningEmulator, before: int) -> None:
    """Await that one more refresh was sent than before."""
    await_that(lambda: emulator.state().refresh_requests > before, emulator.state)


def look_round(seen: Seen, daemon: ManagedDaemon, manager: Manager) -> None:
    """Look wherever something is to be seen while it runs."""
    seen.add("status", json.dumps(daemon.call("status"), default=repr))
    for options in (
        ["status"],
        ["status", "--json"],
        ["status", "--openmetrics"],
        ["doctor", "--report"],
    ):
        done = daemon.run("openfit-token", *options)
        seen.add(" ".join(options), done.stdout + done.stderr)
    done = daemon.run("openfit-tokend", "check", "--config", str(daemon.config))
    seen.add("check", done.stdout + done.stderr)
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended
            seen.add("arguments", (process / "cmdline").read_bytes().decode(errors="replace"))
    for descriptor in Path(f"/proc/{daemon.pid}/fd").iterdir():
        with suppress(OSError):
            seen.add("descriptors", descriptor.readlink())
    seen.add("stored", manager.names)
    seen.add("told to the service manager", manager.words)
    for path in (daemon.state.parent, daemon.socket.parent):
        for file in path.iterdir():
            seen.add("files", file.name)
            if file.is_file():
                seen.add("files", file.read_text(errors="replace"))


def call(seen: Seen, daemon: ManagedDaemon, method: str, **params: object) -> None:
    """Call a method, and note the error that a client raises."""
    try:
        daemon.call(method, **params)
    except TokenError as error:
        seen.add("exceptions", f"{error!r} {error} {error.__dict__}")


def test_no_secret_is_seen_anywhere_whatever_the_token_server_does(
    issued: list[str], tmp_path: Path
) -> None:
    passwords = {name: token_urlsafe(24) for name in names()}
    wrong, client_secret = token_urlsafe(24), token_urlsafe(24)
    header = b64encode(f"{CLIENT_ID}:{client_secret}".encode()).decode()
    users = {f"{name}@x": password for name, password in passwords.items()}
    seen = Seen()
    with (
        running_emulator(*FAULTS, rules=Rules(token_lifetime=LIFETIME), users=users) as emulator,
        managed_daemon(*tables(emulator, tmp_path, passwords, client_secret)) as (manager, daemon),
    ):
        daemon.is_forked = False  # its arguments are looked into
        daemon.start("--log-level", "debug")
        await_that(lambda: all_met(emulator), emulator.state)  # each by a login
        for name in passwords:
            call(seen, daemon, "get_token", profile=name, wait=0)
        look_round(seen, daemon, manager)

        await_that(lambda: emulator.state().logins > len(FAULTS) / 2, emulator.state)
        for fault in FAULTS:
            emulator.fault(f"{fault}@refresh:{emulator.state().refresh_requests + 1}-")
            before = emulator.state().refresh_requests
            await_refresh(emulator, before)
            emulator.clear_faults()
        for name in passwords:
            call(seen, daemon, "refuse", profile=name, id="0" * 16, wait=0)
        call(seen, daemon, "login", profile="p0", password=wrong, wait=5)
        call(seen, daemon, "login", profile="p1", password=passwords["p2"], wait=5)
        for option in ("--ask", "--refresh-token"):
            words = ("openfit-token", "login", "--profile", "p2", option)
            done = daemon.run(*words, stdin=f"{wrong}\n")
            seen.add(f"login {option}", done.stdout + done.stderr)
        look_round(seen, daemon, manager)
        call(seen, daemon, "logout", profile="p3")
        assert daemon.stop() == 0
        seen.add("log", daemon.log())

    assert len(issued) > 2 * len(FAULTS)
    assert "state_changed" in seen.texts["log"]
    assert seen.places_of([*passwords.values(), wrong, client_secret, header, *issued]) == set()


def test_a_fragment_is_found() -> None:
    seen = Seen()
    seen.add("log", "a line with bcdefghijklm in it")

    assert seen.places_of(["nothing", "abcdefghijklmnop"]) == {"log: 1"}

"""`openfit-token inspect` at a real daemon, with a token of the emulator's."""

import json
import re
from base64 import urlsafe_b64decode

import pytest

from daemons import profile, running_daemon
from emulators import USERNAME, running_emulator

pytestmark = pytest.mark.system

FRAGMENT = 12
"""Characters: so much of a secret is as good as a part of it."""


def test_the_current_token_is_told_without_the_token() -> None:
    with running_emulator() as emulator, running_daemon(profile(emulator.url)) as daemon:
        token = daemon.call("get_token")["access_token"]
        told = daemon.run("openfit-token", "inspect", "--profile", "main")
        machines = daemon.run("openfit-token", "inspect", "--json")
        sent_on = daemon.run("openfit-tokend", "inspect")

    assert (told.returncode, told.stderr) == (0, "")
    assert "Nothing was verified" in told.stdout
    assert re.search(
        r"^  exp +\d{4}-\d\d-\d\d \d\d:\d\d:\d\dZ, in (59|60) min$", told.stdout, re.MULTILINE
    )
    assert f'  sub        "{USERNAME}"\n' in told.stdout
    assert [told.stdout.count(piece) for piece in pieces(token)] == [0] * len(pieces(token))

    assert (machines.returncode, machines.stderr) == (0, "")
    found = json.loads(machines.stdout)
    assert [found["header"], found["claims"]] == [decoded(part) for part in token.split(".")[:2]]
    assert found["verified"] is False
    assert [machines.stdout.count(piece) for piece in pieces(token)] == [0] * len(pieces(token))

    assert sent_on.returncode == 64
    assert "openfit-token inspect" in sent_on.stderr


def pieces(token: str) -> list[str]:
    return [token[at : at + FRAGMENT] for at in range(len(token) - FRAGMENT + 1)]


def decoded(part: str) -> object:
    return json.loads(urlsafe_b64decode(part + "=" * (-len(part) % 4)))

"""What systemd passes to the service, as its unit with all drop-ins says: variables and credentials.

Where systemd can't be asked, it is what the shipped unit passes. All of this may block.
"""

import glob
import json
import re
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, cast

from openfit_tokend.config.passwords import CREDENTIAL, MAX_SECRET_FILE
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.units import CREDENTIALS, SYSTEM_UNITS

ASKING: Final = 10.0
"""Seconds that systemd may take to say what is in a unit, or to decrypt a credential."""
_FILE: Final = re.compile(r"EnvironmentFiles=(.*) \(ignore_errors=(yes|no)\)")
_QUOTED: Final = re.compile(r"""(?:'([^']*)'|"((?:\\.|[^"\\])*)")\s*""")
"""What a variable's value begins with: quotes count nowhere else."""
_WORD: Final = re.compile(r'"((?:\\.|[^"\\])*)"|(\S+)')
"""A variable as `systemctl show` prints it: in quotes if need be."""
_ESCAPED: Final = re.compile(r'\\(["\\`$])')
_BUS: Final = (
    *("busctl", "--json=short", "get-property", "org.freedesktop.systemd1"),
    "/org/freedesktop/systemd1/unit/openfit_2dtokend_2eservice",
    *("org.freedesktop.systemd1.Service", "LoadCredential", "LoadCredentialEncrypted"),
)
"""`systemctl show` doesn't print these two."""
STORES: Final = (
    "/run/credentials/@system",
    "/etc/credstore",
    "/run/credstore",
    "/usr/lib/credstore",
)
"""Where systemd looks for a credential whose path isn't absolute (systemd.exec(5))."""


def variables() -> dict[str, str]:
    """Return what Environment= and EnvironmentFile= set.

    Raises:
        SetupFailed: a file can't be read without which the service doesn't start.
    """
    asked = ("systemctl", "show", "--property=Environment,EnvironmentFiles", SYSTEM_UNITS[0])
    lines = (_said(*asked) or b"").decode(errors="replace").splitlines()
    words = (each for line in lines if line.startswith("Environment=") for each in _words(line))
    found = dict(each.split("=", 1) for each in words if "=" in each)
    for file in filter(None, map(_FILE.fullmatch, lines)):
        pattern, optional = file.groups()
        paths = glob.glob(pattern) or [pattern]  # noqa: PTH207 -- an absolute pattern
        for path in sorted(paths):
            try:
                found |= _assigned(Path(path).read_text())
            except (OSError, UnicodeDecodeError) as error:
                if optional == "no":
                    text = f"the unit's EnvironmentFile {path} can't be read: {error}"
                    raise SetupFailed(text, "the service doesn't start without it") from None
    return found


def credentials() -> Iterator[tuple[str, bytes]]:
    """Return what LoadCredential= and LoadCredentialEncrypted= load, each with its name.

    Raises:
        SetupFailed: one can't be decrypted.
    """
    said = _said(*_BUS)
    if said is None:
        yield from _loaded(CREDENTIAL.rstrip("_"), CREDENTIALS)
        return
    loaded, encrypted = (_pairs(line) for line in said.splitlines())
    for name, path in loaded:
        yield from _loaded(name, _found(path))
    for name, path in encrypted:
        file = _found(path, ".encrypted")
        content = _said("systemd-creds", "decrypt", f"--name={name}", str(file), "-")
        if content is None:
            text = f"the credential {name} can't be decrypted: {file}"
            raise SetupFailed(text, f"systemd-creds decrypt --name={name} {file}: it says why")
        yield name, content


def _said(*command: str) -> bytes | None:
    """Return what a command printed; None if it failed, or there is none."""
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command, or a path of the unit's
            command, capture_output=True, check=False, timeout=ASKING
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _words(line: str) -> list[str]:
    found = _WORD.finditer(line.partition("=")[2])
    return [each[2] or _ESCAPED.sub(r"\1", each[1]) for each in found]


def _pairs(line: bytes) -> list[tuple[str, str]]:
    return [
        (name, path) for name, path in cast("dict[str, list[list[str]]]", json.loads(line))["data"]
    ]


def _found(path: str, kind: str = "") -> Path:
    """Return where systemd finds a credential: never in this process's directory."""
    places = [Path(f"{store}{kind}", path) for store in STORES]  # each is an absolute path itself
    return next((each for each in places if each.exists()), places[0])


def _loaded(name: str, path: Path) -> Iterator[tuple[str, bytes]]:
    """Return a file as a credential, or those that the files of a directory are."""
    files = (
        {f"{name}_{each.name}": each for each in path.iterdir()}
        if path.is_dir()
        else {name: path.resolve()}
    )
    for credential, file in files.items():
        if file.exists() and stat.S_ISREG(file.lstat().st_mode):
            with file.open("rb") as opened:
                yield credential, opened.read(MAX_SECRET_FILE + 1)


def _assigned(text: str) -> dict[str, str]:
    """Return the variables of an EnvironmentFile (systemd.exec(5))."""
    found: dict[str, str] = {}
    for line in text.replace("\\\n", "").splitlines():
        name, _, value = line.strip().partition("=")
        if name and name[0] not in "#;":
            found[name.strip()] = _unquoted(value.strip())
    return found


def _unquoted(value: str) -> str:
    """Return a value without its quotes, as systemd does."""
    text = ""
    while found := _QUOTED.match(value):
        text += found[1] or _ESCAPED.sub(r"\1", found[2] or "")
        value = value[found.end() :]
    return text + re.sub(r"\\(.)", r"\1", value)

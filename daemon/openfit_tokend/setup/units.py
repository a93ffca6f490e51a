"""The files of the systemd service: which ones, where they go, what they contain."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

from openfit_token._shared.frozen import frozen
from openfit_tokend.config import passwords
from openfit_tokend.setup.failure import SetupFailed
from openfit_tokend.setup.program import Program

SHIPPED_COMMAND: Final = "/usr/bin/openfit-tokend"
"""The command in the shipped units: where a distribution's package would install it."""
SHIPPED_PLACES: Final = "ExecPaths=/usr "
"""The beginning of the line that lists where the service may run code from."""
SHIPPED_CREDENTIALS: Final = f"LoadCredential=password:{passwords.CREDENTIALS}\n"
REFRESH: Final = "RefreshOnReload=credentials\n"
"""Has systemd 260 and newer pass changed credentials at a reload; an older one warns of it."""


@frozen
class Part:
    """A file and its destination: relative to `/` for the system, to ~/.config for a user."""

    source: str
    target: str
    mode: int = 0o644


SYSTEM_UNITS: Final = (
    "openfit-tokend.service",
    "openfit-tokend.socket",
    "openfit-tokend-credential.socket",
    "openfit-tokend-http.socket",
)
USER_UNITS: Final = ("openfit-tokend.service", "openfit-tokend.socket")
EXAMPLE: Final = "config.toml.example"
CONFIG_DIRECTORY: Final = Path("/etc/openfit-tokend")
CREDENTIALS: Final = Path(passwords.CREDENTIALS)

SYSTEM_PARTS: Final = (
    *(Part(f"system/{name}", f"etc/systemd/system/{name}") for name in SYSTEM_UNITS),
    Part("sysusers.d/openfit-tokend.conf", "etc/sysusers.d/openfit-tokend.conf"),
    Part("tmpfiles.d/openfit-tokend.conf", "etc/tmpfiles.d/openfit-tokend.conf"),
    Part(EXAMPLE, f"etc/openfit-tokend/{EXAMPLE}", 0o640),
)
MAN_PARTS: Final = tuple(
    Part(f"man/{page}", f"usr/local/share/man/{page}")
    for page in (
        "man1/openfit-token.1",
        "man5/openfit-tokend.toml.5",
        "man7/openfit-tokend-protocol.7",
        "man8/openfit-tokend.8",
    )
)
"""Where `man` looks if /usr/local/bin is in $PATH. The wheel installs them in the venv."""
USER_PARTS: Final = (
    *(Part(f"user/{name}", f"systemd/user/{name}") for name in USER_UNITS),
    Part(EXAMPLE, f"openfit-tokend/{EXAMPLE}", 0o600),
)


def shipped(source: str) -> str:
    """Return the text of a file as shipped in the package."""
    if source.startswith("man/"):
        return Path(sys.prefix, "share", source).read_text(encoding="utf-8")
    return files("openfit_tokend").joinpath("systemd", source).read_text(encoding="utf-8")


def content(part: Part, program: Program, *, refreshes: bool = False) -> bytes:
    """Return a file's content with the paths of this machine's program.

    `refreshes`: its systemd knows RefreshOnReload=.

    Raises:
        SetupFailed: a path can't be written in a unit.
    """
    text = shipped(part.source)
    if part.source.endswith(".service"):
        new = [place for place in program.places if not place.is_relative_to("/usr")]
        places = "".join(f"{quoted(place)} " for place in new)
        text = text.replace(SHIPPED_COMMAND, quoted(program.command))
        text = text.replace(SHIPPED_PLACES, f"{SHIPPED_PLACES}{places}")
        if refreshes:
            text = text.replace(SHIPPED_CREDENTIALS, f"{SHIPPED_CREDENTIALS}{REFRESH}")
    return text.encode()


def quoted(path: Path) -> str:
    """Return a path quoted so that systemd reads it as one literal word (systemd.syntax(7)).

    Raises:
        SetupFailed: it contains unprintable characters.
    """
    text = str(path)
    if not text.isprintable():
        raise SetupFailed(f"the path {text!r} can't be written in a unit", "move the program")
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%").replace("$", "$$")
    return text if escaped == text and " " not in text and "'" not in text else f'"{escaped}"'

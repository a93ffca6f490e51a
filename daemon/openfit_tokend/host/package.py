"""Where this program was installed from, by what, and the pip commands to install it again."""

import json
import shlex
import sys
from pathlib import Path
from typing import Final, cast
from urllib.parse import unquote, urlsplit

NAME: Final = "openfit-tokend"
_SYSTEM_INSTALLER: Final = "dpkg"
"""What the Debian package names as its installer (the file INSTALLER beside pip's metadata)."""


def again(extra: str) -> str:
    """Return the command that reinstalls this program in its environment, with an extra."""
    pip = Path(sys.prefix, "bin/pip")
    words = [
        str(pip) if pip.exists() else "pip",
        "install",
        *_editable(),
        _requirement(f"[{extra}]"),
    ]
    return shlex.join(words)


def elsewhere(environment: str) -> str:
    """Return the command that installs this program, from the same source, in another environment."""
    return shlex.join([f"{environment}/bin/pip", "install", _requirement("")])


def is_systems() -> bool:
    """Return whether the system's package manager installed this program, with its units."""
    return _recorded("INSTALLER").strip() == _SYSTEM_INSTALLER


def _requirement(extras: str) -> str:
    """Return pip's requirement for what was installed: a tree, an archive, or a name on an index."""
    origin = _origin()
    url, version = str(origin.get("url", "")), origin.get("vcs_info")
    if "dir_info" in origin:
        return f"{unquote(urlsplit(url).path)}{extras}"
    if isinstance(version, dict):
        url = f"{cast('dict[str, object]', version).get('vcs')}+{url}"
    return f"{NAME}{extras} @ {url}" if url else f"{NAME}{extras}"


def _editable() -> list[str]:
    tree = _origin().get("dir_info")
    return ["-e"] if isinstance(tree, dict) and "editable" in tree else []


def _origin() -> dict[str, object]:
    """Return what pip recorded of a package that came from no index (PEP 610)."""
    try:
        return cast("dict[str, object]", json.loads(_recorded("direct_url.json") or "{}"))
    except ValueError:
        return {}


def _recorded(name: str) -> str:
    """Return a file of this program's metadata; "" if there is none."""
    from importlib.metadata import (  # noqa: PLC0415 -- half a megabyte, for an error's hint alone
        PackageNotFoundError,
        distribution,
    )

    try:
        return distribution(NAME).read_text(name) or ""
    except PackageNotFoundError:
        return ""

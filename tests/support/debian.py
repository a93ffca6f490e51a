"""The Debian package, and machines that were just installed, for it to be installed on."""

import re
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from box import Box
from fenced import ROOT
from processes import done

NEWER: Final = "99.0"
"""The version of the package for an upgrade."""
IN_ROOT: Final = ("systemd", "systemd-sysv", "dbus", "libpq5", "procps")
LATER: Final = "python3"
"""What comes with the package: it isn't there before."""
_TOOLS: Final = ("dh", "lintian", "mmdebstrap")
_PACKAGES: Final = "usr/lib/openfit-tokend/package/lib/python3/site-packages"


def hindrance() -> str | None:
    """Return why no package can be built and tried here."""
    if missing := [tool for tool in _TOOLS if not shutil.which(tool)]:
        return f"no {', '.join(missing)}: apt-get install debhelper lintian mmdebstrap"
    return None


def build(tree: Path, directory: Path) -> Path:
    """Build the package of a tree."""
    done(tree / ".ci/build-deb", directory)
    (package,) = directory.glob("*.deb")
    return package


def newer(package: Path, directory: Path) -> Path:
    """Make a package of a newer version, in which the client's modules have other names."""
    tree = directory / "tree"
    done("dpkg-deb", "--raw-extract", package, tree)
    control = tree / "DEBIAN/control"
    control.write_text(re.sub(r"(?m)^Version: .*", f"Version: {NEWER}", control.read_text()))
    client = tree / _PACKAGES / "openfit_token"
    (client / "_client").rename(client / "_parts")
    for path in [*client.rglob("*.py"), *client.parent.glob("openfit_tokend/**/*.py")]:
        text = re.sub(r"\bopenfit_token\._client\b", "openfit_token._parts", path.read_text())
        path.write_text(re.sub(r'(?m)^__version__ = .*"$', f'__version__ = "{NEWER}"', text))
    made = directory / f"openfit-tokend_{NEWER}.deb"
    done("dpkg-deb", "-Zgzip", "-z1", "--root-owner-group", "--build", tree, made)
    return made


@contextmanager
def booted(suite: str, directory: Path, *packages: Path) -> Generator[Box]:
    """Boot a Debian with these packages in /srv, none of them installed."""
    root = ROOT / ".roots" / f"minimal-{suite}"
    done(ROOT / ".ci/make-root", suite, root, *IN_ROOT, LATER=LATER)
    files, opt = directory / "files", directory / "opt"
    for path in (opt, files / "etc", files / "srv"):
        path.mkdir(parents=True)
    (files / "etc/resolv.conf").write_text("")  # there is no network but loopback
    for package in packages:
        shutil.copy(package, files / "srv")
    with Box(files, opt, root) as box:
        yield box

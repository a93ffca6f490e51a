"""What `check` finds that systemd would pass to the service: its credentials and variables."""

import json
from pathlib import Path

import pytest

from openfit_tokend.setup import passed


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose unit has LoadCredential=password_main and one of a link. Returns its directory."""
    (tmp_path / "linked").symlink_to("file")
    loaded = [["password_main", "password_main"], ["linked", str(tmp_path / "linked")]]
    said = "".join(json.dumps({"type": "a(ss)", "data": each}) + "\n" for each in (loaded, []))
    (tmp_path / "said").write_text(said)
    (tmp_path / "busctl").write_text(f"#!/bin/sh\nexec /bin/cat {tmp_path}/said\n")
    (tmp_path / "busctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(passed, "STORES", (f"{tmp_path}/none", f"{tmp_path}/store"))
    return tmp_path


def test_a_credential_without_a_path_comes_from_systemds_store_and_not_from_here(
    unit: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(unit)
    (unit / "password_main").write_text("a stranger's")
    assert dict(passed.credentials()) == {}

    (unit / "store").mkdir()
    (unit / "store" / "password_main").write_text("the service's")
    assert dict(passed.credentials()) == {"password_main": b"the service's"}


def test_a_link_is_followed_as_systemd_does(unit: Path) -> None:
    (unit / "file").write_text("secret")

    assert dict(passed.credentials()) == {"linked": b"secret"}


def test_variables_have_the_values_that_systemd_gives_them(unit: Path) -> None:
    (unit / "file").write_text(
        r"""A="a\$b \`c' \"d\" \\e \x"
B='x\$y'
C=a\ b$c
D='a'  b"c"d
H=it's
"""
    )
    (unit / "shown").write_text(  # by systemctl 252
        'Environment="E=a\\$\\$b \\`c\' \\"d\\" \\\\ e" "F=x\\$y" G=A%\n'
        f"EnvironmentFiles={unit}/file (ignore_errors=no)\n"
    )
    (unit / "systemctl").write_text(f"#!/bin/sh\nexec /bin/cat {unit}/shown\n")
    (unit / "systemctl").chmod(0o755)

    found = passed.variables()

    assert [found[name] for name in "ABCDH"] == [
        *(r"""a$b `c' "d" \e \x""", r"x\$y", "a b$c", 'ab"c"d', "it's")
    ]
    assert [found[name] for name in "EFG"] == [r"""a$$b `c' "d" \ e""", "x$y", "A%"]

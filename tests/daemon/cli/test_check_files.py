"""`openfit-tokend check`: what profiles name besides their secrets is looked at before it matters."""

from pathlib import Path

import pytest
import trustme

from daemons import profile
from openfit_tokend.cli.check import check


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory for a configuration, with all that a profile may name."""
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "state"))
    (tmp_path / "password").touch(mode=0o600)
    (tmp_path / "password").write_text("secret")
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    trustme.CA().cert_pem.write_to_path(str(tmp_path / "open.pem"))
    (tmp_path / "open.pem").chmod(0o666)
    (tmp_path / "empty.pem").touch()
    (tmp_path / "text").touch(mode=0o600)
    (tmp_path / "open").touch()
    (tmp_path / "open").chmod(0o777)
    return tmp_path


def looked(place: Path, capsys: pytest.CaptureFixture[str], *profiles: str) -> tuple[int, str]:
    (place / "config.toml").write_text("\n".join(profiles))
    config, socket = str(place / "config.toml"), str(place / "run" / "s")
    status = check(config, network=False, login=False, socket=socket)
    return status, capsys.readouterr().out


@pytest.mark.parametrize(
    ("key", "value", "status", "said"),
    [
        ("ca_file", '"none.pem"', 78, "ca_file {place}/none.pem: does not exist\n"),
        ("ca_file", '"empty.pem"', 78, "ca_file {place}/empty.pem: has no certificate in it\n"),
        ("ca_file", '"open.pem"', 78, "ca_file {place}/open.pem: can be written by everybody"),
        ("token_file", '"none/t"', 73, "{place}/none/t: there is no directory {place}/none\n"),
        ("token_file", '"text"', 73, "{place}/text: another file is there"),
        ("notify_command", '["/no/such"]', 78, "/no/such: there is no such program\n"),
        ("notify_command", '["{place}/text"]', 78, "{place}/text: can't be executed\n"),
        ("notify_command", '["{place}/open"]', 78, "{place}/open: can be written by everybody"),
        (
            "notify_command",
            '["no-such-program"]',
            78,
            "no-such-program: there is no such program\n",
        ),
    ],
)
def test_what_the_daemon_could_not_use_fails(  # noqa: PLR0913, PLR0917 -- the case, and the fixtures
    place: Path, capsys: pytest.CaptureFixture[str], key: str, value: str, status: int, said: str
) -> None:
    table = profile("https://127.0.0.1:9", **{key: value.format(place=place)})

    found, out = looked(place, capsys, table)

    assert (found, f"[FAIL] {key:<14} {said.format(place=place)}" in out) == (status, True), out
    assert "1 failed" in out


def test_what_it_can_use_is_named_once_and_stays_as_it_is(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = {"ca_file": '"ca.pem"', "notify_command": '["true"]'}
    tables = [
        profile("https://127.0.0.1:9", name, token_file=f'"{name}.token"', **common)
        for name in ("one", "two")
    ]

    status, out = looked(place, capsys, *tables)

    assert status == 0
    assert f"[ OK ] ca_file        {place}/ca.pem\n" in out
    assert f"[ OK ] token_file     {place}/one.token\n" in out
    assert f"[ OK ] token_file     {place}/two.token\n" in out
    assert "[ OK ] notify_command true\n" in out
    assert (out.count("ca.pem"), out.count("notify_command")) == (1, 1)
    assert not (place / "one.token").exists()

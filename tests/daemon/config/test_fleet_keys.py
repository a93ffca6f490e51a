"""The keys of a fleet: read like passwords, and made."""

from pathlib import Path

import pytest

from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.fleet_keys import new_key
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.settings.values import PasswordFile

KEY = "ab" * 32


def written(source: PasswordFile, content: str, mode: int = 0o600) -> PasswordFile:
    Path(source.path).write_text(content)
    Path(source.path).chmod(mode)
    return source


@pytest.fixture
def source(tmp_path: Path) -> PasswordFile:
    path = tmp_path / "fleet.key"
    path.touch(mode=0o600)
    return PasswordFile(str(path))


async def test_each_line_is_a_key(source: PasswordFile) -> None:
    first, second = new_key(), new_key()
    kept = written(source, f"{first}\n{second}\n")

    assert await Passwords().keys(kept) == (bytes.fromhex(first), bytes.fromhex(second))


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ("", "has something else than keys in it, or nothing"),
        ("secret-words\n", "has something else than keys in it, or nothing"),
        (f"{KEY}\n{KEY[:-2]}\n", "has something else than keys in it, or nothing"),
        (f"{KEY}\n" * 9, "has more than 8 keys"),
    ],
)
async def test_what_isnt_keys_is_refused_and_not_repeated(
    source: PasswordFile, content: str, fault: str
) -> None:
    with pytest.raises(SecretUnavailable) as refused:
        await Passwords().keys(written(source, content))

    assert refused.value.message == f"key_file {source.path}: {fault}"


async def test_keys_that_others_can_read_are_refused(source: PasswordFile) -> None:
    others = written(source, KEY, mode=0o644)

    with pytest.raises(SecretUnavailable, match="may read or write it"):
        await Passwords().keys(others)

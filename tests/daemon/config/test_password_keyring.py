"""`password_keyring`: a real keyring, whose backend keeps its passwords in a file."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import anyio
import keyring
import pytest
from keyring.backend import KeyringBackend
from keyring.backends.fail import Keyring as NoKeyring
from keyring.errors import KeyringLocked

import file_keyring
from daemons import profile, running_daemon
from emulators import PASSWORD, USERNAME, running_emulator
from file_keyring import FileKeyring
from openfit_token._shared.secret import Secret
from openfit_token.errors import SecretUnavailable
from openfit_tokend.config.password_keyring import from_keyring
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.settings.values import PasswordKeyring
from openfit_tokend.host import package
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.regular_file import Unusable

SOURCE = PasswordKeyring("openfit", USERNAME)


@pytest.fixture(autouse=True)
def _kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let this process have a keyring, with one password in it."""
    monkeypatch.setenv("FILE_KEYRING", str(tmp_path / "keyring"))
    monkeypatch.setenv("HOME", str(tmp_path))  # where a keyring looks for its settings
    before = keyring.get_keyring()
    keyring.set_keyring(FileKeyring())
    keyring.set_password("openfit", USERNAME, PASSWORD)
    yield
    keyring.set_keyring(before)


class Broken(FileKeyring):
    """Fails, with a text that nobody should see."""

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def get_password(self, service: str, username: str) -> str | None:
        """Raise, whatever is asked."""
        del service, username
        raise self.error


class Garbled(FileKeyring):
    """Answers with a text that no encoding has."""

    def get_password(self, service: str, username: str) -> str | None:
        """Return half a character, whatever is asked."""
        del service, username
        return "\ud800"


class Silent(FileKeyring):
    """Doesn't answer, as one that asks on a screen where nobody is."""

    def __init__(self) -> None:
        super().__init__()
        self.gone = Event()
        self.asked = 0

    def get_password(self, service: str, username: str) -> str | None:
        """Wait, whatever is asked."""
        del service, username
        self.asked += 1
        self.gone.wait(20)
        return None


async def refusal() -> tuple[str, str | None]:
    with pytest.raises(SecretUnavailable) as caught:
        await Passwords().read(SOURCE)
    return caught.value.message, caught.value.hint


async def test_the_password_is_what_the_keyring_has_for_the_profiles_user() -> None:
    assert await Passwords().read(SOURCE) == Secret(PASSWORD)


async def test_a_keyring_without_it_says_how_to_put_it_there() -> None:
    keyring.delete_password("openfit", USERNAME)

    assert await refusal() == (
        f"password_keyring openfit: has nothing for {USERNAME}",
        "as the daemon's user: keyring set SERVICE USERNAME",
    )


async def test_what_no_server_would_take_is_refused_here() -> None:
    keyring.set_password("openfit", USERNAME, "x" * 101)

    message, _ = await refusal()
    assert message.startswith("password_keyring openfit: is longer than 100 characters")


async def test_a_text_that_cant_be_encoded_is_told_and_not_shown() -> None:
    keyring.set_keyring(Garbled())

    assert (await refusal())[0] == "password_keyring openfit: failed with UnicodeEncodeError"


async def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", None)

    assert await refusal() == (
        "password_keyring openfit: the package keyring isn't installed",
        package.again("keyring"),
    )


async def test_a_user_without_a_keyring_is_told_what_serves_instead() -> None:
    no_keyring: Callable[[], KeyringBackend] = NoKeyring  # which has no types
    keyring.set_keyring(no_keyring())

    message, hint = await refusal()
    assert message == "password_keyring openfit: the daemon's user has no keyring"
    assert hint is not None
    assert "password_file" in hint


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (KeyringLocked("hunter2"), "password_keyring openfit: is locked"),
        (RuntimeError("hunter2"), "password_keyring openfit: failed with RuntimeError"),
    ],
)
async def test_a_keyring_that_fails_is_told_without_its_words(
    error: Exception, message: str
) -> None:
    keyring.set_keyring(Broken(error))

    said = await refusal()

    assert said[0] == message
    assert "hunter2" not in f"{said}"


async def test_one_that_does_not_answer_is_given_up_and_never_asked_by_two_threads() -> None:
    silent, calls = Silent(), BlockingCalls("keyring", at_once=1)
    keyring.set_keyring(silent)
    try:
        with anyio.fail_after(10):
            for _ in range(2):
                with pytest.raises(Unusable, match=r"no answer within 0.2 s"):
                    await from_keyring(calls, "openfit", USERNAME, time_limit=0.2)
        assert silent.asked == 1
    finally:
        silent.gone.set()


@pytest.mark.system
def test_a_daemon_logs_in_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(file_keyring.__file__).parent))
    monkeypatch.setenv("PYTHON_KEYRING_BACKEND", "file_keyring.FileKeyring")
    with running_emulator() as emulator:
        source = profile(emulator.url, password_file="", password_keyring='"openfit"')
        with running_daemon(source) as daemon:
            assert daemon.call("get_token")["expires_in"] > 0
            assert PASSWORD not in daemon.log()

"""`openfit-token exec`: become another program, which finds the token in its environment."""

import os
import signal
from errno import EACCES, EPERM

from openfit_token._cli.formats import variables
from openfit_token._cli.get import profile_of
from openfit_token._cli.terminal import printable
from openfit_token._client.blocking import get_token
from openfit_token.errors import ProtocolViolation, TokenError


class NoSuchCommand(TokenError):
    """There is no program of that name. The exit status is the shell's."""

    exit_status = 127


class CommandUnusable(TokenError):
    """The program is there, but can't be run. The exit status is the shell's."""

    exit_status = 126


def execute(
    profile: str | None, socket: str | None, min_ttl: float | None, wait: float, words: list[str]
) -> int:
    """Become the program; doesn't return.

    Raises:
        TokenError: there is no token, or the program can't be run.
    """
    token = get_token(profile_of(profile), min_ttl=min_ttl, wait=wait, socket=socket)
    try:
        os.environ.update(variables(token))
    except ValueError as error:  # a NUL byte, or what has no encoding in this locale
        raise ProtocolViolation("the daemon's answer doesn't fit into an environment") from error
    # Python ignores these two, and what is ignored stays so in the program: `yes | head` would fail.
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)
    try:
        os.execvp(words[0], words)  # noqa: S606 -- it is what was ordered
    except FileNotFoundError as error:
        raise not_found("exec", words[0]) from error
    except OSError as error:
        raise unusable("exec", words[0], error) from error


def not_found(command: str, word: str) -> TokenError:
    """Return the error of `exec` or `watch` for a program that isn't there."""
    if os.path.exists(word):  # noqa: PTH110 -- a word, as it was typed
        return CommandUnusable(
            f"{command}: {printable(word)} can't be run: its interpreter is missing"
        )
    where = "" if "/" in word else " in $PATH"
    return NoSuchCommand(f"{command}: there is no {printable(word)}{where}")


def unusable(command: str, word: str, error: OSError) -> TokenError:
    """Return the error of `exec` or `watch` for a program that can't be run."""
    hint = f"chmod +x {printable(word)}" if error.errno in (EACCES, EPERM) else None
    return CommandUnusable(f"{command}: {printable(word)} can't be run: {error.strerror}", hint)

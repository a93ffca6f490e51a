"""`openfit-token watch`: print a line, or run a command, at each new token."""

import os
import select
import signal
import subprocess
import sys
from collections import deque
from contextlib import suppress
from threading import Event, Thread
from typing import NoReturn

from openfit_token._cli.exec import not_found, unusable
from openfit_token._cli.get import profile_of
from openfit_token._cli.output import ReaderLeft, put
from openfit_token._cli.terminal import complain, moment, printable, remark
from openfit_token._client.blocking import TokenClient
from openfit_token._client.changes import Change
from openfit_token.errors import ProtocolViolation, TokenError

_CLEAN_UP = 90.0
"""Seconds that a command has to end after Ctrl-C: as many as systemd gives a service to stop."""


class CommandFailed(TokenError):
    """The command failed; it runs again at the next token."""


def watch(profile: str | None, path: str | None, words: list[str]) -> NoReturn:
    """Print a line at each new token, or run `words`; until Ctrl-C, or until nobody reads the output.

    The first is the one that is held already. A command gets the token's id, not the token.

    Raises:
        TokenError: the daemon has never answered, or refuses.
    """
    client = TokenClient(profile_of(profile), path)
    # Of several the last: it replaces the others.
    news: deque[Change | TokenError] = deque(maxlen=1)
    arrived = Event()

    def follow() -> None:
        try:
            for change in client.changes():
                if change.id is not None:
                    news.append(change)
                    arrived.set()
        except TokenError as error:
            news.append(error)
            arrived.set()

    def await_leaving() -> None:
        poll = select.poll()
        poll.register(sys.stdout, 0)  # errors alone
        poll.poll()
        news.append(ReaderLeft("the reader of the output left"))
        arrived.set()

    Thread(target=follow, daemon=True).start()
    if not words and sys.stdout is not None:
        Thread(target=await_leaving, daemon=True).start()
    known = None
    while True:
        arrived.wait()
        arrived.clear()
        new = news[0]
        if isinstance(new, TokenError):
            raise new
        if new.id != known:
            known = new.id
            _tell(new, words)


def _tell(change: Change, words: list[str]) -> None:
    if not words:
        put(_line(change))
        return
    about = {
        "OPENFIT_PROFILE": change.profile,
        "OPENFIT_TOKEN_ID": change.id or "",
        "OPENFIT_EXPIRES_AT": f"{change.expires_at or 0:.0f}",
    }
    try:
        status = _run(words, {**os.environ, **about})
    except FileNotFoundError as error:
        raise not_found("watch", words[0]) from error
    except OSError as error:
        raise unusable("watch", words[0], error) from error
    except ValueError as error:  # what has no encoding in this locale
        raise ProtocolViolation(
            "the daemon's notification doesn't fit into an environment"
        ) from error
    if status:
        what = f"by signal {-status}" if status < 0 else f"with status {status}"
        complain(
            CommandFailed(
                f"watch: {printable(words[0])} ended {what}", "it runs again at the next token"
            )
        )


def _run(words: list[str], environment: dict[str, str]) -> int:
    """Run a command to its end, and return its status.

    Ctrl-C has reached the command too, since the terminal signals all processes in the foreground. So
    it may clean up, and is killed only by a second Ctrl-C, or if it takes too long.
    """
    # A Ctrl-C while the command starts is kept for later: it would leave the command behind. If Ctrl-C is
    # ignored, that stays so: the command is to ignore it as well.
    early: list[int] = []
    usual = signal.getsignal(signal.SIGINT)
    if usual is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda number, _: early.append(number))
    try:
        process = subprocess.Popen(words, env=environment)  # noqa: S603 -- it is what was ordered
    except BaseException:
        signal.signal(signal.SIGINT, usual)
        raise
    with process:
        try:
            signal.signal(signal.SIGINT, usual)
            if early:
                signal.raise_signal(signal.SIGINT)
            return _await_end(process)
        except KeyboardInterrupt:
            try:
                if process.poll() is None:
                    remark(f"waiting for {printable(words[0])} to end; Ctrl-C again kills it")
                process.wait(_CLEAN_UP)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                process.kill()
            raise


def _await_end(process: subprocess.Popen[bytes]) -> int:
    """Return its status once it has ended; look for a Ctrl-C each second.

    Python blocks signals in this thread while it starts a command. The kernel then gives a Ctrl-C to another
    thread, and this one may begin to wait before that has told it.
    """
    while True:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(1.0)


def _line(change: Change) -> str:
    expires = "" if change.expires_at is None else f", until {moment(change.expires_at)}"
    return f"{printable(change.profile)}: token {printable(change.id)}{expires}\n"

"""`openfit-token watch`: print a line, or run a command, at each new token."""

import os
import select
import subprocess
import sys
from _socket import socket
from contextlib import closing
from datetime import UTC, datetime
from typing import NoReturn, final

from openfit_token._cli.exec import not_found, unusable
from openfit_token._cli.get import profile_of
from openfit_token._cli.output import ReaderLeft, put
from openfit_token._cli.terminal import complain, printable, remark
from openfit_token._client.changes import Change, Feed
from openfit_token._client.connection import READ, SEND_FLAGS
from openfit_token._client.paths import connect, find
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
    feed = Feed(profile_of(profile))
    watcher = _Watcher(feed, words)
    while True:
        try:
            place = find(path)
            channel = connect(place)
            path = place  # from now on: another daemon would be another login
            watcher.follow(channel)
        except ReaderLeft:
            raise
        except (OSError, TokenError) as error:
            watcher.wait(feed.after(error))


@final
class _Watcher:
    """What was reported so far, and whether it is still read: the reader may leave at any time."""

    def __init__(self, feed: Feed, words: list[str]) -> None:
        self._feed = feed
        self._words = words
        self._known: str | None = None
        self._output = -1 if words or sys.stdout is None else sys.stdout.fileno()

    def follow(self, channel: socket) -> NoReturn:
        """Report each new token over this connection, until it is lost.

        Raises:
            OSError, TokenError: it was lost.
            ReaderLeft: nobody reads what is printed.
        """
        with closing(channel):
            request = self._feed.begin()
            channel.settimeout(self._feed.patience)
            channel.sendall(request, SEND_FLAGS)
            while True:
                new = [each for each in self._feed.take(channel.recv(READ)) if each.id is not None]
                channel.settimeout(self._feed.patience)
                if (
                    new and new[-1].id != self._known
                ):  # of several the last: the others are replaced
                    self._known = new[-1].id
                    _tell(new[-1], self._words)
                if self._feed.patience is None:
                    self._poll(channel, None)

    def wait(self, seconds: float) -> None:
        """Wait that long, or until the reader leaves, which raises ReaderLeft."""
        self._poll(None, seconds * 1000)

    def _poll(self, channel: socket | None, milliseconds: float | None) -> None:
        poll = select.poll()
        if self._output >= 0:
            poll.register(self._output, 0)  # errors alone
        if channel is not None:
            poll.register(channel, select.POLLIN)
        if any(fd == self._output for fd, _ in poll.poll(milliseconds)):
            raise ReaderLeft("the reader of the output left")


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
    with subprocess.Popen(words, env=environment) as process:  # noqa: S603 -- it is what was ordered
        try:
            return process.wait()
        except KeyboardInterrupt:
            try:
                if process.poll() is None:
                    remark(f"waiting for {printable(words[0])} to end; Ctrl-C again kills it")
                process.wait(_CLEAN_UP)
            except (KeyboardInterrupt, subprocess.TimeoutExpired):
                process.kill()
            raise


def _line(change: Change) -> str:
    expires = "" if change.expires_at is None else f", until {_time(change.expires_at)}"
    return f"{printable(change.profile)}: token {printable(change.id)}{expires}\n"


def _time(unix: float) -> str:
    try:
        return datetime.fromtimestamp(unix, UTC).isoformat(timespec="seconds")
    except (ValueError, OverflowError, OSError):
        return "?"

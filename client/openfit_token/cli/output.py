"""Standard output, which may be full, closed, or left by its reader."""

import sys

from openfit_token.errors import TokenError


class OutputFailed(TokenError):
    """What was to be printed can't be written."""

    exit_status = 74


class ReaderLeft(OutputFailed):
    """Who read our output has closed the pipe: nothing to complain of."""


def put(text: str) -> None:
    """Write text to standard output, all of it, now.

    Raises:
        ReaderLeft: the pipe is closed.
        OutputFailed: anything else keeps it from being written.
    """
    if sys.stdout is None:  # `>&-` closed it
        raise OutputFailed("can't print: standard output is closed")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        raise ReaderLeft("the reader of the output left") from error
    except UnicodeEncodeError as error:
        raise OutputFailed("can't write the output: this locale lacks a character of it") from error
    except OSError as error:
        raise OutputFailed(f"can't write the output: {error.strerror}") from error

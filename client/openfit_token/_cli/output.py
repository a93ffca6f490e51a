"""Standard output, which may be full or closed, or whose reader may have gone."""

import sys

from openfit_token.errors import TokenError


class OutputFailed(TokenError):
    """The output can't be written."""

    exit_status = 74


class ReaderLeft(OutputFailed):
    """The reader of the output has closed the pipe, which is not an error."""


def put(text: str) -> None:
    """Write a text to standard output, and flush it.

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

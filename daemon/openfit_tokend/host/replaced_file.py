"""Replaces files as a whole: whoever reads one finds the old content or the new, never a part.

The caller has judged the directory, and holds it open.
"""

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from typing import Final

_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def new_file(directory: int, name: str) -> Generator[int]:
    """Make an empty file that only this user can open; remove it if the block fails.

    What has its name is removed: a process that was killed has left it.

    Raises:
        OSError: it can't be made.
    """
    with suppress(FileNotFoundError):
        os.unlink(name, dir_fd=directory)
    descriptor = os.open(name, _NEW, 0o600, dir_fd=directory)
    try:
        yield descriptor
    except BaseException:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)
        raise
    finally:
        os.close(descriptor)


def replace(  # noqa: PLR0913 -- a file, its content, and how
    directory: int,
    name: str,
    content: bytes,
    *,
    beside: str,
    prepare: Callable[[int], None] = lambda _: None,
    durable: bool,
) -> os.stat_result:
    """Let a file hold this content; return its status.

    `beside`: the name that the new file has until it takes its place. `prepare` gives it its owner and
    mode while it is empty; what it raises, this does. `durable`: it is on disk when this returns.

    Raises:
        OSError: it can't be written. What was there is still there.
    """
    with new_file(directory, beside) as descriptor:
        prepare(descriptor)
        with os.fdopen(descriptor, "wb", closefd=False) as file:
            file.write(content)
        if durable:
            os.fsync(descriptor)
        status = os.fstat(descriptor)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    if durable:
        os.fsync(directory)  # else a power cut could bring back the old file
    return status

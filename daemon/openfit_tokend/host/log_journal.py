"""Speaks journald's native protocol, so that events can be searched by each of their fields.

One datagram is one entry (systemd.io/JOURNAL_NATIVE_PROTOCOL). A value that contains a newline is
sent with its length, so that no part of it can become a field or an entry of its own.
"""

import errno
import fcntl
import os
import re
import socket
from array import array
from collections.abc import Mapping
from typing import Final

SOCKET: Final = "/run/systemd/journal/socket"

_NAME: Final = re.compile(r"[A-Z][A-Z0-9_]{0,63}")
_TAKEN: Final = re.compile(
    r"MESSAGE(_ID)?|PRIORITY|EVENT|ERRNO|TID|DOCUMENTATION|(USER_)?(UNIT|INVOCATION_ID)"
    r"|(CODE|SYSLOG|OBJECT|COREDUMP)_.*"
)
"""Names with a meaning of their own (systemd.journal-fields(7)), or set here for each entry. With
UNIT=, for example, an entry could pass for one of the service manager's about that unit."""
_SEALS: Final = fcntl.F_SEAL_SEAL | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE
_FLAGS: Final = int(socket.MSG_DONTWAIT)


def entry(priority: int, event: str, message: str, fields: Mapping[str, str]) -> bytes:
    """Return the bytes of one entry. A field whose name journald wouldn't accept is left out."""
    own = {
        "MESSAGE": message,
        "PRIORITY": str(priority),
        "SYSLOG_IDENTIFIER": "openfit-tokend",
        "EVENT": event,
    }
    named = {_name(name): value for name, value in fields.items()} | own
    return b"".join(
        _field(name.encode(), value.encode(errors="backslashreplace"))
        for name, value in named.items()
        if _NAME.fullmatch(name)
    )


def send(data: bytes, path: str = SOCKET) -> bool:
    """Send an entry to journald and return whether that worked. Never blocks, never raises."""
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            try:
                channel.sendto(data, _FLAGS, path)
            except OSError as error:
                if error.errno != errno.EMSGSIZE:
                    raise
                _send_as_file(channel, data, path)
    except OSError:
        return False
    return True


def _send_as_file(channel: socket.socket, data: bytes, path: str) -> None:
    """Send an entry that is too large for a datagram: as a sealed file in memory."""
    flags = os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING
    with os.fdopen(os.memfd_create("journal-entry", flags), "wb", buffering=0) as file:
        file.write(data)
        fcntl.fcntl(file, fcntl.F_ADD_SEALS, _SEALS)
        rights = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [file.fileno()]))
        channel.sendmsg([], [rights], _FLAGS, path)


def _name(field: str) -> str:
    name = field.upper()
    return f"OPENFIT_{name}" if _TAKEN.fullmatch(name) else name


def _field(name: bytes, value: bytes) -> bytes:
    if b"\n" not in value:
        return b"%s=%s\n" % (name, value)
    return b"%s\n%s%s\n" % (name, len(value).to_bytes(8, "little"), value)

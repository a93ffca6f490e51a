"""Whether the daemon's HTTP socket answers."""

from socket import AF_UNIX, socket

_ASKED = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
_ANSWERED = b"HTTP/1.1 200 "


def is_alive(path: str, patience: float) -> bool:
    """Return whether a socket answers that all is well, over HTTP.

    Args:
        path: the socket's.
        patience: seconds for each step.

    Raises:
        OSError: nobody can be asked there, or nobody answers.
    """
    with socket(AF_UNIX) as asking:
        asking.settimeout(patience)
        asking.connect(path)
        asking.sendall(_ASKED)
        return asking.recv(len(_ANSWERED)) == _ANSWERED

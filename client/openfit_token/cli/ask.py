"""One question on a connection that is open, for commands that can't wait long for the answer."""

from time import monotonic  # noqa: TID251 -- ends waiting for the daemon

from openfit_token._client.calls import Call
from openfit_token._client.connection import READ, SEND_FLAGS, Connection, Pool, Tries


def ask(connection: Connection, call: Call, patience: float) -> object:
    """Return the result of a call.

    Args:
        connection: from `openfit_token._client.paths.connect`.
        call: what to ask.
        patience: seconds until each part of the answer must have come.

    Raises:
        TokenError: what the daemon answered instead; a ProtocolViolation, if that was no answer.
        TimeoutError: it didn't answer.
        OSError: it closed the connection.
    """
    channel = connection.channel
    channel.settimeout(patience)
    channel.sendall(connection.begin(Tries(call, Pool(), monotonic()), monotonic()), SEND_FLAGS)
    while (answer := connection.take(channel.recv(READ))) is None:
        pass
    failure, result = answer
    if failure is not None:
        raise failure
    return result

"""The daemon's faces: each listening socket, and what is spoken there."""

from typing import TYPE_CHECKING, Final, final

from openfit_token.errors import TokenError
from openfit_tokend.core.callers.answers import LoginEnded
from openfit_tokend.host.alarm import Alarm
from openfit_tokend.host.listener import AdoptedListener, Listener, Sockets
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.calls import Backend, stopping
from openfit_tokend.serving.credentials import Credentials
from openfit_tokend.serving.driver import running_loop
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.rpc import Rpc
from openfit_tokend.serving.server import Server

if TYPE_CHECKING:
    from openfit_tokend.serving.http.dialect import Http

    Face = Rpc | Http | Credentials

LAST_CALL: Final = 0.1
"""Seconds in which a client that was accepted before the next daemon's turn can send a request."""


@final
class Faces:
    """All listening sockets, each with its dialect."""

    def __init__(
        self, sockets: Sockets, backend: Backend, profiles: Profiles, alarm: Alarm
    ) -> None:
        """Begin without serving. `sockets` are closed by `end`."""
        self.server = Server(alarm)
        self._by_dialect: dict[Face, Listener | AdoptedListener] = {
            Rpc(self.server, backend, profiles, alarm): sockets.rpc
        }
        if sockets.http is not None:
            from openfit_tokend.serving.http.dialect import Http  # noqa: PLC0415 -- few have it

            self._by_dialect[Http(self.server, backend, profiles, alarm)] = sockets.http
        if sockets.credential is not None:
            units = Credentials(self.server, profiles, alarm)
            self._by_dialect[units] = sockets.credential

    def serve(self) -> None:
        """Serve from now on, while this event loop waits."""
        for dialect, listener in self._by_dialect.items():
            self.server.listen(listener.socket, dialect)
        running_loop().serve(self.server)

    def changed(self, keeper: Keeper, ended: LoginEnded | None) -> None:
        """Report a keeper's change to waiting calls and subscribers."""
        for dialect in self._by_dialect:
            dialect.changed(keeper, ended)

    def removed(self, keeper: Keeper, error: TokenError) -> None:
        """Report that a keeper was removed to waiting calls and subscribers."""
        for dialect in self._by_dialect:
            dialect.removed(keeper, error)

    def begin_to_stop(self) -> None:
        """Leave new clients to the next daemon where it gets the same socket, and answer waiting calls."""
        for dialect, listener in self._by_dialect.items():
            if isinstance(listener, AdoptedListener):
                self.server.stop_accepting(dialect)
            dialect.answer_waiting(stopping())

    @property
    def last_call(self) -> float:
        """Return how many seconds to serve on before the end, once everything else has ended."""
        adopted = (isinstance(each, AdoptedListener) for each in self._by_dialect.values())
        return LAST_CALL if any(adopted) else 0.0

    def end(self) -> None:
        """Give the last answers, close all connections and the sockets."""
        running_loop().leave(self.server)
        for dialect in self._by_dialect:
            self.server.stop_accepting(dialect)
        for dialect in self._by_dialect:
            dialect.dismiss(stopping())
            self.server.hear_out(dialect)
        self.server.close()
        for listener in self._by_dialect.values():
            listener.close()

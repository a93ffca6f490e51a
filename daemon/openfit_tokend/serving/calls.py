"""The methods of the protocol: they check parameters and make answers.

Their names are the protocol's. No secret is among the values but the token itself.
"""

import os
from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Final, Protocol, final

from openfit_token._shared.protocol import (
    DEFAULT_WAIT,
    MAX_REFRESH_TOKEN,
    MAX_WAIT,
    PROTOCOL,
)
from openfit_token._shared.secret import Secret
from openfit_token.errors import (
    BadRequest,
    Internal,
    NoSuchMethod,
    Overloaded,
    Stopping,
    TokenError,
)
from openfit_tokend import __version__
from openfit_tokend.config.passwords import fault_of
from openfit_tokend.core import oauth
from openfit_tokend.core.callers.answers import Call, Get, Refuse, Renew, login_call, token_for
from openfit_tokend.core.callers.wishes import Wishes, brings_login_forward, wish
from openfit_tokend.core.events import NewTokenWanted
from openfit_tokend.core.session import (
    AccessToken,
)
from openfit_tokend.host import clock, log
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving import audit
from openfit_tokend.serving.connection import Connection, Park
from openfit_tokend.serving.profiles import Profiles, quoted
from openfit_tokend.serving.status import of_fleet, status_of
from openfit_tokend.serving.users import Users
from openfit_tokend.serving.waiting import Follow, Later, Respond

if TYPE_CHECKING:  # few daemons have one
    from openfit_tokend.fleet.fleet import Fleet

REFUSED: Final = "the last reload was refused: operators are told why"
"""What callers are told of a faulty configuration."""

_METHODS: Final = {Get: "get_token", Refuse: "refuse", Renew: "refresh"}
"""By the call that each makes."""
_ONLY_TELL: Final = frozenset({"hello", "status", "subscribe"})
"""Methods that only report, so they aren't carried out for a client that has left."""

Params = Mapping[str, object]


HandOut = Callable[[Keeper, AccessToken, float], object]
"""How a dialect hands out a keeper's live token, at a moment."""


class Backend(Protocol):
    """What the methods need to know of the daemon, beside its profiles."""

    socket_path: str
    http_socket_path: str | None
    started_at: float
    """CLOCK_BOOTTIME."""

    @property
    def fleet(self) -> "Fleet | None":
        """Return the daemon's membership of a fleet."""
        ...

    @property
    def users(self) -> Users:
        """Return what each user did."""
        ...

    def reload(self, reply: Respond) -> None:
        """Read the configuration anew and say how that went."""
        ...


@final
class Calls:
    """The methods of the protocol, by name."""

    def __init__(self, backend: Backend, profiles: Profiles, hand_out: HandOut) -> None:
        self._backend = backend
        self._profiles = profiles
        self._hand_out = hand_out
        self._logs_each = audit.is_detailed()  # then each token goes the long way, and is logged
        self._methods: dict[str, tuple[Callable[[Connection, Params], object], frozenset[str]]] = {
            "get_token": (self._get_token, frozenset({"profile", "min_ttl", "wait"})),
            "hello": (self._hello, frozenset()),
            "login": (self._login, frozenset({"profile", "wait", "password", "refresh_token"})),
            "logout": (self._logout, frozenset({"profile"})),
            "refresh": (self._refresh, frozenset({"profile", "wait"})),
            "refuse": (self._refuse, frozenset({"profile", "id", "wait"})),
            "reload": (self._reload, frozenset()),
            "status": (self._status, frozenset({"profile", "for_support"})),
            "subscribe": (self._subscribe, frozenset({"profile"})),
        }

    def call(self, caller: Connection, method: str, params: Params) -> object:
        """Return a method's result, a Park, a Later or a Follow; or the error that is answered instead.

        None: the client has left, so there is no result.
        """
        try:
            return self._call(caller, method, params)
        except TokenError as error:
            return error
        except Exception:  # noqa: BLE001 -- an internal error: the caller is told, the daemon goes on
            log.exception("internal_fault", method=method[:64])
            return Internal("internal error in the daemon", "its log has the details")

    def _call(self, caller: Connection, method: str, params: Params) -> object:
        known = self._methods.get(method)
        if known is None:
            raise NoSuchMethod(
                f"there is no method {quoted(method)}", f"there are {', '.join(self._methods)}"
            )
        do, names = known
        if not names.issuperset(params):
            unknown = ", ".join(quoted(name) for name in params if name not in names)
            raise BadRequest(
                f"{method} has no parameter {unknown}",
                f"it takes {', '.join(sorted(names)) or 'none'}",
            )
        if method in _ONLY_TELL and caller.is_gone:
            return None  # it may have waited for its turn behind a crowd that is gone too
        return do(caller, params)

    def plain(self, method: str, params: Params) -> Keeper | None:
        """Return the keeper whose token answers a call, if it is the same for every caller.

        None: the answer depends on the caller or on more parameters, or each token handed out is logged.
        """
        if method != "get_token" or self._logs_each or not params.keys() <= {"profile", "wait"}:
            return None
        return self._profiles.find_for_all(_text(params, "profile"))

    def token(self, caller: Connection, keeper: Keeper, access: AccessToken, now: float) -> object:
        """Return the result that hands out a token."""
        if self._logs_each or caller.named != access.id:
            audit.token_handed_out(caller, keeper, access, now, at_info=self._profiles.audit)
        return self._hand_out(keeper, access, now)

    # The methods

    def _hello(self, caller: Connection, _params: Params) -> object:
        return {
            "name": "openfit-tokend",
            "version": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "uptime": clock.boot() - self._backend.started_at,
            "profiles": list(self._profiles.usable(caller)),
        }

    def _get_token(self, caller: Connection, params: Params) -> object:
        keeper = self._keeper(caller, "get_token", params)
        if not params:  # the most common call is answered by what is held, where that will do
            now = clock.boot()
            access = keeper.session.access
            if access is not None and now < access.expires and now < access.due:
                return self.token(caller, keeper, access, now)
        call = Get(_number(params, "min_ttl", inf))
        return self._await(caller, keeper, call, _wait(params))

    def _refresh(self, caller: Connection, params: Params) -> object:
        keeper = self._keeper(caller, "refresh", params)
        return self._await(caller, keeper, Renew(clock.boot()), _wait(params))

    def _refuse(self, caller: Connection, params: Params) -> object:
        refused = _text(params, "id")
        if refused is None:
            raise BadRequest("refuse needs the id of the token", "id: as the token's answer had it")
        wait = _wait(params)
        keeper = self._keeper(caller, "refuse", params)
        access = keeper.session.access
        if access is not None and access.id == refused:
            audit.token_refused(caller, keeper.profile.name, refused)
        return self._await(caller, keeper, Refuse(refused), wait)

    def _login(self, caller: Connection, params: Params) -> object:
        password = _text(params, "password")
        if password is not None and (fault := fault_of(password)) is not None:
            raise BadRequest(f"the password {fault[0]}", "nothing was sent")
        token = _refresh_token(params)
        if password is not None and token is not None:
            raise BadRequest("a login takes a password or a refresh token, not both")
        wait = _wait(params)
        keeper = self._operated(caller, "login", params)
        _judge_room(caller)  # before it is ordered: a refused call must not cost a login
        keeper.order_login(None if password is None else Secret(password), token)
        return Park(keeper, login_call(keeper.session), clock.boot() + wait)

    def _logout(self, caller: Connection, params: Params) -> object:
        keeper = self._operated(caller, "logout", params)
        unkept = Internal(
            f"{keeper.profile.name} is logged out, but that can't be written down:"
            " after a restart it may log in again",
            "the daemon's log says why; mend that, and log out once more",
        )
        return Later(lambda reply: keeper.order_logout(lambda kept: reply({} if kept else unkept)))

    def _reload(self, caller: Connection, _params: Params) -> object:
        self._judge_time()
        self._profiles.judge_operator(caller, "reload")
        audit.operator_call(caller.peer, "reload")
        return Later(self._backend.reload)

    def _status(self, caller: Connection, params: Params) -> object:
        backend, profiles, now = self._backend, self._profiles, clock.boot()
        one, operator = _text(params, "profile"), profiles.is_operator(caller)
        for_support = _flag(params, "for_support")
        keepers = (
            profiles.usable(caller) if one is None else {one: profiles.find(caller, "status", one)}
        )
        return {
            "v": 1,
            "version": __version__,
            "pid": os.getpid(),
            "started_at": backend.started_at + clock.wall() - now,
            "socket": backend.socket_path,
            "http_socket": backend.http_socket_path,
            "connections": backend.users.connections,
            "requests": backend.users.requests,
            # It may name profiles and users of others.
            "config_error": profiles.config_error
            and (profiles.config_error if operator else REFUSED),
            "profiles": {
                name: status_of(keeper, now, operator=operator, for_support=for_support)
                for name, keeper in keepers.items()
            },
            **({"clients": _clients(backend.users)} if operator else {}),
            **of_fleet(backend.fleet, clock.wall() - now),
        }

    def _subscribe(self, caller: Connection, params: Params) -> object:
        keeper = self._keeper(caller, "subscribe", params)
        _judge_room(caller)
        operator = self._profiles.is_operator(caller)
        status = status_of(keeper, clock.boot(), operator=operator)
        return Follow(keeper, {"profile": keeper.profile.name, **status})

    # Shared by several methods

    def _keeper(self, caller: Connection, method: str, params: Params) -> Keeper:
        return self._profiles.find(caller, method, _text(params, "profile") if params else None)

    def _await(
        self, caller: Connection, keeper: Keeper, call: Get | Refuse | Renew, wait: float
    ) -> object:
        """Return the token that fulfils a call, or request one and let the call wait."""
        now = clock.boot()
        access = token_for(keeper.session, call, now)
        if access is None:
            self._judge_time()
            refused = self._want(caller, keeper, call, now)
            return self._told(caller, keeper, call, now + wait, refused)
        if isinstance(access, TokenError):
            raise access
        if now >= access.due:
            keeper.wake()
        return self.token(caller, keeper, access, now)

    def _want(
        self, caller: Connection, keeper: Keeper, call: Get | Refuse | Renew, now: float
    ) -> TokenError | None:
        """Request a new token for a caller, or return why not.

        Raises:
            NotAllowed: it would take a login, early, and the caller is no operator.
        """
        name, method, wishes = keeper.profile.name, _METHODS[type(call)], caller.user.wishes
        if not isinstance(call, Refuse) and brings_login_forward(keeper.session, now):
            what = f"to replace {name}'s token early, which takes a login,"
            self._profiles.judge_operator(caller, method, what)
        before = wishes.get(name, Wishes())
        after = wish(before, keeper.session, now)
        if not isinstance(after, Wishes):
            audit.wanted_too_often(caller, method, name)
            return Overloaded(
                f"uid {caller.user.uid} had {name}'s token replaced too often",
                "keep a token until its refresh_at; if the API refuses good ones, its log says why",
                after,
            )
        wishes[name] = after
        if after != before and not isinstance(call, Refuse):  # a refusal is in the log already
            audit.token_wanted(caller, method, name)
        keeper.feed(NewTokenWanted())
        return None

    def _told(
        self,
        caller: Connection,
        keeper: Keeper,
        call: Call,
        deadline: float,
        refused: TokenError | None,
    ) -> object:
        """Return the answer to a call, or a Park. `refused`: why no token is requested for it, if so."""
        now = clock.boot()
        match keeper.answer(call, deadline, now):
            case None:
                _judge_room(caller)
                return Park(keeper, call, deadline)
            case AccessToken() as access:
                return self.token(caller, keeper, access, now)
            case error:
                raise refused or error

    def _operated(self, caller: Connection, method: str, params: Params) -> Keeper:
        self._judge_time()
        self._profiles.judge_operator(caller, method)
        keeper = self._keeper(caller, method, params)
        audit.operator_call(caller.peer, method, keeper.profile.name)
        return keeper

    def _judge_time(self) -> None:
        if self._profiles.stopping:
            raise stopping()


def _judge_room(caller: Connection) -> None:
    """Check that one more call of a user may wait, or subscribe.

    Raises:
        Overloaded: too many do already.
    """
    user = caller.user
    if user.entries >= user.most:
        raise Overloaded(
            f"uid {user.uid} has {user.most} calls that wait and subscriptions",
            "wait for answers, or close connections that subscribe",
        )


def stopping() -> Stopping:
    """Return the error for a caller that would have to wait while the daemon stops."""
    return Stopping("the daemon is shutting down", "ask again: it may be restarting", 1.0)


def _text(params: Params, name: str) -> str | None:
    value = params.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"{name} is a string")


def _flag(params: Params, name: str) -> bool:
    value = params.get(name)
    if value is None or isinstance(value, bool):
        return bool(value)
    raise BadRequest(f"{name} is true or false")


def _refresh_token(params: Params) -> Secret | None:
    given = _text(params, "refresh_token")
    if given is None:
        return None
    token = oauth.refresh_token(given) if len(given) <= MAX_REFRESH_TOKEN else None
    if token is None:
        raise BadRequest(
            f"refresh_token is 1 to {MAX_REFRESH_TOKEN:,} printable characters", "nothing was sent"
        )
    return token


def _number(params: Params, name: str, most: float) -> float | None:
    value = params.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadRequest(f"{name} is a number of seconds")
    if not isfinite(value) or not 0 <= value <= most:
        bounds = "0 or more" if most == inf else f"0 to {most:.0f}"
        raise BadRequest(f"{name} is {bounds} seconds")
    return float(value)


def _wait(params: Params) -> float:
    wait = _number(params, "wait", MAX_WAIT)
    return DEFAULT_WAIT if wait is None else wait


def _clients(users: Users) -> Params:
    return {
        str(uid): {
            "connections": user.connections,
            "requests": user.requests,
            "refused": user.refused,
        }
        for uid, user in users.by_uid.items()
    }

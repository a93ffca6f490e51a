"""What each method does. Parameters are judged here, once; answers are made here."""

import os
from collections import Counter
from collections.abc import Callable, Mapping
from math import inf, isfinite
from typing import TYPE_CHECKING, Final, Protocol, final

from openfit_token.errors import (
    BadRequest,
    Internal,
    NoSuchMethod,
    NotAllowed,
    Stopping,
    TokenError,
)
from openfit_token.protocol import (
    DEFAULT_WAIT,
    MAX_WAIT,
    PROTOCOL,
    Encoded,
    Malformed,
    parse_params,
    parse_request,
)
from openfit_tokend import __version__
from openfit_tokend.core.answers import Call, Get, Refuse, Renew, answer, login_call, token_for
from openfit_tokend.core.events import NewTokenWanted, Woken
from openfit_tokend.core.rights import (
    Rights,
    Who,
    is_operator,
    may_use,
    no_such_profile,
    not_yours,
)
from openfit_tokend.core.secret import Secret
from openfit_tokend.core.session import AccessToken
from openfit_tokend.io import audit, clock
from openfit_tokend.io.connection import Park, User
from openfit_tokend.io.following import Follow
from openfit_tokend.io.keeper import Keeper
from openfit_tokend.io.peers import who
from openfit_tokend.io.secrets import MAX_PASSWORD
from openfit_tokend.io.server import Caller
from openfit_tokend.io.shortcut import Shortcut
from openfit_tokend.io.status import status_of
from openfit_tokend.io.waiting import Later, Reply

if TYPE_CHECKING:
    from openfit_token.protocol import Value

MAX_SHOWN: Final = 64
"""Characters of a caller's own words that an error repeats."""

REFUSED: Final = "the last reload was refused: operators are told why"
"""What callers are told of a faulty configuration."""

Params = Mapping[str, object]


class House(Protocol):
    """What the methods need to know of the daemon."""

    keepers: dict[str, Keeper]
    default_profile: str | None
    rights: Rights
    socket_path: str
    started_at: float
    """CLOCK_BOOTTIME."""
    config_error: str | None
    stopping: bool

    @property
    def users(self) -> Mapping[int, User]:
        """Give what each uid did."""
        ...

    @property
    def connections(self) -> int:
        """Give the number of clients connected."""
        ...

    def reload(self, reply: Reply) -> None:
        """Read the configuration anew and say how that went."""
        ...


@final
class Calls:
    """The methods of the protocol, by name."""

    def __init__(self, house: House) -> None:
        self._house = house
        self.shortcut = Shortcut()
        self._refused: Counter[int] = Counter()  # calls that a uid might not make
        self._audited = audit.is_detailed()  # then each token goes the long way, and is logged
        self._methods: dict[str, tuple[Callable[[Caller, Params], object], frozenset[str]]] = {
            "get_token": (self._get_token, frozenset({"profile", "min_ttl", "wait"})),
            "hello": (self._hello, frozenset()),
            "login": (self._login, frozenset({"profile", "wait", "password"})),
            "logout": (self._logout, frozenset({"profile"})),
            "refresh": (self._refresh, frozenset({"profile", "wait"})),
            "refuse": (self._refuse, frozenset({"profile", "id", "wait"})),
            "reload": (self._reload, frozenset()),
            "status": (self._status, frozenset({"profile"})),
            "subscribe": (self._subscribe, frozenset({"profile"})),
        }

    def call(self, caller: Caller, method: str, params: Params) -> object:
        """Give a method's result, a Park, a Later or a Follow.

        Raises:
            TokenError: what the caller is answered instead.
        """
        known = self._methods.get(method)
        if known is None:
            raise NoSuchMethod(
                f"there is no method {_shown(method)}", f"there are {', '.join(self._methods)}"
            )
        do, names = known
        if not names.issuperset(params):
            unknown = ", ".join(_shown(name) for name in params if name not in names)
            raise BadRequest(
                f"{method} has no parameter {unknown}",
                f"it takes {', '.join(sorted(names)) or 'none'}",
            )
        return do(caller, params)

    def note(self, data: bytes, message: "Value") -> None:
        """Remember the bytes of a request that plainly asks for a token, for the short way.

        That doesn't ask who is asking: so it is for a profile that is the same one for everybody, and
        has no lists.
        """
        if self._audited:
            return
        house = self._house
        try:
            request = parse_request(message)
            if request is None or request[1] != "get_token":
                return
            params = parse_params(request[2])
            if params.keys() <= {"profile", "wait"}:
                _wait(params)
                name = _text(params, "profile")
                keeper = keeper_of(house.keepers, house.default_profile, name)
                if keeper.profile.name not in house.rights.allowed:
                    self.shortcut.remember(data, keeper)
        except (TokenError, Malformed):
            return  # the usual way will say so

    def token(self, caller: Caller, keeper: Keeper, access: AccessToken, now: float) -> Encoded:
        """Give the result that hands out a token, and count it."""
        if self._audited:
            audit.token_handed_out(caller.peer, keeper.profile.name, access, now)
        return Encoded(keeper.hand_out(access, now))

    def refusal(self, caller: Caller, keeper: Keeper) -> TokenError | None:
        """Return the error of a caller who may not use a profile, if so; it is logged, and counted."""
        name, rights = keeper.profile.name, self._house.rights
        if name not in rights.allowed:
            return None
        asking = who(caller.sock, caller.peer)
        if may_use(rights, name, asking):
            return None
        return self._refuse_profile(caller, "wait", name, self._usable(asking))

    # The methods

    def _hello(self, caller: Caller, _params: Params) -> object:
        return {
            "name": "openfit-tokend",
            "version": __version__,
            "protocol": PROTOCOL,
            "pid": os.getpid(),
            "uptime": clock.boot() - self._house.started_at,
            "profiles": list(self._usable(who(caller.sock, caller.peer))),
        }

    def _get_token(self, caller: Caller, params: Params) -> object:
        keeper = self._keeper(caller, "get_token", params)
        if not params:  # the most common call is answered by what is held, where that will do
            now = clock.boot()
            access = keeper.session.access
            if access is not None and now < access.expires and now < access.due:
                return self.token(caller, keeper, access, now)
        call = Get(_number(params, "min_ttl", inf))
        return self._await(caller, keeper, call, _wait(params))

    def _refresh(self, caller: Caller, params: Params) -> object:
        keeper = self._keeper(caller, "refresh", params)
        return self._await(caller, keeper, Renew(clock.boot()), _wait(params))

    def _refuse(self, caller: Caller, params: Params) -> object:
        refused = _text(params, "id")
        if refused is None:
            raise BadRequest("refuse needs the id of the token", "id: as the token's answer had it")
        wait = _wait(params)
        keeper = self._keeper(caller, "refuse", params)
        access = keeper.session.access
        if access is not None and access.id == refused:
            audit.token_refused(caller.peer, keeper.profile.name, refused)
        return self._await(caller, keeper, Refuse(refused), wait)

    def _login(self, caller: Caller, params: Params) -> object:
        password = _text(params, "password")
        if password is not None and not 0 < len(password) <= MAX_PASSWORD:
            raise BadRequest(f"a password has 1 to {MAX_PASSWORD} characters", "nothing was sent")
        wait = _wait(params)
        keeper = self._operated(caller, "login", params)
        keeper.order_login(None if password is None else Secret(password))
        return Park(keeper, login_call(keeper.session), clock.boot() + wait)

    def _logout(self, caller: Caller, params: Params) -> object:
        keeper = self._operated(caller, "logout", params)
        unkept = Internal(
            f"{keeper.profile.name} is logged out, but that can't be written down:"
            " after a restart it may log in again",
            "the daemon's log says why; mend that, and log out once more",
        )
        return Later(lambda reply: keeper.order_logout(lambda kept: reply({} if kept else unkept)))

    def _reload(self, caller: Caller, _params: Params) -> object:
        self._judge_operator(caller, "reload")
        audit.operator_call(caller.peer, "reload")
        return Later(self._house.reload)

    def _status(self, caller: Caller, params: Params) -> object:
        house, now = self._house, clock.boot()
        one, asking = _text(params, "profile"), who(caller.sock, caller.peer)
        keepers = (
            self._usable(asking) if one is None else {one: self._keeper(caller, "status", params)}
        )
        operator = is_operator(house.rights, asking)
        clients = {
            str(uid): {
                "connections": user.connections,
                "requests": user.requests,
                "refused": self._refused[uid],
            }
            for uid, user in house.users.items()
        }
        return {
            "v": 1,
            "version": __version__,
            "pid": os.getpid(),
            "started_at": house.started_at + clock.wall() - now,
            "socket": house.socket_path,
            "connections": house.connections,
            "requests": sum(user.requests for user in house.users.values()),
            # It names profiles and users: of others, too.
            "config_error": house.config_error and (house.config_error if operator else REFUSED),
            "profiles": {
                name: status_of(keeper, now, operator=operator) for name, keeper in keepers.items()
            },
            **({"clients": clients} if operator else {}),
        }

    def _subscribe(self, caller: Caller, params: Params) -> object:
        keeper = self._keeper(caller, "subscribe", params)
        operator = is_operator(self._house.rights, who(caller.sock, caller.peer))
        status = status_of(keeper, clock.boot(), operator=operator)
        return Follow(keeper, {"profile": keeper.profile.name, **status})

    # What they share

    def _keeper(self, caller: Caller, method: str, params: Params) -> Keeper:
        """Return the keeper of the profile that a call is for, if the caller may use it."""
        house = self._house
        keepers, default, rights = house.keepers, house.default_profile, house.rights
        name = _text(params, "profile") if params else None
        asking = who(caller.sock, caller.peer) if rights.allowed else None
        if asking is None or is_operator(rights, asking):
            return keeper_of(keepers, default, name)
        meant = default if name is None else name
        if meant in keepers and may_use(rights, meant, asking):
            return keepers[meant]
        usable = self._usable(asking)
        if name is None and usable:
            return keeper_of(usable, None, None)
        raise self._refuse_profile(caller, method, name, usable)

    def _usable(self, asking: Who) -> dict[str, Keeper]:
        """Give the profiles that a caller may use."""
        rights, keepers = self._house.rights, self._house.keepers
        if not rights.allowed:
            return keepers
        return {name: keeper for name, keeper in keepers.items() if may_use(rights, name, asking)}

    def _refuse_profile(
        self, caller: Caller, method: str, name: str | None, usable: Mapping[str, Keeper]
    ) -> TokenError:
        """Note that a caller may not use a profile (None: any), and return what it is told.

        That depends on what the caller may use, and on nothing else: so nobody learns whether
        there is a profile of a name that was guessed. The log says which one was meant.
        """
        peer, is_one = caller.peer, name in self._house.keepers
        if is_one or not usable:
            self._refused[peer.uid] += 1
            audit.call_refused(peer, method, name if is_one else None)
        return not_yours(peer.uid, None if name is None else _shown(name), usable)

    def _await(
        self, caller: Caller, keeper: Keeper, call: Get | Refuse | Renew, wait: float
    ) -> object:
        """Give the token that fulfils a call; or let one be got, and the call wait for it."""
        now = clock.boot()
        access = token_for(keeper.session, call, now)
        if access is None:
            self._judge_time()
            keeper.feed(NewTokenWanted(call.id if isinstance(call, Refuse) else None))
            return self._told(caller, keeper, call, now + wait)
        if isinstance(access, TokenError):
            raise access
        if now >= access.due:
            keeper.feed(Woken())  # in time anyway, unless the host was suspended
        return self.token(caller, keeper, access, now)

    def _told(self, caller: Caller, keeper: Keeper, call: Call, deadline: float) -> object:
        now = clock.boot()
        match answer(keeper.session, call, deadline, now):
            case None:
                return Park(keeper, call, deadline)
            case AccessToken() as access:
                return self.token(caller, keeper, access, now)
            case error:
                raise error

    def _operated(self, caller: Caller, method: str, params: Params) -> Keeper:
        self._judge_operator(caller, method)
        keeper = self._keeper(caller, method, params)
        audit.operator_call(caller.peer, method, keeper.profile.name)
        return keeper

    def _judge_time(self) -> None:
        if self._house.stopping:
            raise stopping()

    def _judge_operator(self, caller: Caller, method: str) -> None:
        self._judge_time()
        if is_operator(self._house.rights, who(caller.sock, caller.peer)):
            return
        self._refused[caller.peer.uid] += 1
        audit.call_refused(caller.peer, method)
        raise NotAllowed(
            f"{method} is for operators: root, the daemon's user and admin_groups",
            "ask the administrator, or use sudo",
        )


def keeper_of(keepers: Mapping[str, Keeper], default: str | None, name: str | None) -> Keeper:
    """Give the keeper of a profile; of the default one, or of the only one, where none is named.

    Raises:
        NoSuchProfile: there is none.
    """
    if name is None:
        name = default
        if name is None and len(keepers) == 1:
            (name,) = keepers
    keeper = None if name is None else keepers.get(name)
    if keeper is None:
        raise no_such_profile(None if name is None else _shown(name), keepers)
    return keeper


def stopping() -> Stopping:
    """Give what a caller is told who would have to wait while the daemon ends."""
    return Stopping("the daemon is shutting down", "ask again: it may be restarting", 1.0)


def _shown(words: str) -> str:
    return repr(words if len(words) <= MAX_SHOWN else f"{words[:MAX_SHOWN]}...")


def _text(params: Params, name: str) -> str | None:
    value = params.get(name)
    if value is None or isinstance(value, str):
        return value
    raise BadRequest(f"{name} is a string")


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

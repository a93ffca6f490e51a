"""The profiles that are served, and who may use them. Every answer depends on it.

A reload takes a while, and clients are served meanwhile. These rules hold at each moment of it:

- A profile changes together with its rights, as one (`change`).
- To use a profile takes the rights that it has now, and those of the newest configuration. So nobody
  gets a token that one of the two forbids.
- Which profiles there are, which is the default and who is an operator change at once, when every
  profile has changed (`serve`). So whatever both configurations have is there all the time.
- A reload that ends half way, since the daemon stops, leaves all this as it is.
"""

from collections.abc import Callable, Mapping
from typing import Final, final

from openfit_token.errors import NotAllowed, TokenError
from openfit_tokend.core.callers.rights import (
    Rights,
    Who,
    is_operator,
    may_use,
    no_such_profile,
    not_yours,
)
from openfit_tokend.core.settings.values import Profile, Settings
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving import audit
from openfit_tokend.serving.connection import Connection

MAX_QUOTED: Final = 64
"""Characters of a caller's own words that an error or the log repeats."""


@final
class Profiles:
    """All keepers, and which of them answers a caller."""

    def __init__(self, rights: Rights) -> None:
        """Begin without profiles; `rights` are those of the configuration that is to be served."""
        self.keepers: dict[str, Keeper] = {}
        """All of them, including those that a reload hasn't served yet or will remove."""
        self.config_error: str | None = None
        """Why the newest configuration was refused."""
        self.audit = True
        """Whether the log names each caller that gets a token, once for each token."""
        self.stopping = False
        self.forget_answers: list[Callable[[], None]] = []
        """Called before answers may change: what is prepared is no longer valid."""
        self._served: Mapping[str, Keeper] = {}
        self._default: Keeper | None = None
        self._rights = rights
        self._newest = rights

    # What changes them

    def expect(self, rights: Rights) -> None:
        """Require these rights too from now on: a newer configuration is being applied."""
        self._forget_answers()
        self._newest = rights

    def add(self, keeper: Keeper) -> None:
        """Add a keeper. No caller can use it yet: see `serve`."""
        self.keepers[keeper.profile.name] = keeper

    def change(self, keeper: Keeper, profile: Profile) -> None:
        """Give a keeper what the expected configuration says, and its rights with it."""
        self._forget_answers()
        keeper.reconfigure(profile, self._newest)

    def serve(self, settings: Settings) -> None:
        """Serve the profiles of a configuration, and no others. All of them are there."""
        self._forget_answers()
        self._served = {name: self.keepers[name] for name in settings.profiles}
        name = settings.default_profile
        if name is None and len(self._served) == 1:
            (name,) = self._served
        self._default = None if name is None else self._served[name]
        self._rights = self._newest
        self.audit = settings.audit
        self.config_error = None

    def _forget_answers(self) -> None:
        for forget in self.forget_answers:
            forget()

    # Which keeper answers a caller

    def find(self, caller: Connection, method: str, name: str | None) -> Keeper:
        """Return the keeper of the profile that a call is for.

        Without a name it is the default one; or the only one that the caller may use.

        Raises:
            NoSuchProfile: there is none, as far as the caller may know.
            NotAllowed: the caller may use no profile at all.
        """
        keeper = self._default if name is None else self._served.get(name)
        if keeper is not None and self._may_use(caller, keeper):
            return keeper
        usable = self.usable(
            caller, without=keeper
        )  # as many judgements with a keeper as with none
        if name is None and len(usable) == 1:
            (keeper,) = usable.values()
            return keeper
        hidden = self._rights.allowed or self._newest.allowed
        if (name is None and usable) or not hidden or self.is_operator(caller):
            raise no_such_profile(_fit(name), usable)
        raise self._refusal(caller, method, name, usable)

    def find_for_root(self, name: str | None) -> Keeper:
        """Return the keeper of a profile, or of the default one, for a caller that may use all.

        Raises:
            NoSuchProfile: there is none.
        """
        keeper = self._default if name is None else self._served.get(name)
        if keeper is None:
            raise no_such_profile(_fit(name), self._served)
        return keeper

    def find_for_all(self, name: str | None) -> Keeper | None:
        """Return the keeper that this name means for every caller; None: that depends on the caller."""
        keeper = self._default if name is None else self._served.get(name)
        return keeper if keeper is not None and self._is_open(keeper) else None

    def usable(self, caller: Connection, without: Keeper | None = None) -> Mapping[str, Keeper]:
        """Return the profiles that a caller may use. `without`: one that it may not, as is known."""
        return {
            name: keeper
            for name, keeper in self._served.items()
            if keeper is not without and self._may_use(caller, keeper)
        }

    def refusal(self, caller: Connection, keeper: Keeper) -> TokenError | None:
        """Return the error for a caller that waits for a profile it may no longer use; None: it still may.

        This is logged, and counted.
        """
        if self._may_use(caller, keeper):
            return None
        return self._refusal(caller, "wait", keeper.profile.name, self.usable(caller, keeper))

    def _may_use(self, caller: Connection, keeper: Keeper) -> bool:
        return self._is_open(keeper) or self._lists(keeper, caller.who)

    def _is_open(self, keeper: Keeper) -> bool:
        """Return whether the profile has no allow lists, so that every caller may use it."""
        name = keeper.profile.name
        return name not in keeper.rights.allowed and name not in self._newest.allowed

    def _lists(self, keeper: Keeper, asking: Who) -> bool:
        name = keeper.profile.name
        return may_use(keeper.rights, name, asking) and may_use(self._newest, name, asking)

    def _refusal(
        self, caller: Connection, method: str, name: str | None, usable: Mapping[str, Keeper]
    ) -> TokenError:
        """Note that a caller may not use a profile (None: any), and return what it is told.

        The answer, and the work done for it, depend only on what the caller may use. So a guess
        doesn't reveal whether there is such a profile, not even by the time it takes. The log says
        what was asked for.
        """
        caller.user.refused += 1
        audit.call_refused(caller, method, None if name is None else name[:MAX_QUOTED])
        return not_yours(caller.peer.uid, _fit(name), usable)

    # Operators

    def is_operator(self, caller: Connection) -> bool:
        """Return whether a caller is an operator."""
        asking = caller.who
        return is_operator(self._rights, asking) and is_operator(self._newest, asking)

    def judge_operator(self, caller: Connection, method: str, what: str | None = None) -> None:
        """Return if a caller is an operator. `what`: is only for operators, if the method is for others too.

        Raises:
            NotAllowed: it isn't; this is logged, and counted.
        """
        if self.is_operator(caller):
            return
        caller.user.refused += 1
        audit.call_refused(caller, method)
        raise NotAllowed(
            f"{what or method} is for operators: root, the daemon's user and admin_groups",
            "ask the administrator, or use sudo",
        )


def _fit(name: str | None) -> str | None:
    return None if name is None else quoted(name)


def quoted(words: str) -> str:
    """Return a caller's own words as an error repeats them."""
    return repr(words if len(words) <= MAX_QUOTED else f"{words[:MAX_QUOTED]}...")

"""Looks at a profile's stored password while a login can't follow because of one.

A bar belongs to the password that was rejected, or couldn't be read. It may have been another one: an
operator's, another host's of the fleet, or what was stored then. So the stored one is read at once
and then each hour. If nothing is known against it, the bar is lifted; else that is said.
"""

from typing import TYPE_CHECKING, Final, final

from openfit_token.errors import SecretUnavailable
from openfit_tokend.core import problems
from openfit_tokend.core.events import Reconfigured
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import needs_another_secret
from openfit_tokend.core.settings.values import Profile
from openfit_tokend.host import clock, log
from openfit_tokend.host.alarm import Entry

if TYPE_CHECKING:
    from openfit_tokend.keeping.keeper import Keeper, Tools

AGAIN: Final = 3600.0
"""Seconds until it is looked at again: a person may have stored another, and forgotten the reload."""


@final
class StoredSecret:
    """The stored password of one keeper's profile, as far as it is known."""

    __slots__ = ("_entry", "_keeper", "_looking", "_tools", "problem")

    def __init__(self, keeper: "Keeper", tools: "Tools") -> None:
        self.problem: Problem | None = None
        """What is wrong with it."""
        self._keeper = keeper
        self._tools = tools
        self._looking = False
        self._entry: Entry | None = None

    def look(self) -> None:
        """Look at it soon. Never waits."""
        if not (self._looking or self._keeper.stopping):
            self._looking = True
            self._tools.tasks.start_soon(self._look)

    def retire(self) -> None:
        """Look no more by itself."""
        if self._entry is not None:
            self._tools.alarm.cancel(self._entry)
            self._entry = None

    async def _look(self) -> None:
        keeper, profile = self._keeper, self._keeper.profile
        try:
            found = await self._found(profile)
        except Exception:  # noqa: BLE001 -- an internal error: this profile goes on without
            log.exception("internal_fault", profile=profile.name)
            found = self.problem
        finally:
            self._looking = False
        if keeper.stopping:
            return  # else the alarm would keep a profile that left, with its secrets
        if keeper.profile is not profile:
            self.look()
            return
        told, self.problem = self.problem, found
        if found is None and profile.password is not None and needs_another_secret(keeper.session):
            keeper.feed(Reconfigured())
        if (told is None) != (found is None):
            keeper.tell()
        if needs_another_secret(keeper.session) or found is not None:
            self.retire()
            self._entry = self._tools.alarm.at(clock.boot() + AGAIN, self.look)

    async def _found(self, profile: Profile) -> Problem | None:
        """Return what is wrong with the stored password; None: nothing is known, or none is stored."""
        if profile.password is None:
            return None
        accounts = self._tools.accounts
        try:
            secret = await self._tools.passwords.read(profile.password)
        except SecretUnavailable as error:
            return problems.secret_unread(error.message, error.hint, clock.boot())
        rejected = await accounts.was_rejected(profile.account, secret)
        return problems.rejected_before(clock.boot()) if rejected else None

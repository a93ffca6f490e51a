"""Faults that are known, put into the daemon on purpose: each must be found."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Final
from unittest.mock import patch

from openfit_tokend.core import budget, schedule, step
from openfit_tokend.core.callers.rights import may_use
from openfit_tokend.core.events import Kind
from openfit_tokend.core.session import Idle, Requesting, is_logged_out, new_session
from openfit_tokend.host import log
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.keeping import keeper
from openfit_tokend.keeping.endpoint import Endpoint
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.serving.profiles import Profiles
from openfit_tokend.serving.waiting import Waiting
from openfit_tokend.storage.accounts import Accounts
from whole.fleet_faults import FLEET_FAULTS
from whole.planted import Fault, Method, Patch, instead


def _only_the_new_rights() -> Patch:
    def lists(profiles: Any, keeper: Any, asking: Any) -> bool:  # noqa: ANN401 -- as all here: what is patched is private
        return may_use(profiles._newest, keeper.profile.name, asking)

    def is_open(profiles: Any, keeper: Any) -> bool:  # noqa: ANN401 -- the same
        return keeper.profile.name not in profiles._newest.allowed

    return patch.multiple(Profiles, _lists=lists, _is_open=is_open)


def _ledger_after_request() -> Patch:
    async def at_once(*given: object, **_more: object) -> object:
        return given[2]

    return instead(Accounts, "_written_down", lambda _: at_once)


def _refresh_token_kept() -> Patch:
    def make(failed: Method) -> Method:
        def keep(session: Any, *rest: object) -> Any:  # noqa: ANN401 -- the same
            after, effects = failed(session, *rest)
            lost = after.refresh is None
            return (replace(after, refresh=session.refresh) if lost else after), effects

        return keep

    return instead(step, "_refresh_failed", make)


def _new_session_not_stored() -> Patch:
    def make(stored: Method) -> Method:
        def keep(keeper: Any) -> None:  # noqa: ANN401 -- the same
            if not isinstance(keeper.session.doing, Idle):
                stored(keeper)

        return keep

    return instead(Keeper, "_keep", make)


def _sent_requests_cancelled() -> Patch:
    @contextmanager
    def shielded(_endpoint: object, _limit: float) -> Generator[None]:
        yield

    return instead(Endpoint, "_shielded", lambda _: shielded)


def _served_beyond_the_end() -> Patch:
    def expires(sent: float, lifetime: float) -> float:
        return sent + lifetime + 3.0

    return instead(schedule, "expires", lambda _: expires)


def _rejection_not_counted() -> Patch:
    def make(settled: Method) -> Method:
        def settle(accounts: object, account: object, attempt: object, kind: object) -> None:
            counts = Kind.TRANSIENT if kind is Kind.GRANT_REJECTED else kind
            settled(accounts, account, attempt, counts)

        return settle

    return instead(Accounts, "settle", make)


def _waits_too_long() -> Patch:
    def make(parked: Method) -> Method:
        def park(waiting: object, connection: object, msgid: int, call: Any) -> None:  # noqa: ANN401 -- the same
            parked(waiting, connection, msgid, replace(call, deadline=call.deadline + 30.0))

        return park

    return instead(Waiting, "park", make)


def _password_kept() -> Patch:
    def make(taken: Method) -> Method:
        def reconfigure(keeper: Any, *args: object) -> None:  # noqa: ANN401 -- the same
            password = keeper._password
            taken(keeper, *args)
            keeper._password = password

        return reconfigure

    return instead(Keeper, "reconfigure", make)


def _logout_forgotten() -> Patch:
    def make(begun: Method) -> Method:
        def begin(*given: Any, **more: Any) -> Any:  # noqa: ANN401 -- the same
            session = begun(*given, **more)
            return new_session(more["now"]) if is_logged_out(session) else session

        return begin

    return instead(keeper, "begun", make)


def _late_answers_count() -> Patch:
    def awaited(session: Any, _number: int) -> bool:  # noqa: ANN401 -- the same
        return isinstance(session.doing, Requesting)

    return instead(step, "_awaited", lambda _: awaited)


def _many_rejections_allowed() -> Patch:
    return patch.object(budget, "LIMIT", 7)


def _sent_twice() -> Patch:
    def make(begun: Method) -> Method:
        def begin(keeper: object, *args: object) -> None:
            begun(keeper, *args)
            begun(keeper, *args)

        return begin

    return instead(Keeper, "_begin", make)


def _secret_in_log() -> Patch:
    def make(taken: Method) -> Method:
        def take(keeper: Any, *args: object) -> None:  # noqa: ANN401 -- the same
            taken(keeper, *args)
            if keeper.session.access is not None:
                log.info("state_changed", token=keeper.session.access.value.reveal)

        return take

    return instead(Keeper, "_take", make)


def _hung_key_for_ever() -> Patch:
    def make(ended: Method) -> Method:
        def end(calls: object, key: str, job: Any) -> None:  # noqa: ANN401 -- the same
            if not job.begun or job.ended.statistics().tasks_waiting:
                ended(calls, key, job)

        return end

    return instead(BlockingCalls, "_end", make)


FAULTS: Final[Mapping[str, Fault]] = {
    "new_rights": Fault("a reload asks only for the new rights", _only_the_new_rights),
    "ledger_late": Fault("the ledger is written after the login is sent", _ledger_after_request),
    "refresh_kept": Fault("a rejected refresh token is kept", _refresh_token_kept),
    "not_stored": Fault("a new session isn't stored", _new_session_not_stored),
    "cancelled": Fault("a stop cancels requests that were sent", _sent_requests_cancelled),
    "dead_token": Fault("a token is served three seconds beyond its end", _served_beyond_the_end),
    "not_counted": Fault("a rejected login isn't counted", _rejection_not_counted),
    "late_answer": Fault("calls wait half a minute longer than they asked", _waits_too_long),
    "password_kept": Fault("an operator's password outlives a change of user", _password_kept),
    "logout": Fault("a restart forgets a logout", _logout_forgotten),
    "void_answer": Fault("an answer counts for another request", _late_answers_count),
    "budget": Fault("seven rejected logins are allowed", _many_rejections_allowed),
    "twice": Fault("each request is sent twice", _sent_twice),
    "secret": Fault("a token is logged", _secret_in_log),
    "hung_key": Fault("a file that hung once is never read again", _hung_key_for_ever),
    **FLEET_FAULTS,
}

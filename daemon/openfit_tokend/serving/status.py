"""What a status says of a profile, and of the fleet, in the protocol's words."""

from collections.abc import Mapping
from math import inf
from typing import TYPE_CHECKING

from openfit_tokend.core import budget
from openfit_tokend.core.problems import Problem, hint_for
from openfit_tokend.core.reports.health import Health
from openfit_tokend.core.session import Idle, last_error, live
from openfit_tokend.core.settings.values import PASSWORD_KEY, Profile
from openfit_tokend.host import clock
from openfit_tokend.keeping.keeper import Keeper
from openfit_tokend.keeping.token_requests import Sent

if TYPE_CHECKING:  # few daemons have one
    from openfit_tokend.fleet.fleet import Fleet

Params = Mapping[str, object]


def status_of(keeper: Keeper, now: float, *, operator: bool, for_support: bool = False) -> Params:
    """Return a profile's status as a caller sees it; an operator also sees the user name.

    `for_support`: with what a support ticket needs.
    """
    session, profile, counters = keeper.session, keeper.profile, keeper.counters
    health = keeper.health(now)
    access, epoch = live(session, now), clock.wall() - now
    bar, refresh = session.bar, session.refresh
    began = None if refresh is None else refresh.since
    barred_until = 0.0 if bar is None or bar.until == inf else bar.until
    possible_at = max(barred_until, budget.possible_at(keeper.ledger, now))

    def unix(moment: float | None) -> float | None:
        return None if moment is None else moment + epoch

    return {
        "state": health.state,
        "health": _health(profile, health, epoch),
        "environment": profile.environment,
        "id_server": profile.identity.id_server,
        "api_url": profile.api_url,
        "id": None if access is None else access.id,
        "obtained_at": unix(None if access is None else access.obtained),
        "expires_at": unix(None if access is None else access.expires),
        "expires_in": None if access is None else access.expires - now,
        "refresh_at": unix(session.doing.due if isinstance(session.doing, Idle) else None),
        "session_began_at": unix(began),
        "session_ends_at": unix(
            None if began is None else began + profile.policy.refresh_token_lifetime
        ),
        "last_success_at": unix(keeper.last_success_at),
        "degraded": _problem(profile, health.degraded, epoch),
        "last_error": _problem(profile, last_error(session), epoch),
        "logins_left": budget.logins_left(keeper.ledger, now),
        "login_possible_at": unix(possible_at) if possible_at > now else None,
        "counters": {
            "tokens": counters.tokens,
            "logins": counters.logins,
            "refreshes": counters.refreshes,
            "rejected_refreshes": counters.rejected_refreshes,
            "uncertain": counters.uncertain,
            "failures": counters.failures,
            "served": counters.served,
            "waiting": keeper.waiting,
        },
        **({"username": profile.identity.username} if operator else {}),
        **_last_writer(keeper, epoch),
        **({"sent": [_sent(sent, epoch) for sent in keeper.sent]} if for_support else {}),
        **({"configuration": _configuration(profile)} if for_support and operator else {}),
    }


def of_fleet(fleet: "Fleet | None", epoch: float) -> Params:
    """Return what a status says of the fleet, if there is one."""
    if fleet is None:
        return {}
    problem = fleet.problem
    store = None if problem is None else _as_params(problem, problem.hint, epoch)
    return {"fleet": {"member": fleet.member, "store": store}}


def _sent(sent: Sent, epoch: float) -> Params:
    return {
        "at": sent.at + epoch,
        "kind": "login" if sent.is_login else "refresh",
        "status": sent.status,
        "message": sent.message,
        "ids": dict(sent.ids),
    }


def _configuration(profile: Profile) -> Params:
    """Return what is configured, without what may have a secret in it: commands, and variables' names."""
    source = None if profile.password is None else PASSWORD_KEY[type(profile.password)]
    return {
        "client_id": profile.identity.client_id,
        "scope": profile.identity.scope,
        "password": source,
        "refresh_before": profile.policy.refresh_before,
        "refresh_token_lifetime": profile.policy.refresh_token_lifetime,
        "ca_file": profile.ca_file,
    }


def _last_writer(keeper: Keeper, epoch: float) -> Params:
    """Return what a profile's status says of the fleet, if there is one."""
    if not keeper.claims.is_shared:
        return {}
    writer = keeper.claims.last_writer()
    if writer is None:
        return {"fleet": None}
    claim = writer.claim
    claimed = None
    if claim is not None:
        claimed = {"by": claim.by, "since": claim.since + epoch, "ends_at": claim.ends_at + epoch}
    return {"fleet": {"by": writer.by, "at": writer.at + epoch, "claim": claimed}}


def _health(profile: Profile, health: Health, epoch: float) -> Params:
    return {
        "condition": health.condition,
        "ready": health.ready,
        "problems": [_problem(profile, problem, epoch) for problem in health.problems],
    }


def _problem(profile: Profile, problem: Problem | None, epoch: float) -> Params | None:
    if problem is None:
        return None
    return _as_params(problem, hint_for(profile.name, problem.hint), epoch)


def _as_params(problem: Problem, hint: str | None, epoch: float) -> Params:
    return {
        "code": problem.raises.code,
        "message": problem.message,
        "hint": hint,
        "at": problem.at + epoch,
    }

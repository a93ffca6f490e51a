"""What the demo promises, judged from the facts it recorded. Pure."""

from collections.abc import Iterable
from dataclasses import KW_ONLY

from openfit_emulator.demo.observed import Counters
from openfit_token._shared.frozen import frozen


@frozen
class Replacement:
    """The replacement of a token, `early` seconds before the old one expired."""

    early: float
    by_schedule: bool
    """It came when due: no outage delayed it."""
    after_password_change: bool


@frozen
class Outage:
    """The token server's outage as observed. `seconds` is 0.0 if it didn't end."""

    seconds: float = 0.0
    failed_requests: int = 0
    calls: int = 0
    """API calls that succeeded meanwhile."""
    told: bool = False
    """Whether the daemon's status showed it."""


@frozen
class Facts:
    """Everything that was recorded."""

    _: KW_ONLY
    calls: tuple[int, ...]
    """Successful API calls of each script."""
    failures: tuple[str, ...]
    """The failed ones: the script's name, and the error."""
    replacements: tuple[Replacement, ...]
    outage: Outage
    server: Counters
    aborted: str | None
    """Why the demo ended before its last act; None: it didn't."""


@frozen
class Promise:
    """A promise, whether it was kept, and the figures that prove it."""

    text: str
    kept: bool
    figures: str


def judge(facts: Facts) -> tuple[Promise, ...]:
    """Return every promise. One without any observation counts as broken."""
    promises = (
        _calls(facts),
        _login(facts),
        _schedule(facts),
        _one_at_a_time(facts),
        _outage(facts),
        _password(facts),
    )
    if facts.aborted is None:
        return promises
    return (*promises, Promise("the demo ran to its end", kept=False, figures=facts.aborted))


def kept(promises: Iterable[Promise]) -> bool:
    """Return whether all promises were kept."""
    return all(promise.kept for promise in promises)


def _calls(facts: Facts) -> Promise:
    failed = len(facts.failures)
    refused = facts.server.api_refused
    figures = (
        f"{sum(facts.calls)} calls by {len(facts.calls)} scripts succeeded, {failed} failed; the API"
        f" {f'answered 401 {_times(refused)}' if refused else 'never answered 401'}"
    )
    if failed:
        figures += f"; the first: {facts.failures[0]}"
    if not all(facts.calls):
        figures += "; one script made none"
    fine = not failed and not refused and bool(facts.calls) and all(facts.calls)
    return Promise("no API call failed", kept=fine, figures=figures)


def _login(facts: Facts) -> Promise:
    server = facts.server
    return Promise(
        "one login served all scripts",
        kept=server.login_requests == server.logins == 1,
        figures=f"the password was sent {_times(server.login_requests)}; no script knows it",
    )


def _schedule(facts: Facts) -> Promise:
    early = [each.early for each in facts.replacements]
    on_time = [each for each in facts.replacements if each.by_schedule]
    figures = f"{len(early)} replaced"
    if early:
        figures += f", at least {min(early):.1f} s early"
    if not on_time:
        figures += "; none on schedule"
    return Promise(
        "each token was replaced before it expired",
        kept=bool(on_time) and all(each > 0 for each in early),
        figures=figures,
    )


def _one_at_a_time(facts: Facts) -> Promise:
    server = facts.server
    return Promise(
        "one token request at a time",
        kept=server.most_at_once == 1,
        figures=(
            f"{server.token_requests} token requests for {sum(facts.calls)} API calls,"
            f" at most {server.most_at_once} at once"
        ),
    )


def _outage(facts: Facts) -> Promise:
    outage = facts.outage
    figures = (
        f"{outage.seconds:.1f} s; failed token requests: {outage.failed_requests};"
        f" successful API calls meanwhile: {outage.calls}"
    )
    if not outage.told:
        figures += "; the status didn't show it"
    survived = any(not each.by_schedule for each in facts.replacements)
    if not survived:
        figures += "; no new token came after it"
    real = outage.seconds > 0 and outage.failed_requests > 0 and outage.calls > 0
    return Promise(
        "the token server's outage was survived, and no script noticed",
        kept=real and outage.told and survived,
        figures=figures,
    )


def _password(facts: Facts) -> Promise:
    since = sum(each.after_password_change for each in facts.replacements)
    return Promise(
        "the password was changed, and the session went on",
        kept=since > 0,
        figures=f"{since} tokens obtained since then, without the password",
    )


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")

"""What the demo promises, judged from what was recorded. Pure."""

from collections.abc import Sequence

from openfit_token._shared.frozen import frozen
from openfit_token.testing import State


@frozen
class Promise:
    """A promise, whether it was kept, and the figures that prove it."""

    text: str
    kept: bool
    figures: str


@frozen
class Replacement:
    """The replacement of a token, `early` seconds before the old one expired."""

    early: float
    by_schedule: bool
    """It came when due: no outage delayed it."""
    after_password_change: bool


def calls(counts: Sequence[int], failures: Sequence[str], server: State) -> Promise:
    """Judge the scripts' API calls: how many of each succeeded, and what failed."""
    failed, refused = len(failures), server.api_refused
    figures = (
        f"{sum(counts)} calls by {len(counts)} scripts succeeded, {failed} failed; the API"
        f" {f'answered 401 {_times(refused)}' if refused else 'never answered 401'}"
    )
    if failed:
        figures += f"; the first: {failures[0]}"
    if not all(counts):
        figures += "; one script made none"
    fine = not failed and not refused and bool(counts) and all(counts)
    return Promise("no API call failed", kept=fine, figures=figures)


def login(whom: str, server: State, more: str) -> Promise:
    """Judge how often the password was sent."""
    return Promise(
        f"one login served {whom}",
        kept=server.login_requests == server.logins == 1,
        figures=f"the password was sent {_times(server.login_requests)}; {more}",
    )


def schedule(replacements: Sequence[Replacement]) -> Promise:
    """Judge when tokens were replaced."""
    early = [each.early for each in replacements]
    on_time = [each for each in replacements if each.by_schedule]
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


def one_at_a_time(counts: Sequence[int], server: State) -> Promise:
    """Judge how many token requests were under way at once."""
    most = max(server.max_concurrent.values(), default=0)
    return Promise(
        "one token request at a time",
        kept=most == 1,
        figures=(
            f"{server.token_requests} token requests for {sum(counts)} API calls,"
            f" at most {most} at once"
        ),
    )


def outage(seconds: float, failed_requests: int, calls: int) -> Promise:
    """Judge an outage that the status showed, and after which a new token came."""
    return Promise(
        "the token server's outage was survived, and no script noticed",
        kept=failed_requests > 0 and calls > 0,
        figures=(
            f"{seconds:.1f} s; failed token requests: {failed_requests};"
            f" successful API calls meanwhile: {calls}"
        ),
    )


def password(replacements: Sequence[Replacement]) -> Promise:
    """Judge whether the session outlived its password."""
    since = sum(each.after_password_change for each in replacements)
    return Promise(
        "the password was changed, and the session went on",
        kept=since > 0,
        figures=f"{since} tokens obtained since then, without the password",
    )


def taken_over(seconds: float, calls: int) -> Promise:
    """Judge how another daemon finished what one was killed in."""
    return Promise(
        "a daemon was killed in a refresh, and another finished the job",
        kept=calls > 0,
        figures=f"after {seconds:.0f} s; API calls meanwhile: {calls}",
    )


def _times(count: int) -> str:
    return {0: "never", 1: "once"}.get(count, f"{count} times")

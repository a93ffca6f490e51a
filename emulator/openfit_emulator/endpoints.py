"""The server's HTTP endpoints: tokens, revocation, discovery, the protected API."""

from collections.abc import Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl

from openfit_emulator import admin
from openfit_emulator.answers import NO_STORE, json_answer, oauth_error
from openfit_emulator.emulated import Emulator
from openfit_emulator.faults import response
from openfit_emulator.identity import GRANTS, Issued
from openfit_emulator.journal import TokenRequest
from openfit_emulator.script import Fault
from openfit_emulator.wire import Answer, Connection, Request

FORM: Final = "application/x-www-form-urlencoded"
_TOKEN: Final = "/connect/token"  # noqa: S105 -- a path
_GRANT_NAMES: Final = {"password": "login", "refresh_token": "refresh"}

Form = Mapping[str, str]


async def respond(emulator: Emulator, request: Request, connection: Connection) -> None:
    """Answer one request. Raises: Ended: the connection is over."""
    form = _form(request)
    act = _OTHERS.get(request.path)
    if request.path == _TOKEN and form is not None and form.get("grant_type") in GRANTS:
        await _exchange(emulator, form, connection)
    elif act is not None:
        # Only faults with `@*` or a time window affect what is no token request.
        faults = emulator.script.take(None, emulator.elapsed())
        await _play(connection, faults, lambda: act(emulator, form), lambda: None)
    elif request.path.startswith("/api/"):
        await connection.answer(_api(emulator, request))
    elif request.path.startswith("/admin/"):
        await connection.answer(admin.answer(emulator, request))
    else:
        await connection.answer(Answer(404))


async def _exchange(emulator: Emulator, form: Form, connection: Connection) -> None:
    journal = emulator.journal
    arrival = journal.arrive(_GRANT_NAMES[form["grant_type"]])
    at, user = emulator.elapsed(), emulator.identity.user_of(form)
    faults = emulator.script.take(arrival, at)
    texts = tuple(fault.text for fault in faults)
    entry = TokenRequest(arrival.number, at, arrival.grant, user, texts)
    journal.begin(entry)
    try:
        await _play(
            connection,
            faults,
            lambda: _act(emulator, form, faults, entry),
            lambda: journal.leave(entry, emulator.elapsed()),
        )
    finally:
        journal.end(entry, emulator.elapsed())


async def _play(
    connection: Connection,
    faults: tuple[Fault, ...],
    act: Callable[[], Answer],
    left: Callable[[], None],
) -> None:
    """Apply the faults, act, and send the response. Calls `left` if the client leaves before that."""
    for fault in faults:
        if fault.name == "slow":
            await connection.pause(float(fault.argument), left)
        if fault.name == "clock-skew":
            connection.skew = int(fault.argument)
    answer = response(faults, act)
    if isinstance(answer, Answer):
        await connection.answer(answer)
    else:
        await answer(connection)


def _act(emulator: Emulator, form: Form, faults: tuple[Fault, ...], entry: TokenRequest) -> Answer:
    identity, now = emulator.identity, emulator.now()
    names = {fault.name for fault in faults}
    if "lockout" in names:
        identity.lock(entry.user or None, now)
    if "revoked" in names:
        identity.revoke_refresh()
    outcome = identity.token(form, now)
    if not isinstance(outcome, Issued):
        emulator.journal.judge(entry, outcome.error, outcome.cause)
        return oauth_error(outcome.error, outcome.description)
    emulator.journal.judge(entry, "issued", "")
    fields: dict[str, object] = {
        "access_token": outcome.access_token,
        "expires_in": outcome.expires_in,
        "token_type": "Bearer",
        "scope": outcome.scope,
    }
    if outcome.refresh_token is not None:
        fields["refresh_token"] = outcome.refresh_token
    return json_answer(fields, headers=NO_STORE)


def _refused(emulator: Emulator, form: Form | None) -> Answer:
    """Answer what asks for no token: as in IdentityServer, invalid_request if it is no posted form."""
    if form is None:
        return oauth_error("invalid_request")
    outcome = emulator.identity.token(form, emulator.now())
    assert not isinstance(outcome, Issued), "no tokens without a grant"  # noqa: S101 -- can't happen
    return oauth_error(outcome.error)


def _revocation(emulator: Emulator, form: Form | None) -> Answer:
    if form is None or not form.get("token"):
        return oauth_error("invalid_request")
    if form.get("client_id") != emulator.identity.rules.client_id:
        return oauth_error("invalid_client")
    emulator.journal.revocations += 1
    emulator.identity.revoke_token(form["token"])
    return Answer()


def _discovery(emulator: Emulator, _: Form | None) -> Answer:
    issuer = emulator.identity.issuer
    return json_answer(
        {
            "issuer": issuer,
            "token_endpoint": f"{issuer}{_TOKEN}",
            "revocation_endpoint": f"{issuer}/connect/revocation",
            "grant_types_supported": list(GRANTS),
            "scopes_supported": sorted(emulator.identity.rules.scopes),
            "token_endpoint_auth_methods_supported": ["client_secret_post"],
        }
    )


_OTHERS: Final[Mapping[str, Callable[[Emulator, Form | None], Answer]]] = {
    _TOKEN: _refused,
    "/connect/revocation": _revocation,
    "/.well-known/openid-configuration": _discovery,
}
"""What is no token request, but asks the identity server too."""


def _api(emulator: Emulator, request: Request) -> Answer:
    scheme, _, value = request.headers.get("authorization", "").partition(" ")
    bearer = value.strip() if scheme.lower() == "bearer" else ""
    user = emulator.identity.bearer(bearer, emulator.now())
    if user is None:
        emulator.journal.api_refused += 1
        return Answer(401, headers={"WWW-Authenticate": 'Bearer error="invalid_token"'})
    emulator.journal.api_ok += 1
    return json_answer({"user": user, "path": request.path})


def _form(request: Request) -> Form | None:
    """Return a form; None if it isn't one, is too long, or repeats a name (RFC 6749, section 3.2)."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or kind != FORM or request.body is None:
        return None
    try:
        pairs = parse_qsl(request.body.decode(), keep_blank_values=True)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None

"""The server's HTTP endpoints: tokens, revocation, discovery, the protected API."""

from collections.abc import Awaitable, Callable, Mapping
from email.utils import formatdate
from typing import Final
from urllib.parse import parse_qsl

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from openfit_emulator.answers import NO_STORE, instead, oauth_error, spoiled
from openfit_emulator.emulated import Emulator
from openfit_emulator.faults import Fault
from openfit_emulator.identity import GRANTS, Issued
from openfit_emulator.journal import TokenRequest
from openfit_emulator.wire import pause

MAX_BODY: Final = 64 * 1024
"""Bytes. Many times the largest form that a client has reason to send."""
FORM: Final = "application/x-www-form-urlencoded"
_GRANT_NAMES: Final = {"password": "login", "refresh_token": "refresh"}
_ANY: Final = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]

Form = Mapping[str, str]
Act = Callable[[], Response]
Endpoint = Callable[[Request], Awaitable[Response]]


def routes(emulator: Emulator) -> list[Route]:
    """Return all routes but those of the admin endpoint."""
    return [
        Route("/connect/token", _TokenEndpoint(emulator)),
        Route("/connect/revocation", _revocation(emulator), methods=_ANY),
        Route("/.well-known/openid-configuration", _discovery(emulator)),
        Route("/api/{path:path}", _api(emulator), methods=_ANY),
    ]


async def read_body(request: Request) -> bytes | None:
    """Read a request's body to its end, and return it; None if it is larger than MAX_BODY."""
    body = bytearray()
    async for chunk in request.stream():
        if len(body) <= MAX_BODY:
            body += chunk
    return bytes(body) if len(body) <= MAX_BODY else None


def dated(emulator: Emulator, answer: Response, skew: int = 0) -> Response:
    """Return the response with the server's Date, off by `skew` seconds."""
    answer.headers["Date"] = formatdate(emulator.now() + skew, usegmt=True)
    return answer


class _TokenEndpoint:
    """`/connect/token`: as in IdentityServer, anything but a POST with a form is invalid_request."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request (ASGI)."""
        request = Request(scope, receive)
        form = await _form(request)
        if form is not None and form.get("grant_type") in GRANTS:
            await self._exchange(request, form, send)
            return
        answer = await _outside_script(
            self.emulator,
            request,
            lambda: oauth_error("invalid_request" if form is None else self._refuse(form)),
        )
        await answer(scope, receive, send)

    def _refuse(self, form: Form) -> str:
        outcome = self.emulator.identity.token(form, self.emulator.now())
        assert not isinstance(outcome, Issued), "no tokens without a grant"  # noqa: S101 -- can't happen
        return outcome.error

    async def _exchange(self, request: Request, form: Form, send: Send) -> None:
        emulator, journal = self.emulator, self.emulator.journal
        arrival = journal.arrive(_GRANT_NAMES[form["grant_type"]])
        at, user = emulator.elapsed(), emulator.identity.user_of(form)
        faults = emulator.script.take(arrival, at)
        texts = tuple(fault.text for fault in faults)
        entry = TokenRequest(arrival.number, at, arrival.grant, user, texts)
        journal.begin(entry)
        try:
            answer = await _respond(
                emulator,
                request,
                faults,
                lambda: self._act(form, faults, entry),
                lambda: journal.leave(entry, emulator.elapsed()),
            )
            await answer(request.scope, request.receive, send)
        finally:
            journal.end(entry, emulator.elapsed())

    def _act(self, form: Form, faults: tuple[Fault, ...], entry: TokenRequest) -> Response:
        emulator, names = self.emulator, {fault.name for fault in faults}
        if "lockout" in names:
            emulator.lock(entry.user or None)
        if "revoked" in names:
            emulator.revoke_refresh()
        outcome = emulator.identity.token(form, emulator.now())
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
        return JSONResponse(fields, headers=NO_STORE)


def _revocation(emulator: Emulator) -> Endpoint:
    def act(form: Form | None) -> Response:
        if form is None or not form.get("token"):
            return oauth_error("invalid_request")
        if form.get("client_id") != emulator.identity.rules.client_id:
            return oauth_error("invalid_client")
        emulator.journal.revocations += 1
        emulator.identity.revoke_token(form["token"], emulator.now())
        return Response()

    async def endpoint(request: Request) -> Response:
        form = await _form(request)
        return await _outside_script(emulator, request, lambda: act(form))

    return endpoint


def _discovery(emulator: Emulator) -> Endpoint:
    def act() -> Response:
        issuer = emulator.identity.issuer
        return JSONResponse(
            {
                "issuer": issuer,
                "token_endpoint": f"{issuer}/connect/token",
                "revocation_endpoint": f"{issuer}/connect/revocation",
                "grant_types_supported": list(GRANTS),
                "scopes_supported": sorted(emulator.identity.rules.scopes),
                "token_endpoint_auth_methods_supported": ["client_secret_post"],
            }
        )

    async def endpoint(request: Request) -> Response:
        return await _outside_script(emulator, request, act)

    return endpoint


def _api(emulator: Emulator) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        await read_body(request)
        scheme, _, value = request.headers.get("Authorization", "").partition(" ")
        bearer = value.strip() if scheme.lower() == "bearer" else ""
        user = emulator.identity.bearer(bearer, emulator.now())
        if user is None:
            emulator.journal.api_refused += 1
            challenge = {"WWW-Authenticate": 'Bearer error="invalid_token"'}
            return dated(emulator, Response(status_code=401, headers=challenge))
        emulator.journal.api_ok += 1
        return dated(emulator, JSONResponse({"user": user, "path": request.url.path}))

    return endpoint


async def _outside_script(emulator: Emulator, request: Request, act: Act) -> Response:
    """Answer what is no token request: only faults with `@*` or a time window affect it."""
    faults = emulator.script.take(None, emulator.elapsed())
    return await _respond(emulator, request, faults, act, lambda: None)


async def _respond(
    emulator: Emulator,
    request: Request,
    faults: tuple[Fault, ...],
    act: Act,
    left: Callable[[], None],
) -> Response:
    """Apply the faults, act, and return the response. Calls `left` if the client disconnects."""
    skew = 0
    for fault in faults:
        if fault.name == "slow":
            await pause(request.scope, request.receive, float(fault.argument), left)
        if fault.name == "clock-skew":
            skew = int(fault.argument)
    answer = next(filter(None, map(instead, faults)), None)
    if answer is None:
        answer = spoiled(faults, act())
    return dated(emulator, answer, skew)


async def _form(request: Request) -> Form | None:
    """Return a form; None if it isn't one, is too long, or repeats a name (RFC 6749, section 3.2)."""
    body = await read_body(request)
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if request.method != "POST" or kind != FORM or body is None:
        return None
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True)
    except ValueError:
        return None
    form = dict(pairs)
    return form if len(form) == len(pairs) else None

"""Token servers that others wrote: each a program of a few lines, in a process of its own."""

import os
import shutil
import subprocess
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import pytest

from daemons import await_that, profile, write_secret
from peers import peer
from ports import LOOPBACK, free_port, listens

CLIENT_ID: Final = "nightly"
SECRET: Final = "s3cret/with%:and+"
"""Of the client. RFC 6749 has it encoded for a header; what isn't plain shows whether it is."""
PLAIN: Final = "s3cret-without"
USERNAME: Final = "service@example.org"
PASSWORD: Final = "right horse"

# Each has argv: the port, the client, its secret, a user, a password.

# Of Authlib and Flask. Refresh tokens are used once, and the client's secret is demanded in either way.
AUTHLIB_PROGRAM = """
import sys

from authlib.integrations.flask_oauth2 import AuthorizationServer
from authlib.oauth2.rfc6749 import ClientMixin, TokenMixin, grants
from authlib.oauth2.rfc7009 import RevocationEndpoint
from flask import Flask

PORT, CLIENT_ID, SECRET, USERNAME, PASSWORD = sys.argv[1:]
WAYS = ["client_secret_basic", "client_secret_post"]


class Client(ClientMixin):
    def get_client_id(self):
        return CLIENT_ID

    def get_allowed_scope(self, scope):
        return scope

    def check_client_secret(self, client_secret):
        return client_secret == SECRET

    def check_endpoint_auth_method(self, method, _endpoint):
        return method in WAYS

    def check_grant_type(self, grant_type):
        return grant_type in {"password", "refresh_token"}


class Token(TokenMixin):
    def __init__(self, fields):
        self.fields = fields

    def check_client(self, client):
        return isinstance(client, Client)

    def get_scope(self):
        return str(self.fields.get("scope", ""))

    def get_user(self):
        return USERNAME

    def get_client(self):
        return Client()


TOKENS = {}  # by refresh token


class Password(grants.ResourceOwnerPasswordCredentialsGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = WAYS

    def authenticate_user(self, username, password):
        return username if (username, password) == (USERNAME, PASSWORD) else None


class Refresh(grants.RefreshTokenGrant):
    TOKEN_ENDPOINT_AUTH_METHODS = WAYS
    INCLUDE_NEW_REFRESH_TOKEN = True

    def authenticate_refresh_token(self, refresh_token):
        return TOKENS.get(refresh_token)

    def authenticate_user(self, _credential):
        return USERNAME

    def revoke_old_credential(self, credential):
        TOKENS.pop(credential.fields["refresh_token"])


class Revocation(RevocationEndpoint):
    CLIENT_AUTH_METHODS = WAYS

    def query_token(self, token, _hint):
        return TOKENS.get(token)

    def revoke_token(self, token, _request):
        TOKENS.pop(token.fields["refresh_token"])


def save(token, _request):
    TOKENS[token["refresh_token"]] = Token(token)


app = Flask("token server")
app.config["OAUTH2_REFRESH_TOKEN_GENERATOR"] = True
server = AuthorizationServer(
    app, query_client=lambda name: Client() if name == CLIENT_ID else None, save_token=save
)
server.register_grant(Password)
server.register_grant(Refresh)
server.register_endpoint(Revocation)


@app.post("/o/token/")
def token():
    return server.create_token_response()


@app.post("/o/revoke_token/")
def revoke():
    return server.create_endpoint_response("revocation")


app.run("127.0.0.1", int(PORT))
"""

# Of oauthlib and wsgiref. A public client will do; refresh tokens aren't replaced, and an audience is demanded.
OAUTHLIB_PROGRAM = """
import sys
from wsgiref.simple_server import make_server

from oauthlib.oauth2 import LegacyApplicationServer, RequestValidator

PORT, CLIENT_ID, _SECRET, USERNAME, PASSWORD = sys.argv[1:]
AUDIENCE = "https://api.example.org"
TOKENS = set()


class Client:
    client_id = CLIENT_ID


class Validator(RequestValidator):
    def client_authentication_required(self, *_, **__):
        return False

    def authenticate_client_id(self, client_id, request, *_, **__):
        request.client = Client()
        return client_id == CLIENT_ID and request.audience == AUDIENCE

    def validate_grant_type(self, *_, **__):
        return True

    def validate_user(self, username, password, *_, **__):
        return (username, password) == (USERNAME, PASSWORD)

    def get_default_scopes(self, *_, **__):
        return ["api"]

    def validate_scopes(self, *_, **__):
        return True

    def validate_refresh_token(self, refresh_token, *_, **__):
        return refresh_token in TOKENS

    def get_original_scopes(self, *_, **__):
        return ["api"]

    def rotate_refresh_token(self, _request):
        return False

    def save_bearer_token(self, token, *_, **__):
        TOKENS.add(token["refresh_token"])


server = LegacyApplicationServer(Validator())


def answer(environ, start):
    if (environ["PATH_INFO"], environ["QUERY_STRING"]) != ("/oauth2/v2.0/token", "p=ropc"):
        start("404 Not Found", [])
        return []
    body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0)).decode()
    kind = {"Content-Type": environ.get("CONTENT_TYPE", "")}
    headers, text, status = server.create_token_response(
        f"https://localhost{environ['PATH_INFO']}", environ["REQUEST_METHOD"], body, kind
    )
    start(f"{status} {'OK' if status == 200 else 'Refused'}", list(headers.items()))
    return [text.encode()]


make_server("127.0.0.1", int(PORT), answer).serve_forever()
"""

# Of @node-oauth/oauth2-server; its first argument is where that is. Refresh tokens are used once, and the client's
# secret is demanded in either way. It takes a header literally.
NODE_PROGRAM = """
import http from "node:http";
import { createRequire } from "node:module";
const [, packages, port, clientId, secret, username, password] = process.argv;
const OAuth2Server = createRequire(packages + "/")("@node-oauth/oauth2-server");
const { Request, Response } = OAuth2Server;

const tokens = new Map();
const client = { id: clientId, grants: ["password", "refresh_token"] };
const server = new OAuth2Server({
  model: {
    getClient: async (id, given) => (id === clientId && given === secret ? client : null),
    getUser: async (name, given) => (name === username && given === password ? { name } : null),
    validateScope: async (_user, _client, scope) => scope ?? ["api"],
    saveToken: async (token, client, user) => {
      const saved = { ...token, client, user };
      tokens.set(token.refreshToken, saved);
      return saved;
    },
    getRefreshToken: async (token) => tokens.get(token),
    revokeToken: async (token) => tokens.delete(token.refreshToken),
  },
});

http
  .createServer(async (incoming, outgoing) => {
    const parts = [];
    for await (const part of incoming) parts.push(part);
    const body = Object.fromEntries(new URLSearchParams(Buffer.concat(parts).toString()));
    const { method, headers, url } = incoming;
    if (url !== "/api/oauth/token") return outgoing.writeHead(404).end();
    const response = new Response();
    await server.token(new Request({ method, headers, query: {}, body }), response).catch(() => {});
    outgoing.writeHead(response.status, response.headers).end(JSON.stringify(response.body));
  })
  .listen(Number(port), "127.0.0.1");
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """One server, and what it wants. `secret` None: a public client will do."""

    program: str
    packages: str
    token_path: str
    secret: str | None
    settings: Mapping[str, str] = field(default_factory=dict[str, str])
    """Keys of a profile, as TOML."""
    form: Mapping[str, str] = field(default_factory=dict[str, str])
    revocation_path: str | None = None

    def command(self, port: int) -> list[str]:
        packages = str(peer(self.packages))
        if self.program == NODE_PROGRAM:
            node = shutil.which("node")
            if node is None:
                pytest.skip("node isn't installed: run .ci/install_peers")
            start = [node, "--input-type=module", "-e", self.program, packages]
        else:
            start = [str(peer("tools/bin/python")), "-S", "-c", self.program]
        return [*start, str(port), CLIENT_ID, self.secret or "", USERNAME, PASSWORD]


AUTHLIB: Final = Kind(
    AUTHLIB_PROGRAM,
    "authlib",
    "/o/token/",
    SECRET,
    {"scope": '"api"'},
    {"scope": "api"},
    "/o/revoke_token/",
)
OAUTHLIB: Final = Kind(
    OAUTHLIB_PROGRAM,
    "oauthlib",
    "/oauth2/v2.0/token?p=ropc",
    None,
    {"form": '{ audience = "https://api.example.org" }'},
    {"audience": "https://api.example.org"},
)
NODE: Final = Kind(
    NODE_PROGRAM, "node_modules/@node-oauth/oauth2-server", "/api/oauth/token", PLAIN
)


@dataclass(frozen=True, slots=True)
class TokenServer:
    """A running one."""

    kind: Kind
    url: str

    def profile(self, directory: Path, **changes: str) -> str:
        """Return a profile's table for it; a change is a TOML value, "" leaves a key out."""
        kind = self.kind
        keys = {
            "id_server": "",
            "token_url": f'"{self.url}{kind.token_path}"',
            "client_id": f'"{CLIENT_ID}"',
            "username": f'"{USERNAME}"',
            **kind.settings,
        }
        if kind.revocation_path is not None:
            keys["revocation_url"] = f'"{self.url}{kind.revocation_path}"'
        if kind.secret is not None:
            file = write_secret(directory / "client", kind.secret)
            keys["client_secret_file"] = f'"{file}"'
        return profile(self.url, **keys | changes)

    def refresh_token(self) -> str:
        """Return one that was obtained by hand."""
        form = {"grant_type": "password", "username": USERNAME, "password": PASSWORD}
        client = {"client_id": CLIENT_ID}
        if self.kind.secret is not None:
            client["client_secret"] = self.kind.secret
        answer = httpx.post(
            f"{self.url}{self.kind.token_path}",
            data=form | client | dict(self.kind.form),
            trust_env=False,
        )
        return str(answer.raise_for_status().json()["refresh_token"])


@contextmanager
def token_server(kind: Kind, directory: Path) -> Generator[TokenServer]:
    """Run one on loopback; skip the test where it isn't installed."""
    port = free_port()
    log = directory / "token-server.log"
    environment = os.environ | {"PYTHONPATH": str(peer(kind.packages))}
    with (
        log.open("wb") as said,
        subprocess.Popen(kind.command(port), env=environment, stdout=said, stderr=said) as process,
    ):
        try:
            await_that(lambda: listens(LOOPBACK, port), log.read_text)
            yield TokenServer(kind, f"http://{LOOPBACK}:{port}")
        finally:
            process.kill()

"""A token server that says yes to everything: `python -I issuer.py DELAY [CERTIFICATE]`.

It prints its URL. Each token request is answered DELAY seconds after it came; with `held`, once a
line was read from the standard input. The first answer's moment (CLOCK_MONOTONIC) is printed, and
at the end of the input the number of token requests. On loopback, a connection for each; https with a
certificate (a PEM file, with the key).
"""

import asyncio
import json
import ssl
import sys
import time

TOKEN = "eyJhbGciOiJSUzI1NiJ9." + "x" * 949
"""970 characters, as OpenFIT's have."""
_LIFETIME = 86400

delay = sys.argv[1]
tls = None
if len(sys.argv) > 2:
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(sys.argv[2])
scheme = "http" if tls is None else "https"
requests = 0
may_answer = asyncio.Event()


async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one HTTP request."""
    global requests  # noqa: PLW0603 -- a script
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    url = f"{scheme}://" + head.partition("host: ")[2].split()[0]
    length = int((head.partition("content-length: ")[2].split() or ["0"])[0])
    form = await reader.readexactly(length)
    if b"grant_type" in form:
        requests += 1
        if delay == "held":
            await may_answer.wait()
        else:
            await asyncio.sleep(float(delay))
        if requests == 1:
            sys.stdout.write(f"{time.monotonic()}\n")
            sys.stdout.flush()
        answer: dict[str, object] = {
            "access_token": f"{requests:06}".join((TOKEN[:-6], "")),
            "refresh_token": f"refresh-{requests}",
            "expires_in": _LIFETIME,
            "token_type": "Bearer",
            "scope": "OpenFitApi offline_access",
        }
    else:
        answer = {
            "issuer": url,
            "token_endpoint": f"{url}/connect/token",
            "authorization_endpoint": f"{url}/connect/authorize",
            "scopes_supported": ["openid", "offline_access"],
            "grant_types_supported": ["refresh_token", "password"],
            "response_types_supported": ["code"],
        }
    body = json.dumps(answer).encode()
    head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\n"
    writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
    writer.close()


async def main() -> None:
    """Serve until the standard input ends."""
    server = await asyncio.start_server(handle, "127.0.0.1", 0, backlog=1024, ssl=tls)
    sys.stdout.write(f"{scheme}://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    while await asyncio.to_thread(sys.stdin.readline):
        may_answer.set()
    sys.stdout.write(f"{requests}\n")
    sys.stdout.flush()


asyncio.run(main())

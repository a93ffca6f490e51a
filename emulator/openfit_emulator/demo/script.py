"""One of the demo's scripts, as a user would write it. It needs no password and ignores expiry.

The demo runs this file and reads its lines: "ok", or what went wrong.
"""

import os
import sys
from http.client import HTTPConnection, HTTPException
from time import sleep
from urllib.parse import urlsplit

from openfit_token import TokenClient, TokenError

OK = 200
PAUSE = 1.0
"""Seconds between two calls of the API."""


def call_api(daemon: TokenClient, path: str) -> str:
    """Call the API with the current token; return "ok" or the error."""
    try:
        token = daemon.get_token()
        api = urlsplit(token.api_url)
        connection = HTTPConnection(api.netloc, timeout=10)
        try:
            connection.request(
                "GET", f"{api.path}/{path}", headers={"Authorization": token.authorization}
            )
            status = connection.getresponse().status
        finally:
            connection.close()
    except (TokenError, OSError, HTTPException) as error:
        return f"{type(error).__name__}: {error}".replace("\n", " ")
    return "ok" if status == OK else f"the API answered {status}"


def main(path: str) -> None:
    """Call the API once a second, until nobody reads the output."""
    with TokenClient() as daemon:
        while True:
            line = call_api(daemon, path)
            try:
                os.write(1, f"{line}\n".encode())
            except BrokenPipeError:
                return
            sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1])

"""Current OpenFIT access tokens, from the local daemon that keeps them fresh.

    from openfit_token import get_token

    token = get_token()
    headers = {"Authorization": token.authorization}

Importing this package loads no event loop: `AsyncTokenClient` is loaded when it is first used.
"""

from openfit_token._client.blocking import TokenClient, get_token
from openfit_token._client.token import Token
from openfit_token.errors import TokenError

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from openfit_token._client.aio import AsyncTokenClient
    from openfit_token._client.changes import Change

__all__ = ["AsyncTokenClient", "Change", "Token", "TokenClient", "TokenError", "get_token"]


def __getattr__(name: str) -> object:
    if name == "AsyncTokenClient":
        from openfit_token._client.aio import AsyncTokenClient  # noqa: PLC0415 -- anyio takes 15 ms

        return AsyncTokenClient
    if name == "Change":
        from openfit_token._client.changes import Change  # noqa: PLC0415 -- a script that gets a token needs none

        return Change
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

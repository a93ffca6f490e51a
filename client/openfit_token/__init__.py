"""Current OpenFIT access tokens, from the local daemon that keeps them fresh.

    from openfit_token import get_token

    token = get_token()
    headers = {"Authorization": token.authorization}

Importing this package loads no event loop: `AsyncTokenClient` is loaded when it is first named.
"""

from openfit_token.blocking import TokenClient, get_token
from openfit_token.errors import TokenError
from openfit_token.token import Token

__version__ = "0.1.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from openfit_token.aio import AsyncTokenClient

__all__ = ["AsyncTokenClient", "Token", "TokenClient", "TokenError", "get_token"]


def __getattr__(name: str) -> object:
    if name == "AsyncTokenClient":
        from openfit_token.aio import AsyncTokenClient  # noqa: PLC0415 -- anyio takes 15 ms

        return AsyncTokenClient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

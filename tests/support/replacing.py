"""A fake daemon's behaviour: it holds token "a"; when that is refused, "b", and so on."""

from fake_daemon import Request, token_fields


class Replacing:
    """Answers get_token and refuse as the daemon does, at once."""

    def __init__(self, **changed: object) -> None:
        self._changed = changed
        self._name = "a"

    def __call__(self, request: Request) -> None:
        """Answer a call."""
        if request.method == "refuse" and request.params["id"] == f"id-{self._name}":
            self._name = chr(ord(self._name) + 1)
        request.result(token_fields(self._name, **self._changed))

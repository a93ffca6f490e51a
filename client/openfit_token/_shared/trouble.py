"""What failed, and what to do about it: the shape of every error of ours that no caller sees as it is."""


class Trouble(Exception):
    """Something failed. Holds no secret, and no words that a peer chose.

    Attributes:
        message: what failed, and why.
        hint: what to do, or None.
    """

    def __init__(self, message: str, hint: "str | None" = None) -> None:
        super().__init__(message, hint)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} ({self.hint})" if self.hint else self.message

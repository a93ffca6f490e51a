"""A text that doesn't show itself."""


class Secret:
    """A password or token. Printing, formatting and comparing never reveal it.

    `.reveal` is the only way out, so that a search for the word finds every place that uses one.
    """

    __slots__ = ("reveal",)

    def __init__(self, reveal: str) -> None:
        self.reveal = reveal

    def __repr__(self) -> str:
        return "<secret>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return self.reveal == other.reveal

    def __hash__(self) -> int:
        return hash(self.reveal)

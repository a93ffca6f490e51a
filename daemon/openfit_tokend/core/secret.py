"""A text that doesn't show itself: the client's, whose frames hold passwords and tokens too."""

from openfit_token._shared.secret import Secret

__all__ = ["Secret"]

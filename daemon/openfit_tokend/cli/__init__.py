"""The command `openfit-tokend`."""

from openfit_tokend.cli.command import main, parser

__all__ = ["main", "parser"]

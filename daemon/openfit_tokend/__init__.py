"""The daemon that keeps OpenFIT access tokens fresh and hands them out over a Unix socket."""

from openfit_token import __version__ as __version__

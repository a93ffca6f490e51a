"""`python -m openfit_tokend`: the same as the command."""

from openfit_tokend.cli import main

main()

"""For testing scripts: a real daemon and an emulated OpenFIT.

Installed with the extra `testing`, it is a pytest plugin with two fixtures:

    def test_my_report_survives_a_token_that_the_api_refuses(openfit_emulator, openfit_daemon):
        openfit_emulator.revoke_access_tokens()
        assert my_report.main() == 0
        assert (openfit_emulator.logins, openfit_emulator.refreshes) == (1, 1)

Both are real processes with real sockets, and each test has its own. In the test, and in
what it starts, `get_token()` and `openfit-token` find that daemon. The mark `openfit` takes the options
of `Emulator`, for what must be set before the first login:

    @pytest.mark.openfit(token_lifetime=8, faults=["error-503@1-2"])

Without pytest, use `Emulator` and `Daemon` as context managers. One thing differs from production: a
refused token is replaced at once, not ten seconds after the previous one (see `Daemon`).
"""

from openfit_token.testing._daemon import Daemon
from openfit_token.testing._emulator import Emulator, State
from openfit_token.testing._processes import NotStarted

__all__ = ["Daemon", "Emulator", "NotStarted", "State"]

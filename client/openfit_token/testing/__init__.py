"""A kit for those who write scripts: a real daemon and an emulated OpenFIT for tests.

Installed with the extra `testing`, it is a pytest plugin with two fixtures:

    def test_my_report_survives_a_token_that_the_api_refuses(openfit_emulator, openfit_daemon):
        openfit_emulator.revoke_access_tokens()
        assert my_report.main() == 0
        assert (openfit_emulator.logins, openfit_emulator.refreshes) == (1, 1)

Both are processes of their own, with real sockets; each test has its own two. In the test, and in
what it starts, `get_token()` and `openfit-token` find that daemon. The mark `openfit` has the options
of `Emulator`, for what must be so before the first login:

    @pytest.mark.openfit(token_lifetime=8, faults=["error-503@1-2"])

Without pytest, `Emulator` and `Daemon` are contexts. One thing differs from earnest: a token that was
refused is replaced at once, not ten seconds after the one before (see `Daemon`).
"""

from openfit_token.testing._daemon import Daemon
from openfit_token.testing._emulator import Emulator, State
from openfit_token.testing._processes import NotStarted

__all__ = ["Daemon", "Emulator", "NotStarted", "State"]

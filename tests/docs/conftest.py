"""A daemon that holds a token, for what is only true of a running one."""

import pytest

from daemons import fresh_daemon

daemon = pytest.fixture(fresh_daemon, scope="session")

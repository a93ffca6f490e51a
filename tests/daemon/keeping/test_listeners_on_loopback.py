"""A token server over http: the password goes to nobody but whom the configuration trusts to listen."""

import os

import pytest

from daemons import PATIENCE, needs_root
from emulators import CLIENT_ID, PASSWORD, SCOPE, USERNAME
from listeners import listener_of
from openfit_token._shared.origin import ANYBODY
from openfit_token._shared.secret import Secret
from openfit_tokend.config.passwords import Passwords
from openfit_tokend.core.events import Kind
from openfit_tokend.core.oauth import Failure
from openfit_tokend.core.schedule import Policy
from openfit_tokend.core.session import Login
from openfit_tokend.core.settings.values import Identity, Profile
from openfit_tokend.host import clock
from openfit_tokend.keeping import http_exchange
from openfit_tokend.keeping.endpoint import Endpoint, Order, Reply
from others import EVE
from ports import free_port

PASSWORD_GRANT = b"grant_type=password"

pytestmark = [pytest.mark.system, needs_root]


async def log_in(url: str, user: str | int | None = None) -> Reply:
    profile = Profile(
        name="p",
        environment="custom",
        identity=Identity(url, CLIENT_ID, SCOPE, USERNAME),
        api_url=url,
        policy=Policy(),
        loopback_user=user,
    )
    order = Order(
        profile=profile,
        request=Login(),
        password=Secret(PASSWORD),
        deadline=0.0,
        is_void=lambda: False,
    )
    return await Endpoint(Passwords()).request(order)


async def test_another_users_listener_gets_nothing() -> None:
    with listener_of(EVE) as eve:
        reply = await log_in(eve.url)

        assert isinstance(reply.meaning, Failure)
        assert reply.meaning.kind is Kind.UNSENT  # it wasn't sent, so it isn't counted
        assert f"nothing was sent to the token server: {EVE}" in reply.meaning.message
        assert eve.told == b""


@pytest.mark.parametrize("user", [EVE, ANYBODY])
async def test_a_user_who_is_named_gets_the_password(user: str | int) -> None:
    with listener_of(EVE) as eve:
        await log_in(eve.url, user)

        assert PASSWORD_GRANT in eve.told


async def test_who_never_accepts_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_exchange, "CONNECT_TIMEOUT", 1.0)
    with listener_of(EVE, manner="never accepts") as eve:
        reply = await log_in(eve.url)

        assert isinstance(reply.meaning, Failure)
        assert reply.meaning.kind is Kind.UNSENT
        assert eve.told == b""


async def test_a_port_that_changes_hands_gives_the_password_to_the_right_user_alone() -> None:
    port, until = free_port(), clock.boot() + PATIENCE
    with (
        listener_of(EVE, port, manner="takes turns") as eve,
        listener_of(os.geteuid(), port, manner="takes turns") as mine,
    ):
        refused = 0
        while min(refused, mine.told.count(PASSWORD_GRANT)) < 3 and clock.boot() < until:
            reply = await log_in(eve.url)
            assert isinstance(reply.meaning, Failure)
            refused += "is at the other end" in reply.meaning.message

        assert PASSWORD_GRANT in mine.told
        assert eve.told == b""

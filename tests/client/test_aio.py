"""AsyncTokenClient, on asyncio and on trio, against daemons of all kinds."""

from pathlib import Path

import anyio
import pytest
from anyio import to_thread

from fake_daemon import (
    PATIENCE,
    FakeDaemon,
    Request,
    always,
    dropping,
    each_method,
    failing,
    silent,
    token,
    token_fields,
)
from openfit_token import AsyncTokenClient, Token
from openfit_token._shared.protocol import encode_result
from openfit_token.errors import DaemonUnreachable, NoSuchProfile, ProtocolViolation, Stopping


async def test_get_token_gives_the_daemons_token(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        async with AsyncTokenClient("main", daemon.path) as client:
            got = await client.get_token(min_ttl=60, wait=2.0)

    assert got == token()
    assert daemon.calls == [("get_token", {"profile": "main", "min_ttl": 60, "wait": 2.0})]


async def test_each_method_sends_its_call_and_gives_its_answer(place: Path) -> None:
    with FakeDaemon(place / "s", each_method) as daemon:
        async with AsyncTokenClient("main", daemon.path) as client:
            tokens = [
                await client.refuse(token("b")),
                await client.refresh(wait=2.0),
                await client.login("secret"),
            ]
            await client.logout()
            await client.reload()
            about = [await client.hello(), await client.status()]

    assert tokens == [token()] * 3
    assert about == [{"pid": 7}, {"profiles": {}}]
    assert daemon.calls == [
        ("refuse", {"profile": "main", "id": "id-b", "wait": 30.0}),
        ("refresh", {"profile": "main", "wait": 2.0}),
        ("login", {"profile": "main", "password": "secret", "wait": 30.0}),
        ("logout", {"profile": "main"}),
        ("reload", {}),
        ("hello", {}),
        ("status", {"profile": "main"}),
    ]


async def test_the_connection_is_kept_also_after_an_error(place: Path) -> None:
    with FakeDaemon(
        place / "s", always(token_fields()), failing(NoSuchProfile("there is no profile x"))
    ) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            with pytest.raises(NoSuchProfile):
                await client.get_token()
            await client.get_token()
            await client.get_token()

    assert daemon.accepted == 1


async def test_a_restart_between_two_calls_goes_unnoticed(place: Path) -> None:
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            await client.get_token()
            daemon.stop()
            daemon.start()

            assert await client.get_token(wait=0) == token()


async def test_a_restart_is_waited_for(place: Path) -> None:
    got: list[Token] = []
    with FakeDaemon(place / "s", always(token_fields())) as daemon:
        async with (
            AsyncTokenClient(socket=daemon.path) as client,
            anyio.create_task_group() as tasks,
        ):
            await client.get_token()
            daemon.remove()

            async def get() -> None:
                got.append(await client.get_token())

            tasks.start_soon(get)
            await anyio.wait_all_tasks_blocked()
            daemon.start()

    assert got == [token()]


async def test_a_daemon_that_never_was_there_is_not_waited_for(place: Path) -> None:
    async with AsyncTokenClient(socket=str(place / "s")) as client:
        with pytest.raises(DaemonUnreachable, match="no daemon: there is no "):
            await client.get_token(wait=300)


async def test_lost_and_stopping_calls_are_sent_again(place: Path) -> None:
    with FakeDaemon(
        place / "s", always(token_fields()), dropping, failing(Stopping("shutting down")), dropping
    ) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            assert await client.get_token() == token()

    assert len(daemon.requests) == 4


async def test_a_login_is_never_sent_twice(place: Path) -> None:
    with FakeDaemon(place / "s", dropping) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            with pytest.raises(DaemonUnreachable, match="closed the connection"):
                await client.login()

    assert len(daemon.requests) == 1


async def test_a_silent_daemon_is_left_a_few_seconds_after_the_wait(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openfit_token._client.connection._GRACE", 0.05)
    with FakeDaemon(place / "s", silent) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            with pytest.raises(DaemonUnreachable, match="the daemon doesn't answer"):
                await client.get_token(wait=0)


async def test_garbage_is_a_violation(place: Path) -> None:
    with FakeDaemon(place / "s", lambda request: request.peer.send(b"garbage")) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            with pytest.raises(ProtocolViolation):
                await client.get_token()


async def test_a_large_answer_in_pieces_is_read_whole(place: Path) -> None:
    def in_pieces(request: Request) -> None:
        answer = encode_result(request.msgid, status)
        for start in range(0, len(answer), 1000):
            request.peer.send(answer[start : start + 1000])

    status: dict[str, object] = {
        "profiles": {f"profile-{n}": {"state": "x" * 90} for n in range(1000)}
    }
    with FakeDaemon(place / "s", in_pieces) as daemon:
        async with AsyncTokenClient(socket=daemon.path) as client:
            assert await client.status() == status


async def test_fifty_tasks_share_a_client(place: Path) -> None:
    def echo(request: Request) -> None:
        request.result(token_fields(str(request.params["id"])))

    names = [str(number) for number in range(50)]
    got: dict[str, Token] = {}
    with FakeDaemon(place / "s", echo) as daemon:
        async with (
            AsyncTokenClient(socket=daemon.path) as client,
            anyio.create_task_group() as tasks,
        ):

            async def ask(name: str) -> None:
                got[name] = await client.refuse(name)

            for name in names:
                tasks.start_soon(ask, name)

    assert got == {name: token(name) for name in names}


async def test_a_cancelled_call_closes_its_connection_and_harms_no_other(place: Path) -> None:
    got: list[Token] = []
    cancelled = anyio.CancelScope()
    with FakeDaemon(place / "s", always(token_fields("b")), silent, silent) as daemon:
        async with (
            AsyncTokenClient(socket=daemon.path) as client,
            anyio.create_task_group() as tasks,
        ):

            async def stay() -> None:
                got.append(await client.get_token())

            async def leave() -> None:
                with cancelled:
                    await client.get_token()

            tasks.start_soon(stay)
            staying = await to_thread.run_sync(daemon.next_request)
            tasks.start_soon(leave)
            await to_thread.run_sync(daemon.next_request)
            cancelled.cancel()
            assert await to_thread.run_sync(lambda: daemon.closed.acquire(timeout=PATIENCE))

            assert await client.get_token() == token("b")
            staying.result(token_fields("a"))

    assert got == [token("a")]
    assert cancelled.cancelled_caught

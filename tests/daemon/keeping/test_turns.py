"""Turns at a token server: none is lost with the request that had it."""

import anyio
import anyio.lowlevel

from openfit_tokend.keeping.turns import MAX_REQUESTS, Turns


async def test_no_turn_is_lost_whenever_a_request_is_cancelled() -> None:
    turns = Turns()

    async def take(scope: anyio.CancelScope) -> None:
        with scope:
            async with turns.turn(0.0):
                await anyio.lowlevel.checkpoint()

    for passes in range(8):
        scopes = [anyio.CancelScope() for _ in range(3 * MAX_REQUESTS)]
        async with anyio.create_task_group() as tasks:
            for scope in scopes:
                tasks.start_soon(take, scope)
            for _ in range(passes):
                await anyio.lowlevel.checkpoint()
            for scope in scopes[::2]:
                scope.cancel()

    with anyio.fail_after(5):
        held = [turns.turn(0.0) for _ in range(MAX_REQUESTS)]
        for each in held:
            await each.__aenter__()
        for each in held:
            await each.__aexit__(None, None, None)

"""The same bytes asked again go a shorter way, and must mean the same."""

import struct

import msgpack
import pytest

from daemons import profile, request, running_daemon
from emulators import running_emulator

MSGIDS = (0, 1, 127, 128, 255, 256, 65535, 65536, 2**32 - 1)


def asked(msgid: bytes, params: bytes = b"\x90") -> bytes:
    return b"\x94\x00" + msgid + b"\xa9get_token" + params


@pytest.mark.parametrize("msgid", MSGIDS)
def test_the_answer_bears_the_msgid_of_each_request(msgid: int) -> None:
    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        first = wire.call("get_token")
        assert first.result is not None

        for _ in range(3):
            wire.send(request(msgid, "get_token"))
            again = wire.answer()

            assert again.msgid == msgid
            assert again.result is not None
            assert again.result["id"] == first.result["id"]
            assert again.result["expires_in"] <= first.result["expires_in"]
        assert daemon.profile_status()["counters"]["served"] == 4


def test_a_msgid_may_be_written_longer_than_it_needs_to_be() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        wire.call("get_token")
        for msgid in (
            b"\xcc\x05",
            b"\xcd\x00\x05",
            b"\xce\x00\x00\x00\x05",
            b"\xcf" + bytes(7) + b"\5",
        ):
            for _ in range(2):
                wire.send(asked(msgid))
                assert wire.answer().msgid == 5


def test_a_request_that_is_wrong_is_wrong_each_time() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        wire.call("get_token")
        for fields in ({"wait": -1}, {"wiat": 1}, {"profile": "none"}, {"wait": True}):
            for _ in range(3):
                assert wire.call("get_token", **fields).error is not None
        for value in (-1.0, struct.unpack(">d", b"\x7f\xf8" + bytes(6))[0]):
            wire.send(asked(b"\x07", b"\x91" + msgpack.packb({"min_ttl": value})))
            assert wire.answer().code == "BAD_REQUEST"


def test_a_reload_that_changes_the_default_profile_is_noticed() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(
            'default_profile = "one"', profile(emulator.url, "one"), profile(emulator.url, "two")
        ) as daemon,
        daemon.wire() as wire,
    ):
        assert profiles_of(wire.call("get_token").result, wire.call("get_token").result) == {"one"}
        daemon.await_state("fresh", name="two")

        daemon.write_config(
            'default_profile = "two"', profile(emulator.url, "one"), profile(emulator.url, "two")
        )
        daemon.call("reload")

        assert profiles_of(wire.call("get_token").result, wire.call("get_token").result) == {"two"}


def test_a_logout_is_noticed() -> None:
    with (
        running_emulator() as emulator,
        running_daemon(profile(emulator.url)) as daemon,
        daemon.wire() as wire,
    ):
        wire.call("get_token")
        wire.call("get_token")
        daemon.call("logout")

        assert wire.call("get_token").code == "LOGGED_OUT"


def profiles_of(*results: dict[str, object] | None) -> set[object]:
    return {result["profile"] for result in results if result is not None}

"""MessagePack-RPC clients that others wrote talk to the daemon as they are.

Each has a program of a few lines, as its own documentation has it, run by an interpreter that sees
that client alone. `.ci/install_peers` installs them.
"""

import json
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

from openfit_token.testing import Daemon
from peers import PEERS, peer
from processes import done

pytestmark = pytest.mark.system

PYNVIM = """
import json, sys
from pynvim.msgpack_rpc import ErrorResponse, socket_session

session = socket_session(sys.argv[1])
session.error_wrapper = ErrorResponse  # the usual one takes nvim's errors apart
hello = session.request("hello")
token = session.request("get_token", {"profile": "main", "min_ttl": 60})
try:
    session.request("get_token", {"profile": "nobody"})
except ErrorResponse as refused:
    error = refused.args[0]
session.close()
print(json.dumps([hello, token, error]))
"""

AIO_MSGPACK_RPC = """
import asyncio, json, sys
from aio_msgpack_rpc import Client
from aio_msgpack_rpc.error import RPCResponseError

async def main():
    client = Client(*await asyncio.open_unix_connection(sys.argv[1]))
    # One after the other on the wire, before the first is answered.
    hello, token = await asyncio.gather(
        client.call("hello"),
        client.call("get_token", {"profile": "main", "min_ttl": 60}),
    )
    try:
        await client.call("get_token", {"profile": "nobody"})
    except RPCResponseError as refused:
        error = refused.args[0]
    client.close()
    print(json.dumps([hello, token, error]))

asyncio.run(main())
"""

# It speaks TCP alone, and MessagePack as it was in 2012: no str beside bin, all is `raw`. Its
# address class is where one says that the socket is another.
MSGPACK_RPC_PYTHON = """
import json, socket, sys
import msgpackrpc

class Unix(msgpackrpc.Address):
    def __init__(self, path):
        self.path = path
    def unpack(self):
        return self.path
    def socket(self):
        connection = socket.socket(socket.AF_UNIX)
        connection.setblocking(False)
        return connection

client = msgpackrpc.Client(Unix(sys.argv[1]), unpack_encoding="utf-8")
hello = client.call("hello")
token = client.call("get_token", {"profile": "main", "min_ttl": 60})
try:
    client.call("get_token", {"profile": "nobody"})
except msgpackrpc.error.RPCError as refused:
    error = refused.args[0]
client.close()
print(json.dumps([hello, token, error]))
"""

NODE = """
import net from "node:net";
import { createRequire } from "node:module";
const { encode, decodeMultiStream } = createRequire(process.argv[3] + "/")("@msgpack/msgpack");

const socket = net.connect(process.argv[2]);
const call = (id, method, ...params) => socket.write(encode([0, id, method, params]));
call(1, "hello");
call(2, "get_token", { profile: "main", min_ttl: 60 });
call(4294967295, "get_token", { profile: "nobody" });

const answers = new Map();
for await (const [, id, error, result] of decodeMultiStream(socket)) {
  answers.set(id, error ?? result);
  if (answers.size === 3) break;
}
console.log(JSON.stringify([1, 2, 4294967295].map((id) => answers.get(id))));
"""


def run(*command: str, packages: str = "") -> list[dict[str, Any]]:
    """Run a program and give what it printed: the answers to hello, get_token, and an error."""
    answers: list[dict[str, Any]] = json.loads(done(*command, PYTHONPATH=packages))
    return answers


def judge(answers: list[dict[str, Any]], daemon: Daemon) -> None:
    """Say whether these are the answers that our own client gets."""
    hello, token, error = answers
    with daemon.client() as client:
        ours = client.get_token()
    assert (hello["name"], hello["protocol"], hello["profiles"]) == ("openfit-tokend", 1, ["main"])
    assert (token["access_token"], token["id"]) == (ours.access_token, ours.id)
    assert abs(token["expires_at"] - ours.expires_at) < 5
    assert token["degraded"] is None
    assert (error["code"], error["retry_after"]) == ("NO_SUCH_PROFILE", None)
    assert "main" in error["hint"]


def run_python(name: str, program: str, daemon: Daemon) -> list[dict[str, Any]]:
    # With the interpreter that installed them, but none of its own packages (-S): so each has the
    # msgpack that it asks for.
    command = (str(peer("tools/bin/python")), "-S", "-c", program, str(daemon.socket))
    return run(*command, packages=str(peer(name)))


@pytest.mark.parametrize(
    ("name", "program"), [("pynvim", PYNVIM), ("aio-msgpack-rpc", AIO_MSGPACK_RPC)]
)
def test_a_client_in_python_gets_tokens_and_errors(
    name: str, program: str, openfit_daemon: Daemon
) -> None:
    judge(run_python(name, program, openfit_daemon), openfit_daemon)


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="needs Python 3.11: its tornado 4.5 runs on no later one"
)
def test_the_first_client_in_python_does_too(openfit_daemon: Daemon) -> None:
    """It stems from 2018, and is what a search for MessagePack-RPC finds."""
    judge(run_python("msgpack-rpc-python", MSGPACK_RPC_PYTHON, openfit_daemon), openfit_daemon)


def test_a_client_in_javascript_does_too(openfit_daemon: Daemon, tmp_path: Path) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node isn't installed: run .ci/install_peers")
    modules = peer("node_modules/@msgpack").parents[1]
    program = tmp_path / "client.mjs"
    program.write_text(NODE)
    judge(run(node, str(program), str(openfit_daemon.socket), str(modules)), openfit_daemon)


def test_they_are_where_the_tests_look_for_them() -> None:
    """So that a skip means: not installed."""
    script = Path(__file__).parents[2] / ".ci/install_peers"

    assert "OPENFIT_PEERS:-.peers" in script.read_text()
    assert os.environ.get("OPENFIT_PEERS") or PEERS.name == ".peers"

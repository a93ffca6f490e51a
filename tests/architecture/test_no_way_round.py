"""What the shipped code never does: each would be a way round a promise of docs/security.md."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
SHIPPED = sorted(
    path for part in ("client", "daemon", "emulator") for path in (ROOT / part).rglob("*.py")
)
KEYWORDS = {
    "verify": (False,),
    "check_hostname": (False,),
    "follow_redirects": (True,),
    "shell": (True,),
    "close_fds": (False,),
}
"""Arguments, and attributes that are set, with the values that they never have."""
NAMES = frozenset(
    {
        *("CERT_NONE", "CERT_OPTIONAL", "_create_unverified_context"),
        *("system", "popen", "getoutput", "getstatusoutput", "create_subprocess_shell"),
        *("pickle", "marshal", "shelve", "eval"),
    }
)
"""Names that nothing there uses: TLS without trust, a shell, formats that run what they read."""


def ways_round(source: str) -> Iterator[str]:
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.keyword(arg=str(name), value=ast.Constant(value=value)) if name in KEYWORDS:
                if value in KEYWORDS[name]:
                    yield f"{name}={value!r}"
            case ast.Assign(targets=[ast.Attribute(attr=name)], value=ast.Constant(value=value)):
                if value in KEYWORDS.get(name, ()):
                    yield f"{name} = {value!r}"
            case ast.Attribute(attr=name) | ast.Name(id=name) | ast.alias(name=name):
                if name in NAMES:
                    yield name
            case _:
                pass


def test_no_module_has_a_way_round_a_promise() -> None:
    found = [(path, each) for path in SHIPPED for each in ways_round(path.read_text())]

    assert [f"{path.relative_to(ROOT)}: {each}" for path, each in found] == []


def test_a_way_round_is_found() -> None:
    source = """
import pickle
client = httpx.Client(verify=False, follow_redirects=True)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
subprocess.run(words, shell=True)
os.system("true")
"""
    found = ["follow_redirects=True", "verify=False", "check_hostname = False", "pickle"]
    assert sorted(ways_round(source)) == sorted([*found, "CERT_NONE", "shell=True", "system"])

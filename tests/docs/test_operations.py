"""Operations: each event of the log is in the table."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCES = sorted((ROOT / "daemon" / "openfit_tokend").rglob("*.py"))
LEVEL_OF = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "limited": "warning",
    "error": "error",
    "exception": "error",
}
"""The level of each function of `host/log.py`."""
EVENT = re.compile(r"^\| `(\w+)` \| ((?:debug|info|warning|error)(?:, \w+)*) \|", re.MULTILINE)


def logged(source: str) -> Iterator[tuple[str, str]]:
    """Return each event that a module logs, with its level."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and node.args:
            for level in _levels(node.func):
                for part in ast.walk(node.args[0]):
                    if isinstance(part, ast.Constant) and isinstance(part.value, str):
                        yield part.value, level


def _levels(function: ast.expr) -> Iterator[str]:
    match function:
        case ast.IfExp(body=one, orelse=other):
            yield from (*_levels(one), *_levels(other))
        case ast.Attribute(value=ast.Name(id="log"), attr=name) if name in LEVEL_OF:
            yield LEVEL_OF[name]
        case _:
            pass


def events() -> Mapping[str, set[str]]:
    found: defaultdict[str, set[str]] = defaultdict(set)
    for path in SOURCES:
        for event, level in logged(path.read_text()):
            found[event].add(level)
    return found


def test_the_table_has_each_event_of_the_log_with_its_levels_and_no_other() -> None:
    text = (ROOT / "docs" / "operations.md").read_text()
    told = {event: set(levels.split(", ")) for event, levels in EVENT.findall(text)}

    assert told == events()


def test_an_event_is_found_whichever_way_it_is_logged() -> None:
    source = '(log.error if a else log.limited)("x" if b else "y", c=1)'

    assert set(logged(source)) == {
        (event, level) for event in ("x", "y") for level in ("error", "warning")
    }

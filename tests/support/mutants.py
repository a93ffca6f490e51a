"""Break a module in every small way, one at a time, and name the ways that no test notices.

    .venv/bin/python tests/support/mutants.py step.py choice.py budget.py     # minutes each
    .venv/bin/python tests/support/mutants.py storage/accounts.py storage/ledger_file.py
    .venv/bin/python tests/support/mutants.py --list step.py                  # only name them

Each mutant lives in a process of its own, in which the module is changed in memory; nothing on disk
is. For a module of `core/` the quick tests of the core run until one fails, and a mutant that they
let live meets the simulation. A module of another room meets the tests named in ROOM_TESTS: those that use
it in their own process, since a daemon that they start is unchanged.

A survivor is either a missing test, or makes no difference: say which.
"""

import argparse
import ast
import contextlib
import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PACKAGE: Final = ROOT / "daemon" / "openfit_tokend"
ROOM_TESTS: Final = {
    "accounts.py": ("storage/test_accounts.py",),
    "session_form.py": ("storage/test_session_form.py",),
    "ledger_file.py": ("storage/test_ledger_file.py", "storage/test_accounts.py"),
}
"""The nearest tests of a module of another room."""
SLOW_TESTS: Final = {
    "test_budget_properties.py",
    "test_rules.py",
    "test_settings.py",
    "test_simulation.py",
    "test_step_properties.py",
}
SEEDS: Final = 120
"""Hard runs of the simulation that a mutant must survive."""
TIMEOUT: Final = 180
"""Seconds; a mutant that takes longer is one that never ends, and so noticed."""

_SWAPS: Final[dict[type[ast.AST], Callable[[], ast.AST]]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
    ast.And: ast.Or,
    ast.Or: ast.And,
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
}
_NAMES: Final = {"min": "max", "max": "min", "any": "all", "all": "any"}


_ANY_WOULD_DO: Final = "any constant makes two sessions alike in this"
EXPLAINED: Final = {
    "answers.py: value -> True in: False": _ANY_WOULD_DO,
    "answers.py: value -> 1 in: 0": _ANY_WOULD_DO,
    "answers.py: value -> 1.0 in: 0.0": _ANY_WOULD_DO,
    "answers.py: guard -> True in: number == before.number": "after a void answer the login is "
    "still under way, and so has not ended",
    "storage/accounts.py: value -> 1 in: 0": "a counter begins elsewhere: at most one save more",
    "storage/accounts.py: value -> None in: await anyio.sleep(max(0.0, self._next_save - clock.boot()))": (
        "saves come closer together: it is what they cost that changes"
    ),
    "storage/accounts.py: value -> None in: await self._trouble.wait()": "an idle daemon looks every few "
    "seconds whether there is something to write",
    "storage/accounts.py: value -> None in: await anyio.sleep(RETRY)": "a disk that fails is tried "
    "more often",
    "schedule.py: value -> 11 in: 10": "it only keeps a power of two from growing without end",
    "step.py: value -> 11 in: 10": "it only keeps a power of two from growing without end",
}
"""Mutants that make no difference, and why."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small change. `make` does it, to the tree whose node it was made for."""

    line: int
    what: str
    make: Callable[[], None]


def mutants(tree: ast.Module, *, limits: bool) -> Iterator[Mutant]:
    """Return all mutants of a module; each changes this very tree. `limits`: constants as well."""
    decorations = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        for decorator in node.decorator_list
        for part in ast.walk(decorator)
    }
    if not limits:  # a second more or less makes no difference that a test could see
        named = (node for node in tree.body if isinstance(node, ast.AnnAssign))
        decorations.update(id(part) for node in named for part in ast.walk(node))
    for node in ast.walk(tree):
        if id(node) not in decorations:
            yield from _decisions(node)
            yield from _values(node)


def _decisions(node: ast.AST) -> Iterator[Mutant]:
    match node:
        case ast.Compare():
            for at, op in enumerate(node.ops):
                yield _set(node, node.ops, at, _SWAPS[type(op)]())
        case ast.BoolOp() | ast.BinOp() if type(node.op) in _SWAPS:
            yield _replace(node, node, "op", _SWAPS[type(node.op)]())
        case ast.If() | ast.IfExp():
            yield _replace(node, node, "test", ast.UnaryOp(ast.Not(), node.test))
        case ast.match_case(guard=ast.expr() as guard):
            for value in (True, False):
                yield _replace(guard, node, "guard", ast.Constant(value))
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield _replace(node, node, "value", ast.Constant(None))
        case _:
            pass


def _values(node: ast.AST) -> Iterator[Mutant]:
    match node:
        case ast.Constant(value=bool() as value):
            yield _replace(node, node, "value", not value)
        case ast.Constant(value=(int() | float()) as value):
            yield _replace(node, node, "value", value + 1)
        case ast.Call(func=ast.Name(name) as func) if name in _NAMES:
            yield _replace(node, func, "id", _NAMES[name])
        case ast.Call(func=ast.Name("replace")):
            for at in range(len(node.keywords)):
                yield _drop(node, node.keywords, at)
        case _:
            pass


def _set(at: ast.expr, ops: list[ast.cmpop], index: int, new: ast.AST) -> Mutant:
    assert isinstance(new, ast.cmpop)
    old = ops[index]

    def make() -> None:
        ops[index] = new

    return Mutant(at.lineno, f"{_name(old)} -> {_name(new)} in: {ast.unparse(at)}", make)


def _replace(at: ast.expr | ast.stmt, node: ast.AST, field: str, new: object) -> Mutant:
    shown = ast.unparse(at).split("\n")[0]
    return Mutant(
        at.lineno, f"{field} -> {_name(new)} in: {shown}", lambda: setattr(node, field, new)
    )


def _drop(at: ast.expr, keywords: list[ast.keyword], index: int) -> Mutant:
    word = keywords[index]

    def make() -> None:
        keywords.remove(word)

    return Mutant(at.lineno, f"without {ast.unparse(word)} in: {ast.unparse(at)}", make)


def _name(new: object) -> str:
    if isinstance(new, ast.expr):
        return ast.unparse(new)
    return type(new).__name__ if isinstance(new, ast.AST) else repr(new)


@dataclass(frozen=True, slots=True)
class _Changed(MetaPathFinder, Loader):
    """Imports one module from a tree."""

    module: str
    path: Path
    tree: ast.Module

    def find_spec(self, fullname: str, path: object, target: object = None) -> ModuleSpec | None:
        """Say that this one module is ours."""
        del path, target
        if fullname != self.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.path, loader=self)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to Python."""
        del spec
        return None

    def exec_module(self, module: ModuleType) -> None:
        """Run the changed code."""
        code = compile(ast.fix_missing_locations(self.tree), str(self.path), "exec")
        exec(code, module.__dict__)  # noqa: S102 -- our own code, changed


def survives(path: Path, number: int | None) -> bool:
    """Return whether everything lets a mutant live; None: the true code. The quickest goes first."""
    if not _in_core(path):
        nearest = [str(ROOT / "tests" / "daemon" / name) for name in ROOM_TESTS[path.name]]
        return _lives(path, number, lambda: _passes(["-m", "not system", *nearest]))
    tests = (ROOT / "tests" / "core").glob("test_*.py")
    quick = sorted(str(test) for test in tests if test.name not in SLOW_TESTS)
    own = [test for test in quick if f"test_{path.stem}" in test]
    others = [test for test in quick if test not in own]
    return (
        _lives(path, number, lambda: _passes(own))
        and _lives(path, number, lambda: _passes(others))
        and _lives(path, number, _passes_simulation)
    )


def _in_core(path: Path) -> bool:
    return path.is_relative_to(PACKAGE / "core")


def _lives(path: Path, number: int | None, passes: Callable[[], bool]) -> bool:
    """Try it in a process of its own."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        return status == 0
    signal.alarm(TIMEOUT)
    tree = ast.parse(path.read_text())
    if number is not None:
        list(mutants(tree, limits=_in_core(path)))[number].make()
    module = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
    sys.meta_path.insert(0, _Changed(module, path, tree))
    lives = False
    try:
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
            lives = passes()
    finally:
        os._exit(0 if lives else 1)


def _passes(tests: list[str]) -> bool:
    return not tests or pytest.main(["-x", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]) == 0


def _passes_simulation() -> bool:
    from simulation.plan import hard_plan  # noqa: PLC0415 -- it imports the changed module
    from simulation.shrink import failure_of  # noqa: PLC0415 -- so does this

    return all(failure_of(hard_plan(seed)) is None for seed in range(SEEDS))


def main() -> int:
    """Do what the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument(
        "modules", nargs="+", help="files of core/, or of another room, which is named"
    )
    parser.add_argument("--list", action="store_true", help="name the mutants, try none")
    asked = parser.parse_args()
    os.environ["OPENFIT_LONG_FORMS"] = (
        "1"  # hypothesis' profile that doesn't depend on earlier runs
    )
    os.chdir(ROOT)
    alive = 0
    for module in asked.modules:
        path = PACKAGE / module if "/" in module else next((PACKAGE / "core").rglob(module))
        every = list(mutants(ast.parse(path.read_text()), limits=_in_core(path)))
        _say(f"{module}: {len(every)} mutants")
        if not asked.list and not survives(path, None):
            _say("  a test fails without any change: mend that first")
            return 1
        for number, mutant in enumerate(every):
            if asked.list or survives(path, number):
                reason = EXPLAINED.get(f"{module}: {mutant.what}")
                alive += reason is None
                _say(f"  {module}:{mutant.line}: {mutant.what}{f' ({reason})' if reason else ''}")
    _say(f"{alive} {'in all' if asked.list else 'survived and are not explained'}")
    return 0 if asked.list or not alive else 1


def _say(text: str) -> None:
    print(text, flush=True)  # noqa: T201 -- a command prints


if __name__ == "__main__":
    sys.exit(main())

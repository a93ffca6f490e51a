"""Rules of the house that no linter knows."""

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "daemon/openfit_tokend/core").rglob("*.py"))
SOURCES = sorted(
    path
    for part in ("client", "daemon", "emulator", "docs", "tests", "benchmarks")
    for path in (ROOT / part).rglob("*.py")
)
OURS = re.compile(
    r"openfit_tokend\.core(\.\w+)*|openfit_token\.errors"
    r"|openfit_token\._shared\.(durations|frozen|one_line|origin|profile_name|secret)"
)
PURE = frozenset(
    {
        "base64",
        "bisect",
        "collections",
        "collections.abc",
        "dataclasses",
        "difflib",
        "email.utils",  # the date of a Retry-After
        "enum",
        "fnmatch",
        "functools",
        "hashlib",
        "heapq",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "operator",
        "re",
        "typing",
        "unicodedata",
        "urllib.parse",
    }
)
"""What the core may import of the standard library: it computes, and neither waits nor looks."""
BUILTINS = frozenset(
    {"open", "print", "input", "exec", "eval", "compile", "__import__", "breakpoint"}
)
EXCEPTIONS = re.compile(r"#\s*(noqa|type:\s*ignore|pyright:\s*ignore|pragma:\s*no\s*cover|nosec)\b")
REASON = re.compile(r"(--|#)\s*\S.{3,}")
ELSEWHERE = re.compile(
    r"(?<![\w./-])/(work|home|root|Users|mnt|workspace)/"
    r"|\b(files\.pythonhosted\.org|pypi\.org/simple|registry\.npmjs\.org|proxy\.golang\.org)\b"
    r"|\b(index-url|extra-index-url|trusted-host)\b"
)
"""Places of one workplace, and registries: a clone must not depend on any."""


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module, names, level):
                assert level == 0, "imports are absolute"
                yield from _modules(module or "", [each.name for each in names])
            case _:
                pass


def _modules(package: str, names: list[str]) -> list[str]:
    """Return the modules of `from package import names`: a package's names may be modules."""
    if package in {
        "openfit_tokend",
        "openfit_token",
        "openfit_token._shared",
        "openfit_tokend.core",
    }:
        return [f"{package}.{each}" for each in names]
    return [package]


def comments(path: Path) -> Iterator[tuple[int, str]]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.start[0], token.string


def in_the_core() -> Iterator[tuple[Path, ast.AST]]:
    for path in CORE:
        for node in ast.walk(ast.parse(path.read_text())):
            yield path, node


def test_the_core_imports_nothing_but_itself_the_errors_and_what_computes() -> None:
    imported = [(path, each) for path in CORE for each in imports(ast.parse(path.read_text()))]

    assert [
        f"{name(path)}: {each}"
        for path, each in imported
        if each not in PURE and not OURS.fullmatch(each)
    ] == []


def test_the_core_calls_no_builtin_that_does_something() -> None:
    called = [
        (path, node.func.id)
        for path, node in in_the_core()
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]

    assert [f"{name(path)}: {each}" for path, each in called if each in BUILTINS] == []


def test_nothing_in_the_core_waits() -> None:
    waiting = (ast.AsyncFunctionDef, ast.Await, ast.AsyncFor, ast.AsyncWith, ast.Global)

    assert [name(path) for path, node in in_the_core() if isinstance(node, waiting)] == []


def test_every_exception_to_a_rule_bears_its_reason() -> None:
    """Behind `--` or in a second comment, in words."""
    unexplained = [
        f"{name(path)}:{line}: {text}"
        for path in SOURCES
        if EXCEPTIONS.search(path.read_text())
        for line, text in comments(path)
        if (found := EXCEPTIONS.search(text)) and not REASON.search(text, found.end())
    ]

    assert unexplained == []


@pytest.mark.parametrize(
    ("text", "explained"),
    [
        ("# noqa: S101", False),
        ("# noqa: S101 --", False),
        ("# noqa: S101 -- marks what can't be", True),
        ("# type: ignore[arg-type]  # a stub is wrong", True),
        ("# type: ignore[arg-type]", False),
        ("# pragma: no cover -- another kernel's", True),
    ],
)
def test_a_reason_is_told_from_none(text: str, explained: bool, tmp_path: Path) -> None:  # noqa: FBT001 -- a column of the table
    path = tmp_path / "example.py"
    path.write_text(f"x = 1  {text}\n")
    (found,) = [each for _, each in comments(path)]
    match = EXCEPTIONS.search(found)

    assert match is not None
    assert bool(REASON.search(found, match.end())) is explained


def tracked() -> list[Path]:
    """Return the project's own texts."""
    parts = ("client", "daemon", "emulator", "tests", "benchmarks", "docs", "systemd", ".ci")
    found = [path for part in parts for path in (ROOT / part).rglob("*")]
    found += [path for path in ROOT.iterdir() if path.suffix in {".md", ".toml"}]
    return [
        p for p in found if p.is_file() and p.suffix not in {".pyc", ""} and p != Path(__file__)
    ]


def test_nothing_names_a_registry_or_a_place_of_one_workplace() -> None:
    found = [
        f"{name(path)}: {match.group()}"
        for path in tracked()
        if (match := ELSEWHERE.search(path.read_text(errors="replace")))
    ]

    assert found == []

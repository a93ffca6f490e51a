"""The examples in the client's docstrings are true, and all that is public has one docstring."""

import doctest
import importlib
import inspect
import pkgutil
from types import ModuleType

import anyio
import pytest

import openfit_token
from daemons import RunningDaemon

MODULES = [
    importlib.import_module(found.name)
    for found in pkgutil.walk_packages(openfit_token.__path__, "openfit_token.")
    if "_cli" not in found.name.split(".")
]
AT_HAND = {"anyio": anyio, "get_token": openfit_token.get_token}
"""What an example may use besides its own module's names."""
WITH_EXAMPLES = {"aio", "blocking", "errors", "token"}


def examples(module: ModuleType) -> list[doctest.DocTest]:
    found = doctest.DocTestFinder().find(module, extraglobs=AT_HAND)
    return [each for each in found if each.examples]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_example_gives_what_it_says(
    module: ModuleType, daemon: RunningDaemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENFIT_TOKEN_SOCKET", daemon.environment["OPENFIT_TOKEN_SOCKET"])
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS)
    told: list[str] = []

    for each in examples(module):
        runner.run(each, out=told.append)

    assert "".join(told) == ""


def test_the_modules_that_people_call_have_examples() -> None:
    having = {module.__name__.rpartition(".")[2] for module in MODULES if examples(module)}

    assert having >= WITH_EXAMPLES


def undocumented(owner: object, module: str, name: str) -> list[str]:
    """Return the public names of a module or class, down to methods, that have no docstring."""
    found: list[str] = []
    for each, value in vars(owner).items():
        function = value.fget if isinstance(value, property) else value
        ours = getattr(function, "__module__", None) == module
        if each.startswith("_") or not ours or not (inspect.isclass(value) or callable(function)):
            continue
        if not inspect.getdoc(value):
            found.append(f"{name}.{each}")
        if inspect.isclass(value):
            found += undocumented(value, module, f"{name}.{each}")
    return found


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_all_that_is_public_has_a_docstring(module: ModuleType) -> None:
    assert undocumented(module, module.__name__, module.__name__) == []
    assert module.__doc__

"""Finds the configuration, reads it with the files it includes, and reports every fault."""

import json
import os
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from fnmatch import fnmatchcase
from functools import partial
from math import inf
from pathlib import Path
from typing import Final, NamedTuple, Protocol, TypeVar

from anyio import CancelScope, current_time

from openfit_token._shared.one_line import one_line
from openfit_token.errors import ConfigRejected
from openfit_tokend.config.names import look_up, read_subordinates
from openfit_tokend.config.toml_lines import lines
from openfit_tokend.core.settings.names import Name, mentions, settled, unknown
from openfit_tokend.core.settings.parser import include_pattern, parse, socket_path
from openfit_tokend.core.settings.table import MAX_QUOTED, Fault, Source
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.host.blocking_calls import BlockingCalls
from openfit_tokend.host.home import user_directory
from openfit_tokend.host.regular_file import Unusable, read, refuse_writable

APP: Final = "openfit-tokend"
MAX_SIZE: Final = 1024 * 1024
"""Bytes of one file: about 4,000 profiles."""
MAX_INCLUDED: Final = 4096
"""Files: four times the number of profiles that are supported."""
LOAD_TIME: Final = 30.0
"""Seconds that a reload waits for the disk, and for users and groups looked up over the network."""
HURRIED_TIME: Final = 1.0
"""Seconds that it does if another reload is ordered: what hung may be mended, or not be named any more."""

ALLOW_LISTS: Final = frozenset({"allow_users", "allow_groups"})
"""Keys whose names let somebody in, and do nothing else: one that is gone refuses nothing."""
T = TypeVar("T")
_BARE: Final = re.compile(r"[A-Za-z0-9_-]+")


class _File(NamedTuple):
    source: Source
    text: str


class _Broken(Exception):
    """A file's content can't be checked; the text is the whole line of the report."""


def locate(option: str | None) -> Path:
    """Return the absolute path of the configuration; `load` reports if there is no such file.

    It is the first one given: the option, $OPENFIT_TOKEND_CONFIG, config.toml in systemd's
    $CONFIGURATION_DIRECTORY; else root's in /etc, or the user's own.

    Raises:
        ConfigRejected: the user has no home.
    """
    if option is not None:
        return Path(option).absolute()
    if named := os.environ.get("OPENFIT_TOKEND_CONFIG"):
        return Path(named).absolute()
    if directories := os.environ.get("CONFIGURATION_DIRECTORY"):
        return Path(directories.split(":")[0], "config.toml").absolute()
    if os.geteuid() == 0:
        return Path("/etc", APP, "config.toml")
    return user_directory("config") / APP / "config.toml"


def load(path: Path) -> Settings:
    """Read and check the configuration with all files that it includes, and look up the names in it.

    May block: on the disk, and on the network if users and groups come from there.

    Raises:
        ConfigRejected: its message has every fault, one per line: `path:line: key: what is
            expected`.
    """
    loading = _loaded(path, _at_once)
    try:
        loading.send(None)
    except StopIteration as ended:
        settings: Settings = ended.value
        return settings
    raise AssertionError("nothing was waited for")


async def load_in_time(
    calls: BlockingCalls,
    path: Path,
    judge: Callable[[Settings], None],
    patience: CancelScope,
) -> Settings:
    """Do the same as `load` in threads, so that clients are served, and until the end of `patience`.

    `judge` may refuse what was loaded.

    Raises:
        ConfigRejected: as `load` and `judge` do, or it took too long.
    """
    began, on = current_time(), str(path)

    async def in_thread(key: str, call: Callable[[], T]) -> T:
        nonlocal on
        on = key
        return await calls.run(key, call, inf)

    try:
        with patience:
            return await _loaded(path, in_thread, judge)
    except OSError as error:
        raise ConfigRejected(f"{path}: can't be read: {error.strerror}") from None
    raise ConfigRejected(
        f"{path}: no answer within {current_time() - began:.0f} s from its disk, from that of an included"
        " file, or to a question for a user or group",
        f"{on} hangs: fix that, or take it out, then reload again",
    )


class _Do(Protocol):
    async def __call__(self, on: str, call: Callable[[], T], /) -> T:
        """Return what a call returns that may block, on a path or a name.

        Calls on different things are waited for apart: one that hangs holds up only its own.
        """
        ...


async def _at_once(_on: str, call: Callable[[], T]) -> T:
    return call()


async def _loaded(
    path: Path, do: _Do, judge: Callable[[Settings], None] = lambda _: None
) -> Settings:
    main = await do(str(path), lambda: _read_main(path))
    files, unread = await _read_included(main, do)
    included = [file.source for file in files]
    named = await do(str(path), lambda: list(mentions(main.source, included)))
    ids: dict[Name, int] = {}
    for name in dict.fromkeys(mention.name for mention in named):
        found = await do(f"{name.kind} {name.name}", partial(look_up, name))
        if found is not None:
            ids[name] = found

    def settle() -> Settings:
        parsed = parse(main.source, included, complete=not unread)
        missing = unknown(named, ids)
        refused = [fault for fault in missing if fault.key[-1] not in ALLOW_LISTS]
        faults = missing if isinstance(parsed, Settings) else (*missing, *parsed)
        lines = tuple(map(one_line, (*_report((main, *files), faults), *unread)))
        if not isinstance(parsed, Settings) or refused or unread:
            raise ConfigRejected("\n".join(lines))
        return replace(settled(parsed, ids), unknown_names=lines, subordinates=read_subordinates())

    settings = await do("/etc/subuid", settle)
    await do(f"what {path} names", lambda: judge(settings))
    return settings


def _read_main(path: Path) -> _File:
    try:
        return _read(str(path.absolute()))
    except _Broken as broken:
        hint = None
        with suppress(ConfigRejected):
            if _is_absent(path) and path == locate(None):
                hint = "openfit-tokend init writes one"
        raise ConfigRejected(one_line(broken), hint) from None


def socket_of(path: Path) -> str | None:
    """Return the socket that the configuration names, even if the rest of it has faults.

    None: it names none, or it can't be read. May block on the disk.
    """
    try:
        return socket_path(_read(str(path.absolute())).source)
    except _Broken:
        return None


def _is_absent(path: Path) -> bool:
    try:
        path.stat()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


def _read(path: str) -> _File:
    """Read one file; raise _Broken if it can't be trusted, read or parsed."""
    try:
        text = read(path, MAX_SIZE, refuse_writable).decode("utf-8-sig")
        table = tomllib.loads(text)
        return _File(Source(path, table, sys.getfilesystemencoding()), text)
    except Unusable as unusable:
        raise _Broken(f"{path}: {unusable.message}: {unusable.hint}") from None
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        raise _Broken(f"{path}:{line}: is not UTF-8: save it with this encoding") from None
    except RecursionError:
        raise _Broken(f"{path}: is nested too deeply: a table in a table is enough") from None
    except ValueError as error:  # tomllib's own, and int's for numbers of thousands of digits
        raise _Broken(_syntax_fault(path, str(error))) from None


def _syntax_fault(path: str, message: str) -> str:
    """Turn tomllib's "… (at line 3, column 5)" into our form."""
    what, _, place = message.rpartition(" (at ")
    line, _, column = place.rstrip(")").removeprefix("line ").partition(", ")
    if what and line.isdigit():
        hint = ': text needs straight quotes, as in "text"' if what == "Invalid value" else ""
        return f"{path}:{line}: is not valid TOML: {what} ({column}){hint}"
    return f"{path}: is not valid TOML: {message}"


async def _read_included(main: _File, do: _Do) -> tuple[list[_File], list[str]]:
    """Read what the main file includes, sorted; return also the lines about what can't be read."""
    named = include_pattern(main.source)
    if named is None:
        return [], []
    files: list[_File] = []
    unread: list[str] = []
    pattern = Path(main.source.directory, named)
    try:
        paths = await do(str(pattern), lambda: _matching(pattern, Path(main.source.path)))
    except Unusable as unusable:
        fault = Fault(main.source.path, ("include",), f"{unusable.message}: {unusable.hint}")
        return [], _report([main], [fault])
    for path in map(str, paths):
        try:
            files.append(await do(path, partial(_read, path)))
        except _Broken as broken:
            unread.append(str(broken))
    return files, unread


def _matching(pattern: Path, main: Path) -> list[Path]:
    """Return the files that match, except hidden ones and the main file.

    A pattern without wildcards returns its one file, which may be missing. A missing directory is
    refused: a reload while it isn't mounted must not drop its profiles.
    """
    if not any(wildcard in pattern.name for wildcard in "*?["):
        return [pattern]
    try:
        names = sorted(
            name
            for name in os.listdir(pattern.parent)  # noqa: PTH208 -- names, without 4,096 Paths
            if fnmatchcase(name, pattern.name) and not name.startswith(".")
        )
    except OSError as error:
        reason = f"the directory {pattern.parent} can't be read ({error.strerror})"
        raise Unusable(reason, "create it, or take this key out") from None
    if len(names) > MAX_INCLUDED:
        raise Unusable(f"more than {MAX_INCLUDED} files match", "put several profiles into a file")
    return [path for name in names if (path := pattern.parent / name) != main]


def _report(files: Iterable[_File], faults: Iterable[Fault]) -> list[str]:
    """Return one line for each fault, in the order of files and lines."""
    by_path: dict[str, list[tuple[int, str]]] = {file.source.path: [] for file in files}
    places = {file.source.path: lines(file.text) for file in files}
    for fault in faults:
        line = _line(places[fault.path], fault.key)
        where = f"{fault.path}:{line}" if line else fault.path
        by_path[fault.path].append((line, f"{where}: {_dotted(fault.key)}: {fault.text}"))
    return [text for found in by_path.values() for _, text in sorted(found)]


def _line(places: Mapping[tuple[str, ...], int], key: tuple[str, ...]) -> int:
    """Return the line of the key, else of the table that it is in or missing from, else 0."""
    for length in range(len(key), 0, -1):
        if line := places.get(key[:length]):
            return line
    return 0


def _dotted(key: tuple[str, ...]) -> str:
    """Return a key as TOML writes it, with parts quoted where necessary, and very long ones cut."""
    parts = (part[:MAX_QUOTED] for part in key)
    return ".".join(part if _BARE.fullmatch(part) else json.dumps(part) for part in parts)

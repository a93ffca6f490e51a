"""`openfit-tokend run`: run the daemon."""

import gc
import os
import resource
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from functools import partial
from pathlib import Path
from typing import Final

import anyio

from openfit_token._shared.trusted_path import Untrusted
from openfit_token.errors import ConfigRejected
from openfit_tokend.app import Daemon
from openfit_tokend.cli.complaints import complain
from openfit_tokend.config import config_file
from openfit_tokend.config.passwords import take_variables
from openfit_tokend.core.settings.values import Settings
from openfit_tokend.host import log
from openfit_tokend.host.listener import AdoptedListener, Listener, Sockets, SocketUnusable
from openfit_tokend.host.peers import ambiguous
from openfit_tokend.host.service_manager import Passed, Service, take_over
from openfit_tokend.host.signals import Terminal
from openfit_tokend.serving.driver import ServingLoop
from openfit_tokend.serving.places import http_socket_path, judge_sockets, socket_path
from openfit_tokend.storage.ledger_file import LedgerFile, ledger_path

SWITCH_INTERVAL: Final = 0.0005
"""Seconds after which a thread gives way to one that waits. With Python's 5 ms, a reload or hashing a
thousand passwords would hold up the thread that serves, and be held up by it."""


def run(config: str | None, socket: str | None, form: str, terminal: Terminal) -> int:
    """Serve until a signal arrives or the terminal closes; return the exit status.

    The log is set up, and the process hardened. `form`: the log's.
    """
    if os.geteuid() in ambiguous().users:
        log.error(
            "user_ambiguous",
            uid=os.geteuid(),
            reason="in this user namespace, every unmapped user has this uid too",
            hint="run it as another user: in a container, as any user but nobody",
        )
        return os.EX_CONFIG
    service = take_over()
    try:
        path = config_file.locate(config)
        settings = config_file.load(path)
        take_variables(each for one in settings.profiles.values() for each in one.secrets)
        _raise_descriptor_limit()
        sys.setswitchinterval(SWITCH_INTERVAL)
        with ExitStack() as stack:
            rpc = stack.enter_context(closing(_listener(socket, settings, service)))
            credential = _adopted(service.credentials)
            http = _http_listener(settings, service, rpc.path)
            if http is not None:
                stack.enter_context(closing(http))
            sockets = Sockets(rpc, http, credential)
            judge = partial(_refuse_unstartable, socket, sockets)
            return _serve(path, settings, sockets, service, terminal, judge)
    except ConfigRejected as error:
        if form == "text":
            return complain(error)
        log.error("config_rejected", faults=error.message, hint=error.hint)
        return error.exit_status
    except SocketUnusable as error:
        log.error("socket_unusable", message=error.message, hint=error.hint)
        return os.EX_CANTCREAT


def _refuse_unstartable(option: str | None, sockets: Sockets, settings: Settings) -> None:
    """Refuse, at a reload, a configuration with which the next start would end.

    Raises:
        ConfigRejected: it would.
    """
    judge_sockets(option, sockets, settings)
    if settings.fleet is not None:
        from openfit_tokend.fleet.lacking import refuse_lacking  # noqa: PLC0415 -- few daemons have one

        refuse_lacking(settings.fleet.store)


def _listener(
    option: str | None, settings: Settings, service: Service
) -> Listener | AdoptedListener:
    """Return a listener on the socket that was passed, or else on a new one.

    Raises:
        SocketUnusable: neither is possible.
    """
    passed = _adopted(service.sockets)
    if passed is None:
        place = socket_path(option, settings)
        return Listener(place, settings.socket_mode, settings.socket_group)
    _warn_of_differences(passed, "socket", option or settings.socket, settings)
    return passed


def _http_listener(
    settings: Settings, service: Service, other: Path
) -> Listener | AdoptedListener | None:
    """Return a listener on the HTTP socket that was passed, or is wanted; None: neither.

    `other`: where MessagePack-RPC is spoken.

    Raises:
        SocketUnusable: it isn't possible.
    """
    passed = _adopted(service.http)
    if passed is not None:
        _warn_of_differences(passed, "http_socket", settings.http_socket, settings)
        return passed
    if settings.http_socket is None:
        return None
    place = http_socket_path(settings.http_socket, other)
    return Listener(place, settings.socket_mode, settings.socket_group)


def _warn_of_differences(
    passed: AdoptedListener, key: str, given: str | None, settings: Settings
) -> None:
    """Log which settings the unit of a socket makes idle. `given`: where `key` wants it."""
    differences = passed.differences(
        key,
        None if given is None else Path(given).absolute(),
        settings.socket_mode,
        settings.socket_group,
    )
    if differences:
        log.warning(
            "socket_settings_ignored",
            socket=passed.path,
            keys=", ".join(differences),
            hint="the socket unit decides: change them there, or remove them",
        )


def _adopted(passed: Sequence[Passed]) -> AdoptedListener | None:
    """Return a listener on the first socket that a unit passed; None: it passed none."""
    for more in passed[1:]:
        log.error("socket_not_served", name=more.name, hint="only one ListenStream= is served")
        os.close(more.fd)
    return AdoptedListener(passed[0].fd) if passed else None


def _serve(  # noqa: PLR0913, PLR0917 -- the parts that `run` has made
    path: Path,
    settings: Settings,
    sockets: Sockets,
    service: Service,
    terminal: Terminal,
    judge: Callable[[Settings], None],
) -> int:
    """Serve until the end; return the exit status.

    Raises:
        ConfigRejected: a package is missing that it needs.
    """
    ledger = LedgerFile(ledger_path(path))
    try:
        mine = ledger.lock()
    except Untrusted as untrusted:
        log.error("state_untrusted", path=ledger.path, reason=untrusted, hint=untrusted.hint)
        return os.EX_CONFIG
    if not mine:
        log.error(
            "state_in_use",
            path=ledger.path,
            pid=ledger.holder(),
            hint="another daemon uses this configuration: use that daemon, or give this one another"
            " STATE_DIRECTORY",
        )
        return os.EX_TEMPFAIL  # it may be a `check --login` that ends soon
    try:
        daemon = Daemon(path, settings, sockets, ledger, service, terminal, judge)
        anyio.run(
            _run_and_leave,
            daemon,
            backend="asyncio",
            backend_options={"loop_factory": ServingLoop},
        )
    except OSError as error:
        log.error("system_refused", reason=error.strerror)
        return os.EX_OSERR
    return 0


async def _run_and_leave(daemon: Daemon) -> None:
    gc.freeze()  # a collection that looks at all that is imported would take 5 ms
    gc.enable()
    await daemon.run()
    log.flush()
    # All is written and logged. A thread stuck on a name server or a disk must not delay the exit.
    os._exit(0)


def _raise_descriptor_limit() -> None:
    """Raise the limit of open descriptors, and so of clients, to what the system allows."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

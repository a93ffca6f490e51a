"""What is next to the chain: the service's unit, and variables of the caller's environment."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Final

from openfit_token._cli.doctor.answers import Found
from openfit_token._cli.doctor.profiles import WRONG_URL
from openfit_token._cli.report import Verdict, fail, ok, warn
from openfit_token._client import paths
from openfit_token._client.health import Answer, number
from openfit_token._shared.durations import duration
from openfit_token.errors import DaemonUnreachable

_UNIT: Final = "openfit-tokend.service"
_SHOW: Final = ("show", "--property=LoadState,ActiveState,Result,MainPID", _UNIT)
_PATIENCE: Final = 3.0
"""Seconds for systemctl."""
_ID_DIGITS: Final = 16
"""Hex digits of the SHA-256 of a token that are its id."""


def service(path: str | None, found: Found | None) -> Iterator[Verdict]:
    """Report how the service's unit is, if there is one. `path`: the caller's socket."""
    own = path in paths.usual()[:-1]
    scope = ("--user",) if own else ()
    unit = _unit(scope)
    if unit.get("LoadState") != "loaded":
        return
    active, result = unit.get("ActiveState"), unit.get("Result")
    words = " ".join(["systemctl", *scope])
    journal = " ".join(["journalctl", *scope, "-u openfit-tokend -n 20"])
    if active == "active" and (found is None or str(found.pid) == unit.get("MainPID")):
        yield ok("service", f"{_UNIT} is active, pid {unit.get('MainPID')}")
    elif active == "active":
        yield warn(
            "service",
            f"{_UNIT} is pid {unit.get('MainPID')}, but pid {found and found.pid} answers",
            f"stop the one you don't mean: `{words} stop openfit-tokend`, or the other",
        )
    elif found is not None:
        text = f"{_UNIT} is {active}, but a daemon answers that isn't its"
        yield warn("service", text, f"`{words} start openfit-tokend`, if that one is meant")
    else:
        why = f" ({result})" if result not in (None, "", "success") else ""
        fix = f"`{journal}` tells why; then: {words} restart openfit-tokend"
        if active == "failed":  # after many starts in a row another is refused for some time
            fix += f"; if that is refused: {words} reset-failed openfit-tokend, and again"
        status = DaemonUnreachable.exit_status
        yield fail("service", f"{_UNIT} is {active}{why}", fix, status)


def variables(
    environment: Mapping[str, str], profiles: Mapping[str, Answer], now: float
) -> Iterator[Verdict]:
    """Report whether the variables that `env` and `exec` set are still right. No value is shown."""
    token = environment.get("OPENFIT_ACCESS_TOKEN")
    live = {str(each.get("id")) for each in profiles.values()}
    if token and profiles:
        if sha256(os.fsencode(token)).hexdigest()[:_ID_DIGITS] in live:
            yield ok("variables", "OPENFIT_ACCESS_TOKEN holds the current token")
        else:
            yield warn(
                "variables",
                f"OPENFIT_ACCESS_TOKEN holds another than the current token{_ended(environment, now)}",
                "unset OPENFIT_ACCESS_TOKEN; start programs by: openfit-token exec -- CMD",
            )
    url = environment.get("OPENFIT_API_URL")
    right = {str(each.get("api_url")) for each in profiles.values()}
    if url and right and url.rstrip("/") not in right:
        yield warn(
            "variables",
            f"OPENFIT_API_URL isn't the API of these tokens: {', '.join(sorted(right))}",
            "unset OPENFIT_API_URL, or name the profile of the other environment",
            WRONG_URL,
        )


def _ended(environment: Mapping[str, str], now: float) -> str:
    text = environment.get("OPENFIT_EXPIRES_AT", "")
    end = number(float(text)) if text.isascii() and text.isdigit() else None
    return "" if end is None or end > now else f": it ended {duration(now - end)} ago"


def _unit(scope: tuple[str, ...]) -> dict[str, str]:
    """Return what systemd knows of the unit; nothing if there is no systemd."""
    systemctl = shutil.which("systemctl")
    if systemctl is None:
        return {}
    try:
        done = subprocess.run(  # noqa: S603 -- a fixed command
            [systemctl, *scope, *_SHOW],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return {}
    if done.returncode != 0:
        return {}
    return dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)

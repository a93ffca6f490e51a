"""What happened in a run, as people read it: time, who, what, and what the session then was."""

from collections import deque
from dataclasses import dataclass, field
from typing import Final, cast, final

from openfit_token._shared.secret import Secret
from openfit_token.errors import TokenError
from openfit_tokend.core.events import Failed, Granted, Kind, Send
from openfit_tokend.core.problems import Problem
from openfit_tokend.core.session import (
    AccessToken,
    Idle,
    Login,
    Requesting,
    Session,
)

LONGEST: Final = 400
"""Lines of the end that are kept."""


@final
@dataclass(slots=True)
class Story:
    """The last lines of a run."""

    lines: deque[tuple[float, str, object, object]] = field(
        default_factory=lambda: deque[tuple[float, str, object, object]](maxlen=LONGEST)
    )

    def add(self, now: float, who: str, what: object, session: object) -> None:
        """Take a line down; it is put into words only when somebody reads it."""
        self.lines.append((now, who, what, session))

    def __str__(self) -> str:
        """Return the timeline."""
        return "\n".join(_line(*line) for line in self.lines)


def _line(now: float, who: str, what: object, session: object) -> str:
    told = f"{now:12.3f}  {who:<14} {_words(what)}"
    return f"{told}\n{'':29}{_session(session)}" if isinstance(session, Session) else told


def _words(what: object) -> str:  # noqa: PLR0911 -- one word for each kind of thing
    match what:
        case str():
            return what
        case tuple():
            parts = cast("tuple[object, ...]", what)
            return " -> ".join(filter(None, map(_words, parts)))
        case Granted(number, _, grant):
            refresh = grant.refresh_token
            return f"Granted {number}: {grant.id}, refresh {refresh and refresh.reveal}"
        case Failed(number, kind, _, retry_after):
            word = kind.name if isinstance(kind, Kind) else str(kind)
            later = "" if retry_after is None else f", Retry-After {retry_after:g}"
            return f"Failed {number}: {word}{later}"
        case Send(number, request):
            return f"Send {number} {'Login' if isinstance(request, Login) else 'Refresh'}"
        case AccessToken():
            return f"token {what.id}"
        case TokenError():
            return f"{what.code}, retry_after {what.retry_after}"
        case Secret():
            return what.reveal
        case _:
            return str(what)


def _session(session: Session) -> str:
    match session.doing:
        case Idle(due):
            doing = f"Idle until {due:.3f}"
        case Requesting(request, login_after):
            name = "Login" if isinstance(request, Login) else "Refresh"
            insisted = " insisted" if isinstance(request, Login) and request.insisted else ""
            doing = f"Requesting {name}{insisted}{', login after' if login_after else ''}"
        case _:
            doing = "Stopped"
    parts = [f"{doing}, number {session.number}, failures {session.failures}"]
    if session.access is not None:
        access = session.access
        parts.append(f"access {access.id} due {access.due:.3f} ends {access.expires:.3f}")
    if session.refresh is not None:
        held = session.refresh
        parts.append(f"refresh {held.value.reveal} lost {held.lost} unclear {held.unclear}")
    if session.bar is not None:
        parts.append(f"bar until {session.bar.until:.3f} {_problem(session.bar.error)}")
    if session.error is not None:
        parts.append(f"error {_problem(session.error)}")
    if session.wanted:
        parts.append("wanted")
    parts.append(f"ended {session.ended:.3f}")
    return "; ".join(parts)


def _problem(problem: Problem) -> str:
    return problem.raises.code

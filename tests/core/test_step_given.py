"""What becomes of a session whose operator gave it a refresh token that the server didn't take."""

from dataclasses import replace
from math import inf

from made import POLICY, failed, fresh, moment, problem
from openfit_token._shared.secret import Secret
from openfit_token.errors import LoginRejected
from openfit_tokend.core.events import Kind, Send
from openfit_tokend.core.session import Bar, Idle, Login, Requesting, Session, Stopped
from openfit_tokend.core.step import step

NOW = 1000.0
GIVEN = Login(insisted=True, given=Secret("r9"))


def asking(session: Session) -> Session:
    return replace(session, doing=Requesting(GIVEN), number=session.number + 1)


def after_its_failure(session: Session) -> tuple[Session, object]:
    error = problem(LoginRejected, at=NOW)
    return step(session, failed(session, Kind.GRANT_REJECTED, error), moment(NOW), POLICY)


def test_what_is_held_is_kept_and_due_as_before() -> None:
    assert after_its_failure(asking(fresh())) == (replace(fresh(), number=2, ended=NOW), ())


def test_a_session_that_holds_nothing_and_may_not_log_in_stays_so() -> None:
    bar = Bar(inf, problem(LoginRejected))
    barred = asking(Session(Stopped(), bar=bar, number=1))

    after, effects = after_its_failure(barred)

    assert (after.doing, after.bar, effects) == (Stopped(), bar, ())


def test_a_session_that_holds_nothing_logs_in_a_second_later() -> None:
    after, effects = after_its_failure(asking(Session(Idle(0.0), number=1)))

    assert (after.doing, effects) == (Idle(NOW + 1), ())


def test_a_login_that_was_ordered_behind_it_is_sent() -> None:
    ordered = Login(insisted=True)
    session = replace(asking(fresh()), doing=Requesting(GIVEN, ordered))

    after, effects = after_its_failure(session)

    assert effects == (Send(after.number, ordered),)

"""Blocking calls in threads: a call that hangs holds up only callers that need the same thing.

A file system, a resolver or a keyring may hang indefinitely, and a thread that waits for it can't be
stopped from outside. So

- a caller waits for a limited time;
- each key (a path, a host) has at most one thread, however many callers ask for it;
- a slow call gives its place to others, so that no number of hanging keys keeps a healthy one
  waiting;
- the number of threads is still limited.
"""

import errno
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Thread
from typing import Any, Final, Generic, TypeVar, final

from anyio import Event, RunFinishedError, Semaphore, fail_after, from_thread, move_on_after
from anyio.lowlevel import EventLoopToken, current_token

AT_ONCE: Final = 8
"""Calls of one kind that run at once: more threads would cost memory and gain nothing."""
PATIENCE: Final = 1.0
"""Seconds after which a call gives its place to the next: it hangs, or may hang."""
MAX_THREADS: Final = 128
"""Threads of one kind that may hang at once. Another call fails, and may be retried later."""

T = TypeVar("T")


@final
class _Job(Generic[T]):
    """One call. Its thread sets `outcome`; the event loop sets `ended`, even if no thread began."""

    __slots__ = ("begun", "ended", "outcome")

    def __init__(self) -> None:
        self.begun = False
        self.ended = Event()
        self.outcome: Future[T] = Future()


@final
class BlockingCalls:
    """The calls of one kind. A kind shares no thread and no place with another."""

    def __init__(self, kind: str, at_once: int = AT_ONCE) -> None:
        self._kind = kind
        self._places = Semaphore(at_once)
        self._jobs: dict[str, _Job[Any]] = {}
        self._threads = 0

    @property
    def threads(self) -> int:
        """Return the number of threads still running, including those of calls that hang."""
        return self._threads

    async def run(self, key: str, call: Callable[[], T], time_limit: float) -> T:
        """Return what `call` returns. It begins once an earlier call of this key has ended.

        A call that timed out goes on in its thread; its result is dropped.

        Raises:
            TimeoutError: it, or an earlier one, hasn't ended within `time_limit` seconds.
            OSError: the system allows no more threads, or MAX_THREADS hang.
            Exception: what `call` raises.
        """
        with fail_after(time_limit):
            while (earlier := self._jobs.get(key)) is not None:
                await earlier.ended.wait()
            return await self._do(key, call)

    async def share(self, key: str, call: Callable[[], T], time_limit: float) -> T:
        """Do as `run` does, but share the result of a call of this key that is already running."""
        with fail_after(time_limit):
            while key in self._jobs:
                earlier: _Job[T] = self._jobs[key]
                await earlier.ended.wait()
                if earlier.begun:
                    return earlier.outcome.result()
            return await self._do(key, call)

    async def _do(self, key: str, call: Callable[[], T]) -> T:
        job: _Job[T] = _Job()
        self._jobs[key] = job
        try:
            async with self._places:
                self._begin(key, job, call)
                with move_on_after(PATIENCE):
                    await job.ended.wait()
        finally:
            if not job.begun:
                self._end(key, job)
        await job.ended.wait()
        return job.outcome.result()

    def _begin(self, key: str, job: _Job[T], call: Callable[[], T]) -> None:
        if self._threads >= MAX_THREADS:
            raise OSError(errno.EAGAIN, f"{MAX_THREADS} earlier calls hang")
        # Its own thread, not one of anyio's: those would be waited for when the interpreter ends.
        work = (key, job, call, current_token())
        thread = Thread(target=self._work, args=work, name=self._kind, daemon=True)
        try:
            thread.start()
        except RuntimeError:
            raise OSError(errno.EAGAIN, "the system allows no more threads") from None
        job.begun = True
        self._threads += 1

    def _work(self, key: str, job: _Job[T], call: Callable[[], T], loop: EventLoopToken) -> None:
        """Make the call; the rest of this class runs in the event loop's thread."""
        try:
            job.outcome.set_result(call())
        except BaseException as error:  # noqa: BLE001 -- it is raised where the result is awaited
            job.outcome.set_exception(error)
        with suppress(RunFinishedError):  # nobody waits any more
            from_thread.run_sync(self._end, key, job, token=loop)

    def _end(self, key: str, job: _Job[T]) -> None:
        if self._jobs.get(key) is job:
            del self._jobs[key]
        self._threads -= job.begun
        job.ended.set()

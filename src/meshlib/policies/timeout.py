"""How long may it take? A limit for the whole call, and one for each try.

On asyncio and trio the work is cancelled when its time is over. A sync function cannot be cancelled: it is asked for
nothing once the time is over, what remains is offered as `meshlib.remaining()` and as `Call.deadline` (our HTTP
client makes its transport's own time-outs from it), and an answer that comes too late is not taken for one.
"""

from __future__ import annotations

from math import inf

from ..call import AsyncStep, Call, Classifier, R, Step
from ..errors import DeadlineExceeded
from ..runtime import SYSTEM, Expired, Runtime
from . import _check
from . import deadline as _deadline
from ._loop import Loop


class Timeout(Loop):
    """At most `seconds` for the call with all its retries, and at most `per_try` for each of them; None: no limit.

    Raises `DeadlineExceeded`. A shorter deadline from outside (`with meshlib.deadline(…)`, a caller's Timeout) is kept
    too, and everything inside inherits ours. In a pipeline, `per_try` takes effect beneath the innermost Retry or
    Hedge. The default of 30 s is Polly's (Hystrix and resilience4j: 1 s; Envoy: 15 s); total and per try are Finagle's
    MethodBuilder. Raises ValueError for times without sense, or a `per_try` above the total.
    """

    def __init__(
        self,
        seconds: float | None = 30.0,
        *,
        per_try: float | None = None,
        name: str = "timeout",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.seconds = inf if seconds is None else _check.seconds("seconds", seconds, infinite=True)
        self.per_try = None if per_try is None else _check.seconds("per_try", per_try)
        if self.per_try is not None and self.per_try > self.seconds:
            raise ValueError(f"per_try={per_try!r}: expected at most the total of {seconds!r} seconds")

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        return within(step, run, self.seconds, self.name)

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        return within_async(step, run, self.seconds, self.name)


def within(step: Step[R], run: Runtime, seconds: float, name: str) -> Step[R]:
    """`step`, begun only if there is time left, and late answers turned into `DeadlineExceeded`."""
    now, enter, leave = run.now, _deadline.enter, _deadline.leave

    def timed(call: Call) -> R:
        start = now()
        due = min(start + seconds, call.deadline)
        limit = seconds if due < call.deadline else None
        if start >= due:
            raise DeadlineExceeded(name, limit=limit, sent=False)
        token = enter(due)
        try:
            result = step(call.by(due))
        except TimeoutError as error:  # perhaps a socket's, that was told what remained
            if isinstance(error, DeadlineExceeded) or now() < due:
                raise
            raise DeadlineExceeded(name, limit=limit) from error
        finally:
            leave(token)
        if now() >= due:
            raise DeadlineExceeded(name, limit=limit)
        return result

    return timed


def within_async(
    step: AsyncStep[R], run: Runtime, seconds: float, name: str, *, outermost: bool = True, cancels: bool = True
) -> AsyncStep[R]:
    """`step`, cancelled after `seconds` or at the call's own deadline, whichever is first.

    Unless `outermost`, somebody above keeps the call's deadline already: then only a shorter one needs a timer. Unless
    `cancels`, the step keeps the deadline of its call itself, and is only told.
    """
    now, until, enter, leave = run.now, run.until, _deadline.enter, _deadline.leave

    async def timed(call: Call) -> R:
        start = now()
        due = start + seconds
        limit: float | None = seconds
        if due >= call.deadline:
            if not outermost:
                return await step(call)
            due, limit = call.deadline, None
            if start >= due:
                raise DeadlineExceeded(name, sent=False)
        token = enter(due)
        try:
            work = step(call.by(due))
            return await (until(due, work) if cancels else work)
        except Expired as error:
            raise DeadlineExceeded(name, limit=limit) from error
        finally:
            leave(token)

    return timed

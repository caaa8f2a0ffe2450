"""Timeout: a limit for the whole call, and one for each attempt.

On asyncio and trio the work is cancelled when its time is over. A sync function cannot be cancelled: it is not begun
once the time is over, the rest of the time is available as `meshlib.remaining()` and `Call.deadline` (our HTTP client
sets its transport's timeouts from it), and an answer that comes too late becomes `DeadlineExceeded`.
"""

from __future__ import annotations

from math import inf

from ...call import AsyncStep, Classifier, R, Step
from ...errors import DeadlineExceeded
from ...runtime import SYSTEM, Expired, Runtime
from ..shell import checks
from ..shell.call_policy import CallPolicy, F, pack
from ..shell.fused_calls import fused_timeout
from .deadline_timer import within, within_async


class Timeout(CallPolicy):
    """At most `seconds` for the call with all its attempts, at most `per_try` seconds for each; None: no limit.

    Raises `DeadlineExceeded`. A shorter deadline from outside (`with meshlib.deadline(…)`, a caller's Timeout) applies
    too, and everything inside inherits the shorter one. In a pipeline, `per_try` takes effect inside the innermost
    Retry or Hedge. The default of 30 s is Polly's (Hystrix and resilience4j: 1 s; Envoy: 15 s); total and per try are
    Finagle's MethodBuilder. Raises ValueError for values out of range, or a `per_try` above the total.
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
        self.seconds: float = inf if seconds is None else checks.seconds("seconds", seconds, infinite=True)
        self.per_try: float | None = None if per_try is None else checks.seconds("per_try", per_try)
        if self.per_try is not None and self.per_try > self.seconds:
            raise checks.refused("per_try", per_try, f"at most seconds={seconds!r}")

    def short(self, classify: Classifier) -> bool:
        return self.per_try is None

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        # Alone there is one attempt, so `per_try` is the limit.
        seconds = self.seconds if self.per_try is None else self.per_try
        slow = pack(
            fn,
            lambda leaf: within(leaf, run, seconds, self.name),
            lambda leaf: within_async(leaf, run, seconds, self.name, outermost=not inner),
        )

        def late(error: TimeoutError | None, due: float) -> TimeoutError:
            own = error is not None and not isinstance(error, Expired)
            if error is not None and own and (isinstance(error, DeadlineExceeded) or run.now() < due):
                return error  # perhaps of a socket whose timeout was `remaining()`
            exceeded = DeadlineExceeded(self.name, limit=seconds)
            exceeded.__cause__ = error
            return exceeded

        return slow if seconds == inf else fused_timeout(fn, slow, seconds, late, run)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        return within(step, run, self.seconds, self.name)

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        return within_async(step, run, self.seconds, self.name)

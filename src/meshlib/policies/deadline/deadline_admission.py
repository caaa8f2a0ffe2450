"""Deadline admission: is it still worth doing? Work whose caller has stopped waiting is refused before it begins."""

from __future__ import annotations

from threading import Lock
from typing import Any

from ...call import AsyncStep, Call, Classifier, R, Step, Verdict
from ...errors import DeadlineExceeded
from ...events import CallRejected
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.gate import Gate
from ..statistics.sliding_counts import SlidingCounts
from .deadline import current


class DeadlineAdmission(Gate):
    """Refuses calls whose deadline has passed already, but never more than `most` of all over `window` seconds.

    The bound is there because a wrong clock or a wrong deadline must not refuse everything. Every call that is let
    through deposits 1, every refusal costs 1 / `most`; deposits expire after `window` seconds. `dark=True` only counts.
    After Finagle's DeadlineFilter: 10 s within 1 to 60 s, 0.2. Refuses with `DeadlineExceeded`, nothing was sent.
    Raises ValueError for values without sense.
    """

    tier = "service"

    def __init__(
        self,
        *,
        max_rejected: float = 0.2,
        window: float = 10.0,
        only_count: bool = False,
        name: str = "deadline admission",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.max_rejected = checks.ratio("max_rejected", max_rejected)
        self.window = checks.seconds("window", window)
        if not 1.0 <= self.window <= 60.0:
            raise ValueError(f"window={window!r}: expected 1 to 60 seconds")
        self.only_count = only_count
        self.exceeded = self.rejected = 0
        self._lock = Lock()
        self._balance = SlidingCounts(self.window, 10)
        self._deposit, self._price = 1000, int(1000 / self.max_rejected)

    def enter(self, now: float, deadline: float | None = None) -> int:
        """Admit a call that is to be answered by `deadline` (default: the one in force here), or `DeadlineExceeded`."""
        deadline = current() if deadline is None else deadline
        with self._lock:
            late = deadline < now
            self.exceeded += late
            if late and not self.only_count and self._withdraw(now):
                self.rejected += 1
            else:
                self._balance.add(now, self._deposit, 0)
                return 0
        error = DeadlineExceeded(self.name, sent=False)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def _withdraw(self, now: float) -> bool:
        deposits, _ = self._balance.totals(now)
        if deposits < self._price:
            return False
        self._balance.add(now, -self._price, 0)
        return True

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Nothing: how a call ends does not matter."""

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        def admitted(call: Call) -> R:
            self.enter(run.now(), call.deadline)
            return step(call)

        return admitted

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        async def admitted(call: Call) -> R:
            self.enter(run.now(), call.deadline)
            return await step(call)

        return admitted

    def metrics(self) -> dict[str, Any]:
        """`exceeded` calls came too late, `rejected` of them were refused: Finagle's counters."""
        return {"exceeded": self.exceeded, "rejected": self.rejected}

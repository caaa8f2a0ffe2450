"""Deadline admission: rejects a call whose deadline has passed before its work begins."""

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
    """Rejects calls whose deadline has passed, but at most the ratio `max_rejected` of all over `window` seconds.

    The bound is there because a wrong clock or a wrong deadline must not reject everything. Every admitted call
    deposits 1, every rejection withdraws 1 / `max_rejected`; deposits expire after `window` seconds (1 to 60).
    `only_count=True` rejects nothing. After Finagle's DeadlineFilter: 10 s, 0.2. Rejects with `DeadlineExceeded`;
    nothing was sent. Raises ValueError for values out of range.
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
        self.max_rejected: float = checks.ratio("max_rejected", max_rejected)
        self.window: float = checks.seconds("window", window)
        if not 1.0 <= self.window <= 60.0:
            raise checks.refused("window", window, "seconds from 1 to 60")
        self.only_count = only_count
        self.exceeded: int = 0
        self.rejected: int = 0
        self._lock = Lock()
        self._balance = SlidingCounts(self.window, 10)
        self._deposit, self._cost = 1000, int(1000 / self.max_rejected)

    def _after_fork(self) -> None:
        super()._after_fork()
        self._lock = Lock()

    def enter(self, now: float, deadline: float | None = None) -> int:
        """Admit a call with this `deadline` (in monotonic seconds; default: the one in force).

        Raises DeadlineExceeded.
        """
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
        if deposits < self._cost:
            return False
        self._balance.add(now, -self._cost, 0)
        return True

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Does nothing: the outcome of a call does not matter."""

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
        """`exceeded` calls came after their deadline, `rejected` of them were rejected: Finagle's counters."""
        return {"exceeded": self.exceeded, "rejected": self.rejected}

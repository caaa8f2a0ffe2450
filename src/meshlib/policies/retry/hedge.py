"""Hedge: sends a second attempt when the answer is late, and takes the first good answer.

One call in twenty is slow because it met a busy instance. A second attempt after the time in which 95 % are answered
costs 5 % more load and removes that tail. `HedgedCall` decides; `hedge_race` runs the attempts beside each other;
`hedge_delay` estimates when an answer is late.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from threading import Lock
from typing import Any, Generic

from ...call import AsyncStep, Call, Classifier, R, Step, Verdict
from ...events import BudgetExhausted, HedgeSent, HedgeWon
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.call_policy import CallPolicy
from .budget import Budget, RetryBudget, checked_budget
from .hedge_delay import HedgeDelay, Percentile
from .hedge_race import race


class Hedge(CallPolicy):
    """Another attempt when the answer is late; the first good answer wins, the others are cancelled and awaited.

    An answer is late after `delay` seconds, or after what a function of the number of the hedge returns (from 1; inf:
    no more hedges). Without a `delay`, it is late after a percentile of the latencies: `percentile` is a ratio or a
    `Percentile` (default: 1 - `max_extra_load`, as in Finagle).

    At most `max_hedges` more attempts per call, in all at most `max_extra_load` (0–1) of the calls, and
    `min_per_second` besides (Finagle: 0). With a `budget` (your retry budget), each hedge is paid from that as well.
    With `on_failure`, a failed attempt is followed by the next one at once; `delay=inf` then makes it a second choice
    only (Polly's fallback mode). An attempt that fails while another runs waits for that one; if all fail, the outcome
    is that of the first attempt (Polly), or with `last_failure` that of the last one to end (Finagle, failsafe).
    `discard` is called with each result that is not returned.

    Only calls that are replayable (`Call.replayable`) are hedged. Only async functions: a sync attempt that lost could
    not be cancelled, so Hedge raises TypeError for a plain function. Sources: Finagle's BackupRequestFilter, Polly's
    hedging, tower's Hedge. Raises ValueError for values out of range.
    """

    repeats = True
    races = True

    def __init__(
        self,
        delay: float | Callable[[int], float] | None = None,
        *,
        percentile: float | Percentile | None = None,
        max_extra_load: float = 0.05,
        min_per_second: float = 10.0,
        max_hedges: int = 1,
        budget: Budget | None = None,
        on_failure: bool = False,
        last_failure: bool = False,
        discard: Callable[[Any], object] | None = None,
        name: str = "hedge",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.delay: Callable[[int], float] | float | None = (
            delay if delay is None or callable(delay) else _seconds("delay", delay)
        )
        if delay is not None and percentile is not None:
            raise ValueError(f"delay={delay!r}, percentile={percentile!r}: expected one of the two")
        self.max_extra_load: float = checks.ratio("max_extra_load", max_extra_load, zero=True)
        settings = percentile if isinstance(percentile, Percentile) else Percentile(percentile)
        self.max_hedges: int = checks.count("max_hedges", max_hedges)
        self.budget: Budget | None = checked_budget("budget", budget)
        self.load: RetryBudget = RetryBudget(max_extra_load, min_per_second=min_per_second, name=name)
        self.on_failure = on_failure
        self.last_failure = last_failure
        self.discard: Callable[[Any], object] | Callable[[object], None] = (
            checks.function("discard", discard, "the result", may_be_async=True) or _no_discard
        )
        self.sent = 0
        self.won = 0
        self.estimate: HedgeDelay | None = HedgeDelay(settings, 1.0 - max_extra_load) if delay is None else None
        self._lock = Lock()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._lock = Lock()
        if self.estimate is not None:
            self.estimate._after_fork()

    def hedge_after(self, now: float, hedge: int = 1) -> float:
        """Seconds after which a call that begins at `now` gets its hedge number `hedge`; `inf`: it gets none."""
        if callable(self.delay):
            return _seconds(f"delay({hedge})", self.delay(hedge))
        if self.estimate is None:
            return inf if self.delay is None else self.delay
        return self.estimate.delay(now)

    def record(self, seconds: float, now: float) -> None:
        """Count one answer that took `seconds` into the estimate of the delay."""
        if self.estimate is not None:
            self.estimate.record(seconds, now)

    def try_withdraw(self, now: float) -> bool:
        """Pay for one more attempt, from the own load limit and from the budget. False: nothing was withdrawn."""
        with self._lock:  # both or neither
            empty: Budget | None = None
            if self.load.balance(now) < 1:
                empty = self.load
            elif self.budget is not None and not self.budget.withdraw(now):
                empty = self.budget
            else:
                self.load.withdraw(now)
        if empty is not None and self.port.listeners:
            self.port.send(BudgetExhausted(empty.name))
        return empty is None

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        raise TypeError(f"{self.name}: a sync call cannot be hedged, because the losing attempt could not be cancelled")

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        hedge_after = self.hedge_after if self.estimate is None else self.estimate.delay

        async def hedged(call: Call) -> R:
            now = run.now()
            self.load.deposit(now)
            delay = hedge_after(now) if call.replayable else inf
            racer = HedgedCall(self, step, call, delay, run, classify)
            if delay == inf and not racer.next_on_failure:
                return await racer.attempt(0)
            try:
                return await race(racer, run)
            finally:
                racer.release()

        return hedged


class HedgedCall(Generic[R]):
    """One hedged call: the `Racer` of `hedge_race.race`."""

    __slots__ = (
        "_call", "_classify", "_hedge", "_paid", "_run", "_step", "decided", "delay", "last_failure", "next_on_failure",
    )  # fmt: skip

    def __init__(
        self, hedge: Hedge, step: AsyncStep[R], call: Call, delay: float, run: Runtime, classify: Classifier
    ) -> None:
        self._hedge = hedge
        self._step = step
        self._call = call
        self._run = run
        self._classify = classify
        self.delay: float = delay
        self.next_on_failure: bool = hedge.on_failure and call.replayable
        self.last_failure: bool = hedge.last_failure
        self.decided: bool = False
        self._paid = 0

    async def attempt(self, number: int) -> R:
        hedge, now = self._hedge, self._run.now
        start = now()
        call = self._call
        for _ in range(number):
            call = call.again()
        try:
            result = await self._step(call)
        except TimeoutError:
            end = now()
            hedge.record(end - start, end)
            raise
        except BaseException:
            if self.decided:  # a loser: its answer would have taken at least this long
                end = now()
                hedge.record(end - start, end)
            raise
        # A failure that comes fast is no measure of how long good answers take (Finagle).
        estimate = hedge.estimate
        if estimate is not None and not self._classify(call, result, None).failed:
            end = now()
            estimate.record(end - start, end)
        return result

    def may_start(self, number: int) -> bool:
        hedge = self._hedge
        if number > hedge.max_hedges or not hedge.try_withdraw(self._run.now()):
            return False
        self._paid += 1
        hedge.sent += 1
        if hedge.port.listeners:
            hedge.port.send(HedgeSent(hedge.name, number + 1, self.delay))
        if callable(hedge.delay) and number < hedge.max_hedges:
            self.delay = hedge.hedge_after(self._run.now(), number + 1)
        return True

    def wins(self, number: int, result: R | None, error: BaseException | None) -> bool:
        # A rejection (IGNORED) of one attempt is no answer while another attempt runs.
        verdict = self._classify(self._call, result, error)
        self.decided = verdict is Verdict.SUCCESS or verdict is Verdict.FATAL
        if self.decided and number:
            self._hedge.won += 1
            if self._hedge.port.listeners:
                self._hedge.port.send(HedgeWon(self._hedge.name, number + 1))
        return self.decided

    def release(self) -> None:
        """All attempts have ended: release what the budget paid for."""
        budget = self._hedge.budget
        if budget is not None:
            for _ in range(self._paid):
                budget.release()

    def discard(self, result: R) -> object:
        return self._hedge.discard(result)


def _seconds(field: str, value: object) -> float:
    return checks.seconds(field, value, zero=True, infinite=True)


def _no_discard(result: object) -> None:
    """Most results need no closing."""

"""Is it worth asking a second time while the first answer is still out? The slow tail of latencies pays for it.

One call in twenty takes long because it met a busy instance. Asked again after the time in which 95 % are answered, it
costs 5 % more load, and the tail is gone. The decision is in `HedgedCall`; how attempts run beside each other, in
`hedge_race`.
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
from ..statistics.histogram import Histogram
from .budget import Budget, RetryBudget, checked_budget
from .hedge_race import race


class Hedge(CallPolicy):
    """Another attempt when the answer is late; the first good answer wins, the others are cancelled and waited for.

    Late is after `delay` seconds, or what a function of the number of the extra attempt (from 1; inf: no more) says;
    or, without a `delay`, after the latency that `percentile` of the calls of the last `window` seconds stayed below
    (default 1 - `max_extra_load`, as in Finagle), looked up every `refresh` seconds: at least `minimum_delay`, not at
    all above `longest_delay`, before the first refresh or below `minimum_calls` calls.

    At most `extras` more attempts per call, and these may not be more than `max_extra_load` of the calls (and
    `min_per_second` besides; Finagle: 0); with a `budget` (your retry budget), each is paid from there as well. With
    `on_failure`, a failed attempt is followed by the next one at once; `delay=inf` then makes it a mere second choice
    (Polly's fallback mode). An attempt that fails while another is out waits for that; if all fail, the outcome is that
    of the first (Polly), or with `last_failure` of whichever ended last (Finagle, failsafe). `discard` is given each
    answer that nobody gets.

    Only for what may be sent twice (`Call.replayable`), and only for async functions: a sync call that lost could not
    be cancelled, so there Hedge raises TypeError. Sources: Finagle's BackupRequestFilter, Polly's hedging, tower's
    Hedge. Raises ValueError for values without sense.
    """

    repeats = True
    races = True

    def __init__(
        self,
        delay: float | Callable[[int], float] | None = None,
        *,
        percentile: float | None = None,
        max_extra_load: float = 0.05,
        min_per_second: float = 10.0,
        minimum_delay: float = 0.001,
        longest_delay: float = 2.0,
        minimum_calls: int = 10,
        window: float = 30.0,
        refresh: float = 3.0,
        extras: int = 1,
        budget: Budget | None = None,
        on_failure: bool = False,
        last_failure: bool = False,
        discard: Callable[[Any], object] | None = None,
        name: str = "hedge",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.delay = delay if delay is None or callable(delay) else _seconds("delay", delay)
        if delay is not None and percentile is not None:
            raise ValueError(f"delay={delay!r}, percentile={percentile!r}: expected one of the two")
        self.max_extra_load = checks.ratio("max_extra_load", max_extra_load, zero=True)
        self.percentile = 1.0 - max_extra_load if percentile is None else checks.ratio("percentile", percentile)
        self.minimum_delay = checks.seconds("minimum_delay", minimum_delay, zero=True)
        self.longest_delay = checks.seconds("longest_delay", longest_delay, infinite=True)
        checks.at_most("minimum_delay", minimum_delay, "longest_delay", longest_delay)
        self.minimum_calls = checks.count("minimum_calls", minimum_calls)
        self.window = checks.seconds("window", window)
        self.refresh = checks.seconds("refresh", refresh)
        self.extras = checks.count("extras", extras)
        self.budget = checked_budget("budget", budget)
        self.load = RetryBudget(max_extra_load, min_per_second=min_per_second, name=name)
        self.on_failure = on_failure
        self.last_failure = last_failure
        self.discard = checks.function("discard", discard, "the answer", may_be_async=True) or _drop
        self.sent = 0
        self.won = 0
        self.learns = delay is None
        self._histogram = Histogram(width=window / 3) if delay is None else None
        self._learnt = inf
        self._refresh_at: float | None = None
        self._lock = Lock()

    def hedge_after(self, now: float, extra: int = 1) -> float:
        """Seconds after which a call that begins now is hedged, or its hedge number `extra` sent; `inf`: not at all."""
        if callable(self.delay):
            return _seconds(f"delay({extra})", self.delay(extra))
        if self.delay is not None:
            return self.delay
        if self._refresh_at is None:
            self._refresh_at = now + self.refresh
        elif now >= self._refresh_at:
            self._refresh_at = now + self.refresh
            self._learnt = self._learn(now)
        return self._learnt

    def record(self, seconds: float, now: float) -> None:
        """Learn from one answer that took `seconds`."""
        if self._histogram is not None:
            self._histogram.record(seconds, now)

    def affords(self, now: float) -> bool:
        """Pay for one more attempt, from our own load limit and from the budget. False: nothing was sent."""
        with self._lock:  # both or neither
            poor: Budget | None = None
            if self.load.balance(now) < 1:
                poor = self.load
            elif self.budget is not None and not self.budget.withdraw(now):
                poor = self.budget
            else:
                self.load.withdraw(now)
        if poor is not None and self.port.listeners:
            self.port.send(BudgetExhausted(poor.name))
        return poor is None

    def _learn(self, now: float) -> float:
        assert self._histogram is not None
        delay = self._histogram.quantile(self.percentile, now, minimum=self.minimum_calls)
        return max(self.minimum_delay, delay) if delay < self.longest_delay else inf

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        raise TypeError(f"{self.name}: a sync call cannot be hedged, for the loser could not be cancelled")

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        async def hedged(call: Call) -> R:
            now = run.now()
            self.load.deposit(now)
            delay = self.hedge_after(now) if call.replayable else inf
            racer = HedgedCall(self, step, call, delay, run, classify)
            if delay == inf and not racer.at_once:
                return await racer.attempt(0)
            try:
                return await race(racer, run)
            finally:
                racer.settle()

        return hedged


class HedgedCall(Generic[R]):
    """One hedged call, as an entry for `hedge_race.race`."""

    __slots__ = ("_call", "_classify", "_hedge", "_paid", "_run", "_step", "at_once", "decided", "delay", "last")

    def __init__(
        self, hedge: Hedge, step: AsyncStep[R], call: Call, delay: float, run: Runtime, classify: Classifier
    ) -> None:
        self._hedge = hedge
        self._step = step
        self._call = call
        self._run = run
        self._classify = classify
        self.delay = delay
        self.at_once = hedge.on_failure and call.replayable
        self.last = hedge.last_failure
        self.decided = False
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
            if self.decided:  # the loser of a race: it took at least as long as it was let
                end = now()
                hedge.record(end - start, end)
            raise
        # A bad answer that comes fast is no measure of how long good ones take (Finagle).
        if hedge.learns and not self._classify(call, result, None).failed:
            end = now()
            hedge.record(end - start, end)
        return result

    def allows(self, number: int) -> bool:
        hedge = self._hedge
        if number > hedge.extras or not hedge.affords(self._run.now()):
            return False
        self._paid += 1
        hedge.sent += 1
        if hedge.port.listeners:
            hedge.port.send(HedgeSent(hedge.name, number + 1, self.delay))
        if callable(hedge.delay) and number < hedge.extras:
            self.delay = hedge.hedge_after(self._run.now(), number + 1)
        return True

    def wins(self, number: int, result: R | None, error: BaseException | None) -> bool:
        # A refusal (IGNORED) of one attempt is no answer as long as another is out.
        verdict = self._classify(self._call, result, error)
        self.decided = verdict is Verdict.SUCCESS or verdict is Verdict.FATAL
        if self.decided and number:
            self._hedge.won += 1
            if self._hedge.port.listeners:
                self._hedge.port.send(HedgeWon(self._hedge.name, number + 1))
        return self.decided

    def settle(self) -> None:
        """All attempts are over: what was paid for comes free again."""
        budget = self._hedge.budget
        if budget is not None:
            for _ in range(self._paid):
                budget.give_back()

    def discard(self, result: R) -> object:
        return self._hedge.discard(result)


def _seconds(field: str, value: object) -> float:
    return checks.seconds(field, value, zero=True, infinite=True)


def _drop(result: object) -> None:
    """Most results need no goodbye."""

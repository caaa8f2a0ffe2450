"""Shall it be tried again? The settings of a retry, and two short drivers that do what `retry_decision` decides."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from email.utils import parsedate_to_datetime
from types import EllipsisType
from typing import Any

from ...call import SUCCESS, AsyncStep, Call, Classifier, R, Step, raised
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.call_policy import CallPolicy, F, unpack
from ..shell.classifiers import Errors, error_predicate
from ..shell.codegen import is_coroutine_function
from ..shell.fused_calls import tried
from .backoff import Waits, decorrelated_jitter, recipe
from .budget import Budget, RetryBudget, checked_budget
from .retry_decision import RetryDecision as RetryDecision
from .tenacity_state import asks_results


def retry_after(outcome: object) -> float | None:
    """The seconds for which the server asks us to wait; None: it said nothing.

    Read from what the error (or result) carries as `retry_after`, else from the `Retry-After` of its `headers` or of
    its `response`'s, as httpx, requests and aiohttp have them: seconds, or a date, which is measured against the
    answer's own `Date`, so that a wrong clock of ours does no harm.
    """
    seconds = getattr(outcome, "retry_after", None)
    if seconds is not None:
        return seconds if isinstance(seconds, int | float) else None
    headers: Any = getattr(getattr(outcome, "response", None), "headers", None) or getattr(outcome, "headers", None)
    text = headers.get("Retry-After") if hasattr(headers, "get") else None
    if not isinstance(text, str):
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text)
    try:
        return max(0.0, (parsedate_to_datetime(text) - parsedate_to_datetime(headers.get("Date"))).total_seconds())
    except (TypeError, ValueError, OverflowError):
        return None


class Retry(CallPolicy):
    """Up to `attempts` tries in all (None: no limit of its own), as long as failures look passing and the budget pays.

    Retried is what the pipeline's classifier calls a FAILURE, narrowed to `on` (exception types or a predicate) and
    widened by `on_result` (a predicate on what was returned). Not retried: what may not be sent twice
    (`Call.replayable` is False), unless `unsent(error)` says that it never left (default: the error says so itself by
    `sent = False`); a final failure; a cancellation. A refusal of our own (an open breaker, a full bulkhead) is not
    waited for; with `rejections=True` it is tried again at once, where the layers below can choose another way.

    Waits `backoff`: seconds, a sequence, or one of `meshlib.policies.retry.backoff`. A server that asks for a longer
    wait gets it (`retry_after` reads it from the error or the result; below 0 means "do not come back"), but not more
    than `retry_after_max` seconds: then we give up rather than come early. Never waits past the deadline.

    Each call makes a deposit into `budget`, each retry withdraws. Default (`...`): a budget of its own. None: no
    budget. `discard` is given each result that is thrown away for another try. A last result that would be tried again
    is returned as it is, unless `spent(result)` makes an exception of it (resilience4j's failAfterMaxAttempts,
    failsafe's ExceededError).

    tenacity's objects may stand in: `stop` for `attempts`, `wait` for `backoff`, `retry` for `on` and `on_result`.
    They are asked only after a failure (a `retry` that judges results, after each), and not awaited: coroutine
    functions, tenacity.asyncio's objects among them, are refused with ValueError. Giving up raises the last error as
    it is, with a note saying why.

    Three attempts: resilience4j, Finagle's MethodBuilder. 5 to 200 ms, decorrelated: Finagle's `RetryPolicy.tries`.
    Raises ValueError for values without sense.
    """

    repeats = True

    def __init__(
        self,
        attempts: int | None = 3,
        *,
        backoff: float | Iterable[float] | Waits = decorrelated_jitter(0.005, 0.2),  # noqa: B008 (a recipe, no state)
        budget: Budget | EllipsisType | None = ...,
        on: Errors | None = None,
        on_result: Callable[[Any], bool] | None = None,
        rejections: bool = False,
        unsent: Callable[[BaseException], bool] | None = None,
        retry_after: Callable[[object], float | None] = retry_after,
        retry_after_max: float = 60.0,
        discard: Callable[[Any], object] | None = None,
        spent: Callable[[Any], BaseException] | None = None,
        stop: Callable[[Any], bool] | None = None,
        wait: Callable[[Any], float] | None = None,
        retry: Callable[[Any], bool] | None = None,
        name: str = "retry",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.attempts = None if attempts is None else checks.count("attempts", attempts)
        if stop is not None and attempts != 3:
            raise ValueError(f"attempts={attempts!r}, stop={stop!r}: expected one of the two")
        if stop is not None:
            self.attempts = None
        self.backoff = recipe("backoff", backoff)
        self.budget = RetryBudget(name=name) if isinstance(budget, EllipsisType) else checked_budget("budget", budget)
        self.on = None if on is None else error_predicate("on", on)
        self.on_result = checks.function("on_result", on_result, "the result")
        self.rejections = rejections
        self.unsent = checks.function("unsent", unsent, "the error")
        self.retry_after = checks.function("retry_after", retry_after, "the error or result")
        self.retry_after_max = checks.seconds("retry_after_max", retry_after_max, zero=True)
        self.discard = checks.function("discard", discard, "the result", may_be_async=True)
        self.spent = checks.function("spent", spent, "the result")
        self.stop = checks.function("stop", stop, "tenacity's retry state")
        self.wait = checks.function("wait", wait, "tenacity's retry state")
        self.retry = checks.function("retry", retry, "tenacity's retry state")
        self.asks = stop is not None or wait is not None or retry is not None  # whether one of tenacity's has a say
        self.asks_results = asks_results(retry)

    def tries(
        self, now: float, *, classify: Classifier = raised, random: Callable[[], float] = SYSTEM.random
    ) -> RetryDecision:
        """The decisions about one call that begins now, to be driven by hand.

        After each attempt ask `next_delay(call, result, error, now)`: the seconds until the next one, or None, with
        the reason in `reason`; at the end, `close()`. The call's deposit into the budget is yours to make.
        """
        return RetryDecision(self, classify, random, now)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        now, sleep, discard = run.now, run.sleep, self.discard
        deposit, begin, follows, trusting = self._ways(run, classify)

        def retried(call: Call, tries: RetryDecision | None = None, delay: float | None = 0.0) -> R:
            if tries is None:
                deposit(now())
                tries = begin(now()) if follows else None
            elif delay:  # the first try was made, and failed, elsewhere
                sleep(delay)
            try:
                while True:
                    try:
                        result = step(call)
                    except Exception as error:
                        tries = tries or begin(now())
                        delay = tries.next_delay(call, None, error, now())
                        if delay is None:
                            raise
                    else:
                        if trusting:
                            return result
                        tries = tries or begin(now())
                        delay = tries.next_delay(call, result, None, now())
                        if delay is None:
                            return result
                        if discard is not None:
                            discard(result)
                    if delay > 0:
                        sleep(delay)
                    call = call.again()
            finally:
                if tries is not None:
                    tries.close()

        return retried

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        now, sleep, discard = run.now, run.sleep_async, self.discard
        deposit, begin, follows, trusting = self._ways(run, classify)
        # Nobody but the classifier has a say about results: then a success needs no `RetryDecision` to be let through.
        plain = self.on_result is None and not follows

        async def retried(call: Call, tries: RetryDecision | None = None, delay: float | None = 0.0) -> R:
            if tries is None:
                deposit(now())
                tries = begin(now()) if follows else None
            elif delay:
                await sleep(delay)
            try:
                while True:
                    try:
                        result = await step(call)
                    except Exception as error:
                        tries = tries or begin(now())
                        delay = tries.next_delay(call, None, error, now())
                        if delay is None:
                            raise
                    else:
                        if trusting or (plain and tries is None and classify(call, result, None) is SUCCESS):
                            return result
                        tries = tries or begin(now())
                        delay = tries.next_delay(call, result, None, now())
                        if delay is None:
                            return result
                        if discard is not None and inspect.isawaitable(thrown := discard(result)):
                            await thrown
                    if delay > 0:
                        await sleep(delay)
                    call = call.again()
            finally:
                if tries is not None:
                    tries.close()

        return retried

    def short(self, classify: Classifier) -> bool:
        return classify is raised and self.on_result is None and not self._follows()

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        slow = super().guard(fn, run, classify, inner=inner)
        if not self.short(classify):
            return slow
        wrap: Any = self.wrap_async if is_coroutine_function(fn) else self.wrap
        begin = self._ways(run, classify)[1]
        rest = wrap(unpack(fn), run, classify)
        return tried(fn, slow, rest, budget=self.budget, begin=begin, now=run.now, inner=inner)

    def _follows(self) -> bool:
        """Whether the tries are to be counted from the first on, and not only from the first failure on."""
        return self.asks or (self.budget is not None and self.budget.follows)

    def _ways(
        self, run: Runtime, classify: Classifier
    ) -> tuple[Callable[[float], object], Callable[[float], RetryDecision], bool, bool]:
        """How a call pays in, how its tries are counted and whether from the start, and whether results are trusted."""
        follows, trusting = self._follows(), self.short(classify)

        def begin(now: float) -> RetryDecision:
            return RetryDecision(self, classify, run.random, now)

        return _nothing if self.budget is None else self.budget.deposit, begin, follows, trusting


def _nothing(now: float) -> None:
    """Without a budget there is nothing to pay in."""

"""Retry: repeats a failed call with growing waits. `retry_decision` decides; the two drivers here wait and repeat."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from types import EllipsisType
from typing import Any

from ...call import SUCCESS, AsyncStep, Call, Classifier, R, Step, raised
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.call_policy import CallPolicy, F, unpack
from ..shell.classifiers import Errors, error_predicate
from ..shell.codegen import is_coroutine_function
from ..shell.fused_calls import fused_retry
from .backoff import Waits, decorrelated_jitter, recipe
from .budget import Budget, RetryBudget, checked_budget
from .retry_decision import RetryDecision as RetryDecision
from .retry_hooks import DEFAULT_HOOKS, RetryHooks
from .tenacity_state import judges_results


class Retry(CallPolicy):
    """Up to `attempts` attempts in all (None: no limit), while the failure may be retried and the budget pays.

    What may be retried has no default: `on` names the exceptions (types or a predicate), `on_result` the results (a
    predicate), `retry` both (an object of tenacity). In a pipeline with a classifier of its own (`classify=`, as that
    of the HTTP clients), a FAILURE is retried, narrowed to `on` and widened by `on_result`.

    Not retried: a call that is not replayable (`Call.replayable` is False), unless the error says that nothing was
    sent; a failure that is FATAL; a cancellation. A rejection by another policy (an open breaker, a full bulkhead) is
    retried only with `rejections=True`, then at once, because routing may choose another way.

    `backoff` is the wait between attempts: seconds, a sequence of seconds, or a recipe of `meshlib.backoff`. A server
    that asks for a longer wait (`Retry-After`) gets it, up to `max_retry_after` seconds; beyond that the retry gives
    up. It never waits past the deadline. `hooks` holds what is rarely needed, see `RetryHooks`.

    Each call makes a deposit into `budget`, each retry withdraws. Default (`...`): a budget of its own. None: no
    budget. A last result that would be retried if it could is returned as it is. Giving up raises the last error as it
    is, with a note that gives the reason.

    Objects of tenacity: `stop` in place of `attempts`, `wait` of `backoff`, `retry` of `on` and `on_result`. They are
    asked after a failure (a `retry` that judges results: after each attempt). They are not awaited, so coroutine
    functions and the objects of tenacity.asyncio are refused.

    Three attempts: resilience4j, Finagle's MethodBuilder. 5 to 200 ms, decorrelated: Finagle's `RetryPolicy.tries`.
    Raises ValueError for values out of range, and when it guards a function without `on`, `on_result` or `retry`.
    """

    repeats = True

    def __init__(
        self,
        attempts: int | None = 3,
        *,
        on: Errors | None = None,
        on_result: Callable[[Any], bool] | None = None,
        rejections: bool = False,
        backoff: float | Iterable[float] | Waits = decorrelated_jitter(0.005, 0.2),  # noqa: B008 (a recipe, no state)
        budget: Budget | EllipsisType | None = ...,
        max_retry_after: float = 60.0,
        hooks: RetryHooks = DEFAULT_HOOKS,
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
        self.backoff: Waits = recipe("backoff", backoff)
        self.budget: RetryBudget | Budget | None = (
            RetryBudget(name=name) if isinstance(budget, EllipsisType) else checked_budget("budget", budget)
        )
        self.on: Callable[[BaseException], bool] | None = None if on is None else error_predicate("on", on)
        self.on_result: Callable[[Any], bool] | None = checks.function("on_result", on_result, "the result")
        self.rejections = rejections
        self.max_retry_after: float = checks.seconds("max_retry_after", max_retry_after, zero=True)
        if not isinstance(hooks, RetryHooks):
            raise checks.refused("hooks", hooks, "RetryHooks(…)")
        self.hooks = hooks
        self.discard: Callable[[Any], object] | None = hooks.discard
        self.stop: Callable[[Any], bool] | None = checks.function("stop", stop, "tenacity's retry state")
        self.wait: Callable[[Any], float] | None = checks.function("wait", wait, "tenacity's retry state")
        self.retry: Callable[[Any], bool] | None = checks.function("retry", retry, "tenacity's retry state")
        self.uses_tenacity: bool = stop is not None or wait is not None or retry is not None
        self.judges_results: bool = judges_results(retry)

    def decide(
        self, now: float, *, classify: Classifier = raised, random: Callable[[], float] = SYSTEM.random
    ) -> RetryDecision:
        """The decisions about one call that begins at `now` (monotonic seconds), to be driven by hand.

        After each attempt ask `next_delay(call, result, error, now)`: the seconds until the next one, or None, with
        the reason in `reason`; at the end, `close()`. The call's deposit into the budget is left to the caller.
        """
        self._check_choice(classify)
        return RetryDecision(self, classify, random, now)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        now, discard = run.now, self.discard
        deposit, begin, counted, trusting = self._parts(run, classify)

        def retried(call: Call, decision: RetryDecision | None = None, delay: float | None = 0.0) -> R:
            if decision is None:
                deposit(now())
                decision = begin(now()) if counted else None
            elif delay:  # the first attempt failed in the fused call
                run.sleep(delay)
            try:
                while True:
                    try:
                        result = step(call)
                    except Exception as error:
                        decision = decision or begin(now())
                        delay = decision.next_delay(call, None, error, now())
                        if delay is None:
                            raise
                    else:
                        if trusting:
                            return result
                        decision = decision or begin(now())
                        delay = decision.next_delay(call, result, None, now())
                        if delay is None:
                            return result
                        if discard is not None:
                            discard(result)
                    if delay > 0:
                        run.sleep(delay)
                    call = call.again()
            finally:
                if decision is not None:
                    decision.close()

        return retried

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        now, discard = run.now, self.discard
        deposit, begin, counted, trusting = self._parts(run, classify)
        # Only the classifier judges results: then a success needs no `RetryDecision`.
        plain = self.on_result is None and not counted

        async def retried(call: Call, decision: RetryDecision | None = None, delay: float | None = 0.0) -> R:
            if decision is None:
                deposit(now())
                decision = begin(now()) if counted else None
            elif delay:
                await run.sleep_async(delay)
            try:
                while True:
                    try:
                        result = await step(call)
                    except Exception as error:
                        decision = decision or begin(now())
                        delay = decision.next_delay(call, None, error, now())
                        if delay is None:
                            raise
                    else:
                        if trusting or (plain and decision is None and classify(call, result, None) is SUCCESS):
                            return result
                        decision = decision or begin(now())
                        delay = decision.next_delay(call, result, None, now())
                        if delay is None:
                            return result
                        if discard is not None and inspect.isawaitable(thrown := discard(result)):
                            await thrown
                    if delay > 0:
                        await run.sleep_async(delay)
                    call = call.again()
            finally:
                if decision is not None:
                    decision.close()

        return retried

    def short(self, classify: Classifier) -> bool:
        return classify is raised and self.on_result is None and not self._counts_attempts()

    def guard(self, fn: F, run: Runtime, classify: Classifier, *, inner: bool = False) -> F:
        slow = super().guard(fn, run, classify, inner=inner)
        if not self.short(classify):
            return slow
        wrap: Any = self.wrap_async if is_coroutine_function(fn) else self.wrap
        begin = self._parts(run, classify)[1]
        rest = wrap(unpack(fn), run, classify)
        return fused_retry(fn, slow, rest, budget=self.budget, begin=begin, now=run.now, inner=inner)

    def _counts_attempts(self) -> bool:
        """Whether a `RetryDecision` is needed from the first attempt on, and not only from the first failure on."""
        return self.uses_tenacity or (self.budget is not None and self.budget.counts_attempts)

    def _check_choice(self, classify: Classifier) -> None:
        if classify is raised and self.on is None and self.on_result is None and self.retry is None:
            raise ValueError(
                "retry: say what may be retried: on=ConnectionError (or on=Exception), on_result=… or retry=…"
            )

    def _parts(
        self, run: Runtime, classify: Classifier
    ) -> tuple[Callable[[float], object], Callable[[float], RetryDecision], bool, bool]:
        """The deposit, what begins a decision, whether it begins with the first attempt, whether results are trusted.

        Raises ValueError if nothing says what may be retried.
        """
        self._check_choice(classify)
        counted, trusting = self._counts_attempts(), self.short(classify)

        def begin(now: float) -> RetryDecision:
            return RetryDecision(self, classify, run.random, now)

        return _no_deposit if self.budget is None else self.budget.deposit, begin, counted, trusting


def _no_deposit(now: float) -> None:
    """For a retry without a budget."""

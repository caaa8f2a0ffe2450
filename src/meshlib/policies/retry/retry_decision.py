"""Retry decision: decides after each attempt of one call whether there is another, and after which wait."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...call import FAILURE, IGNORED, Call, Classifier, raised
from ...errors import Rejected
from ...events import BudgetExhausted, RetryGivenUp, RetrySpent
from .backoff import Random
from .tenacity_state import RetryState, TenacityOutcome

if TYPE_CHECKING:
    from ..concurrency.cluster_limits import ClusterLimits
    from .retry import Retry


class RetryDecision:
    """The attempts of one call, from its first failure on (from the first attempt on where the budget counts them)."""

    __slots__ = (
        "_classify",
        "_delays",
        "_limits",
        "_paid",
        "_policy",
        "_random",
        "_start",
        "_waited",
        "attempt",
        "reason",
    )

    def __init__(self, policy: Retry, classify: Classifier, random: Random, start: float) -> None:
        self._policy = policy
        self._classify = classify
        self._random = random
        self._delays: Iterator[float] | None = None
        self._start = start
        self._waited = 0.0
        self._paid = False
        self._limits: ClusterLimits | None = None  # those that the retry under way is counted by
        self.attempt: int = 0
        self.reason: str = ""  # why the retry gave up; empty until then

    def next_delay(self, call: Call, result: object, error: BaseException | None, now: float) -> float | None:
        """Seconds until the next attempt, which the budget has paid; None: this outcome is the call's.

        Asked in this order: may it be retried, may it be sent again, are attempts, waits, time and budget left?
        """
        policy = self._policy
        self.attempt += 1
        self._release()
        state = self._state(call, result, error, now) if policy.uses_tenacity else None
        if not self._retryable(call, result, error, state):
            return None
        if not (call.replayable or self._unsent(error)):
            return self._give_up(result, error, "the call is not replayable")
        if policy.attempts is not None and self.attempt >= policy.attempts:
            return self._give_up(result, error, "no attempts left")
        delay = self._delay(result if error is None else error, state)
        if delay is None:
            return self._give_up(result, error, self.reason)
        if state is not None and policy.stop is not None:
            state.upcoming_sleep = delay
            if policy.stop(state):
                return self._give_up(result, error, "no attempts left")
        if now + delay >= call.deadline:
            return self._give_up(result, error, "the deadline is before the next attempt")
        limits = None if policy.hooks.limits is None else policy.hooks.limits(call)
        if limits is not None and limits.retries is not None:
            if not limits.take_retry():
                return self._give_up(result, error, limits.retries.reason)
            self._limits = limits
        budget = policy.budget
        if budget is not None and not budget.withdraw(now):
            self._release()
            if budget.port.listeners:
                budget.port.send(BudgetExhausted(budget.name))
            return self._give_up(result, error, "retry budget exhausted")
        self._paid = budget is not None
        self._waited += delay
        if policy.port.listeners:
            policy.port.send(RetrySpent(policy.name, self.attempt, delay, error))
        return delay

    def close(self) -> None:
        """The call is over, however it ended."""
        self._release()
        if self._policy.budget is not None:
            self._policy.budget.finish()

    def _release(self) -> None:
        limits = self._limits
        if limits is not None and limits.retries is not None:
            self._limits = None
            limits.retries.leave()
        if self._paid and self._policy.budget is not None:
            self._paid = False
            self._policy.budget.release()

    def _retryable(self, call: Call, result: object, error: BaseException | None, state: RetryState | None) -> bool:
        policy = self._policy
        if isinstance(error, Rejected):
            return policy.rejections
        verdict = self._classify(call, result, error)
        if policy.retry is not None and (error is not None or policy.judges_results):
            wanted = bool(policy.retry(state))
        elif error is None:
            wanted = verdict is FAILURE or (policy.on_result is not None and policy.on_result(result))
        elif policy.on is not None:
            wanted = verdict is FAILURE and policy.on(error)
        else:  # `raised` calls each exception a failure, which is no choice of what may be retried
            wanted = verdict is FAILURE and self._classify is not raised
        if policy.budget is not None and verdict is not IGNORED:
            policy.budget.record(wanted or verdict is FAILURE)
        return wanted

    def _unsent(self, error: BaseException | None) -> bool:
        if error is None:
            return False
        if self._policy.hooks.unsent is not None:
            return self._policy.hooks.unsent(error)
        return isinstance(error, Rejected) or getattr(error, "sent", True) is False

    def _delay(self, outcome: object, state: RetryState | None) -> float | None:
        policy = self._policy
        if isinstance(outcome, Rejected):
            return 0.0
        if policy.wait is not None:
            delay: float | None = float(policy.wait(state))
        else:
            self._delays = self._delays or policy.backoff(self._random)
            delay = next(self._delays, None)
        if delay is None:
            self.reason = "no waits left in the backoff"
            return None
        asked = policy.hooks.retry_after(outcome)
        if asked is None or asked != asked:
            return delay
        if asked < 0:
            self.reason = "the server asks not to come back"
            return None
        if asked > policy.max_retry_after:
            self.reason = f"the server asks to wait {asked:g} s (max_retry_after is {policy.max_retry_after:g} s)"
            return None
        return max(delay, asked)

    def _state(self, call: Call, result: object, error: BaseException | None, now: float) -> RetryState:
        outcome = TenacityOutcome(self.attempt, result, error)
        return RetryState(call, self.attempt, outcome, self._start, now, self._waited, self._policy)

    def _give_up(self, result: object, error: BaseException | None, reason: str) -> float | None:
        self.reason = reason
        policy = self._policy
        if error is not None and policy.attempts != 1:
            note = f"gave up after {self.attempt} attempt{'s' if self.attempt > 1 else ''}: {reason}"
            if note not in getattr(error, "__notes__", ()):  # the same exception object may be raised again and again
                error.add_note(note)
        if policy.port.listeners:
            policy.port.send(RetryGivenUp(policy.name, self.attempt, reason))
        if error is None and policy.hooks.exhausted is not None:
            raise policy.hooks.exhausted(result)
        return None

"""When shall it be tried again, and if not, why not? The decisions about one call, told the time and the dice."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from ...call import FAILURE, IGNORED, Call, Classifier
from ...errors import Rejected
from ...events import BudgetExhausted, RetryGivenUp, RetrySpent
from .backoff import Random
from .tenacity_state import RetryState, TenacityOutcome

if TYPE_CHECKING:
    from .retry import Retry


class RetryDecision:
    """The tries of one call that has failed at least once (or whose budget wants to follow it)."""

    __slots__ = ("_delays", "_judge", "_paid", "_policy", "_random", "_start", "_waited", "attempt", "reason")

    def __init__(self, policy: Retry, make_classifier: Classifier, random: Random, start: float) -> None:
        self._policy = policy
        self._judge = make_classifier
        self._random = random
        self._delays: Iterator[float] | None = None
        self._start = start
        self._waited = 0.0
        self._paid = False
        self.attempt = 0
        self.reason = ""  # why it was given up; empty as long as nothing was

    def next_delay(self, call: Call, result: object, error: BaseException | None, now: float) -> float | None:
        """Seconds until the next try, paid for; or None: this outcome stands. In the order: wish, right, means."""
        policy = self._policy
        self.attempt += 1
        if self._paid:
            self._end_of_try()
        state = self._state(call, result, error, now) if policy.asks else None
        if not self._wanted(call, result, error, state):
            return None
        if not (call.replayable or self._unsent(error)):
            return self._stop(result, error, "it may not be sent twice")
        if policy.attempts is not None and self.attempt >= policy.attempts:
            return self._stop(result, error, "no attempts left")
        delay = self._delay(result if error is None else error, state)
        if delay is None:
            return self._stop(result, error, self.reason)
        if state is not None and policy.stop is not None:
            state.upcoming_sleep = delay
            if policy.stop(state):
                return self._stop(result, error, "no attempts left")
        if now + delay >= call.deadline:
            return self._stop(result, error, "the deadline is too near")
        budget = policy.budget
        if budget is not None and not budget.withdraw(now):
            if budget.port.listeners:
                budget.port.send(BudgetExhausted(budget.name))
            return self._stop(result, error, "budget spent")
        self._paid = budget is not None
        self._waited += delay
        if policy.port.listeners:
            policy.port.send(RetrySpent(policy.name, self.attempt, delay, error))
        return delay

    def close(self) -> None:
        """The call is over, however it ended."""
        self._end_of_try()
        if self._policy.budget is not None:
            self._policy.budget.finished()

    def _end_of_try(self) -> None:
        if self._paid and self._policy.budget is not None:
            self._paid = False
            self._policy.budget.give_back()

    def _wanted(self, call: Call, result: object, error: BaseException | None, state: RetryState | None) -> bool:
        policy = self._policy
        if isinstance(error, Rejected):
            return policy.rejections
        verdict = self._judge(call, result, error)
        if policy.retry is not None and (error is not None or policy.asks_results):
            wanted = bool(policy.retry(state))
        elif error is not None:
            wanted = verdict is FAILURE and (policy.on is None or policy.on(error))
        else:
            wanted = verdict is FAILURE or (policy.on_result is not None and policy.on_result(result))
        if policy.budget is not None and verdict is not IGNORED:
            policy.budget.heard(wanted or verdict is FAILURE)
        return wanted

    def _unsent(self, error: BaseException | None) -> bool:
        if error is None:
            return False
        if self._policy.unsent is not None:
            return self._policy.unsent(error)
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
            self.reason = "no waits left"
            return None
        asked = policy.retry_after(outcome)
        if asked is None or asked != asked:
            return delay
        if asked < 0:
            self.reason = "the server asks not to come back"
            return None
        if asked > policy.retry_after_max:
            self.reason = f"the server asks to wait {asked:g} s"
            return None
        return max(delay, asked)

    def _state(self, call: Call, result: object, error: BaseException | None, now: float) -> RetryState:
        outcome = TenacityOutcome(self.attempt, result, error)
        return RetryState(call, self.attempt, outcome, self._start, now, self._waited, self._policy)

    def _stop(self, result: object, error: BaseException | None, reason: str) -> float | None:
        self.reason = reason
        if error is not None and self._policy.attempts != 1:
            note = f"gave up after {self.attempt} attempt{'s' if self.attempt > 1 else ''}: {reason}"
            if note not in getattr(error, "__notes__", ()):  # the same exception object may be raised again and again
                error.add_note(note)
        if self._policy.port.listeners:
            self._policy.port.send(RetryGivenUp(self._policy.name, self.attempt, reason))
        if error is None and self._policy.spent is not None:
            raise self._policy.spent(result)
        return None

"""Tenacity state: what `stop`, `wait` and `retry` objects of tenacity are called with. Made only after a failure."""

from __future__ import annotations

import sys
from typing import Any

from ...call import Call
from ..shell.call_policy import Packed


class TenacityOutcome:
    """One attempt's end, in the shape of a finished future."""

    __slots__ = ("_error", "_result", "attempt_number")

    def __init__(self, attempt: int, result: object, error: BaseException | None) -> None:
        self.attempt_number: int = attempt
        self._result = result
        self._error = error

    @property
    def failed(self) -> bool:
        return self._error is not None

    def done(self) -> bool:
        return True

    def exception(self) -> BaseException | None:
        return self._error

    def result(self) -> Any:
        if self._error is not None:
            raise self._error
        return self._result


def judges_results(retry: object) -> bool:
    """Whether a `retry` object judges results. Most judge exceptions only."""
    tenacity: Any = sys.modules.get("tenacity")  # loaded if one of its objects exists
    if tenacity is None or not isinstance(retry, tenacity.retry_if_exception):
        return True
    return isinstance(retry, tenacity.retry_unless_exception_type | tenacity.retry_if_not_exception_message)


class RetryState:
    """Stands in for `tenacity.RetryCallState`: the same attributes, with our clock."""

    __slots__ = (
        "args", "attempt_number", "fn", "idle_for", "kwargs", "next_action", "outcome", "outcome_timestamp",
        "retry_object", "start_time", "upcoming_sleep",
    )  # fmt: skip

    def __init__(
        self, call: Call, attempt: int, outcome: TenacityOutcome, start: float, now: float, waited: float, retry: object
    ) -> None:
        packed = call.what if isinstance(call.what, Packed) else Packed((call.what,), {})
        self.fn: None = None
        self.args: tuple[Any, ...] = packed.args
        self.kwargs: dict[str, Any] = packed.kwargs
        self.attempt_number: int = attempt
        self.outcome: TenacityOutcome = outcome
        self.start_time: float = start
        self.outcome_timestamp: float = now
        self.idle_for: float = waited
        self.upcoming_sleep: float = 0.0
        self.next_action: None = None
        self.retry_object: object = retry

    @property
    def seconds_since_start(self) -> float:
        return self.outcome_timestamp - self.start_time

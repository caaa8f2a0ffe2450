"""Retry hooks: functions through which a retry reads an outcome. Rarely needed; each has a default."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from ...call import Call
from ..shell import checks

if TYPE_CHECKING:
    from ..concurrency.cluster_limits import ClusterLimits


def retry_after(outcome: object) -> float | None:
    """The seconds for which the server asks the caller to wait; None: it asks for nothing.

    Read from the `retry_after` of an error or a result, else from the `Retry-After` of its `headers` or of its
    `response`'s headers, as in httpx, requests and aiohttp: seconds, or a date. A date is compared with the `Date` of
    the same response, so a wrong local clock does no harm.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class RetryHooks:
    """Functions for `Retry(hooks=…)`. All are plain functions, except that `discard` may be async.

    `retry_after(outcome)`: the seconds that the server asks to wait, read from an error or a result (default: from its
    `Retry-After` header); below 0: the server asks not to come back.
    `unsent(error)`: whether the request never left, so that even a call that is not replayable may be sent again
    (default: the error says `sent = False`).
    `discard(result)`: called with each result that is dropped in favour of another attempt, for example to close it.
    `exhausted(result)`: makes the exception to raise in place of a last result that would be retried if it could
    (resilience4j's failAfterMaxAttempts, failsafe's ExceededError). Without it, that result is returned.
    `limits(call)`: the limits of the cluster that the call was sent to; a retry takes one of its `max_retries`.
    Raises ValueError for a value that is not such a function.
    """

    retry_after: Callable[[object], float | None] = retry_after
    unsent: Callable[[BaseException], bool] | None = None
    discard: Callable[[Any], object] | None = None
    exhausted: Callable[[Any], BaseException] | None = None
    limits: Callable[[Call], ClusterLimits | None] | None = None

    def __post_init__(self) -> None:
        if self.retry_after is None:
            raise ValueError("retry_after=None: expected a function of the error or result")
        checks.function("retry_after", self.retry_after, "the error or result")
        checks.function("unsent", self.unsent, "the error")
        checks.function("discard", self.discard, "the result", may_be_async=True)
        checks.function("exhausted", self.exhausted, "the result")
        checks.function("limits", self.limits, "the call")


DEFAULT_HOOKS = RetryHooks()

"""Errors: every exception that meshlib raises.

    MeshError
    ├─ Rejected                          rejected by a policy: nothing was sent, so another attempt is safe
    │  ├─ BreakerOpen  ├─ BulkheadFull  ├─ RateLimited  ├─ Throttled  └─ NoEndpoint
    ├─ DeadlineExceeded (TimeoutError)   `.sent` says whether the request left
    └─ ConfigError (ValueError)          where in which file, what was found, what was expected

A rejection is raised at every call of an outage, so its text is made only when it is read.
"""

from __future__ import annotations

from typing import cast


class MeshError(Exception):
    """The root: `except MeshError` catches what meshlib raises, and nothing that your code raises."""


class Rejected(MeshError):
    """A policy rejected the call before anything was sent.

    `by` is the name of that policy, `reason` a few words, and `retry_after` the seconds after which another call may
    succeed (`None`: unknown). A rejection is no evidence about the server: no breaker, balancer or budget counts it as
    a failure.
    """

    # All fields are in `args`. So a breaker in an outage can make its rejections by `__new__` alone (200 instead of
    # 450 ns), and they can be pickled.
    def __init__(self, by: str, reason: str = "refused", retry_after: float | None = None) -> None:
        super().__init__(by, reason, retry_after)

    @property
    def by(self) -> str:
        """The name of the policy, cluster or service that refused."""
        return cast(str, self.args[0])

    @property
    def reason(self) -> str:
        """Why it refused, in words."""
        return cast(str, self.args[1])

    @property
    def retry_after(self) -> float | None:
        """Seconds after which asking again may succeed; None: unknown."""
        return cast("float | None", self.args[2])

    def _until(self) -> str:
        return "" if self.retry_after is None else f"; try again in {_seconds(self.retry_after)}"

    def __str__(self) -> str:
        return f"{self.by}: {self.reason}{self._until()}"


class BreakerOpen(Rejected):
    """The circuit breaker `by` is open, forced open, or half-open with all probes in flight."""

    def _until(self) -> str:
        return "" if self.retry_after is None else f"; next probe in {_seconds(self.retry_after)}"


class BulkheadFull(Rejected):
    """The bulkhead or limit `by` has no free slot, and none came free within `max_wait`."""


class RateLimited(Rejected):
    """The rate limit or quota `by` is used up; the next permit comes after `retry_after`."""


class Throttled(Rejected):
    """The adaptive throttle `by` sheds load, because the server has been refusing or failing."""


class NoEndpoint(Rejected):
    """The cluster `by` has no endpoint for the call; `retry_after` is when the next probe is due."""

    def _until(self) -> str:
        return "" if self.retry_after is None else f"; next probe in {_seconds(self.retry_after)}"


class DeadlineExceeded(MeshError, TimeoutError):
    """The time for the call is over. `by` names who kept the time.

    `sent` is True when the request may have reached the server: then only an idempotent call is safe to repeat.
    `limit` is the time that was allowed, in seconds (`None`: the deadline came from outside).
    """

    def __init__(self, by: str, *, limit: float | None = None, sent: bool = True) -> None:
        super().__init__(by)
        self.by = by
        self.limit = limit
        self.sent = sent

    def __str__(self) -> str:
        limit = "the deadline has passed" if self.limit is None else f"no answer within {_seconds(self.limit)}"
        return f"{self.by}: {limit}{'' if self.sent else '; nothing was sent'}"


class ConfigError(MeshError, ValueError):
    """A configuration that cannot be used: says which file, where in it, what was found and what was expected."""

    def __init__(self, where: str, expected: str, *, file: str | None = None, line: int | None = None) -> None:
        super().__init__(where, expected)
        self.where = where
        self.expected = expected
        self.file = file
        self.line = line

    def __str__(self) -> str:
        file = "" if self.file is None else f"{self.file}:" if self.line is None else f"{self.file}:{self.line}:"
        return f"{file} {self.where}: {self.expected}".strip()


def _seconds(value: float) -> str:
    return f"{value * 1000:.0f} ms" if value < 1 else f"{value:.1f} s"

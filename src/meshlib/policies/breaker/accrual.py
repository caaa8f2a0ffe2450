"""Failure accrual: when one endpoint is out of the rotation, and when it is probed. It never refuses a call.

An `AccrualPolicy` counts outcomes: to a failure it returns how long the endpoint is dead, or None. An `Accrual` is the
state machine around it (after Finagle's FailureAccrualFactory). It is for your own clients; the clusters of a mesh use
the policies here too, and their state machine is `meshlib.balancing.ejection`.

    ALIVE ──(policy says dead)──> DEAD ──(time passes)──> PROBE_OPEN ──(a call starts)──> PROBE_CLOSED
      ^                            ^                          ^                               │
      └────── good probe ──────────┴──── bad probe, dead ─────┴── bad, no evidence, too late ─┘
"""

from __future__ import annotations

from collections import deque
from enum import Enum
from math import inf
from typing import Protocol

from ...call import IGNORED, SUCCESS, Verdict
from ..shell import checks
from ..statistics.ewma import Ema
from .accrual_backoff import FINAGLE, Backoff, EjectionBackoff
from .unified_accrual import UnifiedAccrual

__all__ = [
    "ALIVE", "DEAD", "PROBE_CLOSED", "PROBE_OPEN", "Accrual", "AccrualPolicy", "AccrualState", "ConsecutiveFailures",
    "OrElse", "SuccessRate", "SuccessRateWithin", "UnifiedAccrual", "hybrid",
]  # fmt: skip


class AccrualPolicy(Protocol):
    """When an endpoint is dead. `now` is in monotonic seconds and never goes backwards."""

    def success(self, now: float) -> None:
        """A call succeeded."""

    def failure(self, now: float) -> float | None:
        """A call failed: the seconds for which the endpoint is dead, or None."""

    def revived(self, now: float) -> None:
        """A probe succeeded: all counts and waits begin anew."""


class ConsecutiveFailures:
    """Dead at the n-th failure in a row, and at each one after it. A success ends the run, but not the waits."""

    __slots__ = ("_run", "_waits", "consecutive_failures")

    def __init__(self, consecutive_failures: int, backoff: Backoff) -> None:
        self.consecutive_failures: int = checks.count("consecutive_failures", consecutive_failures)
        self._run = 0
        self._waits = EjectionBackoff(backoff)

    def success(self, now: float) -> None:
        self._run = 0

    def failure(self, now: float) -> float | None:
        self._run += 1
        return self._waits.next() if self._run >= self.consecutive_failures else None

    def revived(self, now: float) -> None:
        self._run = 0
        self._waits.restart()


class SuccessRate:
    """Dead when the average success of about the last `window_calls` calls is below `success_rate` (0–1).

    The average is an Ema over the running number of calls; it decides from the `window_calls`-th call on.
    """

    __slots__ = ("_calls", "_ema", "_waits", "success_rate", "window_calls")

    def __init__(self, success_rate: float, window_calls: int, backoff: Backoff) -> None:
        self.success_rate: float = checks.ratio("success_rate", success_rate)
        self.window_calls: int = checks.count("window_calls", window_calls)
        self._ema = Ema(window_calls)
        self._calls = 0
        self._waits = EjectionBackoff(backoff)

    def success(self, now: float) -> None:
        self._calls += 1
        self._ema.observe(1.0, self._calls)

    def failure(self, now: float) -> float | None:
        self._calls += 1
        average = self._ema.observe(0.0, self._calls)
        return self._waits.next() if self._calls >= self.window_calls and average < self.success_rate else None

    def revived(self, now: float) -> None:
        self._calls = 0
        self._ema.reset()
        self._waits.restart()


class SuccessRateWithin:
    """Dead when the average success within about `window` seconds is below `success_rate` (0–1).

    It decides after one whole window since `start` (default: the first call) or its revival, and only with at least
    `minimum_calls` in the last window, counted in five slices.
    """

    __slots__ = ("_ema", "_slices", "_start", "_waits", "minimum_calls", "success_rate", "window")

    def __init__(
        self,
        success_rate: float,
        window: float,
        backoff: Backoff,
        *,
        minimum_calls: int = 5,
        start: float | None = None,
    ) -> None:
        self.success_rate: float = checks.ratio("success_rate", success_rate)
        self.window: float = checks.seconds("window", window)
        self.minimum_calls: int = checks.count("minimum_calls", minimum_calls, min_value=0)
        self._ema = Ema(window)
        self._start = None if start is None else checks.number("start", start)
        self._slices: deque[list[float]] = deque()  # [when the slice began, calls in it], the newest last
        self._waits = EjectionBackoff(backoff)

    def success(self, now: float) -> None:
        self._observe(1.0, now)

    def failure(self, now: float) -> float | None:
        average = self._observe(0.0, now)
        started = now if self._start is None else self._start
        dead = now - started >= self.window and average < self.success_rate and self._count(now) >= self.minimum_calls
        return self._waits.next() if dead else None

    def revived(self, now: float) -> None:
        self._start = now
        self._ema.reset()
        self._slices.clear()
        self._waits.restart()

    def _observe(self, sample: float, now: float) -> float:
        if self._start is None:
            self._start = now
        width = self.window / 5
        if not self._slices or now - self._slices[-1][0] >= width:
            self._slices.append([now, 0.0])
        self._slices[-1][1] += 1.0
        self._count(now)
        return self._ema.observe(sample, now)

    def _count(self, now: float) -> float:
        while self._slices and now - self._slices[0][0] >= self.window:
            self._slices.popleft()
        return sum(calls for _, calls in self._slices)


class OrElse:
    """Dead if either policy decides so; both count every outcome, and the longer wait holds."""

    __slots__ = ("first", "second")

    def __init__(self, first: AccrualPolicy, second: AccrualPolicy) -> None:
        self.first: AccrualPolicy = first
        self.second: AccrualPolicy = second

    def success(self, now: float) -> None:
        self.first.success(now)
        self.second.success(now)

    def failure(self, now: float) -> float | None:
        one, other = self.first.failure(now), self.second.failure(now)
        return other if one is None else one if other is None else max(one, other)

    def revived(self, now: float) -> None:
        self.first.revived(now)
        self.second.revived(now)


def hybrid(backoff: Backoff = FINAGLE) -> OrElse:
    """Finagle's default: below 80 % success over 30 s with at least 5 calls, or 5 failures in a row."""
    return OrElse(SuccessRateWithin(0.8, 30.0, backoff), ConsecutiveFailures(5, backoff))


class AccrualState(Enum):
    ALIVE = "alive"
    DEAD = "dead"
    PROBE_OPEN = "probe open"
    PROBE_CLOSED = "probe closed"


ALIVE, DEAD, PROBE_OPEN, PROBE_CLOSED = AccrualState


class Accrual:
    """One endpoint's accrual. The four counters are Finagle's statistics.

    A failure while dead or waiting for a probe is not counted, and does not extend the time. Of two calls that race for
    the probe, the first to end decides. A probe that has not ended `probe_lease` seconds after it began gives its slot
    to another call (Finagle: never), and decides all the same if it ends after all.
    """

    __slots__ = ("_since", "_state", "_until", "policy", "probe_lease", "probes", "removals", "removed_for", "revivals")

    def __init__(self, policy: AccrualPolicy, *, probe_lease: float = 60.0) -> None:
        self.policy: AccrualPolicy = policy
        self.probe_lease: float = checks.seconds("probe_lease", probe_lease, infinite=True)
        self._state = ALIVE
        self._until = inf
        self._since = 0.0
        self.removals: int = 0
        self.revivals: int = 0
        self.probes: int = 0
        self.removed_for: float = 0.0  # seconds spent out of the rotation

    def state(self, now: float) -> AccrualState:
        """The state as of `now`."""
        return PROBE_OPEN if self._state is not ALIVE and now >= self._until else self._state

    def is_open(self, now: float) -> bool:
        """Whether a balancer may choose it: not while dead, nor while a probe is in flight."""
        return self.state(now) in (ALIVE, PROBE_OPEN)

    def started(self, now: float) -> None:
        """Count a call that begins."""
        if self._state is not ALIVE and self.state(now) is PROBE_OPEN:
            self.probes += 1
            self._state, self._until = PROBE_CLOSED, now + self.probe_lease

    def ended(self, verdict: Verdict, now: float) -> None:
        """Count a call that is over. A failed connect is a failure like any other."""
        state = self._state
        if verdict is SUCCESS:
            self.policy.success(now)
            if state is PROBE_CLOSED:
                self.revivals += 1
                self.removed_for += now - self._since
                self.policy.revived(now)
                self._state = ALIVE
        elif verdict is IGNORED:
            if state is PROBE_CLOSED:
                self._state = PROBE_OPEN
        elif state is ALIVE or state is PROBE_CLOSED:
            self._decide(self.policy.failure(now), state, now)

    def limited(self, now: float) -> None:
        """Count a call that the server refused with 429: a failed probe, and else for `UnifiedAccrual` alone."""
        state = self.state(now)
        if state is ALIVE or state is PROBE_CLOSED:
            count_limited = getattr(self.policy, "limited", None)
            self._decide(None if count_limited is None else count_limited(now), state, now)

    def _decide(self, wait: float | None, state: AccrualState, now: float) -> None:
        if wait is not None:
            if state is ALIVE:
                self.removals += 1
            else:
                self.removed_for += now - self._since
            self._state, self._since, self._until = DEAD, now, now + wait
        elif state is PROBE_CLOSED:
            self._state = PROBE_OPEN

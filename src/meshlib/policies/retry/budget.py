"""Retry budget: bounds the retries and hedges of all calls together. Three kinds, asked in the same way.

Retries of all callers at once turn a short failure into a long one. So a call deposits a little, a retry (or a hedge)
withdraws a lot, and when the balance is gone, calls fail as they would without retries.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from math import inf
from threading import Lock
from typing import ClassVar
from weakref import WeakValueDictionary

from ... import forked
from ...events import Port
from ..shell import checks
from ..statistics.outcome_window import value

_SLICES = 10  # of the sliding sum, as in Finagle and tower


class Budget:
    """The base of all budgets. Policies that are given the same object share its balance.

    A call makes a `deposit`; each retry or hedge a `withdraw`. A budget that `counts_attempts` also needs `record`
    after each attempt, `release` at the end of an attempt that was paid for, and `finish` at the end of the call.
    """

    counts_attempts: ClassVar[bool] = False

    def __init__(self, *, name: str) -> None:
        self.name: str = checks.name(name)
        self.port: Port = Port()
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        """In a forked child: a new lock, and no call is under way."""
        self.port._after_fork()
        self._lock = Lock()

    def deposit(self, now: float) -> None:
        """A call begins."""

    def withdraw(self, now: float) -> bool:
        """Pay for one more attempt. False: the balance is too low, and nothing was withdrawn."""
        raise NotImplementedError

    def balance(self, now: float) -> int:
        """The number of further attempts that could be paid for at `now`."""
        raise NotImplementedError

    def record(self, failed: bool) -> None:
        """An attempt ended; `failed` only if another attempt might have helped."""

    def release(self) -> None:
        """An attempt that was paid for has ended."""

    def finish(self) -> None:
        """The call has ended."""


def checked_budget(field: str, budget: Budget | None) -> Budget | None:
    """`budget`, if it is one (or has its methods) or None. Raises ValueError."""
    return (
        None
        if budget is None
        else checks.like(field, budget, "withdraw", "a budget, such as RetryBudget(ratio=0.2), or None")
    )


class RetryBudget(Budget):
    """Retries up to `ratio` of the calls of the last `ttl` seconds, and `min_per_second` besides.

    Finagle's arithmetic, in whole tokens: a call deposits 1000, a retry withdraws floor(1000 / ratio); the reserve is
    min_per_second · ttl · that. What was deposited or withdrawn is forgotten after `ttl`, which is how the reserve
    refills. With `ratio=0` a deposit is worth nothing and a retry costs 1. Defaults: Finagle's, Linkerd's and tower's.

    `ratio` 0 to 1000 (0.2: one retry for five calls; above 1: several per call), `ttl` 1 to 60 seconds. Raises
    ValueError for values out of range.
    """

    def __init__(
        self, ratio: float = 0.2, *, min_per_second: float = 10.0, ttl: float = 10.0, name: str = "retries"
    ) -> None:
        super().__init__(name=name)
        self.ratio: float = checks.ratio("ratio", ratio, zero=True, above_one=True)
        if self.ratio > 1000:
            raise ValueError(f"ratio={ratio!r}: expected a ratio from 0 to 1000")
        self.min_per_second: float = checks.number("min_per_second", min_per_second, min_value=0.0)
        self.ttl: float = checks.number("ttl", ttl, min_value=1.0)
        if self.ttl > 60:
            raise ValueError(f"ttl={ttl!r}: expected seconds from 1 to 60")
        self._worth, self._cost = (0, 1) if self.ratio == 0 else (1000, int(1000 / self.ratio))
        self._reserve = int(self.min_per_second * self.ttl * self._cost)
        self._slice = self.ttl / _SLICES
        # The current slice, written without a lock: deposits are steps of a counter, which is atomic.
        self._deposits = count()
        # Before `plain_until` (monotonic seconds) a deposit is this alone.
        self.step: Callable[[], int] = self._deposits.__next__
        self._seen = 0  # deposits that belong to older slices
        self._withdrawn = 0
        self.plain_until: float = -inf
        self._rolled = 0.0
        # The slices before it, and the next one to be overwritten.
        self._past = [0] * (_SLICES - 1)
        self._next = 0
        self._sum = 0

    def _after_fork(self) -> None:
        torn = forked.held(self._lock)
        super()._after_fork()
        if torn:  # another thread was just closing a slice: all of them begin anew
            self._past, self._next, self._sum = [0] * (_SLICES - 1), 0, 0
            self._seen, self._withdrawn, self.plain_until = value(self._deposits), 0, -inf

    @classmethod
    def shared(cls, name: str, ratio: float = 0.2, *, min_per_second: float = 10.0, ttl: float = 10.0) -> RetryBudget:
        """The budget of this name in this process: the same object for each caller, as long as a reference exists.

        Raises ValueError if it exists with other settings.
        """
        wanted = cls(ratio, min_per_second=min_per_second, ttl=ttl, name=name)
        budget = _shared.get_or_put(name, wanted)
        if (budget.ratio, budget.min_per_second, budget.ttl) != (ratio, min_per_second, ttl):
            has = f"ratio={budget.ratio}, min_per_second={budget.min_per_second}, ttl={budget.ttl}"
            raise ValueError(f"name={name!r}: expected the settings of the shared budget, {has}")
        return budget

    def deposit(self, now: float) -> None:
        if now >= self.plain_until:
            with self._lock:
                self._roll(now)
        next(self._deposits)

    def withdraw(self, now: float) -> bool:
        with self._lock:
            if self._tokens(now) < self._cost:
                return False
            self._withdrawn += self._cost
            return True

    def balance(self, now: float) -> int:
        with self._lock:
            return max(0, self._tokens(now) // self._cost)  # below 0 when deposits expire before withdrawals

    def _tokens(self, now: float) -> int:
        self._roll(now)
        return self._sum + self._current() + self._reserve

    def _current(self) -> int:
        return (value(self._deposits) - self._seen) * self._worth - self._withdrawn

    def _roll(self, now: float) -> None:
        """Close the current slice once its time is over; the next one begins at `now` (as WindowedAdder does)."""
        if now < self.plain_until:
            return
        past, size = self._past, _SLICES - 1
        if self.plain_until > -inf:
            seen = value(self._deposits)
            past[self._next] = (seen - self._seen) * self._worth - self._withdrawn
            self._next = (self._next + 1) % size
            # A small constant is added because (0.9 - 0.0) / 0.3 must be 3, in floats too.
            for _ in range(min(int((now - self._rolled) / self._slice + 1e-9) - 1, size)):
                past[self._next] = 0
                self._next = (self._next + 1) % size
            self._sum = sum(past)
            self._seen = seen
            self._withdrawn = 0
        self._rolled = now
        self.plain_until = now + self._slice - 1e-9


class _Shared:
    """The budgets that have been asked for by name."""

    def __init__(self) -> None:
        self._budgets: WeakValueDictionary[str, RetryBudget] = WeakValueDictionary()
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        self._lock = Lock()

    def get_or_put(self, name: str, wanted: RetryBudget) -> RetryBudget:
        with self._lock:
            return self._budgets.setdefault(name, wanted)


_shared = _Shared()


class ConcurrencyBudget(Budget):
    """Retries in flight up to `ratio` of the calls in flight, but always `min_concurrent` of them.

    After Envoy's retry budget (`budget_percent` 20, `min_retry_concurrency` 3). No time is involved. failsafe-go has
    the same numbers and counts in another way, chosen by `among_all`: the ratio is one of everything in flight, retries
    included, and one more is paid until it is exceeded. Raises ValueError for values out of range.
    """

    counts_attempts = True

    def __init__(
        self, ratio: float = 0.2, *, min_concurrent: int = 3, among_all: bool = False, name: str = "retries"
    ) -> None:
        super().__init__(name=name)
        self.ratio: float = checks.ratio("ratio", ratio, zero=True)
        self.among_all = among_all
        self.min_concurrent: int = checks.count("min_concurrent", min_concurrent, min_value=0)
        self.calls: int = 0
        self.retries: int = 0

    def _after_fork(self) -> None:
        super()._after_fork()
        self.calls = self.retries = 0

    def deposit(self, now: float) -> None:
        with self._lock:
            self.calls += 1

    def withdraw(self, now: float) -> bool:
        with self._lock:
            if self._left() < 1:
                return False
            self.retries += 1
            return True

    def balance(self, now: float) -> int:
        with self._lock:
            return max(0, self._left())

    def _left(self) -> int:
        allowed = int(self.ratio * self.calls)
        if self.among_all:  # retries / (calls + retries) ≤ ratio, and then one more
            if self.ratio == 1.0:
                allowed = self.retries + 1
            else:
                allowed = int(self.ratio * self.calls / (1 - self.ratio) + 1e-9) + 1
        return max(self.min_concurrent, allowed) - self.retries

    def release(self) -> None:
        with self._lock:
            self.retries = max(0, self.retries - 1)  # a forked child may hear of a call of its parent

    def finish(self) -> None:
        with self._lock:
            self.calls = max(0, self.calls - 1)


class TokenBudget(Budget):
    """A failure costs one token, a success earns `ratio` of one; at half of `max_tokens` or less, nothing is retried.

    After gRPC's retry throttling (A6), where `ratio` counts to three decimals and one budget serves one server name.
    Raises ValueError for values out of range.
    """

    counts_attempts = True

    def __init__(self, max_tokens: int = 10, *, ratio: float = 0.1, name: str = "retries") -> None:
        super().__init__(name=name)
        self.max_tokens: int = checks.count("max_tokens", max_tokens)
        if max_tokens > 1000:
            raise checks.refused("max_tokens", max_tokens, "a whole number from 1 to 1000")
        self.ratio: float = checks.ratio("ratio", ratio, above_one=True)
        self._earned = max(1, int(self.ratio * 1000))
        self._thousandths = max_tokens * 1000

    @property
    def tokens(self) -> float:
        return self._thousandths / 1000

    def withdraw(self, now: float) -> bool:
        return self._thousandths > self.max_tokens * 500

    def balance(self, now: float) -> int:
        return max(0, -(-(self._thousandths - self.max_tokens * 500) // 1000))

    def record(self, failed: bool) -> None:
        change = -1000 if failed else self._earned
        with self._lock:
            self._thousandths = max(0, min(self.max_tokens * 1000, self._thousandths + change))

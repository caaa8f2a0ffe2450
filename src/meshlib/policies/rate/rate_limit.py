"""Rate limit: lets so many calls per second through, for all callers together or for each key by itself.

    a call ──▶ a permit now? ── yes ──▶ runs
                     │ no, but within `max_wait`: reserved; sleeps, then runs
                     └── later than that ──▶ RateLimited, with the seconds until one comes

How permits are counted is a `Rate`: `TokenBucket`, `Smooth` (GCRA), `FixedWindow`, `SlidingWindow` or `Cycles`.
After resilience4j's RateLimiter, failsafe's RateLimiter, tower's RateLimit and Guava's.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from math import inf
from threading import RLock
from typing import Any

from ... import forked
from ...call import IGNORED, AsyncStep, Call, Classifier, R, Step, Verdict
from ...errors import DeadlineExceeded, RateLimited
from ...events import CallRejected
from ...parking import in_event_loop
from ...runtime import SYSTEM, Runtime
from ..deadline.deadline import current
from ..shell import checks
from ..shell.waiting_gate import NONE, WaitingGate
from .key_buckets import Bucket, Keys
from .keyed_limit import KeyedLimit
from .token_bucket import REFUSED, Cycles, Rate, Smooth, TokenBucket, rate_of
from .token_taker import token_taker
from .window_limits import FixedWindow, SlidingWindow

__all__ = [
    "Cycles", "FixedWindow", "Rate", "RateLimit", "RateMetrics", "SlidingWindow", "Smooth", "TokenBucket",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class RateMetrics:
    """A rate limit at one moment. `keys` counts the keys that are remembered; the rest is about calls without a key."""

    available: float
    waiting: int
    rejected: int
    keys: int
    retry_after: float


class RateLimit(WaitingGate):
    """A rate limit for functions, pipelines and clients; safe under threads, tasks and any number of event loops.

    `RateLimit(100)` is a token bucket of 100 per second, `RateLimit(100, per=60.0, burst=10)` one of 100 a minute and
    10 at once; or give it any `Rate`. A call for which no permit is there is refused with `RateLimited`, or waits if
    one comes within `max_wait` seconds (`inf`: as long as it takes). A wait that is cancelled gives its permit back:
    the next caller gets that very time. A call whose own deadline comes first ends with `DeadlineExceeded` at once. A
    thread that runs an event loop never waits.

    `permits` is what a call costs: a number, or a function. `key` makes it a limit per key (a tenant): a function of
    the `Call` in a pipeline, of the function's own arguments under a decorator; by hand, `gate.key("acme")`. At most
    `max_keys` keys are remembered. The least recently used is forgotten when it has no debts, which changes no answer;
    while there is none such, new keys share one bucket, so that forgetting a key never gives it a full bucket.
    Raises ValueError for values without sense.
    """

    needs_leave = False

    def __init__(
        self,
        limit: Rate | float,
        *,
        per: float = 1.0,
        burst: float | None = None,
        max_wait: float = 0.0,
        permits: int | Callable[..., int] = 1,
        key: Callable[..., Hashable] | None = None,
        max_keys: int = 10_000,
        name: str = "rate limit",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, runtime=runtime)
        self.rate: Rate = rate_of(limit, per, burst)
        self.max_wait: float = checks.seconds("max_wait", max_wait, zero=True, infinite=True)
        self.permits: Callable[..., int] | int = permits if callable(permits) else checks.count("permits", permits)
        self.key_of: Callable[..., Hashable] | None = checks.function("key", key, "the call")
        self.max_keys: int = checks.count("max_keys", max_keys)
        largest = self.rate.burst if isinstance(self.rate, TokenBucket) else inf
        if isinstance(permits, int) and permits > largest and not max_wait:
            raise ValueError(f"permits={permits!r}: expected at most burst={largest:g}, or no call can ever pass")
        self._cost = permits if isinstance(permits, int) else 1
        self.asks_call: bool = key is not None or callable(permits)
        self._reserve = self.rate.reserve
        self._lock = RLock()  # garbage collection may close a waiting coroutine while we hold it
        self._whole = Bucket(self.rate)
        self._keys = Keys(self.rate, self.max_keys)
        self._rejected = 0

    def _after_fork(self) -> None:
        """Who waits here waits in the parent. The permits that were reserved stay so."""
        super()._after_fork()
        forked.renew(self._lock)  # `_token_taker` keeps it
        for bucket in (self._whole, *self._keys.all):
            bucket.waiting = 0
            bucket.settle(self.runtime.now())

    # --- decisions -------------------------------------------------------------------------------------------------

    def enter(self, now: float, key: Hashable = None, permits: int | None = None) -> int:
        """Take permits, or raise `RateLimited` with the seconds until they come. Never waits."""
        cost = self._cost if permits is None else permits
        with self._lock:
            bucket = self._whole if key is None else self._keys.bucket(key, now)
            if bucket.reserve(now, cost, 0.0) >= 0.0:
                return 0
            ahead = bucket.rate.wait(now, cost)
        raise self._refusal(ahead, key)

    def take(self, now: float, key: Hashable = None, permits: int | None = None) -> int:
        """Take permits if they are there now: 0, or −1."""
        with self._lock:
            bucket = self._bucket(key, now)
            cost = self._cost if permits is None else permits
            return NONE if bucket.reserve(now, cost, 0.0) < 0.0 else 0

    def _take(self, now: float) -> int:
        """`take` without a key, in as few steps as possible."""
        with self._lock:
            bucket = self._whole
            if bucket.holes:
                return NONE if bucket.reserve(now, self._cost, 0.0) < 0.0 else 0
            return NONE if self._reserve(now, self._cost) < 0.0 else 0

    def leave(self, permit: int = 0, verdict: Verdict = IGNORED, now: float = 0.0, took: float = 0.0) -> None:
        """Nothing: a permit that was used is gone."""

    def reserve(
        self, now: float, key: Hashable = None, permits: int | None = None, max_wait: float | None = None
    ) -> float:
        """Take permits in advance: 0, or the seconds after which they may be used, or −1 (nothing is taken).

        After resilience4j's `reservePermission`. `max_wait` is the gate's own unless given.
        """
        with self._lock:
            return self._bucket(key, now).reserve(
                now, self._cost if permits is None else permits, self.max_wait if max_wait is None else max_wait
            )

    def wait_for(self, now: float, key: Hashable = None, permits: int | None = None) -> float:
        """The seconds until these permits would be there (`inf`: never)."""
        with self._lock:
            return self._bucket(key, now).rate.wait(now, self._cost if permits is None else permits)

    def _bucket(self, key: Hashable, now: float) -> Bucket:
        return self._whole if key is None else self._keys.bucket(key, now)

    def _lines(self, wait: str, patience: str, args: str) -> dict[str, str]:
        if not self.asks_call:
            return super()._lines(wait, patience, args)
        ask = f"_key, _cost = _ask({args}); _permit = _take(_now(), _key, _cost)\n    if _permit < 0: "
        return {
            "permit": f"{ask}{wait}_wait(_run, _inf, _key, _cost)",
            "enter": f"{ask}await _wait_async(_run, _inf, _key, _cost)",
            "failed": "pass",
            "settle": "pass",
        }

    def _names(self, is_async: bool) -> dict[str, Any]:
        asking = {"_ask": self._ask, "_wait_async": self.wait_async, "_inf": inf}
        return {**super()._names(is_async), **asking, "_take": self._taker()}

    def _taker(self) -> Callable[..., int]:
        """The quickest way to `take` what each call costs."""
        if self.asks_call:
            return self.take
        if isinstance(self.rate, TokenBucket) and self._cost == 1:
            return token_taker(self._lock, self._whole, self.rate, self._take)
        return self._take

    # --- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, run: Runtime, deadline: float = inf, key: Hashable = None, permits: int | None = None) -> int:
        if not self.max_wait:
            return self._no_wait(run.now(), key, permits)
        if in_event_loop():
            return self.enter(run.now(), key, permits)
        bucket, now, wait, cost = self._stand(run.now(), deadline, key, permits)
        if wait > 0.0:
            try:
                run.sleep(wait)
            except BaseException:
                self._go(bucket, run.now(), now + wait, cost)
                raise
            self._go(bucket, run.now())
        return 0

    async def wait_async(
        self, run: Runtime, deadline: float = inf, key: Hashable = None, permits: int | None = None
    ) -> int:
        if not self.max_wait:
            return self._no_wait(run.now(), key, permits)
        bucket, now, wait, cost = self._stand(run.now(), deadline, key, permits)
        if wait > 0.0:
            try:
                await run.sleep_async(wait)
            except BaseException:
                self._go(bucket, run.now(), now + wait, cost)
                raise
            self._go(bucket, run.now())
        return 0

    def _no_wait(self, now: float, key: Hashable, permits: int | None) -> int:
        """`enter` where `take` has just refused: it will again, so the first question is until when."""
        with self._lock:
            bucket = self._whole if key is None else self._keys.bucket(key, now)
            ahead = 0.0 if bucket.holes else bucket.rate.wait(now, self._cost if permits is None else permits)
        if ahead > 0.0:
            raise self._refusal(ahead, key)
        return self.enter(now, key, permits)

    def _stand(
        self, now: float, deadline: float, key: Hashable, permits: int | None
    ) -> tuple[Bucket, float, float, int]:
        cost = self._cost if permits is None else permits
        deadline = min(deadline, current())
        with self._lock:
            bucket = self._bucket(key, now)
            wait = bucket.reserve(now, cost, min(self.max_wait, max(0.0, deadline - now)))
            if wait > 0.0:
                bucket.waiting += 1
        if wait == REFUSED:
            ahead = self.wait_for(now, key, cost)
            if deadline - now < ahead <= self.max_wait:
                raise DeadlineExceeded(self.name, sent=False)
            raise self._refusal(ahead, key)
        return bucket, now, wait, cost

    def _go(self, bucket: Bucket, now: float, given_up: float = -inf, permits: int = 0) -> None:
        """A wait is over: used, or given up (then `given_up` is the time that it was for)."""
        with self._lock:
            bucket.waiting = max(0, bucket.waiting - 1)  # a forked child may hear of a call of its parent
            if permits:
                bucket.holes.append((given_up, permits))
                bucket.holes.sort()
            if bucket.holes and not bucket.waiting:
                bucket.settle(now)

    def _refusal(self, retry_after: float, key: Hashable) -> RateLimited:
        self._rejected += 1
        reason = "the rate limit is used up" if key is None else f"the rate limit of {key!r} is used up"
        # `__new__` alone makes a whole refusal, see `errors`.
        error = RateLimited.__new__(RateLimited, self.name, reason, None if retry_after == inf else retry_after)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        return error

    # --- keys ------------------------------------------------------------------------------------------------------

    def key(self, key: Hashable, permits: int | None = None) -> KeyedLimit:
        """The same limit as it is for `key`: a gate of its own to guard blocks and functions with."""
        return KeyedLimit(self, key, permits)

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        if not self.asks_call:
            return super().wrap(step, run, classify)
        ask = self._ask

        def limited(call: Call) -> R:
            key, permits = ask(call)
            if self.take(run.now(), key, permits) < 0:
                self.wait(run, call.deadline, key, permits)
            return step(call)

        return limited

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        if not self.asks_call:
            return super().wrap_async(step, run, classify)
        ask = self._ask

        async def limited(call: Call) -> R:
            key, permits = ask(call)
            if self.take(run.now(), key, permits) < 0:
                await self.wait_async(run, call.deadline, key, permits)
            return await step(call)

        return limited

    def _ask(self, *args: Any, **kwargs: Any) -> tuple[Hashable, int]:
        key = None if self.key_of is None else self.key_of(*args, **kwargs)
        return key, self.permits(*args, **kwargs) if callable(self.permits) else self.permits

    # --- looking ---------------------------------------------------------------------------------------------------

    def metrics(self, now: float | None = None) -> RateMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        now = self.runtime.now() if now is None else now
        with self._lock:
            return RateMetrics(
                available=self.rate.available(now),
                waiting=self._whole.waiting + self._keys.waiting,
                rejected=self._rejected,
                keys=len(self._keys),
                retry_after=self.rate.wait(now),
            )

"""Quota: a rate limit that all processes share, kept in Redis or Valkey.

One script, run by the server in one step and by the server's clock, so neither races nor wrong clocks of ours let more
through. It is the token bucket of `rate` (GCRA: one number per key, which expires when the bucket is full again), or
the `Cycles` of `rate` for a quota per hour or day.

The store may be away. What then happens is decided at construction: `when_away="open"` lets calls
through, `"closed"` refuses them, a `Rate` limits this process by itself until the store is back.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from math import inf
from threading import Lock
from typing import Any, Literal

from ...errors import DeadlineExceeded, RateLimited
from ...events import CallRejected, QuotaStoreFound, QuotaStoreLost
from ...parking import in_event_loop, in_thread, on_asyncio, shielded
from ...runtime import SYSTEM, Runtime
from ..deadline.deadline import current
from ..shell import checks
from ..shell.waiting_gate import NONE
from .rate_limit import RateLimit
from .redis_store import CYCLES, SCRIPT, RedisStore, StoreAnswer
from .token_bucket import REFUSED, Rate


class Quota(RateLimit):
    """`limit` calls per `per` seconds for all processes that use the same store; refuses with `RateLimited`.

    A bucket that refills steadily and holds `burst`; or with `cycles=True`, `limit` in each period of the store's clock
    (a quota per hour or day), whatever is left of it gone at its end.

    `store` is where (`RedisStore`); `when_away` says what happens while it is away: `"open"` lets calls through,
    `"closed"` refuses them, a `Rate` limits this process by itself. `burst`, `max_wait`, `permits` and `key` are those
    of `RateLimit`; a cancelled wait gives its permits back. Events: `QuotaStoreLost` and `QuotaStoreFound`, once each.
    Raises ValueError for values without sense.
    """

    def __init__(
        self,
        limit: float,
        *,
        store: RedisStore,
        when_away: Literal["open", "closed"] | Rate,
        per: float = 1.0,
        burst: float | None = None,
        cycles: bool = False,
        max_wait: float = 0.0,
        permits: int | Callable[..., int] = 1,
        key: Callable[..., Hashable] | None = None,
        name: str = "quota",
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(
            limit, per=per, burst=burst, max_wait=max_wait, permits=permits, key=key, name=name, runtime=runtime
        )
        self.store: RedisStore = checks.like("store", store, "async_client", "RedisStore(client)")
        if isinstance(when_away, str) and when_away not in ("open", "closed"):
            raise checks.refused("when_away", when_away, "'open', 'closed' or a Rate")
        if cycles and limit != int(limit):
            raise checks.refused("limit", limit, "a whole number with cycles=True")
        if cycles and burst is not None:
            raise checks.refused("burst", burst, "none with cycles=True")
        self.when_away = when_away
        self._local = None if isinstance(when_away, str) else RateLimit(when_away, max_wait=max_wait, name=name)
        interval = per / limit * 1e6
        depth = (max(1.0, limit) if burst is None else burst) * interval
        self._source = CYCLES if cycles else SCRIPT
        self._settings = [f"{per * 1e6:.0f}", f"{limit:.0f}"] if cycles else [f"{interval:.6f}", f"{depth:.6f}"]
        self._script: Any = None
        self._async_script: Any = None
        self._away = False
        self._quiet_until = -inf
        self._state = Lock()

    def _after_fork(self) -> None:
        super()._after_fork()
        self._state = Lock()

    # --- asking ----------------------------------------------------------------------------------------------------

    def take(self, now: float, key: Hashable = None, permits: int | None = None) -> int:
        """Always −1: only `wait` and `wait_async` ask the store."""
        return NONE

    def _taker(self) -> Callable[..., int]:
        return self.take

    def reserve(
        self, now: float, key: Hashable = None, permits: int | None = None, max_wait: float | None = None
    ) -> float:
        """Ask the store, through the sync client: 0, the wait before the permits may be used, or −1."""
        longest = self.max_wait if max_wait is None else max_wait
        answer = self.ask(key, permits, longest)
        if answer is None:
            if self._local is not None:
                return self._local.reserve(now, key, permits, longest)
            return REFUSED if self.when_away == "closed" else 0.0
        return answer.wait if answer.taken else REFUSED

    def wait_for(self, now: float, key: Hashable = None, permits: int | None = None) -> float:
        """Ask the store, through the sync client, how long these permits would take; 0 while it is away."""
        answer = self.ask(key, permits, -1e9)
        return 0.0 if answer is None else max(0.0, answer.wait)

    def enter(self, now: float, key: Hashable = None, permits: int | None = None) -> int:
        """Ask the store, through the sync client, for permits at once; raises `RateLimited`."""
        self._judge(self.ask(key, permits), now, inf, key, permits, 0.0)
        return 0

    def ask(self, key: Hashable = None, permits: int | None = None, max_wait: float = 0.0) -> StoreAnswer | None:
        """Ask for permits within `max_wait` seconds. None: the store is away."""
        if self.runtime.now() < self._quiet_until:
            return None
        if self._script is None:
            self._script = _client("client", self.store.client).register_script(self._source)
        try:
            answer = self._script(keys=[self._key(key)], args=self._args(permits, max_wait))
        except Exception as error:
            self._lost(error)
            return None
        return self._answered(answer)

    async def ask_async(
        self, key: Hashable = None, permits: int | None = None, max_wait: float = 0.0
    ) -> StoreAnswer | None:
        """The same through the async client, or else (on trio, which redis-py lacks) the sync one in a thread."""
        if self.runtime.now() < self._quiet_until:
            return None
        if self.store.client is not None and (self.store.async_client is None or not on_asyncio()):
            return await in_thread(lambda: self.ask(key, permits, max_wait))
        if self._async_script is None:
            self._async_script = _client("async_client", self.store.async_client).register_script(self._source)
        try:
            answer = await self._async_script(keys=[self._key(key)], args=self._args(permits, max_wait))
        except Exception as error:
            self._lost(error)
            return None
        return self._answered(answer)

    def _key(self, key: Hashable) -> str:
        return f"{self.store.prefix}{self.name}" if key is None else f"{self.store.prefix}{self.name}:{key}"

    def _args(self, permits: int | None, max_wait: float) -> list[str]:
        cost = self._cost if permits is None else permits
        return [*self._settings, str(cost), f"{min(max_wait, 1e9) * 1e6:.0f}"]

    def _answered(self, answer: Any) -> StoreAnswer:
        if self._away:
            with self._state:
                found, self._away = self._away, False
                self._quiet_until = -inf
            if found and self.port.listeners:
                self.port.send(QuotaStoreFound(self.name))
        return StoreAnswer(bool(answer[0]), float(answer[1]) / 1e6)

    def _lost(self, error: Exception) -> None:
        with self._state:
            lost, self._away = not self._away, True
            self._quiet_until = self.runtime.now() + self.store.ask_again
        if lost and self.port.listeners:
            self.port.send(QuotaStoreLost(self.name, error, "a local limit" if self._local else str(self.when_away)))

    # --- waiting ---------------------------------------------------------------------------------------------------

    def wait(self, run: Runtime, deadline: float = inf, key: Hashable = None, permits: int | None = None) -> int:
        now, deadline = run.now(), min(deadline, current())
        longest = 0.0 if self.max_wait > 0 and in_event_loop() else min(self.max_wait, max(0.0, deadline - now))
        answer = self.ask(key, permits, longest)
        if answer is None and self._local is not None:
            return self._local.wait(run, deadline, key, permits)
        wait = self._judge(answer, now, deadline, key, permits, longest)
        if wait > 0.0:
            try:
                run.sleep(wait)
            except BaseException:
                self.ask(key, -self._price(permits), inf)
                raise
        return 0

    async def wait_async(
        self, run: Runtime, deadline: float = inf, key: Hashable = None, permits: int | None = None
    ) -> int:
        now, deadline = run.now(), min(deadline, current())
        longest = min(self.max_wait, max(0.0, deadline - now))
        answer = await self.ask_async(key, permits, longest)
        if answer is None and self._local is not None:
            return await self._local.wait_async(run, deadline, key, permits)
        wait = self._judge(answer, now, deadline, key, permits, longest)
        if wait > 0.0:
            try:
                await run.sleep_async(wait)
            except GeneratorExit:  # dropped: nothing may be awaited any more, and the store forgets by itself
                raise
            except BaseException:
                await shielded(self.ask_async(key, -self._price(permits), inf), 1.0)
                raise
        return 0

    def _price(self, permits: int | None) -> int:
        return self._cost if permits is None else permits

    def _judge(
        self,
        answer: StoreAnswer | None,
        now: float,
        deadline: float,
        key: Hashable,
        permits: int | None,
        longest: float,
    ) -> float:
        if answer is None:
            if self.when_away == "closed":
                raise self._closed()
            return 0.0
        if answer.taken:
            return answer.wait
        if longest < answer.wait <= self.max_wait and deadline < inf:
            raise DeadlineExceeded(self.name, sent=False)
        raise self._refusal(answer.wait, key)

    def _closed(self) -> RateLimited:
        self._rejected += 1
        error = RateLimited(
            self.name, "the quota's store does not answer (when_away='closed')", retry_after=self.store.ask_again
        )
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        return error


def _client(field: str, client: Any) -> Any:
    if client is None:
        raise ValueError(f"{field}=None: expected a client for this kind of function")
    return client

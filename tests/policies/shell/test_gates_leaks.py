"""100,000 calls that fail, hang and are cancelled wherever they can be, and afterwards every counter is at zero."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from math import inf
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from meshlib.errors import Rejected
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.concurrency.cluster_limits import ClusterLimits
from meshlib.policies.concurrency.limit_algorithms import AIMD, FixedLimit
from meshlib.policies.rate.rate_limit import RateLimit, Smooth, TokenBucket
from meshlib.policies.throttle.throttle import Throttle
from meshlib.runtime import SYSTEM

CALLS = 100_000
TASKS = 30


class Gates:
    """One of each, and what they must show when no call is inside."""

    def __init__(self) -> None:
        self.bulkhead = Bulkhead(5, max_queue=20, max_wait=inf)
        self.refusing = Bulkhead(10)
        self.limit = AdaptiveLimit(AIMD(initial=5, min_limit=2, max_limit=8), max_queue=20, max_wait=0.01)
        self.shares = AdaptiveLimit(FixedLimit(15), partitions={"live": 0.7, "batch": 0.3})
        self.rate = RateLimit(Smooth(20_000, per=1.0, burst=5), max_wait=0.001)
        self.keys = RateLimit(TokenBucket(50_000, burst=5), max_wait=inf)
        self.limits = ClusterLimits(max_requests=20)
        self.throttle = Throttle(nack=lambda answer: False)
        self.breaker = CircuitBreaker(consecutive_failures=10**9)

    def around(self, fn: Callable[..., Any], kind: int) -> Callable[..., Any]:
        live = self.shares.partition("live" if kind % 2 else "batch")
        stacks: list[tuple[Any, ...]] = [
            (self.bulkhead, self.limit),
            (self.bulkhead, self.rate, self.limits.requests),
            (self.limit, live, self.throttle),
            (self.rate, self.limit, self.breaker),
            (self.keys.key(kind), self.refusing, live),
        ]
        for gate in stacks[kind % len(stacks)]:
            fn = gate(fn)
        return fn

    def assert_empty(self) -> None:
        for gate in (self.bulkhead, self.refusing):
            state = gate.metrics()
            assert (state.in_flight, state.waiting, state.available) == (0, 0, state.max_concurrent)
        for limit in (self.limit, self.shares):
            seen = limit.metrics()
            assert (seen.in_flight, seen.waiting) == (0, 0)
            assert all(share.in_flight == 0 for share in seen.partitions.values())
            assert (limit.available, limit._made) == (seen.limit, len(limit._free))
        assert self.rate.metrics().waiting == self.keys.metrics().waiting == 0
        assert self.limits.remaining() == {"requests": 20}


class Broken(Exception):
    pass


@pytest.mark.anyio
async def test_tasks_leave_nothing_behind(anyio_backend: str) -> None:
    gates, dice, done = Gates(), random.Random(7), 0
    enough = CALLS if anyio_backend == "asyncio" else CALLS // 5  # the gates are the same, and trio is slower
    scopes: dict[int, anyio.CancelScope] = {}

    async def inner(me: int) -> None:
        roll = dice.random()
        if roll < 0.1:
            raise Broken
        if roll < 0.4:
            if roll < 0.2:
                scopes[me].cancel()  # cancelled at the next await
            await anyio.lowlevel.checkpoint()
            if roll < 0.25:
                raise Broken

    calls = [gates.around(inner, kind) for kind in range(10)]

    async def caller(me: int) -> None:
        nonlocal done
        while done < enough:
            with anyio.CancelScope() as scope:
                scopes[me] = scope
                done += 1  # also if cancelled
                try:
                    await calls[me % 10](me)
                except Broken:
                    pass
                except Rejected:
                    done -= 1  # only calls that came in count
                    await anyio.lowlevel.checkpoint()
            if dice.random() < 0.05:  # a waiting call is cancelled
                scopes[dice.randrange(TASKS)].cancel()
            if dice.random() < 0.2:
                await anyio.lowlevel.checkpoint()

    async with anyio.create_task_group() as tasks:
        for me in range(TASKS):
            scopes[me] = anyio.CancelScope()
            tasks.start_soon(caller, me)
    assert done >= enough
    gates.assert_empty()


def test_threads_leave_nothing_behind() -> None:
    gates = Gates()

    def caller(me: int) -> None:
        dice = random.Random(me)

        def inner() -> None:
            roll = dice.random()
            if roll < 0.1:
                raise Broken
            if roll < 0.12:
                raise KeyboardInterrupt
            if roll < 0.3:
                SYSTEM.sleep(0)  # let another thread in

        call = gates.around(inner, me)
        for _ in range(CALLS // 16):
            try:
                call()
            except (Broken, Rejected, KeyboardInterrupt):
                pass

    threads = [threading.Thread(target=caller, args=(me,)) for me in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    gates.assert_empty()

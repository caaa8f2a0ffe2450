"""A hundred thousand calls, cancelled, late and broken at random at each await: every counter returns to zero."""

from __future__ import annotations

import asyncio
import sys
from math import inf
from random import Random
from threading import Thread, active_count
from typing import Any

import anyio
import pytest
from compose.storms import Odd, Trouble

from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.breaker.trip import FailureRate
from meshlib.policies.cache.collapse import collapse
from meshlib.policies.cache.request_cache import SingleFlight
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.deadline.deadline import current
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry.budget import ConcurrencyBudget
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.retry import Retry


class World(Trouble):
    """Everything that can leak, in one pipeline."""

    def __init__(self, seed: int, *, hedged: bool) -> None:
        super().__init__(seed)
        self.budget = ConcurrencyBudget(1.0, min_concurrent=50)
        self.bulkhead = Bulkhead(40, max_wait=0.002, max_queue=20)
        self.breaker = CircuitBreaker(name="users", trip=FailureRate(0.9, window_calls=50), cooldown=0.001)
        self.fallback = Fallback(lambda error: 0, max_concurrent=1000)
        self.flight = SingleFlight()
        loops: list[Any] = [
            self.fallback,
            Timeout(0.02, per_try=0.01),
            Retry(3, on=Exception, backoff=0.0001, budget=self.budget),
        ]
        loops += [Hedge(0.0005, budget=self.budget, max_hedges=2)] if hedged else []
        self.pipeline = Pipeline(self.flight, *loops, self.breaker, self.bulkhead)

    def assert_nothing_is_left(self) -> None:
        metrics = self.bulkhead.metrics()
        assert (metrics.in_flight, metrics.waiting, metrics.available) == (0, 0, 40)
        assert (self.budget.calls, self.budget.retries, self.running, self.fallback.active) == (0, 0, 0, 0)
        assert current() == inf


async def storm(world: World, calls: int, *, crowd: int = 50) -> None:
    guarded = world.pipeline(world.work)

    async def one(item: int) -> None:
        try:
            call = guarded if item % 10 else batched
            if world.dice.random() < 0.5:
                await call(world.dice.randrange(1000))
                return
            with anyio.move_on_after(world.dice.choice([0.0, 0.0001, 0.001])) as scope:
                if world.dice.random() < 0.5:
                    scope.cancel()
                await call(world.dice.randrange(1000))
        except Exception:
            pass
        except BaseException as error:
            only_odd(error)

    async def many(items: list[int]) -> list[int]:
        await world.work(items[0])
        return items

    batched = collapse(max_batch=5, within=0.0005)(many)
    for start in range(0, calls, crowd):
        async with anyio.create_task_group() as group:
            for item in range(start, start + crowd):
                group.start_soon(one, item)


def only_odd(error: BaseException) -> None:
    """Swallow what the work raised itself, also where a task group has wrapped it; let cancellations pass."""
    if isinstance(error, BaseExceptionGroup):
        rest = error.split(Odd)[1]
        if rest is not None:
            raise rest
    elif not isinstance(error, Odd):
        raise error


@pytest.mark.anyio
@pytest.mark.parametrize("hedged", [False, True])
async def test_nothing_is_left_after_a_storm_of_tasks(anyio_backend: str, hedged: bool) -> None:
    world = World(7, hedged=hedged)
    calls = {("asyncio", False): 30_000, ("asyncio", True): 15_000}.get((anyio_backend, hedged), 5_000)
    await storm(world, calls)
    world.assert_nothing_is_left()
    assert world.begun > calls / 20
    if anyio_backend == "asyncio":
        assert len(asyncio.all_tasks()) <= 2, "this task and the test runner's"


def test_nothing_is_left_after_a_storm_of_threads() -> None:
    world, before = World(7, hedged=False), active_count()
    guarded = world.pipeline(world.work_sync)
    switch = sys.getswitchinterval()

    def many(seed: int) -> None:
        dice = Random(seed)
        for _ in range(3_000):
            try:
                guarded(dice.randrange(1000))
            except Exception:
                pass
            except BaseException as error:
                only_odd(error)

    sys.setswitchinterval(1e-5)
    try:
        threads = [Thread(target=many, args=(seed,)) for seed in range(16)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(switch)
    world.assert_nothing_is_left()
    assert active_count() <= before

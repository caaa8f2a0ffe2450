"""The rate limit as a gate: waiting or refusing, refunds, keys with bounded memory."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from math import inf
from typing import Any

import anyio
import pytest

from meshlib.call import Call, raised
from meshlib.errors import DeadlineExceeded, RateLimited
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.rate.rate_limit import Cycles, RateLimit, SlidingWindow, Smooth, TokenBucket
from meshlib.policies.shell.decorators import rate_limit
from meshlib.runtime import SYSTEM

BUILT_AT_IMPORT = RateLimit(Smooth(1000, per=1.0), max_wait=inf)


class Clock:
    """A clock that moves when somebody sleeps; `interrupt` raises instead."""

    def __init__(self) -> None:
        self.time, self.slept, self.interrupt = 0.0, list[float](), False

    def now(self) -> float:
        return self.time

    def random(self) -> float:
        return 0.5

    def sleep(self, seconds: float) -> None:
        if self.interrupt:
            raise KeyboardInterrupt
        self.slept.append(seconds)
        self.time += seconds

    async def sleep_async(self, seconds: float) -> None:
        self.sleep(seconds)

    async def until(self, deadline: float, work: Any) -> Any:
        return await work


def test_a_refusal_says_when_to_come_again() -> None:
    limit = RateLimit(2, per=10.0, burst=1, name="api")
    limit.enter(0.0)
    with pytest.raises(RateLimited, match=r"^api: the rate limit is used up; try again in 5\.0 s$") as caught:
        limit.enter(0.0)
    assert caught.value.retry_after == pytest.approx(5.0)
    assert limit.metrics(0.0).rejected == 1


def test_polled_each_millisecond_it_admits_its_rate_and_no_more() -> None:
    limit = RateLimit(20, burst=5)
    admitted = sum(limit.take(ms / 1000) == 0 for ms in range(10_000))
    assert 0.95 * (5 + 20 * 10) <= admitted <= 5 + 20 * 10


def test_a_call_waits_for_its_permit_and_the_next_one_behind_it() -> None:
    clock = Clock()
    work = RateLimit(Smooth(2, per=1.0), max_wait=10.0, runtime=clock)(lambda: clock.time)
    assert [work() for _ in range(4)] == [0.0, 0.5, 1.0, 1.5]


def test_a_wait_longer_than_the_longest_is_refused_and_takes_nothing() -> None:
    clock = Clock()
    limit = RateLimit(Cycles(1, per=1.0), max_wait=1.0, runtime=clock)
    assert limit.reserve(0.0) == 0.0
    assert limit.reserve(0.0) == 1.0
    with pytest.raises(RateLimited):
        limit.wait(clock)
    assert limit.reserve(1.0) == 1.0


def test_an_interrupted_wait_gives_its_time_to_the_next() -> None:
    clock = Clock()
    limit = RateLimit(Smooth(1, per=1.0), max_wait=inf, runtime=clock)
    limit.enter(0.0)
    clock.interrupt = True
    with pytest.raises(KeyboardInterrupt):
        limit.wait(clock)
    assert limit.reserve(0.0) == 1.0


def test_the_deadline_of_a_call_is_seen_before_waiting() -> None:
    clock = Clock()
    step = RateLimit(1, max_wait=10.0).wrap(lambda call: "done", clock, raised)
    assert step(Call(None, deadline=0.5)) == "done"
    with pytest.raises(DeadlineExceeded) as caught:
        step(Call(None, deadline=0.5))
    assert not caught.value.sent
    assert clock.slept == []


def test_the_deadline_in_force_here_is_seen_too() -> None:
    limit = RateLimit(1, per=3600.0, burst=1, max_wait=inf)
    work = limit(lambda: "done")
    with deadline(1.0):
        assert work() == "done"
        with pytest.raises(DeadlineExceeded):
            work()


@pytest.mark.anyio
async def test_a_cancelled_wait_refunds_its_permit() -> None:
    limit = RateLimit(Smooth(1, per=3600.0), max_wait=inf)
    limit.enter(SYSTEM.now())
    for _ in range(20):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(limit.wait_async, SYSTEM)
            await anyio.wait_all_tasks_blocked()
            assert limit.metrics().waiting == 5
            tasks.cancel_scope.cancel()
        assert limit.metrics().waiting == 0
    assert limit.wait_for(SYSTEM.now()) <= 3600.0


@pytest.mark.anyio
async def test_a_cancelled_wait_in_the_middle_moves_nobody_and_is_used_by_the_next() -> None:
    limit = RateLimit(Smooth(1, per=3600.0), max_wait=inf)
    limit.enter(SYSTEM.now())
    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()

        async def first() -> None:
            with scope:
                await limit.wait_async(SYSTEM)

        tasks.start_soon(first)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(limit.wait_async, SYSTEM)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        await anyio.wait_all_tasks_blocked()
        assert 3500.0 < limit.reserve(SYSTEM.now()) <= 3600.0
        assert 3 * 3500.0 < limit.reserve(SYSTEM.now()) <= 3 * 3600.0
        tasks.cancel_scope.cancel()


def test_one_limit_made_at_import_time_serves_many_event_loops() -> None:
    async def contend() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(BUILT_AT_IMPORT(anyio.sleep), 0)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(contend, backend=backend)
    assert BUILT_AT_IMPORT.metrics().waiting == 0


def test_threads_together_get_no_more_than_the_limit() -> None:
    limit, admitted = RateLimit(SlidingWindow(1000, per=3600.0)), list[int]()
    work = limit(lambda: admitted.append(1))

    def run() -> None:
        for _ in range(200):
            try:
                work()
            except RateLimited:
                pass

    threads = [threading.Thread(target=run) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1000


def test_a_thread_that_runs_an_event_loop_is_refused_and_not_blocked() -> None:
    limit = RateLimit(1, per=3600.0, burst=1, max_wait=inf)

    async def call() -> None:
        limit(lambda: None)()
        with pytest.raises(RateLimited):
            limit(lambda: None)()

    asyncio.run(call())


# --- keys ----------------------------------------------------------------------------------------------------------


def test_each_key_has_a_limit_of_its_own() -> None:
    limit = RateLimit(1, burst=1)
    limit.enter(0.0, "ann")
    limit.enter(0.0, "ben")
    with pytest.raises(RateLimited, match="the rate limit of 'ann' is used up"):
        limit.enter(0.0, "ann")
    with limit.key("eve"):
        assert limit.metrics().keys == 3


def test_a_decorator_finds_the_key_in_the_functions_arguments() -> None:
    @rate_limit(1, per=3600.0, burst=1, key=lambda user, size: user)
    def upload(user: str, size: int) -> int:
        return size

    @rate_limit(10, per=3600.0, permits=lambda size: size)
    async def download(size: int) -> int:
        return size

    assert upload("ann", 1) == 1
    assert upload("ben", size=2) == 2
    with pytest.raises(RateLimited):
        upload("ann", 3)
    assert asyncio.run(download(9)) == 9
    with pytest.raises(RateLimited):
        asyncio.run(download(2))


def test_every_kind_of_function_is_limited_by_key_and_stays_what_it_is() -> None:
    def limited() -> RateLimit:
        return RateLimit(1, per=3600.0, burst=1, key=lambda user: user)

    def plain(user: str) -> str:
        return user

    async def coroutine(user: str) -> str:
        return user

    def generator(user: str, times: int = 2) -> Iterator[str]:
        """Twice."""
        for _ in range(times):
            yield user

    async def stream(user: str) -> AsyncIterator[str]:
        got = yield user
        yield got or "nothing"

    async def drain(stream: Any) -> list[str]:
        return [await stream.__anext__(), await stream.asend("sent")]

    def ways(limit: RateLimit) -> dict[Any, Callable[[str], Any]]:
        made = {fn: limit(fn) for fn in (plain, coroutine, generator, stream)}
        return {
            plain: made[plain],
            coroutine: lambda user: asyncio.run(made[coroutine](user)),
            generator: lambda user: list(made[generator](user)),
            stream: lambda user: asyncio.run(drain(made[stream](user))),
        }

    assert inspect.iscoroutinefunction(limited()(coroutine))
    assert inspect.isgeneratorfunction(limited()(generator))
    assert inspect.isasyncgenfunction(limited()(stream))
    assert limited()(generator).__doc__ == "Twice."
    for fn, answer in ((plain, "ann"), (coroutine, "ann"), (generator, ["ann"] * 2), (stream, ["ann", "sent"])):
        call = ways(limited())[fn]
        assert call("ann") == answer
        with pytest.raises(RateLimited, match="'ann'"):
            call("ann")
        call("ben")


def test_an_async_generator_waits_for_its_permit_without_blocking_the_loop() -> None:
    clock = Clock()

    @RateLimit(1, burst=1, max_wait=10.0, permits=lambda: 1, runtime=clock)
    async def stream() -> AsyncIterator[int]:
        yield 1

    async def main() -> None:
        for _ in range(3):
            assert [item async for item in stream()] == [1]

    asyncio.run(main())
    assert clock.slept == pytest.approx([1.0, 1.0])


def test_a_pipeline_finds_the_key_in_the_call() -> None:
    limit = RateLimit(1, per=3600.0, burst=1, key=lambda call: call.what)
    step = limit.wrap(lambda call: call.what, SYSTEM, raised)
    assert [step(Call("ann")), step(Call("ben"))] == ["ann", "ben"]
    with pytest.raises(RateLimited):
        step(Call("ann"))


def test_only_an_idle_key_is_forgotten() -> None:
    limit = RateLimit(1, burst=1, max_keys=2)
    limit.enter(0.0, "old")
    limit.enter(0.9, "new")
    limit.enter(1.5, "third")  # "old" is full again and makes room
    assert limit.metrics(1.5).keys == 2
    with pytest.raises(RateLimited):
        limit.enter(1.5, "new")


def test_a_flood_of_keys_shares_one_bucket_and_gives_nobody_a_full_one() -> None:
    limit = RateLimit(1, per=3600.0, burst=1, max_keys=10)
    admitted = sum(limit.take(0.0, key) == 0 for key in range(1000))
    assert admitted == 10 + 1
    assert limit.metrics(0.0).keys == 10
    assert not any(limit.take(0.0, key) == 0 for key in range(1000))


def test_a_key_that_finds_a_place_after_the_flood_begins_with_what_it_used_of_the_shared_bucket() -> None:
    limit = RateLimit(1, burst=2, max_keys=1)
    limit.enter(0.0, "old")
    limit.enter(0.5, "late")
    limit.enter(0.5, "late")  # both tokens of the shared bucket
    with pytest.raises(RateLimited):
        limit.enter(1.0, "late")  # "old" has made room
    assert limit.take(1.5, "late") == 0


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1, "per": 0}, "per"),
        ({"limit": 1, "burst": 0.5}, "burst"),
        ({"limit": 1, "max_wait": -1}, "max_wait"),
        ({"limit": 1, "permits": 0}, "permits"),
        ({"limit": 1, "max_keys": 0}, "max_keys"),
        ({"limit": TokenBucket(1), "burst": 2}, "burst"),
    ],
)
def test_nonsense_is_refused_at_construction(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}[=,]"):
        RateLimit(settings.pop("limit"), **settings)


def test_a_decorator_without_a_limit_says_so() -> None:
    bare: Any = rate_limit
    with pytest.raises(TypeError, match="limit"):
        bare(lambda: None)

"""Timeouts and deadlines: who keeps the time, for whom, and what the caller hears."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from math import inf
from typing import Any

import anyio
import pytest

from meshlib.call import Call
from meshlib.errors import DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.deadline.deadline import carry, current, deadline, remaining
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry.retry import Retry
from meshlib.runtime import SYSTEM, Expired, Runtime
from meshlib.testing import ManualClock


@pytest.fixture(params=["system", "manual"])
def run(request: pytest.FixtureRequest) -> Runtime:
    return SYSTEM if request.param == "system" else ManualClock()


# --- async: the work is cancelled ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_late_work_is_cancelled(run: Runtime) -> None:
    ended: list[str] = []

    async def work() -> None:
        try:
            await run.sleep_async(60.0)
        finally:
            ended.append("cancelled")

    with pytest.raises(DeadlineExceeded) as error:
        await Pipeline(Timeout(0.02, name="users"), runtime=run)(work)()
    assert ended == ["cancelled"]
    assert (error.value.by, error.value.limit, error.value.sent) == ("users", 0.02, True)
    assert str(error.value) == "users: no answer within 20 ms"


@pytest.mark.anyio
async def test_a_timeout_error_of_the_works_own_passes_through(run: Runtime) -> None:
    async def work() -> None:
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as error:
        await Pipeline(Timeout(5.0), runtime=run)(work)()
    assert not isinstance(error.value, DeadlineExceeded)


@pytest.mark.anyio
async def test_each_try_has_its_own_limit_within_the_total() -> None:
    clock, began = ManualClock(), list[float]()

    async def hang() -> None:
        began.append(clock.now())
        await clock.sleep_async(60.0)

    with pytest.raises(DeadlineExceeded) as error:
        await Pipeline(Timeout(1.0, per_try=0.4), Retry(9, on=Exception, backoff=0.1), runtime=clock)(hang)()
    assert began == [0.0, 0.5]
    assert clock.now() == pytest.approx(0.9), "no third try would have had time: 0.9 + 0.1 = 1.0"
    assert error.value.limit == 0.4


@pytest.mark.anyio
async def test_a_limit_without_a_retry_is_the_shorter_one() -> None:
    clock = ManualClock()

    async def hang() -> None:
        await clock.sleep_async(60.0)

    with pytest.raises(DeadlineExceeded):
        await Pipeline(Timeout(1.0, per_try=0.4), runtime=clock)(hang)()
    assert clock.now() == 0.4


@pytest.mark.anyio
async def test_a_timeout_inside_a_retry_bounds_each_try() -> None:
    clock, tries = ManualClock(), list[float]()

    async def hang() -> None:
        tries.append(clock.now())
        await clock.sleep_async(60.0)

    with pytest.raises(DeadlineExceeded):
        await Pipeline(Retry(3, on=Exception, backoff=1.0), Timeout(0.5), runtime=clock)(hang)()
    assert tries == [0.0, 1.5, 3.0]


@pytest.mark.anyio
@pytest.mark.parametrize("policy", [Timeout(0.5), Timeout(None, per_try=0.5)], ids=["total", "per try"])
async def test_a_hanging_server_opens_the_breaker_beneath(policy: Timeout) -> None:
    clock, breaker = ManualClock(), CircuitBreaker(name="users", consecutive_failures=3)

    @Pipeline(policy, breaker, runtime=clock)
    async def hang() -> None:
        await clock.sleep_async(60.0)

    for _ in range(3):
        with pytest.raises(DeadlineExceeded):
            await hang()
    assert breaker.state == "open"


@pytest.mark.anyio
async def test_a_hanging_server_opens_the_breaker_of_a_decorator_beneath() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(name="users", consecutive_failures=3, runtime=clock)

    @breaker
    async def hang() -> None:
        await clock.sleep_async(60.0)

    for call in (Timeout(0.5, runtime=clock)(hang), Pipeline(Timeout(0.5), runtime=clock)(hang)):
        with pytest.raises(DeadlineExceeded):
            await call()
    with deadline(0.5, runtime=clock), pytest.raises(DeadlineExceeded):
        await Retry(1, on=Exception, runtime=clock)(hang)()
    assert breaker.state == "open"


@pytest.mark.anyio
async def test_a_cancellation_before_the_deadline_is_no_evidence() -> None:
    breaker = CircuitBreaker(name="users", consecutive_failures=1)

    @Pipeline(Timeout(60.0), breaker)
    async def hang() -> None:
        await anyio.sleep(60.0)

    with anyio.move_on_after(0.01):
        await hang()
    assert breaker.state == "closed"


@pytest.mark.anyio
async def test_a_step_that_keeps_its_deadline_itself_is_not_cancelled() -> None:
    clock, seen = ManualClock(), list[float]()

    async def transport(call: Call) -> str:
        seen.append(call.deadline)
        return "ok"

    step = Pipeline(Timeout(None, per_try=0.5), runtime=clock).over_async(transport, keeps_deadline=True)
    assert await step(Call("x")) == "ok"
    assert seen == [0.5]


def test_a_timeout_that_fires_with_a_cancellation_stays_a_cancellation() -> None:
    async def work() -> None:
        await asyncio.sleep(60.0)

    async def main() -> None:
        for early in (True, False):
            loop = asyncio.get_running_loop()
            task = asyncio.create_task(Pipeline(Timeout(0.01))(work)())
            await asyncio.sleep(0)
            due = loop.time() + 0.01
            loop.call_at(due - 0.0001 if early else due + 0.0001, task.cancel)
            while loop.time() < due + 0.001:
                pass  # both timers are due at the next turn of the loop
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())


def test_a_cancellation_of_an_enclosing_timeout_is_not_taken_for_ours() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError) as error:
            async with asyncio.timeout(0.01):
                await SYSTEM.until(SYSTEM.now() + 60.0, asyncio.sleep(60.0))
        assert not isinstance(error.value, Expired)
        task = asyncio.current_task()
        assert task is not None
        with pytest.raises(Expired):
            await SYSTEM.until(SYSTEM.now() + 0.01, asyncio.sleep(60.0))
        assert task.cancelling() == 0

    asyncio.run(main())


@pytest.mark.anyio
async def test_work_that_finishes_all_the_same_is_taken() -> None:
    async def stubborn() -> str:
        try:
            await anyio.sleep(60.0)
        except anyio.get_cancelled_exc_class():
            return "done"
        raise AssertionError

    assert await SYSTEM.until(SYSTEM.now() + 0.01, stubborn()) == "done"


# --- sync: the work is told ------------------------------------------------------------------------------------------


def test_a_late_answer_of_a_sync_call_is_not_taken_for_one() -> None:
    clock = ManualClock()
    with pytest.raises(DeadlineExceeded) as error:
        Pipeline(Timeout(1.0), runtime=clock)(lambda: clock.advance(1.5))()
    assert error.value.limit == 1.0


def test_a_sync_call_knows_what_remains() -> None:
    clock = ManualClock()

    @Pipeline(Timeout(2.0), runtime=clock)
    def work() -> float:
        clock.advance(0.5)
        return remaining(runtime=clock)

    assert work() == 1.5
    assert remaining(runtime=clock) == inf


def test_a_transports_own_timeout_becomes_ours_when_time_is_over() -> None:
    clock = ManualClock()

    def receive(after: float) -> None:
        clock.advance(after)
        raise TimeoutError("socket")

    call = Pipeline(Timeout(1.0), runtime=clock)(receive)
    with pytest.raises(DeadlineExceeded) as error:
        call(1.0)
    assert isinstance(error.value.__cause__, TimeoutError)
    with pytest.raises(TimeoutError, match="socket"):
        call(0.5)


def test_hung_sync_calls_leave_no_thread_and_starve_no_caller() -> None:
    clock, before, release, late = ManualClock(), threading.active_count(), threading.Event(), list[str]()

    @Pipeline(Fallback(lambda error: late.append(error.by)), Timeout(1.0), runtime=clock)
    def hang() -> None:
        release.wait(5.0)

    threads = [threading.Thread(target=hang) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert Timeout(5.0)(lambda: "healthy")() == "healthy"
    assert threading.active_count() <= before + 4, "no thread but the callers' own"
    clock.advance(1.0)
    release.set()
    for thread in threads:
        thread.join()
    assert late == ["timeout"] * 4


# --- deadlines from outside ------------------------------------------------------------------------------------------


def test_nested_deadlines_only_shorten() -> None:
    clock = ManualClock()
    with deadline(2.0, runtime=clock):
        with deadline(5.0, runtime=clock) as inner:
            assert inner.at == 2.0
        with deadline(1.0, runtime=clock):
            assert current() == 1.0
        assert current() == 2.0
    assert current() == inf


@pytest.mark.anyio
async def test_a_deadline_bounds_every_guarded_call_inside() -> None:
    clock = ManualClock()

    async def hang() -> None:
        await clock.sleep_async(60.0)

    for policies in (
        [Retry(3, on=Exception)],
        [Timeout(30.0)],
        [Timeout(30.0), Retry(3, on=Exception, backoff=0.0)],
        [Retry(3, on=Exception), Timeout(30.0)],
    ):
        start = clock.now()
        with deadline(1.0, runtime=clock), pytest.raises(DeadlineExceeded) as error:
            await Pipeline(*policies, runtime=clock)(hang)()
        assert clock.now() - start == pytest.approx(1.0)
        assert error.value.limit is None


@pytest.mark.anyio
async def test_a_guarded_call_inside_a_guarded_call_inherits_its_deadline() -> None:
    clock = ManualClock()

    @Pipeline(Timeout(60.0), runtime=clock)
    async def inner() -> None:
        await clock.sleep_async(50.0)

    @Pipeline(Timeout(1.0), runtime=clock)
    async def outer() -> None:
        await inner()

    with pytest.raises(DeadlineExceeded):
        await outer()
    assert clock.now() == 1.0


@pytest.mark.anyio
async def test_child_tasks_inherit_the_deadline() -> None:
    clock, seen = ManualClock(), list[float]()

    async def child() -> None:
        seen.append(current())

    with deadline(3.0, runtime=clock):
        async with anyio.create_task_group() as group:
            group.start_soon(child)
        await anyio.to_thread.run_sync(lambda: seen.append(current()))
    assert seen == [3.0, 3.0]


def test_threads_inherit_the_deadline_through_carry() -> None:
    clock, seen = ManualClock(), list[float]()
    with deadline(3.0, runtime=clock):
        thread = threading.Thread(target=carry(lambda: seen.append(current())))
        bare = threading.Thread(target=lambda: seen.append(current()))
    thread.start()
    thread.join()
    bare.start()
    bare.join()
    assert seen == [3.0, inf]


def test_a_deadline_in_an_async_generator_closed_from_another_task_is_no_error() -> None:
    async def items() -> AsyncIterator[int]:
        with deadline(5.0):
            yield 1
            yield 2

    async def main() -> None:
        generator: Any = items()
        await asyncio.create_task(generator.__anext__())
        await asyncio.create_task(generator.aclose())

    asyncio.run(main())


@pytest.mark.parametrize(
    "make",
    [
        lambda: Timeout(0.0),
        lambda: Timeout(-1.0),
        lambda: Timeout(float("nan")),
        lambda: Timeout(1.0, per_try=2.0),
        lambda: Timeout(1.0, per_try=0.0),
        lambda: deadline(-1.0),
        lambda: deadline(float("nan")),
    ],
)
def test_nonsense_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


def test_a_limit_per_try_holds_for_the_one_try_of_a_function_without_retries() -> None:
    @Timeout(5.0, per_try=0.01)
    async def hang() -> None:
        await anyio.sleep(1.0)

    with pytest.raises(DeadlineExceeded, match="10 ms"):
        asyncio.run(hang())

    clock = ManualClock()

    @Timeout(5.0, per_try=1.0, runtime=clock)
    def slow() -> None:
        clock.sleep(2.0)

    with pytest.raises(DeadlineExceeded, match=r"no answer within 1\.0 s"):
        slow()

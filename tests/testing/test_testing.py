"""The tools that are given to users, tried on themselves."""

from __future__ import annotations

import time
from math import inf

import anyio
import pytest
from anyio.lowlevel import checkpoint

from meshlib.call import Call
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.retry.retry import Retry
from meshlib.runtime import Expired
from meshlib.testing import After, ManualClock, Recorder, ScriptedStep


def test_sleeping_moves_the_clock() -> None:
    clock = ManualClock(100.0)
    clock.sleep(2.0)
    clock.advance(1.0)
    assert (clock.now(), clock.slept) == (103.0, [2.0])


def test_chance_is_a_list_or_a_seed() -> None:
    clock = ManualClock(chance=[0.1, 0.9])
    assert [clock.random() for _ in range(3)] == [0.1, 0.9, 0.1]
    assert ManualClock(chance=7).random() == ManualClock(chance=7).random()
    with pytest.raises(ValueError, match="expected at least one draw"):
        ManualClock(chance=[])


@pytest.mark.anyio
async def test_tasks_wake_in_the_order_of_their_time() -> None:
    clock, woke = ManualClock(), list[tuple[str, float]]()

    async def sleeper(name: str, *naps: float) -> None:
        for nap in naps:
            await clock.sleep_async(nap)
            woke.append((name, clock.now()))

    async with anyio.create_task_group() as group:
        group.start_soon(sleeper, "a", 3.0, 3.0)
        group.start_soon(sleeper, "b", 1.0, 1.0, 3600.0)
        group.start_soon(sleeper, "c", 2.5)
    assert woke == [("b", 1.0), ("b", 2.0), ("c", 2.5), ("a", 3.0), ("a", 6.0), ("b", 3602.0)]


@pytest.mark.anyio
async def test_time_waits_for_tasks_that_are_busy_with_each_other() -> None:
    clock = ManualClock()
    send, receive = anyio.create_memory_object_stream[int](0)

    async def chatter() -> float:
        async with send, receive, anyio.create_task_group() as group:
            for n in range(20):
                group.start_soon(send.send, n)
                assert await receive.receive() == n
        return clock.now()

    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep_async, 60.0)
        assert await chatter() == 0.0
    assert clock.now() == 60.0


@pytest.mark.anyio
async def test_time_waits_for_busy_tasks_on_a_slow_machine() -> None:
    clock = ManualClock()

    async def busy() -> float:
        for _ in range(3):
            time.sleep(0.03)  # the turn of the event loop takes long: that is no reason to go on without us
            await checkpoint()
        return clock.now()

    async with anyio.create_task_group() as group:
        group.start_soon(clock.sleep_async, 60.0)
        await checkpoint()
        assert await busy() == 0.0


@pytest.mark.anyio
async def test_time_goes_on_without_a_task_that_never_waits() -> None:
    clock = ManualClock()

    async def spin() -> None:
        while clock.now() < 60.0:
            await checkpoint()

    async with anyio.create_task_group() as group:
        group.start_soon(spin)
        await clock.sleep_async(60.0)


@pytest.mark.anyio
async def test_until_cuts_work_in_virtual_time() -> None:
    clock = ManualClock()
    with pytest.raises(Expired):
        await clock.until(5.0, clock.sleep_async(60.0))
    assert clock.now() == 5.0
    await clock.until(inf, clock.sleep_async(1.0))
    await clock.until(60.0, clock.sleep_async(1.0))
    assert clock.now() == 7.0


def test_a_scripted_step_answers_in_turn() -> None:
    clock = ManualClock()
    step = ScriptedStep(OSError("down"), After(2.0, "ok"), runtime=clock)
    assert Pipeline(Retry(3, on=Exception, backoff=1.0), runtime=clock).over(step)(Call("x")) == "ok"
    assert ([call.attempt for call in step.calls], clock.now()) == ([1, 2], 3.0)


@pytest.mark.anyio
async def test_a_scripted_step_leaves_nothing_running_when_it_is_cut() -> None:
    clock = ManualClock()
    step = ScriptedStep(After(60.0), runtime=clock)
    with pytest.raises(TimeoutError):
        await Pipeline(Timeout(1.0), runtime=clock)(step.ask_async)("x")
    assert (step.running, len(step.calls)) == (0, 1)


def test_a_recorder_keeps_what_is_emitted_until_it_is_closed() -> None:
    breaker, step = CircuitBreaker(name="users", consecutive_failures=1), ScriptedStep(OSError())
    with Recorder(breaker) as told:
        with pytest.raises(OSError):
            breaker(step.ask)()
        assert told.kinds() == ["BreakerChanged"]
    breaker.reset()
    assert len(told.events) == 1

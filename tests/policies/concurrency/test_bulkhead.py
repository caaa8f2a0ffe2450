"""The bulkhead: never more than its places, no place lost, first come first served."""

from __future__ import annotations

import asyncio
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import anyio
import anyio.to_thread
import pytest

from meshlib.call import SUCCESS, Call, raised
from meshlib.errors import BulkheadFull, DeadlineExceeded
from meshlib.events import CallRejected, Event
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.shell.decorators import bulkhead
from meshlib.runtime import SYSTEM

BUILT_AT_IMPORT = Bulkhead(1, max_wait=inf)


def idle(gate: Bulkhead) -> bool:
    state = gate.metrics()
    return (state.in_flight, state.waiting, state.available) == (0, 0, state.max_concurrent)


# --- by hand -------------------------------------------------------------------------------------------------------


def test_place_place_refusal_two_back_place() -> None:
    gate = Bulkhead(2)
    gate.enter(0.0)
    gate.enter(0.0)
    with pytest.raises(BulkheadFull, match="bulkhead: all 2 slots are taken"):
        gate.enter(0.0)
    gate.leave()
    gate.leave()
    gate.enter(0.0)
    assert gate.metrics().in_flight == 1
    assert gate.metrics().rejected == 1


def test_refusals_are_told() -> None:
    gate, told = Bulkhead(1, name="users"), list[Event]()
    gate.subscribe(told.append)
    gate.enter()
    with pytest.raises(BulkheadFull):
        gate.enter()
    assert isinstance(told[0], CallRejected)
    assert (told[0].name, told[0].reason) == ("users", "users: all 1 slots are taken")


def test_growing_admits_at_once_and_shrinking_waits_for_calls_to_end() -> None:
    gate = Bulkhead(2)
    gate.enter()
    gate.enter()
    gate.resize(3)
    gate.enter()
    gate.resize(1)
    assert gate.metrics().in_flight == 3
    gate.leave()
    gate.leave()
    with pytest.raises(BulkheadFull):
        gate.enter()
    gate.resize(2)
    gate.enter()
    gate.leave()
    gate.leave()
    assert idle(gate)
    assert gate.metrics().available == 2


def test_a_limit_that_stands_for_none_costs_no_memory() -> None:
    """Envoy's FAQ says 1000000000 for "no limit", Istio writes 2147483647: 17 GB when each place was made at once."""
    tracemalloc.start()
    try:
        gate = Bulkhead(1_000_000)
        gate.resize(10_000_000)
        assert tracemalloc.get_traced_memory()[1] < 20_000  # before the next one, which might take the machine along
        gate.resize(2_147_483_647)
        for _ in range(50):
            gate.enter()
        assert gate.metrics().available == 2_147_483_597
        for _ in range(50):
            gate.leave()
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()
    assert idle(gate)


def test_a_place_that_was_never_used_is_there_for_a_waiter_when_the_bulkhead_grows() -> None:
    gate = Bulkhead(1, max_wait=10.0)
    gate.enter()
    waiter = threading.Thread(target=gate.wait, args=(SYSTEM,))
    waiter.start()
    while not gate.metrics().waiting:
        time.sleep(0.001)
    gate.resize(2)
    waiter.join(10.0)
    assert (gate.metrics().in_flight, gate.metrics().available) == (2, 0)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_concurrent": 0}, "max_concurrent"),
        ({"max_concurrent": 1.5}, "max_concurrent"),
        ({"max_queue": -1}, "max_queue"),
        ({"max_wait": -0.1}, "max_wait"),
        ({"max_wait": float("nan")}, "max_wait"),
        ({"name": ""}, "name"),
    ],
)
def test_nonsense_is_refused_at_construction(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        Bulkhead(**settings)


# --- shells --------------------------------------------------------------------------------------------------------


def test_every_kind_of_function_gives_its_place_back() -> None:
    gate = Bulkhead(1)

    @gate
    def plain(fail: bool) -> int:
        assert gate.metrics().in_flight == 1
        if fail:
            raise OSError
        return 1

    @gate
    def steps() -> Any:
        yield gate.metrics().in_flight

    @gate
    async def later(fail: bool) -> int:
        await anyio.sleep(0)
        assert gate.metrics().in_flight == 1
        if fail:
            raise OSError
        return 2

    @gate
    async def stream() -> AsyncIterator[int]:
        yield gate.metrics().in_flight

    async def drain() -> list[int]:
        return [item async for item in stream()]

    assert plain(False) == 1
    with pytest.raises(OSError):
        plain(True)
    assert list(steps()) == [1]
    assert asyncio.run(later(False)) == 2
    with pytest.raises(OSError):
        asyncio.run(later(True))
    assert asyncio.run(drain()) == [1]
    assert idle(gate)


def test_with_blocks_nest_and_interleave() -> None:
    gate = Bulkhead(2)
    with gate, gate:
        with pytest.raises(BulkheadFull), gate:
            pass
        assert gate.metrics().in_flight == 2
    assert idle(gate)


def test_the_decorator_works_bare_and_with_settings() -> None:
    @bulkhead
    def bare() -> int:
        return 1

    @bulkhead(1, name="one")
    def nested(depth: int) -> int:
        return nested(depth - 1) if depth else 0

    assert bare() == 1
    assert nested(0) == 0
    with pytest.raises(BulkheadFull, match=r"^one: "):
        nested(1)


def test_a_step_of_a_pipeline_is_bounded_by_its_own_deadline() -> None:
    gate = Bulkhead(1, max_wait=60.0)
    step = gate.wrap(lambda call: "done", SYSTEM, raised)
    assert step(Call(None)) == "done"
    gate.enter()
    with pytest.raises(DeadlineExceeded) as caught:
        step(Call(None, deadline=SYSTEM.now()))
    assert not caught.value.sent
    gate.leave()
    assert idle(gate)


def test_a_wait_ends_with_the_deadline_in_force_here() -> None:
    gate = Bulkhead(1, max_wait=inf)
    work = gate(lambda: "done")
    with gate, deadline(0.01), pytest.raises(DeadlineExceeded):
        work()
    assert idle(gate)


# --- waiting tasks -------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_the_line_is_served_first_come_first_served() -> None:
    gate, order = Bulkhead(1, max_wait=inf), list[int]()

    async def work(number: int) -> None:
        async with gate:
            order.append(number)
            await anyio.sleep(0)

    async with anyio.create_task_group() as tasks, gate:
        for number in range(20):
            tasks.start_soon(work, number)
            await anyio.wait_all_tasks_blocked()
    assert order == list(range(20))
    assert idle(gate)


@pytest.mark.anyio
async def test_a_full_line_refuses_at_once() -> None:
    gate = Bulkhead(1, max_queue=1)
    async with anyio.create_task_group() as tasks, gate:
        tasks.start_soon(gate.wait_async, SYSTEM)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(BulkheadFull, match="all 1 slots are taken and 1 wait"):
            await gate.wait_async(SYSTEM)
    gate.leave()
    assert idle(gate)


@pytest.mark.anyio
async def test_a_waiter_gives_up_after_the_longest_wait() -> None:
    gate = Bulkhead(1, max_wait=0.01)
    async with gate:
        with pytest.raises(BulkheadFull, match=r"none came free within 0\.01 s"):
            await gate.wait_async(SYSTEM)
        assert gate.metrics().waiting == 0
    assert idle(gate)


@pytest.mark.anyio
async def test_cancelled_callers_and_waiters_cost_no_place() -> None:
    gate = Bulkhead(2, max_wait=inf)

    @gate
    async def work() -> None:
        await anyio.sleep_forever()

    for _ in range(100):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(work)
            await anyio.wait_all_tasks_blocked()
            assert (gate.metrics().in_flight, gate.metrics().waiting) == (2, 3)
            tasks.cancel_scope.cancel()
        assert idle(gate)


@pytest.mark.anyio
async def test_a_waiter_cancelled_with_the_place_in_its_hand_passes_it_on() -> None:
    gate, served = Bulkhead(1, max_wait=inf), list[str]()
    await gate.wait_async(SYSTEM) if gate.take() < 0 else None

    async def first(scope: anyio.CancelScope) -> None:
        with scope:
            await gate.wait_async(SYSTEM)
            gate.leave()

    async def second() -> None:
        await gate.wait_async(SYSTEM)
        served.append("second")
        gate.leave()

    async with anyio.create_task_group() as tasks:
        scope = anyio.CancelScope()
        tasks.start_soon(first, scope)
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        scope.cancel()
        gate.leave()
    assert served == ["second"]
    assert idle(gate)


def test_one_bulkhead_made_at_import_time_serves_many_event_loops() -> None:
    async def work() -> None:
        async with BUILT_AT_IMPORT:
            await anyio.sleep(0)

    async def contend() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(work)

    for backend in ("asyncio", "trio", "asyncio", "trio"):
        anyio.run(contend, backend=backend)
    threads = [threading.Thread(target=anyio.run, args=(contend,), kwargs={"backend": b}) for b in ("asyncio", "trio")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert idle(BUILT_AT_IMPORT)


@pytest.mark.anyio
async def test_a_thread_gives_its_place_to_a_task_and_a_task_to_a_thread() -> None:
    gate, done = Bulkhead(1, max_wait=10.0), list[str]()

    async def task() -> None:
        async with gate:
            done.append("task")

    def thread() -> None:
        with gate:
            done.append("thread")

    gate.enter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(task)
        await anyio.wait_all_tasks_blocked()
        await anyio.to_thread.run_sync(gate.leave)
    gate.enter()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(anyio.to_thread.run_sync, thread)
        while not gate.metrics().waiting:
            await anyio.sleep(0.001)
        gate.leave()
    assert done == ["task", "thread"]
    assert idle(gate)


def test_a_waiting_coroutine_that_is_thrown_away_leaves_the_line() -> None:
    gate = Bulkhead(1, max_wait=inf)

    async def main() -> None:
        async with gate:
            abandoned = gate.wait_async(SYSTEM)
            abandoned.send(None)
            assert gate.metrics().waiting == 1
            abandoned.close()
            assert gate.metrics().waiting == 0

    asyncio.run(main())
    assert idle(gate)


# --- waiting threads -----------------------------------------------------------------------------------------------


def test_threads_wait_and_never_exceed_the_places() -> None:
    gate, inside, most = Bulkhead(3, max_wait=inf), list[None](), 0

    @gate
    def work() -> None:
        nonlocal most
        inside.append(None)
        most = max(most, len(inside))
        inside.pop()

    with ThreadPoolExecutor(16) as pool:
        for future in [pool.submit(work) for _ in range(5000)]:
            future.result()
    assert most <= 3
    assert idle(gate)


def test_a_waiting_thread_gives_up_after_the_longest_wait() -> None:
    gate = Bulkhead(1, max_wait=0.01)
    gate.enter()
    with pytest.raises(BulkheadFull, match=r"within 0\.01 s"):
        gate.wait(SYSTEM)
    gate.leave()
    assert idle(gate)


def test_a_thread_that_runs_an_event_loop_is_refused_and_not_blocked() -> None:
    gate = Bulkhead(1, max_wait=inf)
    plain = gate(lambda: None)

    async def call() -> None:
        with gate, pytest.raises(BulkheadFull, match="event loop cannot wait"):
            plain()

    anyio.run(call, backend="asyncio")
    anyio.run(call, backend="trio")
    assert idle(gate)


def test_a_streamed_answer_keeps_its_place_until_it_is_closed() -> None:
    gate = Bulkhead(1)
    step = gate.wrap(lambda call: "the beginning", SYSTEM, raised)
    call = Call(None)
    call.later = []
    assert step(call) == "the beginning"
    assert gate.metrics().in_flight == 1
    for settle in call.later:
        settle(SUCCESS)
    assert idle(gate)

"""The adaptive limit as a gate: samples, partitions, waiting."""

from __future__ import annotations

import anyio
import pytest
from support.virtual_time import VirtualRuntime, run

from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS, Call, raised
from meshlib.errors import BulkheadFull
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.limit_algorithms import AIMD, FixedLimit, Gradient2, Vegas
from meshlib.runtime import SYSTEM
from meshlib.testing import ManualClock


class Heard(FixedLimit):
    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.samples = list[tuple[float, float, int, bool]]()

    def update(self, now: float, rtt: float, in_flight: int, dropped: bool = False) -> int:
        self.samples.append((now, rtt, in_flight, dropped))
        return self.limit


def shared(limit: FixedLimit) -> AdaptiveLimit:
    return AdaptiveLimit(limit, partitions={"batch": 0.3, "live": 0.7})


def test_a_sample_tells_how_many_were_under_way_when_the_call_began() -> None:
    heard = Heard(10)
    gate = AdaptiveLimit(heard)
    first, second = gate.enter(0.0), gate.enter(0.1)
    gate.leave(first, SUCCESS, 0.5, 0.5)
    gate.leave(second, FAILURE, 0.5, 0.4)
    gate.leave(gate.enter(1.0), IGNORED, 1.0, 0.0)
    gate.leave(gate.enter(1.0), FATAL, 1.0, 0.0)
    assert heard.samples == [(0.5, 0.5, 1, False), (0.5, 0.4, 2, True)]
    state = gate.metrics()
    assert (state.success, state.dropped, state.ignored, state.in_flight) == (1, 1, 2, 0)


def test_a_drop_shrinks_and_calls_under_way_end_in_peace() -> None:
    gate = AdaptiveLimit(AIMD(initial=10, min_limit=1, backoff=0.5))
    permits = [gate.enter(0.0) for _ in range(10)]
    gate.leave(permits.pop(), FAILURE, 1.0, 1.0)
    assert (gate.metrics().limit, gate.in_flight) == (5, 9)
    for _ in range(4):
        gate.leave(permits.pop(), IGNORED, 1.0, 1.0)
    with pytest.raises(BulkheadFull, match="all 5 slots are taken"):
        gate.enter(1.0)
    for permit in permits:
        gate.leave(permit, IGNORED, 1.0, 1.0)
    assert gate.in_flight == 0
    assert [gate.take() for _ in range(6)] == [1, 2, 3, 4, 5, -1]


def test_growth_lets_more_in() -> None:
    gate = AdaptiveLimit(AIMD(initial=1, min_limit=1))
    gate.leave(gate.enter(0.0), SUCCESS, 1.0, 1.0)
    assert [gate.take() for _ in range(3)] == [1, 2, -1]


def test_partitions_share_the_limit_and_may_use_what_is_free() -> None:
    gate = shared(FixedLimit(10))
    assert {name: part.limit for name, part in gate.metrics().partitions.items()} == {
        "unknown": 0,
        "batch": 3,
        "live": 7,
    }
    for _ in range(10):
        gate.enter(0.0, "batch")
    with pytest.raises(BulkheadFull):
        gate.enter(0.0, "batch")


def test_a_partition_gets_its_share_while_others_use_the_whole() -> None:
    gate = shared(FixedLimit(10))
    for _ in range(10):
        gate.enter(0.0, "batch")
    live = [gate.enter(0.0, "live") for _ in range(7)]
    with pytest.raises(BulkheadFull):
        gate.enter(0.0, "live")
    with pytest.raises(BulkheadFull):
        gate.enter(0.0, "nobody knows")
    assert gate.in_flight == 17
    for permit in live:
        gate.leave(permit, SUCCESS, 1.0, 1.0)
    assert gate.metrics().partitions["live"].in_flight == 0
    with pytest.raises(BulkheadFull):
        gate.enter(0.0, "batch")


def test_everybody_is_refused_once_all_shares_are_used() -> None:
    gate = shared(FixedLimit(10))
    for name, share in (("batch", 3), ("live", 7)):
        for _ in range(share):
            gate.enter(0.0, name)
    for name in ("batch", "live"):
        with pytest.raises(BulkheadFull):
            gate.enter(0.0, name)


def test_a_place_given_back_is_there_for_the_partition() -> None:
    gate = shared(FixedLimit(10))
    first = gate.enter(0.0, "batch")
    for _ in range(9):
        gate.enter(0.0, "batch")
    gate.leave(first, SUCCESS, 1.0, 1.0)
    gate.enter(1.0, "batch")
    assert gate.metrics().partitions["batch"].in_flight == 10


def test_shares_follow_the_limit() -> None:
    limit = FixedLimit(10)
    gate = shared(limit)
    permit = gate.enter(0.0, "batch")
    limit.settle(20)
    gate.leave(gate.enter(0.0, "live"), SUCCESS, 1.0, 1.0)
    assert gate.metrics().partitions["batch"].limit == 6
    gate.leave(permit, SUCCESS, 1.0, 1.0)
    assert gate.in_flight == 0


def test_a_pipeline_finds_the_partition_in_the_call_and_lets_some_bypass() -> None:
    gate = AdaptiveLimit(
        FixedLimit(1),
        partitions={"live": 1.0},
        partition_of=lambda call: call.what if call.what != "else" else None,
        bypass=lambda call: call.what == "admin",
    )
    seen = list[int]()

    def inner(call: Call) -> None:
        seen.append(gate.in_flight)

    step = gate.wrap(inner, SYSTEM, raised)
    gate.enter(0.0, "unknown")
    step(Call("live"))
    step(Call("admin"))
    with pytest.raises(BulkheadFull):
        step(Call("else"))
    assert seen == [2, 1]
    assert gate.metrics().bypassed == 1


def test_a_view_of_a_partition_guards_functions() -> None:
    gate = shared(FixedLimit(1))
    live, batch = gate.partition("live"), gate.partition("batch")
    with batch, live:
        assert gate.in_flight == 2
    assert live(lambda: gate.in_flight)() == 1
    assert gate.in_flight == 0


def waits(gate: AdaptiveLimit) -> bool:
    clock = gate.runtime
    assert isinstance(clock, ManualClock)
    for _ in range(gate.limit.limit):
        gate.enter(0.0)
    with pytest.raises(BulkheadFull, match="none came free within 5 s" if gate._wait_queue.max_wait else "are taken$"):
        gate.wait(clock)
    return clock.slept == [5.0]


def test_a_call_waits_for_up_to_five_seconds_unless_told_otherwise() -> None:
    for gate in (AdaptiveLimit(runtime=ManualClock()), AdaptiveLimit(Vegas(), max_queue=5, runtime=ManualClock())):
        assert waits(gate)
    for gate in (AdaptiveLimit(max_wait=None, runtime=ManualClock()), AdaptiveLimit(max_wait=0, runtime=ManualClock())):
        assert not waits(gate)
    assert not waits(AdaptiveLimit(partitions={"a": 0.5}, runtime=ManualClock()))


def test_a_server_that_is_slower_the_more_it_has_to_do_never_has_more_than_the_limit() -> None:
    """Ten at a time, 50 ms each: 200 calls a second, of which 2,000 come."""

    async def main(runtime: VirtualRuntime) -> tuple[int, int, int]:
        gate, workers = AdaptiveLimit(runtime=runtime), anyio.Semaphore(10)
        most = answered = refused = 0

        @gate
        async def server() -> None:
            nonlocal most
            most = max(most, gate.in_flight)
            assert gate.in_flight <= gate.metrics().limit
            async with workers:
                await anyio.sleep(0.05)

        async def call() -> None:
            nonlocal answered, refused
            try:
                await server()
                answered += 1
            except BulkheadFull:
                refused += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(8_000):
                tasks.start_soon(call)
                await anyio.sleep(0.0005)
        return most, answered, refused

    most, answered, refused = run("asyncio", main)
    assert most <= 200
    assert 1500 < answered < 2500  # 4 s of calls, 5 s of waiting
    assert answered + refused == 8_000


def test_drops_may_be_named() -> None:
    heard = Heard(10)
    gate = AdaptiveLimit(heard, on=TimeoutError)

    @gate
    def work(error: Exception | None) -> None:
        if error:
            raise error

    work(None)
    for error in (TimeoutError(), KeyError()):
        with pytest.raises(type(error)):
            work(error)
    assert [dropped for *_, dropped in heard.samples] == [False, True]


@pytest.mark.anyio
async def test_the_latest_may_be_served_first() -> None:
    gate, order = AdaptiveLimit(FixedLimit(1), max_wait=10.0, latest_first=True), list[int]()

    async def work(number: int) -> None:
        async with gate:
            order.append(number)

    async with anyio.create_task_group() as tasks, gate:
        for number in range(5):
            tasks.start_soon(work, number)
            await anyio.wait_all_tasks_blocked()
    assert order == [4, 3, 2, 1, 0]
    assert gate.in_flight == 0


@pytest.mark.anyio
async def test_async_functions_are_timed_and_counted() -> None:
    gate = AdaptiveLimit(Gradient2())

    @gate
    async def work() -> int:
        await anyio.sleep(0)
        return gate.in_flight

    assert await work() == 1
    assert gate.metrics().success == 1
    assert gate.in_flight == 0


BUILT_AT_IMPORT = AdaptiveLimit(FixedLimit(1), max_wait=10.0)


def test_one_limit_made_at_import_time_serves_many_event_loops() -> None:
    async def contend() -> None:
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(BUILT_AT_IMPORT(anyio.sleep), 0.001)

    for backend in ("asyncio", "trio", "asyncio"):
        anyio.run(contend, backend=backend)
    assert (BUILT_AT_IMPORT.in_flight, BUILT_AT_IMPORT.metrics().success) == (0, 15)


def test_shares_above_the_whole_are_refused() -> None:
    with pytest.raises(ValueError, match=r"^partitions="):
        AdaptiveLimit(partitions={"a": 0.6, "b": 0.5})
    with pytest.raises(ValueError, match=r"^max_wait, max_queue=.*: expected neither beside partitions"):
        AdaptiveLimit(partitions={"a": 0.6}, max_wait=1.0)


def test_a_limit_that_is_set_by_hand_counts_at_once() -> None:
    limit = FixedLimit(10)
    gate = AdaptiveLimit(limit, partitions={"batch": 0.3, "live": 0.7})
    gate.enter(0.0, "batch")
    limit.settle(20)
    metrics = gate.metrics()
    assert (metrics.limit, metrics.in_flight, metrics.partitions["batch"].limit) == (20, 1, 6)
    assert metrics.partitions["batch"].in_flight == 1

"""What users of other breakers saw, and shall not see here. The numbers are those of the defects (A1 …)."""

from __future__ import annotations

import asyncio
import datetime
import gc
import inspect
import random
import threading
import time
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import anyio
import pytest

from meshlib.call import FAILURE, SUCCESS
from meshlib.errors import BreakerOpen
from meshlib.events import BreakerChanged
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, Cooldown, Probes, State
from meshlib.policies.breaker.trip import FailureCount, FailureRate
from meshlib.testing import ManualClock


class Broken(Exception):
    pass


def opened(clock: ManualClock, **settings: Any) -> CircuitBreaker:
    """A breaker whose cooldown of 10 s is just over."""
    breaker = CircuitBreaker(name="users", consecutive_failures=1, cooldown=10.0, runtime=clock, **settings)
    breaker.leave(breaker.enter(clock.now()), FAILURE, clock.now())
    clock.advance(10.0)
    return breaker


def in_threads(number: int, work: Callable[[int], Any]) -> list[Any]:
    barrier = threading.Barrier(number)

    def begin(index: int) -> Any:
        barrier.wait()
        return work(index)

    with ThreadPoolExecutor(number) as pool:
        return list(pool.map(begin, range(number)))


def test_eight_threads_are_inside_at_once_and_do_not_queue() -> None:
    """A1: a peer held its lock while the user's function ran. Here all eight meet inside, or the barrier breaks."""
    breaker = CircuitBreaker()
    meeting = threading.Barrier(8)

    @breaker
    def meet() -> int:
        return meeting.wait(timeout=10)

    assert sorted(in_threads(8, lambda _: meet())) == list(range(8))


@pytest.mark.anyio
async def test_fifty_tasks_at_half_open_do_not_stampede() -> None:
    """A2: 50 of 50 calls reached the recovering service in 8 of 19 peers."""
    clock = ManualClock()
    breaker = opened(clock)
    entered, refused = 0, 0

    @breaker
    async def slow() -> None:
        nonlocal entered
        entered += 1
        await anyio.sleep(0.01)

    async def call() -> None:
        nonlocal refused
        try:
            await slow()
        except BreakerOpen:
            refused += 1

    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(call)
    assert (entered, refused, breaker.state) == (1, 49, State.CLOSED)


@pytest.mark.anyio
async def test_a_hundred_tasks_find_as_many_places_as_there_are_probes() -> None:
    clock = ManualClock()
    breaker = opened(clock, probes=Probes(7, concurrency=3))
    inside, most, entered = 0, 0, 0

    @breaker
    async def slow() -> None:
        nonlocal inside, most, entered
        inside, entered = inside + 1, entered + 1
        most = max(most, inside)
        await anyio.sleep(0.001)
        inside -= 1

    async def call() -> None:
        while breaker.state != State.CLOSED:
            try:
                await slow()
                return
            except BreakerOpen:
                await anyio.sleep(0.0005)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(call)
    assert most == 3 and entered >= 7 and breaker.state == State.CLOSED


@pytest.mark.parametrize("probes", [1, 3])
def test_twenty_threads_at_half_open_do_not_stampede(probes: int) -> None:
    clock = ManualClock()
    breaker = opened(clock, probes=probes)
    meeting = threading.Barrier(20)
    entered: list[int] = []

    @breaker
    def slow(index: int) -> None:
        entered.append(index)
        meeting.wait(timeout=10)  # all others have been refused, or are in here too

    def call(index: int) -> None:
        try:
            slow(index)
        except BreakerOpen:
            meeting.wait(timeout=10)

    in_threads(20, call)
    assert len(entered) == probes and breaker.state == State.CLOSED


def test_sixteen_threads_over_many_rounds_never_exceed_the_probes() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=1.0, probes=Probes(2, lease=1e9), runtime=clock)
    changes: list[Any] = []
    breaker.subscribe(changes.append)
    most = []

    def work(index: int) -> None:
        for turn in range(300):
            now = float(turn)
            try:
                permit = breaker.enter(now)
            except BreakerOpen:
                continue
            most.append(len(breaker._round._leases.copy()))
            breaker.leave(permit, FAILURE if (turn + index) % 3 else SUCCESS, now)

    in_threads(16, work)
    assert 1 <= max(most) <= 2
    moves = [event for event in changes if isinstance(event, BreakerChanged)]
    assert [event.before for event in moves[1:]] == [event.after for event in moves[:-1]]
    breaker.reset()
    assert breaker.enter(1e6) == breaker.generation


@pytest.mark.anyio
async def test_a_cancelled_probe_does_not_wedge_it() -> None:
    """A3, A5."""
    clock = ManualClock()
    breaker = opened(clock)

    @breaker
    async def hangs() -> None:
        await anyio.sleep(3600)

    for _ in range(3):
        with anyio.move_on_after(0.001):
            await hangs()
        assert breaker.state == State.HALF_OPEN
    assert breaker(lambda: "healthy")() == "healthy"
    assert breaker.state == State.CLOSED


def test_an_ignored_probe_does_not_wedge_it_nor_reopen_it() -> None:
    """A3, A6: a 404 as a probe's answer reopened a peer for ever."""
    clock = ManualClock()
    breaker = opened(clock, ignore=KeyError)
    for _ in range(20):
        with pytest.raises(KeyError):
            breaker({}.__getitem__)("absent")
        assert breaker.state == State.HALF_OPEN
    breaker(len)("healthy")
    assert breaker.state == State.CLOSED


def test_a_hung_probe_does_not_shut_the_service_out_for_ever() -> None:
    """A4: true of all ten peers that bound half-open."""
    clock = ManualClock()
    breaker = opened(clock)
    breaker.enter(clock.now())
    clock.advance(9.9)
    with pytest.raises(BreakerOpen):
        breaker(len)("")
    clock.advance(0.1)
    assert breaker(len)("") == 0


@pytest.mark.anyio
async def test_fail_fail_cancel_fail_opens_at_three() -> None:
    """A5: a cancellation reset a peer's counter."""
    breaker = CircuitBreaker(consecutive_failures=3)

    @breaker
    async def works(how: str) -> None:
        if how == "hang":
            await anyio.sleep(3600)
        raise Broken

    for how in ("fail", "fail", "hang", "fail"):
        with anyio.move_on_after(0.001) if how == "hang" else pytest.raises(Broken):
            await works(how)
    assert breaker.state == State.OPEN


@pytest.mark.anyio
async def test_five_cancellations_do_not_open_it() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    @breaker
    async def hangs() -> None:
        await anyio.sleep(3600)

    for _ in range(5):
        with anyio.move_on_after(0.001):
            await hangs()
    assert breaker.state == State.CLOSED and breaker.quiet


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit, BaseException])
def test_a_base_exception_is_no_failure_whatever_the_classifier_says(error: type[BaseException]) -> None:
    breaker = CircuitBreaker(consecutive_failures=1, classify=lambda call, result, error: FAILURE)

    @breaker
    def fails() -> None:
        raise error

    with pytest.raises(error):
        fails()
    assert breaker.state == State.CLOSED


def test_fail_fail_ignored_fail_opens_at_three() -> None:
    """A6: an excluded exception counted as a success in six peers."""
    breaker = CircuitBreaker(consecutive_failures=3, ignore=KeyError)

    @breaker
    def fails(error: type[Exception]) -> None:
        raise error

    for error in (Broken, Broken, KeyError, Broken):
        with pytest.raises(error):
            fails(error)
    assert breaker.state == State.OPEN


def test_a_slow_success_from_before_the_break_does_not_close_it() -> None:
    """A7, A8, seen from the decorator."""
    clock = ManualClock()
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=10.0, runtime=clock)
    go, gone = threading.Event(), threading.Event()

    @breaker
    def slow() -> None:
        gone.set()
        go.wait(10)

    @breaker
    def fails() -> None:
        raise Broken

    thread = threading.Thread(target=slow)
    thread.start()
    gone.wait(10)
    with pytest.raises(Broken):
        fails()
    go.set()
    thread.join()
    with pytest.raises(BreakerOpen):
        fails()


@pytest.mark.parametrize("step", [-3600.0, 3600.0])
def test_an_hour_of_wall_clock_more_or_less_changes_nothing(step: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A9: nine peers stayed open for an hour, or closed at once."""
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=30.0)
    with pytest.raises(Broken):
        breaker(raises)()
    real = time.time()
    monkeypatch.setattr(time, "time", lambda: real + step)

    class Stepped(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.datetime.fromtimestamp(real + step, tz)

    monkeypatch.setattr(datetime, "datetime", Stepped)
    with pytest.raises(BreakerOpen) as caught:
        breaker(raises)()
    assert caught.value.retry_after == pytest.approx(30.0, abs=5.0)


def raises() -> None:
    raise Broken


# --- A10: nothing is silently unguarded


def test_generators_are_guarded_and_stay_generators() -> None:
    breaker = CircuitBreaker(consecutive_failures=3)

    @breaker
    def rows(fail: bool = True) -> Iterator[int]:
        yield 1
        if fail:
            raise Broken

    assert inspect.isgeneratorfunction(rows)
    for _ in range(3):
        with pytest.raises(Broken):
            list(rows())
    with pytest.raises(BreakerOpen):
        list(rows())


def test_leaving_a_generator_early_is_neutral_also_as_a_probe() -> None:
    clock = ManualClock()
    breaker = opened(clock)

    @breaker
    def rows() -> Iterator[int]:
        yield from range(10)

    for _ in range(8):
        for _row in rows():
            break
        gc.collect()
        assert breaker.state == State.HALF_OPEN
    assert list(rows()) == list(range(10))
    assert breaker.state == State.CLOSED


def test_a_generator_is_sent_to_thrown_into_and_returns_as_before() -> None:
    @CircuitBreaker()
    def echo() -> Any:
        got = []
        while True:
            try:
                got.append((yield len(got)))
            except KeyError:
                return got

    running = echo()
    assert [next(running), running.send("a"), running.send("b")] == [0, 1, 2]
    with pytest.raises(StopIteration) as caught:
        running.throw(KeyError())
    assert caught.value.value == ["a", "b"]


@pytest.mark.anyio
async def test_async_generators_are_guarded_and_stay_async_generators() -> None:
    breaker = CircuitBreaker(consecutive_failures=3)

    @breaker
    async def rows(count: int, *, fail: bool = True) -> AsyncIterator[int]:
        for i in range(count):
            yield i
        if fail:
            raise Broken

    assert inspect.isasyncgenfunction(rows)
    assert [row async for row in rows(3, fail=False)] == [0, 1, 2]
    with pytest.raises(TypeError):
        rows()  # type: ignore[call-arg]
    for _ in range(3):
        with pytest.raises(Broken):
            [row async for row in rows(1)]
    with pytest.raises(BreakerOpen):
        [row async for row in rows(1)]


@pytest.mark.anyio
async def test_leaving_an_async_generator_early_is_neutral_and_closes_the_inner_one() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    closed = 0

    @breaker
    async def rows() -> Any:
        nonlocal closed
        try:
            for i in range(10):
                yield i
        finally:
            closed += 1

    for turn in range(1, 4):
        running = rows()
        async for _row in running:
            break
        await running.aclose()
        assert (closed, breaker.state) == (turn, State.HALF_OPEN)
    assert [row async for row in rows()] == list(range(10))
    assert breaker.state == State.CLOSED


@pytest.mark.anyio
async def test_an_async_generator_is_sent_to_and_thrown_into_as_before() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    @breaker
    async def echo() -> Any:
        got = []
        while True:
            try:
                got.append((yield len(got)))
            except KeyError:
                yield got
                return

    running = echo()
    assert [await running.__anext__(), await running.asend("a"), await running.asend("b")] == [0, 1, 2]
    assert await running.athrow(KeyError()) == ["a", "b"]
    with pytest.raises(StopAsyncIteration):
        await running.__anext__()
    assert breaker.state == State.CLOSED


@pytest.mark.anyio
async def test_a_plain_function_that_returns_a_coroutine_is_guarded_until_that_ends() -> None:
    clock = ManualClock()
    breaker = opened(clock)

    async def ask(fail: bool) -> str:
        if fail:
            raise Broken
        return "healthy"

    @breaker
    def lazy(fail: bool) -> Any:
        return ask(fail)

    work = lazy(False)
    assert breaker.state == State.HALF_OPEN
    with pytest.raises(BreakerOpen):
        lazy(False)
    assert await work == "healthy"
    assert breaker.state == State.CLOSED
    with pytest.raises(Broken):
        await lazy(True)
    assert breaker.state == State.OPEN


# --- A11 … A26


def test_the_call_that_trips_it_keeps_its_exception_and_so_does_a_failed_probe() -> None:
    """A11."""
    clock = ManualClock()
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=10.0, runtime=clock)
    for _ in range(2):
        with pytest.raises(Broken) as caught:
            breaker(raises)()
        assert caught.value.__cause__ is None and caught.value.__context__ is None
        clock.advance(10.0)


def test_ten_thousand_refusals_keep_no_memory() -> None:
    """A13: a peer raised one and the same exception, whose traceback pinned every caller's frame."""
    breaker = CircuitBreaker(consecutive_failures=1)
    breaker.force_open()
    guarded = breaker(raises)
    lengths = set()

    def caller() -> None:
        ballast = bytearray(100_000)
        try:
            guarded()
        except BreakerOpen as error:
            length, trace = 0, error.__traceback__
            while trace is not None:
                length, trace = length + 1, trace.tb_next
            lengths.add(length)
        del ballast

    caller()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(10_000):
            caller()
        kept = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert kept < 1_000_000 and len(lengths) == 1


def test_one_breaker_serves_two_event_loops_and_may_be_made_without_any() -> None:
    """A15."""
    breaker = CircuitBreaker(consecutive_failures=3)

    @breaker
    async def ask() -> str:
        await asyncio.sleep(0)
        return "healthy"

    async def many() -> list[str]:
        return await asyncio.gather(*(ask() for _ in range(20)))

    assert asyncio.run(many()) == asyncio.run(many()) == ["healthy"] * 20


def test_n_of_m_opens_at_exactly_n() -> None:
    """A22: 5 of 5 was reduced to 1 of 1 in a peer."""
    breaker = CircuitBreaker(trip=FailureCount(5, window_calls=5))
    for _ in range(4):
        breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    assert breaker.state == State.CLOSED
    breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    assert breaker.state == State.OPEN


@pytest.mark.parametrize(
    "settings",
    [{"failure_rate": 0.5, "minimum_calls": 100}, {"failure_rate": 1.0, "window": 60.0}, {}],
)
def test_a_failed_probe_reopens_whatever_the_window_asks_for(settings: dict[str, Any]) -> None:
    """A22: a peer let 60 of 60 failing probes through."""
    breaker = CircuitBreaker(cooldown=1.0, runtime=ManualClock(), **settings)
    breaker.open()
    breaker.leave(breaker.enter(1.0), FAILURE, 1.0)
    assert breaker.state == State.OPEN


def test_reopening_of_a_hundred_breakers_is_spread_over_the_whole_jitter() -> None:
    """A23: a peer drew its jitter anew at each refusal, so that the shortest always won."""
    clock = ManualClock(chance=7)
    breakers = [
        CircuitBreaker(consecutive_failures=1, cooldown=Cooldown(1.0, jitter=0.5), runtime=clock) for _ in range(100)
    ]
    for breaker in breakers:
        breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    reopened = []
    for breaker in breakers:
        for tick in range(1, 1100):
            try:
                breaker.enter(tick / 1000)
            except BreakerOpen:
                continue
            reopened.append(tick / 1000)
            break
    assert len(reopened) == 100
    assert max(reopened) - min(reopened) >= 0.8 * 0.5


@pytest.mark.anyio
async def test_a_block_inside_an_async_generator_may_be_closed_by_another_task() -> None:
    """A26: IndexError in a peer, and the admission was never settled."""
    clock = ManualClock()
    breaker = opened(clock)

    async def rows() -> Any:
        async with breaker:
            yield 1
            yield 2

    running = rows()
    assert await running.__anext__() == 1
    with pytest.raises(BreakerOpen):
        breaker.enter(clock.now())
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(running.aclose)
    assert breaker.state == State.HALF_OPEN
    breaker.enter(clock.now())


def test_a_block_inside_a_generator_may_be_closed_by_another_thread() -> None:
    clock = ManualClock()
    breaker = opened(clock)

    def rows() -> Iterator[int]:
        with breaker:
            yield 1

    running = rows()
    next(running)
    thread = threading.Thread(target=running.close)  # type: ignore[attr-defined]
    thread.start()
    thread.join()
    breaker.enter(clock.now())


def test_garbage_collection_may_close_a_guarded_generator_at_the_worst_moment() -> None:
    """A collection can start inside the breaker's own lock, and close a generator or a block that it guards."""

    class Collects(FailureCount):
        def record(self, failed: bool, took: float, now: float) -> str | None:
            while abandoned:
                abandoned.pop().close()
            return super().record(failed, took, now)

    breaker = CircuitBreaker(trip=Collects(2, window_calls=2))
    abandoned: list[Any] = []

    @breaker
    def rows() -> Iterator[int]:
        yield 1

    def block() -> Iterator[int]:
        with breaker:
            try:
                yield 1
            finally:
                raise Broken  # a failure, counted while the breaker is busy with another

    abandoned += [rows(), rows()]
    for running in abandoned:
        next(running)
    breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    assert breaker.state == State.CLOSED and not abandoned
    running = block()
    next(running)
    abandoned.append(running)
    with pytest.raises(Broken):
        breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    assert breaker.state == State.OPEN and not breaker._blocks._open


@pytest.mark.anyio
async def test_two_thousand_calls_cancelled_at_random_leave_no_lease_behind() -> None:
    """A14."""
    rolls = random.Random(3)
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=0.0005, probes=Probes(3, lease=3600.0))

    @breaker
    async def works(seconds: float, fails: bool) -> None:
        await anyio.sleep(seconds)
        if fails:
            raise Broken

    async def call() -> None:
        for _ in range(20):
            with anyio.move_on_after(rolls.random() * 0.002):
                try:
                    await works(rolls.random() * 0.002, rolls.random() < 0.2)
                except (Broken, BreakerOpen):
                    await anyio.sleep(0)

    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(call)
    assert not breaker._round._leases
    if breaker.state == State.OPEN:
        await anyio.sleep(0.001)
    await works(0.0, False)


# --- context managers


def test_blocks_nest_recur_and_run_in_many_threads() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    def recur(depth: int) -> None:
        with breaker, breaker:
            if depth:
                recur(depth - 1)

    in_threads(8, lambda _: [recur(5) for _ in range(50)])
    assert not breaker._blocks._open and breaker.state == State.CLOSED
    with pytest.raises(Broken), breaker, breaker:
        raise Broken
    assert breaker.state == State.OPEN


def test_exit_stacks_leave_what_they_entered_and_not_the_block_around_them() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    with ExitStack() as stack:
        stack.enter_context(breaker)  # the probe
        breaker.reset()
        with breaker:
            with pytest.raises(Broken), ExitStack() as inner:
                inner.enter_context(breaker)
                raise Broken
            assert breaker.state == State.OPEN
            stack.close()  # the old probe succeeded late: it counts for nothing
            assert breaker.state == State.OPEN
    assert not breaker._blocks._open


@pytest.mark.anyio
async def test_async_exit_stacks_too() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(breaker)
        stack.enter_context(breaker)
        async with breaker:
            pass
    assert not breaker._blocks._open
    with pytest.raises(Broken):
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(breaker)
            raise Broken
    assert breaker.state == State.OPEN


def test_entered_and_left_by_hand_every_permit_comes_back() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    class Connection:
        def __enter__(self) -> None:
            breaker.__enter__()

        def __exit__(self, *error: Any) -> None:
            breaker.__exit__(*error)

    with Connection(), Connection():
        pass
    assert not breaker._blocks._open
    with pytest.raises(RuntimeError, match="left more often than entered"):
        breaker.__exit__(None, None, None)


@pytest.mark.anyio
async def test_concurrent_blocks_of_many_tasks_keep_their_own_outcomes() -> None:
    breaker = CircuitBreaker(trip=FailureRate(1.0, window_calls=100, minimum_calls=100))

    async def work(index: int) -> None:
        try:
            async with breaker:
                await anyio.sleep(0.001 * (index % 7))
                if index % 2:
                    raise Broken
        except Broken:
            pass

    async with anyio.create_task_group() as tasks:
        for index in range(90):
            tasks.start_soon(work, index)
    look = breaker.metrics()
    assert (look.calls, look.failures) == (90, 45) and not breaker._blocks._open

"""The real clock: many deadlines behind one timer of the event loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import anyio
import pytest

from meshlib.parking import TaskParking, ThreadParking, task_parking
from meshlib.policies.deadline.deadline import current, deadline
from meshlib.policies.retry.hedge import Hedge
from meshlib.runtime import CALLBACK, SYSTEM, DeadlineTimers, Expired, timers_of
from meshlib.testing import ManualClock


class Loop:
    """The part of an event loop that timers need; its time is a number."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def time(self) -> float:
        return self.now

    def call_at(self, when: float, call: Callable[[], None], *, context: object) -> Timer:
        timer = Timer(when, call)
        self.timers.append(timer)
        return timer

    def advance_to(self, now: float) -> None:
        """Move the time, and fire the timers on the way."""
        while due := [timer for timer in self.timers if timer.when <= now]:
            first = min(due, key=lambda timer: timer.when)
            self.timers.remove(first)
            if not first.cancelled:
                self.now = max(self.now, first.when)
                first.call()
        self.now = now


class Timer:
    def __init__(self, when: float, call: Callable[[], None]) -> None:
        self.when, self.call, self.cancelled = when, call, False

    def cancel(self) -> None:
        self.cancelled = True


def test_timers_fire_in_the_order_of_their_time() -> None:
    loop: Any = Loop()
    timers, fired = DeadlineTimers(loop), list[tuple[int, float]]()
    for seconds in (5, 1, 3, 1):
        timers.set(seconds, lambda seconds=seconds: fired.append((seconds, loop.now)))
    loop.advance_to(10.0)
    assert fired == [(1, 1.0), (1, 1.0), (3, 3.0), (5, 5.0)]


def test_a_cancelled_timer_does_not_fire_and_is_swept_out() -> None:
    loop: Any = Loop()
    timers, fired = DeadlineTimers(loop), list[int]()
    timers.set(60.0, lambda: fired.append(1))
    for _ in range(10_000):
        timers.cancel(timers.set(30.0, lambda: fired.append(2)))
    assert len(timers._heap) < 300
    assert len(loop.timers) <= 2, "one timer for all, moved once"
    loop.advance_to(100.0)
    assert fired == [1]


def test_any_mixture_fires_once_and_on_time() -> None:
    loop: Any = Loop()
    timers, random, fired, wanted = DeadlineTimers(loop), Random(7), list[float](), list[float]()
    pending: list[tuple[float, list[Any]]] = []
    for _ in range(3_000):
        due = loop.now + random.uniform(0.0, 5.0)
        pending.append((due, timers.set(due - loop.now, lambda due=due: fired.append(loop.now - due))))
        if random.random() < 0.7:
            _, timer = pending.pop(random.randrange(len(pending)))
            if timer[CALLBACK] is not None:
                timers.cancel(timer)
                wanted.append(1)
        loop.advance_to(loop.now + random.uniform(0.0, 0.01))
    loop.advance_to(1_000.0)
    assert len(fired) + len(wanted) == 3_000
    assert all(abs(late) < 1e-9 for late in fired)
    assert timers._heap == []


def test_a_timer_that_fires_may_set_another() -> None:
    loop: Any = Loop()
    timers, fired = DeadlineTimers(loop), list[float]()
    timers.set(1.0, lambda: timers.set(1.0, lambda: fired.append(loop.now)))
    loop.advance_to(5.0)
    assert fired == [2.0]


def test_a_timer_that_raises_does_not_stop_the_others() -> None:
    def broken() -> None:
        raise LookupError("broken")

    loop: Any = Loop()
    timers, fired = DeadlineTimers(loop), list[float]()
    timers.set(1.0, broken)
    timers.set(2.0, lambda: fired.append(loop.now))
    with pytest.raises(LookupError, match="broken"):
        loop.advance_to(5.0)
    loop.advance_to(5.0)
    assert fired == [2.0]


def test_every_event_loop_has_its_own() -> None:
    seen: list[DeadlineTimers] = []

    async def main() -> None:
        seen.append(timers_of(asyncio.get_running_loop()))
        with pytest.raises(Expired):
            await SYSTEM.until(SYSTEM.now() + 0.005, asyncio.sleep(60.0))

    asyncio.run(main())
    asyncio.run(main())
    assert seen[0] is not seen[1]


def test_deadlines_of_two_loops_may_pass_at_the_same_moment() -> None:
    """While a timer of one loop fires in its thread, one of another loop fires in another thread."""

    async def elsewhere() -> None:
        with pytest.raises(Expired):
            await SYSTEM.until(SYSTEM.now() + 0.001, asyncio.sleep(60))
        passed.append(True)

    async def main() -> None:
        def fire() -> None:
            other = threading.Thread(target=asyncio.run, args=(elsewhere(),), daemon=True)
            other.start()
            other.join(10)
            fired.set()

        fired = asyncio.Event()
        timers_of(asyncio.get_running_loop()).set(0.0, fire)
        await fired.wait()

    passed: list[bool] = []
    asyncio.run(main())
    assert passed == [True]


def test_a_thousand_tasks_are_cancelled_each_at_its_own_time() -> None:
    async def one(seconds: float) -> bool:
        start = SYSTEM.now()
        try:
            await SYSTEM.until(start + seconds, asyncio.sleep(60.0))
        except Expired:
            return SYSTEM.now() - start >= seconds - 0.001
        return False

    async def main() -> None:
        random = Random(7)
        assert all(await asyncio.gather(*(one(random.uniform(0.0, 0.05)) for _ in range(1000))))

    asyncio.run(main())


def test_a_hedge_inherits_the_deadline_of_its_call() -> None:
    seen: list[float] = []

    @Hedge(0.005)
    async def work() -> None:
        seen.append(current())
        await asyncio.sleep(60.0 if len(seen) == 1 else 0.0)

    async def main() -> None:
        with deadline(30.0) as limit:
            await work()
            assert seen == [limit.at, limit.at]

    asyncio.run(main())


def test_waking_a_task_of_a_run_that_is_over_returns_false() -> None:
    async def main() -> TaskParking:
        return task_parking()

    assert not anyio.run(main, backend="trio").wake()
    assert not anyio.run(main, backend="asyncio").wake()


def test_the_wait_of_a_thread_returns_whether_it_was_woken() -> None:
    for run in (SYSTEM, ManualClock()):
        parking = ThreadParking()
        assert not parking.wait(0.001, run)
        parking.wake()
        assert parking.wait(60.0, run)

"""The pool of threads: bounded threads, bounded queue, callers that may walk away."""

from __future__ import annotations

import threading
from contextvars import ContextVar
from math import inf
from typing import Any

import anyio
import pytest

from meshlib.call import Call, raised
from meshlib.errors import BulkheadFull, DeadlineExceeded
from meshlib.policies.concurrency.thread_bulkhead import ThreadBulkhead, _Idle, _Job
from meshlib.runtime import SYSTEM


class Blocked:
    """Work that lasts until the test says so."""

    def __init__(self) -> None:
        self.started, self.go_on = threading.Event(), threading.Event()

    def __call__(self) -> str:
        self.started.set()
        assert self.go_on.wait(10)
        return "done"


def test_threads_then_queue_then_refusal() -> None:
    pool, work = ThreadBulkhead(1, max_queue=1), Blocked()
    running = pool.submit(work)
    assert work.started.wait(10)
    queued = pool.submit(int)
    with pytest.raises(BulkheadFull, match="all 1 threads work and 1 calls wait"):
        pool.submit(int)
    assert (pool.metrics().active, pool.metrics().queue_depth, pool.metrics().rejected) == (1, 1, 1)
    work.go_on.set()
    assert (running.result(10), queued.result(10)) == ("done", 0)
    pool.close()


def test_beyond_the_core_threads_the_queue_fills_before_threads_are_added() -> None:
    pool, work = ThreadBulkhead(2, min_threads=1, max_queue=1), [Blocked() for _ in range(3)]
    futures = [pool.submit(each) for each in work]
    assert work[0].started.wait(10)
    assert work[2].started.wait(10)  # the third: the second stands in the queue
    assert not work[1].started.is_set()
    assert pool.metrics().threads == 2
    for each in work:
        each.go_on.set()
    assert [future.result(10) for future in futures] == ["done"] * 3
    pool.close()


def test_a_thread_above_the_core_ends_when_idle() -> None:
    pool = ThreadBulkhead(1, min_threads=0, keep_alive=0.001)
    assert pool.submit(int).result(10) == 0
    for thread in threading.enumerate():
        if thread.name == "meshlib threads":
            thread.join(10)
    assert pool.metrics().threads == 0


def test_an_idle_thread_stays_when_the_others_have_ended_and_it_is_among_the_core() -> None:
    pool, waits = ThreadBulkhead(3, min_threads=1, keep_alive=60.0), list[float]()
    pool._threads = 3
    sleeper, job = _Idle(), _Job(int)

    class Parking:
        def wait(self, seconds: float) -> None:
            waits.append(seconds)
            pool._threads = 1  # while this one slept, the two others have ended
            if len(waits) == 2:
                sleeper.job = job

    sleeper.parking = Parking()  # type: ignore[assignment]
    assert pool._sleep(sleeper) is job
    assert (waits, pool.metrics().threads) == ([60.0, inf], 1)


def test_a_burst_leaves_the_core_threads_and_close_ends_them() -> None:
    pool, works = ThreadBulkhead(4, min_threads=2, keep_alive=0.005, name="burst"), [Blocked() for _ in range(4)]
    running = [pool.submit(work) for work in works]
    for work in works:
        assert work.started.wait(10)
    for work in works:
        work.go_on.set()
    assert [future.result(10) for future in running] == ["done"] * 4
    threads = [thread for thread in threading.enumerate() if thread.name == "meshlib burst"]
    pool.close()
    for thread in threads:
        thread.join(10)
    assert pool.metrics().threads == 0


def test_a_decorated_function_returns_and_raises_as_before() -> None:
    pool, here = ThreadBulkhead(2), threading.get_ident()
    who: ContextVar[str] = ContextVar("who", default="nobody")
    who.set("ann")

    @pool
    def work(fail: bool) -> tuple[bool, str]:
        if fail:
            raise TimeoutError("the work's own")
        return threading.get_ident() == here, who.get()

    assert work(False) == (False, "ann")
    with pytest.raises(TimeoutError, match="the work's own"):
        work(True)
    pool.close()


def test_a_caller_walks_away_and_work_that_did_not_begin_never_does() -> None:
    pool, work = ThreadBulkhead(1, max_queue=1, timeout=0.01), Blocked()
    with pytest.raises(DeadlineExceeded) as running:
        pool.call(work)
    assert running.value.sent
    with pytest.raises(DeadlineExceeded) as queued:
        pool.call(lambda: pytest.fail("must not run"))
    assert not queued.value.sent
    assert pool.metrics().queue_depth == 0
    work.go_on.set()
    pool.close()


def test_a_layer_keeps_the_deadline_of_the_call() -> None:
    pool, work = ThreadBulkhead(1), Blocked()
    step = pool.wrap(lambda call: work(), SYSTEM, raised)
    with pytest.raises(DeadlineExceeded, match="the deadline has passed"):
        step(Call(None, deadline=SYSTEM.now() + 0.01))
    work.go_on.set()
    pool.close()


@pytest.mark.anyio
async def test_tasks_wait_without_blocking_the_loop() -> None:
    pool, work = ThreadBulkhead(1), Blocked()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, work)
        await anyio.wait_all_tasks_blocked()
        work.go_on.set()
    assert await pool.run(int) == 0
    pool.close()


@pytest.mark.anyio
async def test_a_cancelled_task_leaves_the_queue() -> None:
    pool, work = ThreadBulkhead(1, max_queue=1), Blocked()
    pool.submit(work)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pool.run, int)
        await anyio.wait_all_tasks_blocked()
        assert pool.metrics().queue_depth == 1
        tasks.cancel_scope.cancel()
    assert pool.metrics().queue_depth == 0
    work.go_on.set()
    pool.close()


def test_whoever_has_the_result_finds_the_thread_free() -> None:
    pool = ThreadBulkhead(1)
    work = pool(lambda: 0)
    assert [work() for _ in range(2000)] == [0] * 2000
    assert pool.metrics().threads == 1
    pool.close()


def test_async_functions_are_refused() -> None:
    async def later() -> None: ...

    pool: Any = ThreadBulkhead()
    with pytest.raises(TypeError, match="use Bulkhead"):
        pool(later)
    with pytest.raises(TypeError, match="use Bulkhead"):
        pool.wrap_async(later, SYSTEM, raised)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"max_threads": 0}, "max_threads"),
        ({"max_threads": 1, "min_threads": 2}, "min_threads"),
        ({"keep_alive": 0}, "keep_alive"),
    ],
)
def test_nonsense_is_refused_at_construction(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}="):
        ThreadBulkhead(**settings)

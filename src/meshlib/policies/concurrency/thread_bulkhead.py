"""Thread bulkhead: runs calls in a pool of its own, so that the caller can leave one that hangs.

    a call ──▶ an idle thread, or fewer than `min_threads` ── yes ──▶ runs there
                     │ no
                     ├── room in the queue ──▶ waits for a thread
                     ├── fewer than `max_threads` ──▶ runs in a new one, which ends after `keep_alive` idle seconds
                     └── none of these ──▶ BulkheadFull

After Hystrix's THREAD isolation and resilience4j's ThreadPoolBulkhead. No thread can be stopped from outside: a caller
that leaves after `timeout` gets an answer, while the work keeps its thread until it is done.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NoResult
from contextvars import copy_context
from dataclasses import dataclass
from math import inf
from threading import Lock
from typing import Any, NoReturn, ParamSpec, TypeVar

from ... import forked
from ...call import AsyncStep, Classifier, R, Step
from ...errors import BulkheadFull, DeadlineExceeded
from ...events import CallRejected, Listener, Port
from ...parking import ThreadParking, start_thread, task_parking
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from ..shell.codegen import check_function, is_coroutine_function

P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ThreadBulkheadMetrics:
    """A thread pool at one moment, by the names that Hystrix and resilience4j have for it."""

    threads: int
    active: int
    largest: int
    min_threads: int
    max_threads: int
    queue_depth: int
    queue_capacity: float
    completed: int
    rejected: int


class _Job:
    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[], Any]) -> None:
        self.future: Future[Any] = Future()
        self.work = work

    def run(self) -> Callable[[], None] | None:
        """Do the work: returns what sets the outcome."""
        if not self.future.set_running_or_notify_cancel():
            return None
        try:
            result = self.work()
        except BaseException as error:
            return functools.partial(self.future.set_exception, error)
        return functools.partial(self.future.set_result, result)


class _Idle:
    __slots__ = ("job", "parking")

    def __init__(self) -> None:
        self.parking = ThreadParking()
        self.job: _Job | None = None


class ThreadBulkhead:
    """A pool of `min_threads` to `max_threads` threads (default: the same), and `max_queue` calls waiting for one.

    Use it as a decorator of a plain function (which then still returns its result), as a layer of a pipeline of plain
    functions, or by `submit` and `run`. `timeout` seconds (default: none) is how long a caller waits for the result
    before it gets `DeadlineExceeded`; what did not start by then never will. A thread above `min_threads` ends after
    `keep_alive` idle seconds. The work sees the caller's context variables. Raises ValueError for values without sense.

    Hystrix: 10 threads, no queue, keep-alive 1 min. resilience4j: as many as CPUs, queue 100, keep-alive 20 ms.
    """

    tier = "cluster"

    def __init__(
        self,
        max_threads: int = 10,
        *,
        min_threads: int | None = None,
        max_queue: int = 0,
        keep_alive: float = 60.0,
        timeout: float | None = None,
        name: str = "threads",
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.name: str = checks.name(name)
        self.runtime = runtime
        self.port: Port = Port()
        self.max_threads: int = checks.count("max_threads", max_threads)
        self.min_threads: int = (
            max_threads if min_threads is None else checks.count("min_threads", min_threads, min_value=0)
        )
        if self.min_threads > max_threads:
            raise ValueError(f"min_threads={min_threads!r}: expected at most max_threads={max_threads!r}")
        self.max_queue: int = checks.count("max_queue", max_queue, min_value=0)
        self.keep_alive: float = checks.seconds("keep_alive", keep_alive, infinite=True)
        self.timeout: float = inf if timeout is None else checks.seconds("timeout", timeout)
        self._lock = Lock()
        self._idle: list[_Idle] = []  # the last to fall idle is the next to work, so that the others may end
        self._queue: deque[_Job] = deque()
        self._threads = self._active = self._largest = self._completed = self._rejected = 0
        self._closed = False
        forked.register(self)

    def _after_fork(self) -> None:
        """The threads are the parent's, with all that they do and all that waits for them."""
        self.port._after_fork()
        self._lock = Lock()
        self._idle, self._queue = [], deque()
        self._threads = self._active = 0

    def submit(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Start `fn` in the pool, or raise `BulkheadFull`. Never waits."""
        job = _Job(functools.partial(copy_context().run, fn, *args, **kwargs))
        self._place(job)
        return job.future

    def call(self, fn: Callable[[], T], deadline: float = inf) -> T:
        """Run `fn` in the pool and wait here for its result: until `deadline` or for `timeout` seconds."""
        start = self.runtime.now()
        future = self.submit(fn)
        remaining = min(deadline - start, self.timeout)
        try:
            return future.result(None if remaining == inf else max(remaining, 0.0))
        except NoResult:
            if future.done():  # the work's own, or its answer came in the last moment
                return future.result()
            self._too_late(future, deadline - start)
        except BaseException:
            self._forget(future)
            raise

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run `fn` in the pool and let other tasks run meanwhile. A cancelled wait drops what has not started."""
        future = self.submit(fn, *args, **kwargs)
        parking = task_parking()
        future.add_done_callback(lambda _: parking.wake())
        try:
            await self.runtime.until(self.runtime.now() + self.timeout, parking.wait())
        except TimeoutError:
            if not future.done():
                self._too_late(future, inf)
        except BaseException:
            self._forget(future)
            raise
        return future.result()

    def close(self) -> None:
        """Take no more work; threads end as soon as the queue is empty."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for sleeper in idle:
            sleeper.parking.wake()

    # --- as a policy -----------------------------------------------------------------------------------------------

    def wrap(self, step: Step[R], run: Runtime, classify: Classifier) -> Step[R]:
        return lambda call: self.call(functools.partial(step, call), call.deadline)

    def wrap_async(self, step: AsyncStep[R], run: Runtime, classify: Classifier) -> AsyncStep[R]:
        raise TypeError(f"{self.name}: a pool of threads is for plain functions; for async ones use Bulkhead")

    def __call__(self, fn: Callable[P, T]) -> Callable[P, T]:
        check_function(fn)
        if is_coroutine_function(fn):
            raise TypeError(f"{fn!r} is async: a pool of threads is for plain functions; use Bulkhead")

        @functools.wraps(fn)
        def pooled(*args: P.args, **kwargs: P.kwargs) -> T:
            return self.call(functools.partial(fn, *args, **kwargs))

        return pooled

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event of this pool from now on; the function returned ends that."""
        return self.port.subscribe(listener)

    def metrics(self) -> ThreadBulkheadMetrics:
        """Everything at one moment, for a live view."""
        with self._lock:
            return ThreadBulkheadMetrics(
                threads=self._threads,
                active=self._active,
                largest=self._largest,
                min_threads=self.min_threads,
                max_threads=self.max_threads,
                queue_depth=len(self._queue),
                queue_capacity=self.max_queue,
                completed=self._completed,
                rejected=self._rejected,
            )

    # --- the pool --------------------------------------------------------------------------------------------------

    def _place(self, job: _Job) -> None:
        with self._lock:
            if self._closed:
                raise RuntimeError(f"{self.name}: the pool is closed")
            if self._idle:
                sleeper = self._idle.pop()
                sleeper.job = job
                self._active += 1
                sleeper.parking.wake()
                return
            room = len(self._queue) < self.max_queue
            if self._threads >= self.max_threads or (self._threads >= self.min_threads and room and self._threads):
                if room:
                    self._queue.append(job)
                    return
                self._rejected += 1
                error = BulkheadFull(
                    self.name, f"all {self.max_threads} threads work and {len(self._queue)} calls wait"
                )
            else:
                self._threads += 1
                self._active += 1
                self._largest = max(self._largest, self._threads)
                error = None
        if error is None:
            self._start(job)
            return
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def _start(self, job: _Job) -> None:
        try:
            start_thread(functools.partial(self._work, job), f"meshlib {self.name}")
        except BaseException:  # the system has no more threads to give
            with self._lock:
                self._threads -= 1
                self._active -= 1
            raise

    def _work(self, job: _Job | None) -> None:
        pool = self._queue
        while job is not None:
            set_outcome = job.run()
            if self._queue is not pool:  # the work has forked, and this is the child, which has no such thread
                return
            # The thread is free before the caller has the result, because the caller may at once call again.
            job, sleeper = self._next()
            if set_outcome is not None:
                set_outcome()
            if sleeper is not None:
                job = self._sleep(sleeper)

    def _next(self) -> tuple[_Job | None, _Idle | None]:
        with self._lock:
            self._completed += 1
            if self._queue:
                return self._queue.popleft(), None
            self._active -= 1
            if self._closed:
                self._threads -= 1
                return None, None
            sleeper = _Idle()
            self._idle.append(sleeper)
            return None, sleeper

    def _sleep(self, sleeper: _Idle) -> _Job | None:
        while True:
            sleeper.parking.wait(self.keep_alive if self._threads > self.min_threads else inf)
            with self._lock:
                if sleeper.job is not None:
                    return sleeper.job
                if self._threads > self.min_threads or self._closed:
                    self._threads -= 1
                    if sleeper in self._idle:
                        self._idle.remove(sleeper)
                    return None
                # Others have ended meanwhile, and we are among the core now.

    def _forget(self, future: Future[Any]) -> None:
        """Its caller has left: if it has not begun, it never will, and its place in the queue is free."""
        if future.cancel():
            with self._lock:
                for job in self._queue:
                    if job.future is future:
                        self._queue.remove(job)
                        break

    def _too_late(self, future: Future[Any], remaining: float) -> NoReturn:
        self._forget(future)
        limit = self.timeout if self.timeout <= remaining else None
        raise DeadlineExceeded(self.name, limit=limit, sent=not future.cancelled())

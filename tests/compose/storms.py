"""Every policy by itself in a storm of calls that fail, hang and are cancelled at each await; then nothing may be left.

The suite weathers a short one. The whole one, 100,000 calls for each policy on asyncio, on trio and from 16 threads:

    PYTHONPATH=tests python -m compose.storms 100000 [policy …]
"""

from __future__ import annotations

import gc
import inspect
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import inf
from random import Random
from threading import Thread, active_count
from typing import Any

import anyio

from meshlib.call import Call
from meshlib.errors import NoEndpoint
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, Probes
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.breaker.trip import FailureRate
from meshlib.policies.cache import request_cache as cache
from meshlib.policies.cache.collapse import collapse
from meshlib.policies.cache.flight import Flight
from meshlib.policies.cache.request_cache import RequestCache, SingleFlight, request_scope
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.concurrency.cluster_limits import ClusterLimits
from meshlib.policies.concurrency.limit_algorithms import AIMD, FixedLimit
from meshlib.policies.concurrency.thread_bulkhead import ThreadBulkhead
from meshlib.policies.deadline.deadline import current
from meshlib.policies.deadline.deadline_admission import DeadlineAdmission
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.rate.rate_limit import RateLimit, Smooth, TokenBucket
from meshlib.policies.retry.budget import ConcurrencyBudget
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.retry import Retry
from meshlib.policies.throttle.throttle import FailureThrottle, NackThrottle, Throttle
from meshlib.runtime import SYSTEM

CROWD = 50
THREADS = 16


class Odd(BaseException):
    """Neither an Exception nor a cancellation."""


class Subject:
    """One policy, how it guards, and what must be true when nobody is inside."""

    def __init__(self, guard: Callable[[Any], Any], empty: Callable[[], bool], *, kinds: str = "tasks threads") -> None:
        self.guard = guard
        self.empty = empty
        self.kinds = kinds.split()


def alone(policy: Any, empty: Callable[[], bool], **settings: Any) -> Subject:
    return Subject(Pipeline(policy), empty, **settings)


def breaker() -> Subject:
    gate = CircuitBreaker(
        trip=FailureRate(0.1, window_calls=20, minimum_calls=5), cooldown=0.001, probes=Probes(3, lease=3600.0)
    )
    return alone(gate, lambda: not gate._round._leases)


def bulkhead() -> Subject:
    gate = Bulkhead(5, max_queue=20, max_wait=0.01)
    return alone(
        gate, lambda: (gate.metrics().in_flight, gate.metrics().waiting, gate.metrics().available) == (0, 0, 5)
    )


def adaptive() -> Subject:
    gate = AdaptiveLimit(AIMD(initial=5, min_limit=2, max_limit=8), max_queue=20, max_wait=0.01)
    return alone(gate, lambda: (gate.metrics().in_flight, gate.metrics().waiting) == (0, 0))


def partitions() -> Subject:
    gate = AdaptiveLimit(
        FixedLimit(10), partitions={"0": 0.7, "1": 0.3}, partition_of=lambda call: str(_item(call) % 2)
    )
    return alone(gate, lambda: all(part.in_flight == 0 for part in gate.metrics().partitions.values()))


def _item(call: Call) -> int:
    item: int = call.what.args[0]
    return item


def limits() -> Subject:
    requests = ClusterLimits(max_requests=10).requests
    assert requests is not None
    return alone(requests, lambda: requests.in_flight == 0)


def rate() -> Subject:
    gate = RateLimit(Smooth(20_000, per=1.0, burst=5), max_wait=0.002)
    return alone(gate, lambda: gate.metrics().waiting == 0)


def keyed_rate() -> Subject:
    gate = RateLimit(TokenBucket(20_000, burst=5), max_wait=0.002, key=lambda call: _item(call) % 7)
    return alone(gate, lambda: gate.metrics().waiting == 0)


def throttle() -> Subject:
    by = FailureThrottle(window=0.05)
    return alone(Throttle(by), lambda: by.probability(SYSTEM.now() + 1.0) == 0.0)


def nacks() -> Subject:
    by = NackThrottle(window=0.01)
    return alone(Throttle(by, nack=lambda answer: isinstance(answer, OSError)), lambda: 0.0 <= by.average <= 1.0)


def fail_fast() -> Subject:
    gate = FailFast(lambda: [0.0005] * 5)

    def empty() -> bool:
        """If it is dead, whoever comes once the delay is over is let through as the attempt: nobody has kept it."""
        if gate.available:
            return True
        try:
            gate.enter(gate.retry_at if gate.retry_at < inf else SYSTEM.now() + 3600.0)
        except NoEndpoint:
            return False
        return True

    return alone(gate, empty)


def admission() -> Subject:
    return alone(DeadlineAdmission(), lambda: True)


def retry() -> Subject:
    budget = ConcurrencyBudget(1.0, min_concurrent=20)
    return alone(
        Retry(3, on=Exception, backoff=0.0001, budget=budget), lambda: (budget.calls, budget.retries) == (0, 0)
    )


def hedge() -> Subject:
    budget = ConcurrencyBudget(1.0, min_concurrent=20)
    policy = Hedge(0.0002, max_hedges=2, budget=budget, max_extra_load=1.0, on_failure=True)
    return alone(policy, lambda: budget.retries == 0, kinds="tasks")


def timeout() -> Subject:
    return alone(Timeout(0.001), lambda: True)


def fallback() -> Subject:
    policy = Fallback(lambda error: 0, max_concurrent=20)
    return alone(policy, lambda: policy.active == 0)


def single_flight() -> Subject:
    return alone(SingleFlight(key=lambda item: item % 5), lambda: alive(Flight) == 0)


def request_cache() -> Subject:
    def empty() -> bool:
        flights = cache._SCOPE.get() or {}
        return all(flight.members == 0 and flight.outcome is not None for flight in flights.values())

    return alone(RequestCache(key=lambda item: item % 5), empty)


def collapsed() -> Subject:
    def guard(work: Any) -> Any:
        if inspect.iscoroutinefunction(work):

            async def many(items: list[int]) -> list[int]:
                await work(items[0])
                return items

            return collapse(max_batch=5, within=0.0005)(many)

        def many_sync(items: list[int]) -> list[int]:
            work(items[0])
            return items

        return collapse(max_batch=5, within=0.0005)(many_sync)

    return Subject(guard, lambda: alive(Flight) <= 1)  # an empty batch may stand ready


def threads() -> Subject:
    gate = ThreadBulkhead(8, max_queue=20, timeout=0.002)

    def empty() -> bool:
        until = time.monotonic() + 5.0
        while gate.metrics().active or gate.metrics().queue_depth:  # those who walked away left work behind
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        gate.close()
        return True

    return alone(gate, empty, kinds="threads")


def composed(*hedges: Hedge) -> Subject:
    """Everything in the recommended order, and one budget for all."""
    budget = ConcurrencyBudget(1.0, min_concurrent=20)
    answer = Fallback(lambda error: 0, max_concurrent=1000)
    gate = CircuitBreaker(trip=FailureRate(0.5, window_calls=50), cooldown=0.001, probes=Probes(3, lease=3600.0))
    limit = AdaptiveLimit(AIMD(initial=30, min_limit=10, max_limit=40), max_queue=20, max_wait=0.002)
    places = Bulkhead(30, max_queue=20, max_wait=0.002)
    for one in hedges:
        one.budget = budget

    def empty() -> bool:
        inside = gate._round._leases, places.metrics().in_flight, places.metrics().waiting, limit.metrics().in_flight
        return (*inside, answer.active, budget.calls, budget.retries) == ({}, 0, 0, 0, 0, 0, 0)

    patience, again = (
        Timeout(0.02, per_try=0.01),
        Retry(3, on=Exception, backoff=0.0001, budget=budget, rejections=True),
    )
    policies = SingleFlight(key=lambda item: item % 40), answer, patience, again, *hedges
    return Subject(
        Pipeline(*policies, gate, Throttle(), RateLimit(50_000, max_wait=0.002), limit, places),
        empty,
        kinds="tasks" if hedges else "tasks threads",
    )


def composed_and_hedged() -> Subject:
    return composed(Hedge(0.0005, max_hedges=2, max_extra_load=1.0))


def alive(kind: type) -> int:
    gc.collect()
    return sum(isinstance(thing, kind) for thing in gc.get_objects())


SUBJECTS: dict[str, Callable[[], Subject]] = {
    make.__name__: make
    for make in (
        breaker, bulkhead, adaptive, partitions, limits, rate, keyed_rate, throttle, nacks, fail_fast, admission, retry,
        hedge, timeout, fallback, single_flight, request_cache, collapsed, threads, composed,
        composed_and_hedged,
    )
}  # fmt: skip


class Trouble:
    """Work that goes wrong by chance at each of its awaits, and knows how many are in it."""

    def __init__(self, seed: int) -> None:
        self.dice = Random(seed)
        self.running = self.begun = 0

    async def work(self, item: int) -> int:
        self.begun += 1
        self.running += 1
        try:
            for _ in range(self.dice.randrange(4)):
                await anyio.sleep(0)
                self.strike()
            if self.dice.random() < 0.02:
                await anyio.sleep(0.002)
        finally:
            self.running -= 1
        return item

    def work_sync(self, item: int) -> int:
        self.begun += 1
        self.strike()
        if self.dice.random() < 0.005:
            time.sleep(0.0001)
        return item

    def strike(self) -> None:
        luck = self.dice.random()
        if luck < 0.1:
            raise OSError("broken")
        if luck < 0.12:
            raise TimeoutError("its own")
        if luck < 0.121:
            raise Odd("no Exception")


def check(name: str, subject: Subject, trouble: Trouble) -> None:
    assert subject.empty(), f"{name}: something was left"
    assert trouble.running == 0, f"{name}: {trouble.running} attempts are still running"
    assert trouble.begun, f"{name}: nothing was ever let in"
    assert current() == inf, f"{name}: a deadline was left"


async def weather(name: str, calls: int) -> None:
    """`calls` calls in crowds of tasks."""
    subject, trouble = SUBJECTS[name](), Trouble(7)
    call, dice = subject.guard(trouble.work), trouble.dice
    before = len(anyio.get_running_tasks())

    async def one(item: int, scopes: list[anyio.CancelScope]) -> None:
        try:
            with anyio.move_on_after(dice.choice([0.0, 0.0002, 0.002, 1.0])) as scope:
                scopes.append(scope)
                if dice.random() < 0.1:
                    scope.cancel()
                if dice.random() < 0.2:
                    dice.choice(scopes).cancel()  # somebody who may be waiting anywhere
                await call(item)
        except Exception:
            pass
        except BaseException as error:
            only_odd(error)

    for start in range(0, calls, CROWD):
        scopes: list[anyio.CancelScope] = []
        with request_scope():
            async with anyio.create_task_group() as group:
                for item in range(start, start + CROWD):
                    group.start_soon(one, item, scopes)
            if start + CROWD >= calls:
                check(name, subject, trouble)
    assert len(anyio.get_running_tasks()) == before, f"{name}: a task was left"


def weather_threads(name: str, calls: int) -> None:
    """`calls` calls from 16 threads."""
    subject, trouble, before = SUBJECTS[name](), Trouble(7), active_count()
    call = subject.guard(trouble.work_sync)

    def many() -> None:
        with request_scope():
            for item in range(calls // THREADS):
                try:
                    call(item)
                except Exception:
                    pass
                except BaseException as error:
                    only_odd(error)

    with hurried():
        crowd = [Thread(target=many) for _ in range(THREADS)]
        for thread in crowd:
            thread.start()
        for thread in crowd:
            thread.join()
    check(name, subject, trouble)
    until = time.monotonic() + 5.0
    while active_count() > before and time.monotonic() < until:
        time.sleep(0.001)  # a pool's threads were told to end
    assert active_count() <= before, f"{name}: a thread was left"


@contextmanager
def hurried() -> Iterator[None]:
    """Threads change places a hundred times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(5e-5)
    try:
        yield
    finally:
        sys.setswitchinterval(usual)


def only_odd(error: BaseException) -> None:
    """Swallow what the work raised itself, also where a task group has wrapped it; let cancellations pass."""
    if isinstance(error, BaseExceptionGroup):
        rest = error.split(Odd)[1]
        if rest is not None:
            raise rest
    elif not isinstance(error, Odd):
        raise error


def main(calls: int, *names: str) -> None:
    for name in names or SUBJECTS:
        kinds = SUBJECTS[name]().kinds
        for kind in (["asyncio", "trio"] if "tasks" in kinds else []) + (["16 threads"] if "threads" in kinds else []):
            start = time.monotonic()
            if kind == "16 threads":
                weather_threads(name, calls)
            else:
                anyio.run(weather, name, calls, backend=kind)
            print(f"{name} on {kind}: {calls:,} calls in {time.monotonic() - start:.1f} s, nothing left", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

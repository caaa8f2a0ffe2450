"""A forked child begins with free places and with locks of its own, whatever the threads of its parent were doing."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import multiprocessing
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from math import inf
from typing import Any

import pytest
from support.census import none_under_way, under_way
from support.children import elsewhere, in_child

import meshlib
from meshlib import (
    BreakerOpen,
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    ClusterLimits,
    ConcurrencyBudget,
    Fallback,
    ManualControl,
    RateLimit,
    Retry,
    RetryBudget,
    SingleFlight,
    State,
    collapse,
    forked,
    request_scope,
)
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.cache.request_cache import RequestCache
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.limit_algorithms import FixedLimit
from meshlib.policies.concurrency.thread_bulkhead import ThreadBulkhead
from meshlib.policies.throttle.throttle import Throttle

Pause = Callable[[], None]


@pytest.fixture(autouse=True)
def census() -> Iterator[Callable[[], dict[str, int]]]:
    with none_under_way() as taken:
        yield taken
        gc.collect()


# --- calls of the parent's other threads -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "gate",
    [
        Bulkhead(2),
        Bulkhead(2, max_wait=inf),
        AdaptiveLimit(FixedLimit(2), max_wait=None),
        AdaptiveLimit(FixedLimit(2), partitions={"a": 0.5, "b": 0.5}).partition("a"),
        ClusterLimits(max_requests=2).requests,
        CircuitBreaker(probes=2, cooldown=0.001),
        Throttle(),
    ],
    ids=repr,
)
def test_a_gate_whose_places_are_all_taken_is_free_in_a_child(gate: Any) -> None:
    if isinstance(gate, CircuitBreaker):
        gate.open()
        gate.half_open()

    @gate
    def call(pause: Pause) -> str:
        pause()
        return "done"

    def child() -> tuple[list[str], dict[str, int]]:
        return [call(lambda: None) for _ in range(5)], under_way()

    with elsewhere(call, call):
        answers, left = in_child(child)
    assert answers == ["done"] * 5 and left == {}


def test_a_caller_in_the_line_stays_in_the_parent() -> None:
    gate = Bulkhead(1, max_wait=inf)
    done = threading.Event()

    @gate
    def call(pause: Pause) -> None:
        pause()

    def wait() -> None:
        call(lambda: None)
        done.set()

    with elsewhere(call):
        waiter = threading.Thread(target=wait)
        waiter.start()
        while gate.metrics().waiting == 0:
            time.sleep(0.001)
        found = in_child(lambda: (call(lambda: None), gate.metrics())[1])
    waiter.join()
    assert (found.in_flight, found.waiting, found.available) == (0, 0, 1) and done.is_set()


def test_a_child_that_forks_within_a_call_gives_back_one_place_and_not_two() -> None:
    gate = Bulkhead(2)
    inside: list[int] = []

    @gate
    def call(depth: int) -> int:
        inside.append(1)
        try:
            return call(depth - 1) if depth > 1 else len(inside)
        finally:
            inside.pop()

    def child() -> tuple[int, int, int]:
        """Runs within a call of the parent's, which ends here as well."""
        for _ in range(3):
            gate.leave()
            call(1)
        with pytest.raises(BulkheadFull):
            call(3)
        metrics = gate.metrics()
        return call(2), metrics.in_flight, metrics.available

    with gate:
        assert in_child(child) == (2, 0, 2)


def test_a_budget_of_retries_in_flight_is_whole_in_a_child() -> None:
    budget = ConcurrencyBudget(0.0, min_concurrent=1)

    def call(pause: Pause) -> None:
        budget.deposit(0.0)
        assert budget.withdraw(0.0)
        pause()
        budget.release()
        budget.finish()

    def child() -> tuple[int, int, int]:
        budget.release()  # of a call that the parent had under way
        budget.finish()
        return budget.balance(0.0), budget.calls, budget.retries

    with elsewhere(call):
        assert in_child(child) == (1, 0, 0)


def test_a_fallback_has_its_places_in_a_child() -> None:
    def instead(pause: Pause) -> str:
        pause()
        return "instead"

    @Fallback(instead=instead, max_concurrent=1)
    def call(pause: Pause) -> str:
        raise ConnectionError

    with elsewhere(call):
        assert in_child(lambda: call(lambda: None)) == "instead"


def test_a_pool_of_threads_works_in_a_child() -> None:
    pool = ThreadBulkhead(2, max_queue=1, name="two")

    def child() -> list[str]:
        futures = [pool.submit(lambda: "done") for _ in range(2)]
        return [future.result(10) for future in futures] + [pool(lambda: "done")() for _ in range(5)]

    def call(pause: Pause) -> None:
        pool.call(pause)

    try:
        with elsewhere(call, call):
            assert in_child(child) == ["done"] * 7
        assert in_child(child) == ["done"] * 7  # while its threads are idle
    finally:
        pool.close()


def test_a_run_that_the_parent_shares_begins_again_in_a_child() -> None:
    @SingleFlight()
    def call(key: str) -> str:
        if threading.current_thread() is not main:
            paused[0]()
        return f"{key} of {os.getpid()}"

    main, paused = threading.current_thread(), list[Pause]()

    def lead(pause: Pause) -> None:
        paused.append(pause)
        call("a")

    with elsewhere(lead):
        assert in_child(lambda: call("a") == f"a of {os.getpid()}")


def test_a_scope_forgets_in_a_child_what_still_runs_in_the_parent() -> None:
    @RequestCache()
    def call(key: str) -> str:
        if threading.current_thread() is not main:
            paused[0]()
        return f"{key} of {os.getpid()}"

    main, paused = threading.current_thread(), list[Pause]()
    with request_scope():
        known, context = call("known"), contextvars.copy_context()

        def lead(pause: Pause) -> None:
            paused.append(pause)
            context.run(call, "a")

        with elsewhere(lead):
            assert in_child(lambda: (call("a") == f"a of {os.getpid()}", call("known"))) == (True, known)


def test_a_batch_that_the_parent_gathers_begins_again_in_a_child() -> None:
    @collapse(within=0.001)
    def load(items: list[str]) -> dict[str, str]:
        if threading.current_thread() is not main:
            paused[0]()
        return {item: f"{item} of {os.getpid()}" for item in items}

    main, paused = threading.current_thread(), list[Pause]()

    def lead(pause: Pause) -> None:
        paused.append(pause)
        load("a")

    with elsewhere(lead):
        assert in_child(lambda: load("a") == f"a of {os.getpid()}")


def test_an_attempt_in_the_background_is_the_parents() -> None:
    gate = FailFast(lambda: [0.0, 0.0], lease=3600.0)
    gate.failed(0.0)
    assert gate.due(1.0) and not gate.due(2.0)
    assert in_child(lambda: gate.due(2.0))
    gate.ended(True, 3.0)


def test_who_waits_for_a_permit_waits_in_the_parent() -> None:
    gate = RateLimit(10.0, burst=1, max_wait=inf)

    def call(pause: Pause) -> None:
        gate.take(gate.runtime.now())
        pause()
        with gate:
            pass

    def child() -> tuple[int, bool]:
        gate.wait(gate.runtime)
        return gate.metrics().waiting, gate.metrics().available >= 0

    with elsewhere(call):
        assert in_child(child)[0] == 0


# --- what was learnt stays ---------------------------------------------------------------------------------------


def test_an_open_breaker_stays_open_in_a_child_and_a_window_stays_full() -> None:
    opened, counting = CircuitBreaker(cooldown=3600.0), CircuitBreaker(consecutive_failures=3)
    opened.open()
    for _ in range(2):
        counting.leave(counting.enter(0.0), meshlib.Verdict.FAILURE, 0.0)

    def child() -> State:
        with pytest.raises(BreakerOpen):
            opened.enter(opened.runtime.now())
        counting.leave(counting.enter(0.0), meshlib.Verdict.FAILURE, 0.0)
        return counting.state

    assert in_child(child) is State.OPEN


def test_a_spent_budget_stays_spent_in_a_child() -> None:
    budget = RetryBudget(0.1, min_per_second=1.0, ttl=10.0)
    while budget.withdraw(5.0):
        pass
    assert in_child(lambda: budget.withdraw(5.0)) is False


def test_children_draw_from_different_sequences() -> None:
    random.random()
    assert len({in_child(meshlib.runtime.SYSTEM.random) for _ in range(3)}) == 3


# --- in the middle of something ----------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["closed", "open", "half_open", "forced_open", "disabled", "metrics_only"])
def test_a_breaker_that_was_just_moved_is_whole_in_a_child(state: str) -> None:
    breaker = CircuitBreaker(cooldown=30.0)
    if state == "half_open":
        breaker.open()
    move = {"closed": breaker.reset, "disabled": breaker.disable, "open": breaker.open}
    move.get(state, getattr(breaker, {"forced_open": "force_open"}.get(state, state), breaker.reset))()
    was = breaker.admits, breaker.generation, breaker._until
    torn: dict[str, Any] = {"admits": False, "generation": -1, "_until": inf}  # as in the middle of `_move`

    def half(pause: Pause) -> None:
        with breaker._lock:
            for name, value in torn.items():
                setattr(breaker, name, value)
            pause()
            breaker.admits, breaker.generation, breaker._until = was

    def child() -> tuple[str, bool]:
        now = breaker.runtime.now()
        try:
            breaker.leave(breaker.enter(now), meshlib.Verdict.SUCCESS, now)
        except BreakerOpen as error:
            return str(breaker.state), error.retry_after is None or error.retry_after <= 30.0
        return str(breaker.state), True

    with elsewhere(half):
        found, good = in_child(child)
    assert found == {"half_open": "closed"}.get(state, state) and good


def test_breakers_that_were_just_switched_have_all_been_in_a_child() -> None:
    control = ManualControl()
    breakers = [CircuitBreaker(manual=control) for _ in range(3)]

    def half(pause: Pause) -> None:
        with control._lock:
            control._state = State.FORCED_OPEN
            breakers[0].force_open()
            pause()
            control.reset()

    with elsewhere(half):
        assert in_child(lambda: [str(one.state) for one in breakers]) == ["forced_open"] * 3


def test_a_listener_that_forks_hears_events_in_the_child_too() -> None:
    breaker, heard = CircuitBreaker(), list[object]()

    def hear(event: object) -> None:
        heard.append(event)
        if len(heard) == 1:
            told.append(in_child(lambda: (breaker.reset(), len(heard))[1]))

    told: list[int] = []
    breaker.subscribe(hear)
    breaker.open()
    assert told == [2] and len(heard) == 1


def test_events_that_another_thread_is_telling_are_told_once() -> None:
    breaker, heard = CircuitBreaker(), list[Any]()
    paused: list[Pause] = []

    def hear(event: Any) -> None:
        heard.append(event)
        if paused:
            paused.pop()()

    def tell(pause: Pause) -> None:
        paused.append(pause)
        breaker.open()

    def child() -> list[str]:
        heard.clear()
        breaker.reset()
        return [event.after for event in heard]

    breaker.subscribe(hear)
    with elsewhere(tell):
        breaker.force_open()  # queued: the other thread delivers it when it comes back
        assert in_child(child) == ["closed"]
    assert [event.after for event in heard] == ["open", "forced_open"]


# --- ways to fork ------------------------------------------------------------------------------------------------


def test_a_child_of_a_child_has_its_places() -> None:
    gate = Bulkhead(1)

    @gate
    def call(pause: Pause) -> str:
        pause()
        return "done"

    def child() -> tuple[str, str]:
        with elsewhere(call):
            return in_child(lambda: call(lambda: None)), "child"

    with elsewhere(call):
        assert in_child(child) == ("done", "child")


def test_a_fork_from_a_pool_of_threads() -> None:
    gate = Bulkhead(2)

    @gate
    def call(number: int) -> int:
        return in_child(lambda: gate(lambda: gate(lambda: number)())())

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(call, range(6))) == list(range(6))


def _answers(gate: Any, queue: Any) -> None:
    queue.put([gate(lambda: "done")() for _ in range(3)])


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_process_of_multiprocessing() -> None:
    gate, fork = Bulkhead(1), multiprocessing.get_context("fork")

    @gate
    def call(pause: Pause) -> None:
        pause()

    with elsewhere(call):
        queue = fork.SimpleQueue()
        process = fork.Process(target=_answers, args=(gate, queue))
        process.start()
        assert queue.get() == ["done"] * 3
        process.join()


def test_a_fork_within_a_running_loop_and_another_loop_in_the_child(census: Callable[[], dict[str, int]]) -> None:
    gate = Bulkhead(2, max_wait=inf)

    @gate
    async def call(seconds: float) -> str:
        await asyncio.sleep(seconds)
        return "done"

    async def many(seconds: float) -> list[str]:
        return await asyncio.gather(*[call(seconds) for _ in range(6)])

    def child() -> tuple[list[str], dict[str, int]]:
        asyncio._set_running_loop(None)
        return asyncio.run(many(0.0)), census()

    async def main() -> None:
        calls = asyncio.ensure_future(many(0.01))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert gate.in_flight == 2
        assert in_child(child) == (["done"] * 6, {})
        assert await calls == ["done"] * 6

    asyncio.run(main())


def test_forks_under_the_load_of_threads() -> None:
    """Whatever the threads are doing at that moment, no child waits, and none has lost a place."""
    budget = RetryBudget(min_per_second=1000.0)
    gates = CircuitBreaker(failure_rate=0.9), RateLimit(1e9), Throttle(), AdaptiveLimit(FixedLimit(4)), Bulkhead(4)
    over, flaky = threading.Event(), random.Random(1).random

    def work(fails: bool) -> str:
        if fails:
            raise ConnectionError
        return "done"

    for gate in gates:
        work = gate(work)
    work = SingleFlight()(Retry(2, on=ConnectionError, backoff=0.0, budget=budget)(work))

    def busy() -> None:
        while not over.is_set():
            try:
                work(flaky() < 0.2)
            except (ConnectionError, meshlib.Rejected):
                pass

    def child() -> list[Any]:
        # A breaker may have been open, and a throttle be shedding: that is known, and not lost.
        gates[0].reset()
        left = [gates[3].metrics().in_flight, gates[4].metrics().in_flight]
        for _ in range(20):
            gates[3].leave(gates[3].enter())
            with gates[4]:
                pass
        budget.withdraw(budget._rolled)
        gates[1].enter(gates[1].runtime.now())
        return left

    threads = [threading.Thread(target=busy) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        assert [in_child(child) for _ in range(30)] == [[0, 0]] * 30
    finally:
        over.set()
        for thread in threads:
            thread.join()


# --- the register itself -----------------------------------------------------------------------------------------


def test_a_policy_is_registered_weakly() -> None:
    before = len(forked._owners)
    made: list[Any] = [
        Bulkhead(1),
        CircuitBreaker(),
        Retry(on=OSError),
        Fallback(0),
        ThreadBulkhead(),
        collapse()(lambda items: items),
        meshlib.Mesh(),
        meshlib.Mesh().current,
    ]
    refs = [weakref.ref(one) for one in made[:5]]
    assert len(forked._owners) > before
    made.clear()
    gc.collect()
    assert [ref() for ref in refs] == [None] * 5
    assert len(forked._owners) <= before


def test_one_that_cannot_start_anew_keeps_no_other_from_it(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def _after_fork(self) -> None:
            raise RuntimeError("broken")

    class Equal:
        """Equal to all, and without a hash."""

        seen = 0

        def __eq__(self, other: object) -> bool:
            return True

        def _after_fork(self) -> None:
            self.seen += 1

    broken, equals = Broken(), (Equal(), Equal())
    for one in (equals[0], broken, equals[1]):
        forked.register(one)
    assert in_child(lambda: [one.seen for one in equals]) == [1, 1]
    assert in_child(lambda: in_child(lambda: [one.seen for one in equals])) == [2, 2]


def test_a_process_that_was_forked_without_pythons_hooks_catches_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Owner:
        seen = 0

        def _after_fork(self) -> None:
            self.seen += 1

    owner = Owner()
    forked.register(owner)
    forked.catch_up()
    assert owner.seen == 0
    monkeypatch.setattr(forked, "_process", -1)
    forked.catch_up()
    forked.catch_up()
    assert owner.seen == 1

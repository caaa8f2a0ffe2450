"""Request cache, single flight and collapsing: how often the work is done, and who hears what."""

from __future__ import annotations

import asyncio
import gc
import weakref
from threading import Barrier, Thread
from typing import Any

import anyio
import pytest

from meshlib.errors import DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.cache.collapse import _OpenBatches, collapse
from meshlib.policies.cache.request_cache import RequestCache, SingleFlight, request_scope
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.deadline.timeout import Timeout
from meshlib.testing import ManualClock


class Lost(Exception):
    """Something to point at weakly."""


class Work:
    """An async function that takes a second and counts its runs."""

    def __init__(self, clock: ManualClock, *outcomes: Any) -> None:
        self.clock = clock
        self.runs: list[Any] = []
        self.outcomes = list(outcomes)

    async def __call__(self, item: Any) -> Any:
        self.runs.append(item)
        await self.clock.sleep_async(1.0)
        outcome = self.outcomes.pop(0) if self.outcomes else f"{item}!"
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def gather(call: Any, *items: Any) -> list[Any]:
    results: list[Any] = [None] * len(items)

    async def one(place: int, item: Any) -> None:
        try:
            results[place] = await call(item)
        except Exception as error:
            results[place] = error

    async with anyio.create_task_group() as group:
        for place, item in enumerate(items):
            group.start_soon(one, place, item)
    return results


async def cancel(scope: anyio.CancelScope) -> None:
    scope.cancel()


# --- single flight ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_equal_calls_that_overlap_are_one() -> None:
    clock = ManualClock()
    work = Work(clock)
    call = Pipeline(SingleFlight(), runtime=clock)(work.__call__)
    assert await gather(call, 1, 2, 1, 1) == ["1!", "2!", "1!", "1!"]
    assert sorted(work.runs) == [1, 2]
    assert await call(1) == "1!"
    assert sorted(work.runs) == [1, 1, 2], "what is over is not remembered"


@pytest.mark.anyio
async def test_every_waiting_caller_gets_the_error() -> None:
    clock = ManualClock()
    work = Work(clock, OSError("down"))
    results = await gather(Pipeline(SingleFlight(), runtime=clock)(work.__call__), 1, 1, 1)
    assert [str(error) for error in results] == ["down"] * 3


@pytest.mark.anyio
async def test_if_the_running_caller_is_cancelled_another_runs_it_again() -> None:
    clock = ManualClock()
    work = Work(clock)
    call = Pipeline(SingleFlight(), runtime=clock)(work.__call__)
    results: list[Any] = []

    async def first(scope: anyio.CancelScope) -> None:
        with scope:
            await call(1)

    async def second() -> None:
        results.append(await call(1))

    async with anyio.create_task_group() as group:
        scope = anyio.CancelScope()
        group.start_soon(first, scope)
        while not work.runs:
            await anyio.sleep(0)
        group.start_soon(second)
        group.start_soon(second)
        await anyio.sleep(0)
        scope.cancel()
    assert (results, work.runs) == (["1!", "1!"], [1, 1])


@pytest.mark.anyio
async def test_a_cancelled_waiting_caller_leaves_alone() -> None:
    clock = ManualClock()
    work = Work(clock)
    call = Pipeline(SingleFlight(), runtime=clock)(work.__call__)
    results: list[Any] = []

    async def first() -> None:
        results.append(await call(1))

    async with anyio.create_task_group() as group:
        group.start_soon(first)
        while not work.runs:
            await anyio.sleep(0)
        with anyio.CancelScope() as scope:
            group.start_soon(cancel, scope)
            await call(1)
    assert (results, work.runs) == (["1!"], [1])


def test_threads_share_a_flight_too() -> None:
    barrier, runs, results = Barrier(4), list[int](), list[int]()

    @SingleFlight()
    def work(item: int) -> int:
        runs.append(item)
        while len(waiting) < 4:
            pass
        return item

    waiting: list[int] = []

    def call() -> None:
        barrier.wait()
        waiting.append(1)
        results.append(work(7))

    threads = [Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [7] * 4
    assert len(runs) <= 4


def test_one_policy_over_two_functions_keeps_them_apart() -> None:
    for policy in (SingleFlight(), RequestCache()):
        with request_scope():
            assert (policy(lambda x: x)(1), policy(lambda x: x + 1)(1)) == (1, 2)


def test_a_guarded_function_finds_its_answer_however_its_arguments_are_ordered() -> None:
    runs: list[Any] = []

    @RequestCache()
    def price(item: str, **how: str) -> int:
        runs.append((item, how))
        return len(runs)

    with request_scope():
        asked = [price("a", currency="EUR", tax="no"), price("a", tax="no", currency="EUR"), price("a"), price("a")]
    assert (asked, len(runs)) == ([1, 1, 2, 2], 2)
    assert price("a") == 3


def test_what_is_remembered_is_not_given_after_the_deadline() -> None:
    clock = ManualClock()
    price = RequestCache(runtime=clock)(lambda item: item)
    with request_scope():
        assert price(1) == 1
        with deadline(1.0, runtime=clock):
            assert price(1) == 1
            clock.advance(1.0)
            with pytest.raises(DeadlineExceeded):
                price(1)


@pytest.mark.anyio
async def test_an_error_is_not_remembered_by_a_guarded_function() -> None:
    outcomes: list[Any] = [Lost(), 1]

    @RequestCache()
    async def price() -> Any:
        outcome = outcomes.pop(0)
        if isinstance(outcome, Lost):
            raise outcome
        return outcome

    with request_scope():
        with pytest.raises(Lost):
            await price()
        assert [await price(), await price()] == [1, 1]


@pytest.mark.parametrize("policy", [SingleFlight(), RequestCache()])
def test_an_error_without_waiting_callers_is_freed_without_the_garbage_collector(policy: Any) -> None:
    @policy
    def work() -> None:
        raise Lost

    gc.disable()
    try:
        with request_scope():
            with pytest.raises(Lost) as caught:
                work()
            error = weakref.ref(caught.value)
            del caught
        assert error() is None
    finally:
        gc.enable()


def test_a_flight_works_in_every_event_loop() -> None:
    @SingleFlight()
    async def work(item: int) -> int:
        await asyncio.sleep(0)
        return item

    for _ in range(2):
        assert asyncio.run(gather(work, 1, 1)) == [1, 1]


# --- request cache ---------------------------------------------------------------------------------------------------


def test_within_a_scope_equal_calls_run_once() -> None:
    runs: list[Any] = []
    call = RequestCache()(lambda *args, **kwargs: runs.append((args, kwargs)) or len(runs))
    with request_scope():
        assert [call(1), call(1), call(1, b=2), call(1, b=2)] == [1, 1, 2, 2]
        with request_scope():
            assert call(1) == 3
        assert call(1) == 1
    assert [call(1), call(1)] == [4, 5]


def test_errors_are_not_remembered() -> None:
    runs: list[int] = []

    @RequestCache()
    def work() -> int:
        runs.append(1)
        if len(runs) == 1:
            raise OSError
        return 7

    with request_scope():
        with pytest.raises(OSError):
            work()
        assert work() == 7


def test_a_key_says_what_equal_means() -> None:
    call = RequestCache(key=lambda user, trace: user["id"])(lambda user, trace: trace)
    with request_scope():
        assert [call({"id": 1}, "a"), call({"id": 1}, "b"), call({"id": 2}, "c")] == ["a", "a", "c"]


@pytest.mark.anyio
async def test_child_tasks_share_the_scope() -> None:
    clock = ManualClock()
    work = Work(clock)
    call = Pipeline(RequestCache(), runtime=clock)(work.__call__)
    with request_scope():
        assert await gather(call, 1, 1) == ["1!", "1!"]
        assert await call(1) == "1!"
    assert work.runs == [1]


# --- collapse --------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_calls_of_one_become_one_call_of_many() -> None:
    clock, batches = ManualClock(), list[list[int]]()

    @collapse(max_batch=10, within=0.01, runtime=clock)
    async def load(ids: list[int]) -> dict[int, str]:
        batches.append(ids)
        return {id: f"user {id}" for id in ids}

    assert await gather(load, 3, 1, 3, 2) == ["user 3", "user 1", "user 3", "user 2"]
    assert [sorted(batch) for batch in batches] == [[1, 2, 3]]
    assert clock.now() == 0.01


@pytest.mark.anyio
async def test_a_full_batch_goes_at_once() -> None:
    clock, batches = ManualClock(), list[list[int]]()

    @collapse(max_batch=2, within=5.0, runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        batches.append(ids)
        return [id * 10 for id in ids]

    assert await gather(load, 1, 2, 3, 4) == [10, 20, 30, 40]
    assert (sorted(map(len, batches)), clock.now()) == ([2, 2], 0.0)


@pytest.mark.anyio
async def test_every_caller_of_a_failing_batch_gets_the_error() -> None:
    clock = ManualClock()

    @collapse(runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        raise OSError("down")

    assert [str(error) for error in await gather(load, 1, 2)] == ["down", "down"]


@pytest.mark.anyio
async def test_an_item_may_fail_alone_or_go_unanswered() -> None:
    clock = ManualClock()

    @collapse(runtime=clock)
    async def load(ids: list[int]) -> dict[int, Any]:
        return {1: "ok", 2: KeyError("no such user")}

    ok, failed, missing = await gather(load, 1, 2, 3)
    assert (ok, type(failed), type(missing)) == ("ok", KeyError, LookupError)


@pytest.mark.anyio
async def test_a_sequence_of_the_wrong_length_is_an_error_for_all() -> None:
    clock = ManualClock()

    @collapse(runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        return [1]

    assert [type(error) for error in await gather(load, 1, 2)] == [LookupError, LookupError]


@pytest.mark.anyio
async def test_a_batch_survives_the_cancellation_of_its_first_caller() -> None:
    clock, batches, results = ManualClock(), list[list[int]](), list[int]()

    @collapse(within=5.0, runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        batches.append(ids)
        return [id * 10 for id in ids]

    async def second() -> None:
        results.append(await load(2))

    async with anyio.create_task_group() as group:
        with anyio.CancelScope() as scope:
            group.start_soon(second)
            group.start_soon(cancel, scope)
            await load(1)
    assert results == [20]
    assert (clock.now(), len(batches)) == (5.0, 1)


def test_threads_are_gathered_too() -> None:
    batches: list[list[int]] = []
    results: dict[int, int] = {}

    @collapse(max_batch=4, within=5.0)
    def load(ids: list[int]) -> list[int]:
        batches.append(ids)
        return [id * 10 for id in ids]

    def call(id: int) -> None:
        results[id] = load(id)

    threads = [Thread(target=call, args=(id,)) for id in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == {0: 0, 1: 10, 2: 20, 3: 30}
    assert len(batches) == 1


def test_a_thread_waits_no_longer_than_its_deadline() -> None:
    entered, release = Barrier(2), Barrier(2)

    @SingleFlight(name="profiles")
    def work() -> None:
        entered.wait()
        release.wait()

    thread = Thread(target=work)
    thread.start()
    entered.wait()
    with deadline(0.01), pytest.raises(DeadlineExceeded, match="profiles") as caught:
        work()
    assert caught.value.sent, "the other call is under way"
    release.wait()
    thread.join()


@pytest.mark.parametrize("options", [{"max_batch": 0}, {"within": -1.0}, {"within": float("nan")}])
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        collapse(**options)


@pytest.mark.anyio
async def test_an_async_caller_waits_no_longer_than_its_deadline_and_the_others_get_their_answers() -> None:
    clock, batches, results = ManualClock(), list[list[int]](), list[Any]()

    @collapse(within=0.01, runtime=clock)
    async def load(ids: list[int]) -> list[int]:
        batches.append(ids)
        await clock.sleep_async(1.0)
        return [id * 10 for id in ids]

    async def call(id: int, seconds: float) -> None:
        with deadline(seconds, runtime=clock):
            try:
                results.append((await load(id), clock.now()))
            except DeadlineExceeded as error:
                results.append((error.by, error.sent, clock.now()))

    async with anyio.create_task_group() as group:
        for id, seconds in ((1, 0.005), (2, 0.5), (3, 60.0)):
            group.start_soon(call, id, seconds)
    assert results[:2] == [("load", False, 0.005), ("load", True, 0.5)]
    assert results[2][0] == 30


@pytest.mark.anyio
@pytest.mark.parametrize("shared", ["collapse", "single flight"])
async def test_the_short_deadline_of_the_running_caller_is_not_that_of_the_others(shared: str) -> None:
    clock, runs, results = ManualClock(), list[int](), list[Any]()

    @Pipeline(Timeout(30.0), runtime=clock)
    async def send() -> None:
        await clock.sleep_async(1.0)

    async def many(ids: list[int]) -> list[int]:
        runs.append(1)
        await send()
        return [7 for _ in ids]

    async def one(id: int) -> int:
        return (await many([id]))[0]

    load: Any = collapse(runtime=clock)(many) if shared == "collapse" else SingleFlight(runtime=clock)(one)

    async def call(seconds: float) -> None:
        with deadline(seconds, runtime=clock):
            try:
                results.append(await load(7))
            except DeadlineExceeded:
                results.append("late")

    async with anyio.create_task_group() as group:
        group.start_soon(call, 0.5)
        group.start_soon(call, 60.0)
    assert sorted(map(str, results)) == ["7", "late"]


def test_a_thread_that_runs_a_batch_ends_at_its_deadline() -> None:
    with deadline(0.01), pytest.raises(DeadlineExceeded) as caught:
        collapse(within=60.0)(lambda ids: ids)(1)
    assert not caught.value.sent


def test_a_thread_at_its_deadline_leaves_the_batch_to_the_others() -> None:
    first, results = Barrier(2), list[Any]()

    @collapse(within=0.5)
    def load(ids: list[int]) -> list[int]:
        return [id * 10 for id in ids]

    def hurried() -> None:
        with deadline(0.02):
            first.wait()
            try:
                load(1)
            except DeadlineExceeded:
                results.append(0)

    thread = Thread(target=hurried)
    thread.start()
    first.wait()
    results.append(load(2))
    thread.join()
    assert sorted(results) == [0, 20]


@pytest.mark.anyio
async def test_a_deadline_that_is_over_sends_nothing() -> None:
    clock = ManualClock()
    many = Work(clock)
    load = collapse(runtime=clock)(many.__call__)
    with deadline(0.0, runtime=clock), pytest.raises(DeadlineExceeded):
        await load(1)
    with deadline(0.0), pytest.raises(DeadlineExceeded):
        collapse()(lambda ids: ids)(1)
    assert not many.runs


@pytest.mark.anyio
async def test_methods_are_gathered_for_each_object_apart() -> None:
    clock, batches = ManualClock(), list[tuple[str, list[int]]]()

    class Users:
        __slots__ = ("name",)  # not weakly referable, and told apart by identity

        def __init__(self, name: str) -> None:
            self.name = name

        def __eq__(self, other: object) -> bool:
            return True

        @collapse(runtime=clock)
        async def load(self, ids: list[int]) -> dict[int, str]:
            batches.append((self.name, sorted(ids)))
            return {id: f"{self.name} {id}" for id in ids}

        @collapse(max_batch=1)
        def read(self, ids: list[int]) -> list[str]:
            return [f"{self.name} {id}" for id in ids]

    ours, theirs = Users("ours"), Users("theirs")
    results: list[str] = []

    async def call(users: Users, id: int) -> None:
        results.append(await users.load(id))

    async with anyio.create_task_group() as group:
        for users, id in ((ours, 1), (theirs, 1), (ours, 2)):
            group.start_soon(call, users, id)
    assert sorted(results) == ["ours 1", "ours 2", "theirs 1"]
    assert sorted(batches) == [("ours", [1, 2]), ("theirs", [1])]
    assert ours.read(3) == "ours 3"


def test_a_batch_without_callers_is_not_kept() -> None:
    batches: _OpenBatches[int, int] = _OpenBatches(100, 60.0)
    owner = (object(),)
    batch = batches.join(owner, 1, 0.0)
    assert batches.join(owner, 2, 0.0) is batch
    batches.leave(batch)
    assert batches.join(owner, 3, 0.0) is batch
    for _ in range(2):
        batches.leave(batch)
    assert not batches._open
    assert batches.join(owner, 4, 0.0).items == {4: 0}

"""Collapse: gathers calls of one item that come at nearly the same time into one call of many."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from math import inf
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from ... import forked
from ...errors import DeadlineExceeded
from ...parking import Parking, ThreadParking, task_parking
from ...runtime import SYSTEM, Expired, Runtime
from ..deadline import deadline
from ..shell import checks
from ..shell.codegen import check_function, is_coroutine_function
from .flight import Flight, share, share_async

K = TypeVar("K", bound=Hashable)
S = TypeVar("S")
V = TypeVar("V")


class Collapse(Protocol):
    """A decorator that makes a function (or a method) of one out of a function (or a method) of many."""

    @overload
    def __call__(
        self, fn: Callable[[list[K]], Coroutine[Any, Any, Mapping[K, V]]], /
    ) -> Callable[[K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(
        self, fn: Callable[[list[K]], Coroutine[Any, Any, Sequence[V]]], /
    ) -> Callable[[K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(
        self, fn: Callable[[S, list[K]], Coroutine[Any, Any, Mapping[K, V]]], /
    ) -> Callable[[S, K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(
        self, fn: Callable[[S, list[K]], Coroutine[Any, Any, Sequence[V]]], /
    ) -> Callable[[S, K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(self, fn: Callable[[list[K]], Mapping[K, V]], /) -> Callable[[K], V]: ...
    @overload
    def __call__(self, fn: Callable[[list[K]], Sequence[V]], /) -> Callable[[K], V]: ...
    @overload
    def __call__(self, fn: Callable[[S, list[K]], Mapping[K, V]], /) -> Callable[[S, K], V]: ...
    @overload
    def __call__(self, fn: Callable[[S, list[K]], Sequence[V]], /) -> Callable[[S, K], V]: ...


def collapse(*, max_batch: int = 100, within: float = 0.01, runtime: Runtime = SYSTEM) -> Collapse:
    """Turn `load_users(ids)` into `load_user(id)`: calls of one item are gathered, and answered by one call of many.

    A batch is called when it holds `max_batch` different items, or `within` seconds after its first item (Hystrix: no
    bound, 10 ms). The function gets a list without duplicates and returns a mapping, or a sequence in the same order;
    an exception in place of an answer is raised to the callers of that item. An item without an answer raises
    LookupError; an error of the function is raised to every caller of the batch. The first caller runs the batch, under
    its own deadline; if it is cancelled, or its deadline passes, another one takes over. Every caller ends with
    `DeadlineExceeded` when its own deadline passes. Items must be hashable. Works for async functions, for threads with
    sync ones, and for methods (`load_users(self, ids)`), where each object has its own batches. Raises ValueError for
    values out of range.
    """
    checks.count("max_batch", max_batch)
    checks.seconds("within", within, zero=True)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        check_function(fn)
        batches: _OpenBatches[Any, Any] = _OpenBatches(max_batch, within)
        name = getattr(fn, "__name__", "collapse")
        if is_coroutine_function(fn):

            async def run_async(batch: _Batch[Any, Any]) -> Any:
                if not batch.closed:
                    batch.filled = parking = task_parking()
                    if not batches.full(batch):
                        try:
                            await runtime.until(batch.due, parking.wait())
                        except Expired:
                            pass
                    batches.close(batch)
                return await fn(*batch.owner, list(batch.items))

            @functools.wraps(fn)
            async def one_async(*args: Any) -> Any:
                owner, item = args[:-1], args[-1]
                start, due = runtime.now(), deadline.current()
                if start >= due:
                    raise DeadlineExceeded(name, sent=False)
                batch = batches.join(owner, item, start)
                try:
                    shared = share_async(batch.flight, False, run_async, batch, due, runtime)
                    answers = await (shared if due == inf else runtime.until(due, shared))
                except Expired as error:
                    raise DeadlineExceeded(name, sent=batch.closed) from error
                finally:
                    batches.leave(batch)
                return batch.answer(answers, item)

            return one_async

        def run(batch: _Batch[Any, Any], due: float) -> Any:
            if not batch.closed:
                batch.filled = parking = ThreadParking()
                if (
                    not batches.full(batch)
                    and not parking.wait(min(batch.due, due) - runtime.now())
                    and due < batch.due
                ):
                    raise DeadlineExceeded(name, sent=False)
                batches.close(batch)
            return fn(*batch.owner, list(batch.items))

        @functools.wraps(fn)
        def one(*args: Any) -> Any:
            owner, item = args[:-1], args[-1]
            start, due = runtime.now(), deadline.current()
            if start >= due:
                raise DeadlineExceeded(name, sent=False)
            batch = batches.join(owner, item, start)
            try:
                answers = share(batch.flight, False, lambda batch: run(batch, due), batch, due, runtime, name)
            finally:
                batches.leave(batch)
            if due < inf and runtime.now() >= due:
                raise DeadlineExceeded(name)
            return batch.answer(answers, item)

        return one

    return cast(Collapse, decorate)


class _Batch(Generic[K, V]):
    """The items of one call, in the order in which they came; `owner` has the object of a method, if any."""

    __slots__ = ("callers", "closed", "due", "filled", "flight", "items", "owner")

    def __init__(self, owner: tuple[Any, ...], due: float) -> None:
        self.owner = owner
        self.due = due
        self.items: dict[K, int] = {}
        self.callers = 0
        self.closed = False
        self.filled: Parking | None = None  # wakes the caller that runs it, when it is full before its time
        self.flight: Flight[Mapping[K, V] | Sequence[V]] = Flight()

    def answer(self, answers: Mapping[K, V] | Sequence[V], item: K) -> V:
        if not isinstance(answers, list) and isinstance(
            answers, Mapping
        ):  # the check for a mapping costs ten times more
            if item not in answers:
                raise LookupError(f"the batch has no answer for {item!r}")
            found = answers[item]
        elif len(answers) != len(self.items):
            raise LookupError(f"the batch has {len(answers)} answers for {len(self.items)} items")
        else:
            found = answers[self.items[item]]
        if isinstance(found, Exception):
            raise found
        return found


class _OpenBatches(Generic[K, V]):
    """The batches that still take items: one for each object, which is identified by its `id`."""

    __slots__ = ("__weakref__", "_lock", "_max", "_open", "_within")

    def __init__(self, max_batch: int, within: float) -> None:
        self._max = max_batch
        self._within = within
        self._open: dict[tuple[int, ...], _Batch[K, V]] = {}  # a batch holds its object, so an id is not used again
        self._lock = Lock()
        forked.register(self)

    def _after_fork(self) -> None:
        """The batches are the parent's, which runs them."""
        self._lock = Lock()
        for batch in self._open.values():
            batch.closed = True
            batch.flight._after_fork()
        self._open = {}

    def join(self, owner: tuple[Any, ...], item: K, now: float) -> _Batch[K, V]:
        key = tuple(map(id, owner)) if owner else owner
        with self._lock:
            batch = self._open.get(key)
            if batch is None:
                batch = self._open[key] = _Batch(owner, now + self._within)
            items = batch.items
            items.setdefault(item, len(items))
            batch.callers += 1
            if len(items) >= self._max:
                self._close(batch)
                if batch.filled is not None:
                    batch.filled.wake()
            return batch

    def leave(self, batch: _Batch[K, V]) -> None:
        with self._lock:
            batch.callers -= 1
            if batch.callers == 0:  # all its callers may have been cancelled before it was closed
                self._close(batch)

    def full(self, batch: _Batch[K, V]) -> bool:
        with self._lock:
            return batch.closed

    def close(self, batch: _Batch[K, V]) -> None:
        with self._lock:
            self._close(batch)

    def _close(self, batch: _Batch[K, V]) -> None:
        batch.closed = True
        key = tuple(map(id, batch.owner))
        if self._open.get(key) is batch:
            del self._open[key]

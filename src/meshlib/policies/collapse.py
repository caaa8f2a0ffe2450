"""Can many small calls become one large one? `@collapse` gathers what is asked at the same time into batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar, cast, overload

from ..runtime import SYSTEM, Expired, Runtime
from . import _check, deadline
from ._flight import Flight, ThreadSignal, share, share_async
from ._written import check_function, is_coroutine_function

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Collapse(Protocol):
    """A decorator that makes a function of one out of a function of many."""

    @overload
    def __call__(
        self, fn: Callable[[list[K]], Coroutine[Any, Any, Mapping[K, V]]], /
    ) -> Callable[[K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(
        self, fn: Callable[[list[K]], Coroutine[Any, Any, Sequence[V]]], /
    ) -> Callable[[K], Coroutine[Any, Any, V]]: ...
    @overload
    def __call__(self, fn: Callable[[list[K]], Mapping[K, V]], /) -> Callable[[K], V]: ...
    @overload
    def __call__(self, fn: Callable[[list[K]], Sequence[V]], /) -> Callable[[K], V]: ...


def collapse(*, max_batch: int = 100, within: float = 0.01, runtime: Runtime = SYSTEM) -> Collapse:
    """Turn `load_users(ids)` into `load_user(id)`: calls of one are gathered, and answered by one call of many.

    A batch goes when it holds `max_batch` different items, or `within` seconds after its first (Hystrix: no bound,
    10 ms). It gets a list without doubles and returns a mapping, or a sequence in the same order; an exception
    in the place of an answer is raised to whoever asked for it. An item without an answer raises LookupError; an error
    of the function goes to everybody in the batch. The first caller of a batch runs it, under its own deadline; if it
    is cancelled, another takes over. Items must be hashable. Works for async functions, and for threads with sync ones.
    """
    _check.count("max_batch", max_batch)
    _check.seconds("within", within, zero=True)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        check_function(fn)
        line: _Line[Any, Any] = _Line(max_batch, within)
        if is_coroutine_function(fn):

            async def lead_async(batch: _Batch[Any, Any]) -> Any:
                if not batch.closed:
                    batch.filled = signal = runtime.signal()
                    if not line.full(batch):
                        try:
                            await runtime.until(batch.due, signal.wait())
                        except Expired:
                            pass
                    line.close(batch)
                return await fn(list(batch.items))

            @functools.wraps(fn)
            async def one_async(item: Any) -> Any:
                batch = line.join(item, runtime.now())
                answers = await share_async(batch.flight, lambda: lead_async(batch), runtime)
                return batch.answer(answers, item)

            return one_async

        def lead(batch: _Batch[Any, Any]) -> Any:
            if not batch.closed:
                batch.filled = signal = ThreadSignal()
                if not line.full(batch):
                    signal.wait(batch.due - runtime.now())
                line.close(batch)
            return fn(list(batch.items))

        @functools.wraps(fn)
        def one(item: Any) -> Any:
            batch = line.join(item, runtime.now())
            answers = share(batch.flight, lambda: lead(batch), deadline.current(), runtime, "collapse")
            return batch.answer(answers, item)

        return one

    return cast(Collapse, decorate)


class _Batch(Generic[K, V]):
    """What is asked together. `items` keeps the order in which they came."""

    __slots__ = ("closed", "due", "filled", "flight", "items")

    def __init__(self, due: float) -> None:
        self.due = due
        self.items: dict[K, int] = {}
        self.closed = False
        self.filled: Any = None  # whom to wake when it is full before its time
        self.flight: Flight[Mapping[K, V] | Sequence[V]] = Flight()

    def answer(self, answers: Mapping[K, V] | Sequence[V], item: K) -> V:
        if isinstance(answers, Mapping):
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


class _Line(Generic[K, V]):
    """Where callers queue up for the batch that is open."""

    __slots__ = ("_lock", "_max", "_open", "_within")

    def __init__(self, max_batch: int, within: float) -> None:
        self._max = max_batch
        self._within = within
        self._open: _Batch[K, V] | None = None
        self._lock = Lock()

    def join(self, item: K, now: float) -> _Batch[K, V]:
        with self._lock:
            batch = self._open
            if batch is None or not batch.flight.members:  # perhaps all who were in it have been cancelled
                batch = self._open = _Batch(now + self._within)
            batch.items.setdefault(item, len(batch.items))
            if len(batch.items) >= self._max:
                batch.closed = True
                self._open = None
                if batch.filled is not None:
                    batch.filled.set()
            return batch

    def full(self, batch: _Batch[K, V]) -> bool:
        with self._lock:
            return batch.closed

    def close(self, batch: _Batch[K, V]) -> None:
        with self._lock:
            batch.closed = True
            if self._open is batch:
                self._open = None

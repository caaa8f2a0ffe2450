"""Can many small calls become one large one? `@collapse` gathers what is asked at the same time into batches."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from math import inf
from threading import Lock
from typing import Any, Generic, Protocol, TypeVar, cast, overload

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
    """Turn `load_users(ids)` into `load_user(id)`: calls of one are gathered, and answered by one call of many.

    A batch goes when it holds `max_batch` different items, or `within` seconds after its first (Hystrix: no bound,
    10 ms). It gets a list without doubles and returns a mapping, or a sequence in the same order; an exception
    in the place of an answer is raised to whoever asked for it. An item without an answer raises LookupError; an error
    of the function goes to everybody in the batch. The first caller of a batch runs it, under its own deadline; if it
    is cancelled, or its deadline passes, another takes over. Every caller goes away with `DeadlineExceeded` when its
    own deadline passes. Items must be hashable. Works for async functions, for threads with sync ones, and for methods
    (`load_users(self, ids)`), where each object has batches of its own.
    """
    checks.count("max_batch", max_batch)
    checks.seconds("within", within, zero=True)

    def decorate(fn: Callable[..., Any]) -> Callable[..., Any]:
        check_function(fn)
        line: _Line[Any, Any] = _Line(max_batch, within)
        name = getattr(fn, "__name__", "collapse")
        if is_coroutine_function(fn):

            async def lead_async(batch: _Batch[Any, Any]) -> Any:
                if not batch.closed:
                    batch.filled = parking = task_parking()
                    if not line.full(batch):
                        try:
                            await runtime.until(batch.due, parking.wait())
                        except Expired:
                            pass
                    line.close(batch)
                return await fn(*batch.owner, list(batch.items))

            @functools.wraps(fn)
            async def one_async(*asked: Any) -> Any:
                owner, item = asked[:-1], asked[-1]
                start, due = runtime.now(), deadline.current()
                if start >= due:
                    raise DeadlineExceeded(name, sent=False)
                batch = line.join(owner, item, start)
                try:
                    shared = share_async(batch.flight, False, lead_async, batch, due, runtime)
                    answers = await (shared if due == inf else runtime.until(due, shared))
                except Expired as error:
                    raise DeadlineExceeded(name, sent=batch.closed) from error
                finally:
                    line.leave(batch)
                return batch.answer(answers, item)

            return one_async

        def lead(batch: _Batch[Any, Any], due: float) -> Any:
            if not batch.closed:
                batch.filled = parking = ThreadParking()
                if not line.full(batch) and not parking.wait(min(batch.due, due) - runtime.now()) and due < batch.due:
                    raise DeadlineExceeded(name, sent=False)
                line.close(batch)
            return fn(*batch.owner, list(batch.items))

        @functools.wraps(fn)
        def one(*asked: Any) -> Any:
            owner, item = asked[:-1], asked[-1]
            start, due = runtime.now(), deadline.current()
            if start >= due:
                raise DeadlineExceeded(name, sent=False)
            batch = line.join(owner, item, start)
            try:
                answers = share(batch.flight, False, lambda batch: lead(batch, due), batch, due, runtime, name)
            finally:
                line.leave(batch)
            if due < inf and runtime.now() >= due:
                raise DeadlineExceeded(name)
            return batch.answer(answers, item)

        return one

    return cast(Collapse, decorate)


class _Batch(Generic[K, V]):
    """What is asked together: `items` in the order in which they came; `owner` has the object of a method, if any."""

    __slots__ = ("callers", "closed", "due", "filled", "flight", "items", "owner")

    def __init__(self, owner: tuple[Any, ...], due: float) -> None:
        self.owner = owner
        self.due = due
        self.items: dict[K, int] = {}
        self.callers = 0
        self.closed = False
        self.filled: Parking | None = None  # whom to wake when it is full before its time
        self.flight: Flight[Mapping[K, V] | Sequence[V]] = Flight()

    def answer(self, answers: Mapping[K, V] | Sequence[V], item: K) -> V:
        if not isinstance(answers, list) and isinstance(answers, Mapping):  # the second question costs ten times more
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
    """Where callers queue up for the batch that is open: one for each object, told apart by identity."""

    __slots__ = ("_lock", "_max", "_open", "_within")

    def __init__(self, max_batch: int, within: float) -> None:
        self._max = max_batch
        self._within = within
        self._open: dict[tuple[int, ...], _Batch[K, V]] = {}  # a batch holds its object, so an id is not used again
        self._lock = Lock()

    def join(self, owner: tuple[Any, ...], item: K, now: float) -> _Batch[K, V]:
        place = tuple(map(id, owner)) if owner else owner
        with self._lock:
            batch = self._open.get(place)
            if batch is None:
                batch = self._open[place] = _Batch(owner, now + self._within)
            items = batch.items
            items.setdefault(item, len(items))
            batch.callers += 1
            if len(items) >= self._max:
                self._shut(batch)
                if batch.filled is not None:
                    batch.filled.wake()
            return batch

    def leave(self, batch: _Batch[K, V]) -> None:
        with self._lock:
            batch.callers -= 1
            if batch.callers == 0:  # perhaps all who were in it have been cancelled, and nobody has closed it
                self._shut(batch)

    def full(self, batch: _Batch[K, V]) -> bool:
        with self._lock:
            return batch.closed

    def close(self, batch: _Batch[K, V]) -> None:
        with self._lock:
            self._shut(batch)

    def _shut(self, batch: _Batch[K, V]) -> None:
        batch.closed = True
        place = tuple(map(id, batch.owner))
        if self._open.get(place) is batch:
            del self._open[place]

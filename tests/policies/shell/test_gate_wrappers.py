"""The decorator: every function keeps its parameters, its kind and its name; what cannot be guarded is refused."""

from __future__ import annotations

import asyncio
import functools
import gc
import inspect
import traceback
import warnings
from typing import Any

import anyio
import pytest

from meshlib.call import FAILURE, SUCCESS
from meshlib.errors import BreakerOpen
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, State
from meshlib.policies.breaker.trip import Either, FailureRate, SlowCallRate
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.testing import ManualClock

MARK = object()


def functions() -> list[Any]:
    def none() -> Any:
        return ()

    def plain(a, b, c):  # type: ignore[no-untyped-def]
        return a, b, c

    def defaults(a, b=MARK, c=[1]):  # type: ignore[no-untyped-def]  # noqa: B006
        return a, b, c

    def positional_only(a, b=2, /, c=3):  # type: ignore[no-untyped-def]
        return a, b, c

    def keyword_only(a, *, b, c=MARK):  # type: ignore[no-untyped-def]
        return a, b, c

    def starred(a, b=2, *args, c, d=4, **kwargs):  # type: ignore[no-untyped-def]
        return a, b, args, c, d, kwargs

    def anything(*args, **kwargs):  # type: ignore[no-untyped-def]
        return args, kwargs

    def underscored(_gate, _fn=2, *, _permit=3):  # type: ignore[no-untyped-def]
        return _gate, _fn, _permit

    def shadowing(type, result=2, BaseException=3):  # type: ignore[no-untyped-def]
        return type, result, BaseException

    def weird(self, cls=1, print=2, *, lambda_=3):  # type: ignore[no-untyped-def]
        return self, cls, print, lambda_

    return [
        none, plain, defaults, positional_only, keyword_only, starred, anything, underscored, shadowing, weird,
        lambda a, b=1: (a, b), functools.partial(plain, 1), functools.lru_cache(plain), max,
    ]  # fmt: skip


CALLS: list[tuple[tuple[Any, ...], dict[str, Any]]] = [
    ((), {}), ((1,), {}), ((1, 2), {}), ((1, 2, 3), {}), ((1, 2, 3, 4), {}), ((1,), {"b": 5}), ((1,), {"c": 6}),
    ((1, 2), {"c": 6, "d": 7, "e": 8}), ((), {"a": 1, "b": 2, "c": 3}), ((1,), {"_permit": 4}), ((1,), {"result": 4}),
    ((1,), {"lambda_": 9}),
]  # fmt: skip


def outcome(fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    try:
        return fn(*args, **kwargs)
    except TypeError:
        return TypeError


@pytest.mark.parametrize("fn", functions(), ids=lambda fn: getattr(fn, "__name__", "partial"))
def test_a_guarded_function_takes_and_gives_what_it_took_and_gave(fn: Any) -> None:
    guarded = CircuitBreaker(consecutive_failures=1000)(fn)
    for args, kwargs in CALLS:
        assert outcome(guarded, args, kwargs) == outcome(fn, args, kwargs)
    assert guarded.__wrapped__ is fn
    assert getattr(guarded, "__doc__", None) == fn.__doc__
    if hasattr(fn, "__name__"):
        assert guarded.__name__ == fn.__name__ and guarded.__module__ == fn.__module__
    if fn is not max:
        assert inspect.signature(guarded) == inspect.signature(fn)


def test_defaults_are_the_functions_own_objects() -> None:
    def collects(item: int, into: list[int] = []) -> list[int]:  # noqa: B006
        into.append(item)
        return into

    guarded = CircuitBreaker()(collects)
    guarded(1)
    assert guarded(2) == [1, 2] and guarded.__defaults__ is collects.__defaults__


def test_closures_and_recursion_work() -> None:
    breaker = CircuitBreaker()
    total = 0

    @breaker
    def down(depth: int) -> int:
        nonlocal total
        total += 1
        return depth if depth == 0 else down(depth - 1)

    assert down(20) == 0 and total == 21


def test_many_functions_of_one_shape_keep_apart() -> None:
    breaker = CircuitBreaker()
    guarded = [breaker(lambda x, i=i: (x, i)) for i in range(50)]
    assert [fn("a") for fn in guarded] == [("a", i) for i in range(50)]
    assert len({fn.__code__.co_code for fn in guarded}) == 1


def test_one_breaker_counts_all_its_functions() -> None:
    breaker = CircuitBreaker(consecutive_failures=2)

    @breaker
    def one() -> None:
        raise OSError

    @breaker
    async def two() -> None:
        raise OSError

    with pytest.raises(OSError):
        one()
    with pytest.raises(OSError):
        anyio.run(two)
    assert breaker.state == State.OPEN


def test_methods_static_methods_and_class_methods() -> None:
    breaker = CircuitBreaker()

    class Service:
        @breaker
        def method(self, x: int) -> Any:
            return self, x

        @staticmethod
        @breaker
        def static(x: int) -> int:
            return x

        @classmethod
        @breaker
        def make(cls) -> Any:
            return cls

        @property
        @breaker
        def value(self) -> int:
            return 5

    service = Service()
    assert service.method(1) == (service, 1) and Service.static(2) == 2 and Service.make() is Service
    assert service.value == 5 and breaker(service.method)(3) == (service, 3)


@pytest.mark.parametrize("wrong", [staticmethod(len), classmethod(len), int, 5, None, "name"])
def test_what_cannot_be_guarded_is_refused_with_advice(wrong: Any) -> None:
    with pytest.raises(TypeError, match=r"cannot be guarded: (put the decorator below|expected a function)"):
        CircuitBreaker()(wrong)


def test_callable_objects_and_partials_of_every_kind_stay_what_they_are() -> None:
    class Plain:
        def __call__(self, x: int) -> int:
            return x

    class Async:
        async def __call__(self, x: int) -> int:
            return x

    class Rows:
        def __call__(self, x: int) -> Any:
            yield x

    class AsyncRows:
        async def __call__(self, x: int) -> Any:
            yield x

    async def collect(rows: Any) -> list[int]:
        return [row async for row in rows]

    breaker = CircuitBreaker(consecutive_failures=1)
    for wrap in (
        lambda fn: fn,
        lambda fn: functools.partial(fn, 3),
        lambda fn: functools.partial(functools.partial(fn), 3),
    ):
        args = () if isinstance(wrap(Plain()), functools.partial) else (3,)
        assert breaker(wrap(Plain()))(*args) == 3
        guarded = breaker(wrap(Async()))
        assert inspect.iscoroutinefunction(guarded) and anyio.run(guarded, *args) == 3
        rows = breaker(wrap(Rows()))
        assert inspect.isgeneratorfunction(rows) and list(rows(*args)) == [3]
        async_rows = breaker(wrap(AsyncRows()))
        assert inspect.isasyncgenfunction(async_rows) and anyio.run(collect, async_rows(*args)) == [3]


def test_kinds_are_kept() -> None:
    breaker = CircuitBreaker()

    async def coroutine() -> None: ...
    def generator() -> Any:
        yield

    async def async_generator() -> Any:
        yield

    assert inspect.iscoroutinefunction(breaker(coroutine))
    assert inspect.isgeneratorfunction(breaker(generator))
    assert inspect.isasyncgenfunction(breaker(async_generator))
    assert not inspect.iscoroutinefunction(breaker(len))


def test_a_traceback_shows_the_guards_own_lines() -> None:
    @CircuitBreaker()
    def fails(x: int) -> None:
        raise OSError

    with pytest.raises(OSError) as caught:
        fails(1)
    shown = "".join(traceback.format_exception(caught.value))
    assert "_result = _fn(x)" in shown and "in fails" in shown


def test_a_classifier_that_raises_says_nothing_and_the_permit_comes_back() -> None:
    def broken(call: object, result: object, error: object) -> Any:
        raise ZeroDivisionError

    breaker = CircuitBreaker(consecutive_failures=1, classify=broken, cooldown=1e6)
    breaker.open()
    breaker.half_open()
    for fn in (lambda: 1, {}.popitem):
        with pytest.raises(ZeroDivisionError):
            breaker(fn)()
        assert breaker.state == State.HALF_OPEN and not breaker._round._leases
    with pytest.raises(ZeroDivisionError), breaker:
        raise OSError
    assert not breaker._round._leases


def test_wrong_arguments_raise_before_an_async_generator_takes_a_permit() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    async def rows(x: int) -> Any:
        yield x

    partial = functools.partial(rows, 1, 2)  # too many: known only when it is called

    async def use() -> None:
        async for _ in breaker(partial)():
            pass

    breaker.open()
    breaker.half_open()
    with pytest.raises(TypeError):
        anyio.run(use)
    assert not breaker._round._leases


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("settings", [{}, {"on": OSError}, {"on_result": lambda value: value == "bad"}])
def test_every_kind_of_wrapper_counts_successes_and_failures(timed: bool, settings: dict[str, Any]) -> None:
    rate = FailureRate(0.5, window_calls=10, minimum_calls=10)
    breaker = CircuitBreaker(
        trip=Either(rate, SlowCallRate(window_calls=10)) if timed else rate, runtime=ManualClock(), **settings
    )
    good = breaker(lambda: "good")

    @breaker
    def bad() -> str:
        if "on_result" in settings:
            return "bad"
        raise OSError

    for _ in range(6):
        good()
    for _ in range(3):
        try:
            bad()
        except OSError:
            pass
    look = breaker.metrics()
    assert (look.calls, look.failures, look.state) == (9, 3, State.CLOSED)
    breaker.leave(breaker.enter(0.0), SUCCESS, 0.0)
    breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    breaker.leave(breaker.enter(0.0), FAILURE, 0.0)
    assert breaker.state == State.OPEN
    with pytest.raises(BreakerOpen):
        good()


@pytest.mark.parametrize("cancelled", [True, False], ids=["cancelled", "forgotten"])
def test_a_coroutine_of_a_plain_function_that_never_begins_gives_its_place_back(cancelled: bool) -> None:
    bulkhead = Bulkhead(1)

    async def answer() -> int:
        return 1

    @bulkhead
    def ask() -> Any:
        return answer()

    async def main() -> None:
        if cancelled:
            task = asyncio.ensure_future(ask())
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            del task
        else:
            ask()
        await asyncio.sleep(0)  # the loop lets the task go
        gc.collect()
        assert bulkhead.in_flight == 0
        assert await ask() == 1

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # "never awaited" is for the user, and not our question
        asyncio.run(main())

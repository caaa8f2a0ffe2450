"""The lower-case decorators: bare or with arguments, what they are named, and what stays of the function."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Iterator
from typing import Any

import pytest

from meshlib.errors import BreakerOpen, DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.retry.retry import Retry
from meshlib.policies.shell.decorators import circuit_breaker, fallback, hedge, retry, timeout
from meshlib.testing import ManualClock


def test_bare_means_defaults_and_the_functions_name() -> None:
    @circuit_breaker
    def charge() -> None:
        raise OSError

    for _ in range(5):
        with pytest.raises(OSError):
            charge()
    with pytest.raises(BreakerOpen) as error:
        charge()
    assert error.value.by == "charge"


def test_help_shows_the_parameters_and_the_documentation_of_the_policy() -> None:
    assert inspect.signature(circuit_breaker).parameters == inspect.signature(CircuitBreaker).parameters
    page = pydoc.render_doc(circuit_breaker, renderer=pydoc.plaintext)
    assert "circuit_breaker(*, name: 'str' = 'breaker', trip:" in page and "A circuit breaker for functions" in page


def test_a_name_of_ones_own_is_kept_and_shared() -> None:
    guard = circuit_breaker(name="payments", consecutive_failures=1)

    @guard
    def charge() -> None:
        raise OSError

    @guard
    def refund() -> None: ...

    with pytest.raises(OSError):
        charge()
    with pytest.raises(BreakerOpen) as error:
        refund()
    assert error.value.by == "payments"


def test_without_a_name_each_function_has_its_own() -> None:
    guard = circuit_breaker(consecutive_failures=1)

    @guard
    def charge() -> None:
        raise OSError

    @guard
    def refund() -> None: ...

    with pytest.raises(OSError):
        charge()
    refund()


def test_retry_bare_and_with_arguments() -> None:
    calls: list[str] = []

    @retry(on=Exception)
    def bare() -> None:
        calls.append("bare")
        raise OSError

    @retry(attempts=2, on=Exception, backoff=0.0)
    def twice() -> None:
        calls.append("twice")
        raise OSError

    for function in (bare, twice):
        with pytest.raises(OSError):
            function()
    assert calls == ["bare"] * 3 + ["twice"] * 2


@pytest.mark.anyio
async def test_timeout_and_hedge_on_async_functions() -> None:
    clock, calls = ManualClock(), list[int]()

    @timeout(2.0, runtime=clock)
    async def hang() -> None:
        await clock.sleep_async(60.0)

    @hedge(1.0, runtime=clock)
    async def ask() -> int:
        calls.append(1)
        await clock.sleep_async(60.0 if len(calls) == 1 else 0.0)
        return len(calls)

    with pytest.raises(DeadlineExceeded, match="hang: no answer within"):
        await hang()
    assert await ask() == 2


def test_fallback_takes_a_value_or_a_function() -> None:
    @fallback(0)
    def none() -> int:
        raise OSError

    @fallback(lambda error: str(error))
    def told() -> str:
        raise OSError("down")

    @fallback(instead=lambda a: a + 1)
    def other(a: int) -> int:
        raise OSError

    assert (none(), told(), other(1)) == (0, "down", 2)


@pytest.mark.parametrize(
    "make",
    [
        lambda: retry(attempts=0, on=Exception),
        lambda: timeout(-1.0),
        lambda: circuit_breaker(failure_rate=3.0),
        lambda: hedge(max_hedges=0),
    ],
)
def test_nonsense_is_refused_where_it_is_written(make: Any) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.mark.parametrize("wrong", [staticmethod(len), classmethod(len), int, 3])
def test_what_is_no_function_is_refused(wrong: Any) -> None:
    for policy in (Retry(on=Exception), Pipeline(Retry(on=Exception))):
        with pytest.raises(TypeError, match="cannot be guarded"):
            policy(wrong)


def test_generators_are_refused_by_what_calls_again() -> None:
    def items() -> Iterator[int]:
        yield 1

    async def aitems() -> Any:
        yield 1

    for fn in (items, aitems):
        with pytest.raises(TypeError, match="generator"):
            retry(on=Exception)(fn)


def test_a_decorated_function_stays_what_it_was() -> None:
    def work(a: int, /, b: int = 2, *rest: int, c: int, **more: int) -> int:
        """Work."""
        return a + b + c

    async def work_async(a: int) -> int:
        return a

    for decorate in (retry(on=Exception), timeout(1.0), fallback(0), circuit_breaker):
        decorated = decorate(work)
        assert (decorated.__name__, decorated.__doc__, decorated.__wrapped__) == ("work", "Work.", work)
        assert inspect.signature(decorated) == inspect.signature(work)
        assert decorated(1, c=3) == 6
        assert inspect.iscoroutinefunction(decorate(work_async))


def test_methods_can_be_decorated() -> None:
    class Shop:
        @retry(on=Exception)
        @circuit_breaker
        def buy(self, order: str) -> tuple[Shop, str]:
            return self, order

    shop = Shop()
    assert shop.buy("a") == (shop, "a")


def test_a_coroutine_from_a_plain_function_is_not_taken_for_a_success() -> None:
    async def work() -> None: ...

    for guarded in (retry(on=Exception)(lambda: work()), Pipeline(Retry(on_result=bool))(lambda: work())):
        with pytest.raises(TypeError, match="write `async def` around it"):
            guarded()


@pytest.mark.anyio
async def test_each_loop_alone_ends_by_a_deadline_from_outside() -> None:
    clock = ManualClock()

    async def hang() -> None:
        await clock.sleep_async(60.0)

    for decorate in (
        retry(on=Exception, runtime=clock),
        fallback(None, on=OSError, runtime=clock),
        hedge(runtime=clock),
    ):
        start = clock.now()
        with deadline(1.0, runtime=clock), pytest.raises(DeadlineExceeded):
            await decorate(hang)()
        assert clock.now() - start == pytest.approx(1.0)

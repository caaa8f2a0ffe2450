"""Retry, fallback and timeout as decorators: the short way is the function's own, and says what the long way says."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest

from meshlib.call import FAILURE, SUCCESS, Call
from meshlib.errors import DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.deadline.deadline import current, deadline
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.retry.budget import RetryBudget
from meshlib.policies.retry.retry import Retry
from meshlib.testing import ManualClock

DEFAULT = object()
CHAINS: dict[str, Callable[[ManualClock], Any]] = {
    "retry": lambda clock: Retry(2, on=Exception, backoff=0.0, runtime=clock),
    "timeout": lambda clock: Timeout(5.0, runtime=clock),
    "fallback": lambda clock: Fallback("instead", runtime=clock),
    "all": lambda clock: Pipeline(
        Fallback("instead"), Timeout(5.0), Retry(2, on=Exception, backoff=0.0), CircuitBreaker(), runtime=clock
    ),
    "retry outside timeout": lambda clock: Pipeline(Retry(2, on=Exception, backoff=0.0), Timeout(5.0), runtime=clock),
}


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture(params=CHAINS)
def chain(request: pytest.FixtureRequest, clock: ManualClock) -> Any:
    return CHAINS[request.param](clock)


def test_it_takes_what_the_function_takes_and_keeps_its_name(chain: Any) -> None:
    @chain
    def work(a: Any, /, b: Any = DEFAULT, *rest: Any, c: Any, d: Any = DEFAULT, **more: Any) -> Any:
        """What it does."""
        return a, b, rest, c, d, more

    assert work(1, c=3) == (1, DEFAULT, (), 3, DEFAULT, {})
    assert work(1, 2, 3, c=4, d=5, e=6) == (1, 2, (3,), 4, 5, {"e": 6})
    assert (work.__name__, work.__doc__) == ("work", "What it does.")
    assert str(inspect.signature(work)).startswith("(a: 'Any', /, b:")


def test_methods_of_both_kinds(chain: Any) -> None:
    class Users:
        @chain
        def load(self, user: int) -> int:
            return user

        @chain
        async def fetch(self, user: int) -> int:
            return user

    assert Users().load(7) == 7
    assert asyncio.run(Users().fetch(8)) == 8
    assert inspect.iscoroutinefunction(Users.fetch)


@pytest.mark.parametrize("name", ["retry", "timeout", "fallback", "retry outside timeout"])
def test_a_coroutine_from_a_plain_function_is_refused(name: str) -> None:
    async def work() -> int:
        return 7

    with pytest.raises(TypeError, match="write `async def`"):
        CHAINS[name](ManualClock())(lambda: work())()


def test_a_chain_retries_times_and_rescues_as_its_long_way_does() -> None:
    clock, script = ManualClock(), [OSError("one"), "two", OSError("three"), OSError("four")]

    def work(*_: Any) -> Any:
        said = script.pop(0)
        if isinstance(said, OSError):
            raise said
        return said

    for guarded in (CHAINS["all"](clock)(work), lambda: CHAINS["all"](clock).over(work)(Call(None))):
        before = script.copy()
        assert [guarded(), guarded()] == ["two", "instead"]
        assert not script
        script[:] = before


def test_beneath_a_timeout_a_retry_waits_for_nothing_that_comes_too_late() -> None:
    clock, tries = ManualClock(), list[float]()

    @Pipeline(Timeout(1.0), Retry(9, on=Exception, backoff=0.4), runtime=clock)
    def work() -> None:
        tries.append(current())
        raise OSError

    with pytest.raises(OSError) as error:
        work()
    assert tries == [1.0] * 3
    assert error.value.__notes__ == ["gave up after 3 attempts: the deadline is before the next attempt"]
    assert current() == float("inf")


def test_a_deadline_from_outside_is_kept(chain: Any, clock: ManualClock) -> None:
    guarded = chain(lambda: clock.advance(2.0))
    with deadline(1.0, runtime=clock), pytest.raises(DeadlineExceeded) as error:
        guarded()
    assert error.value.limit is None


def test_the_first_of_two_limits_is_in_the_error() -> None:
    clock = ManualClock()
    slow = Timeout(9.0, runtime=clock)(Timeout(1.0, name="inner", runtime=clock)(lambda: clock.advance(2.0)))
    with pytest.raises(DeadlineExceeded, match=r"inner: no answer within 1\.0 s"):
        slow()


def test_a_quick_deposit_counts_as_much_as_one_by_hand() -> None:
    clock = ManualClock()
    ours, by_hand = (RetryBudget(0.5, min_per_second=0.0, ttl=10.0) for _ in range(2))
    work = Retry(2, on=Exception, budget=ours, runtime=clock)(lambda: None)
    for _ in range(50):
        work()
        by_hand.deposit(clock.now())
        assert ours.balance(clock.now()) == by_hand.balance(clock.now())
        clock.advance(0.7)


def test_a_chain_with_on_result_is_not_fused() -> None:
    said = ["busy", "ok"]
    pipeline = Pipeline(
        Timeout(5.0),
        Retry(2, on=Exception, backoff=0.0),
        classify=lambda call, result, error: FAILURE if result == "busy" else SUCCESS,
        runtime=ManualClock(),
    )
    assert pipeline(lambda: said.pop(0))() == "ok"

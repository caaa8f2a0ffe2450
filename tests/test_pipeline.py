"""Pipelines: order, warnings, and one object in several places."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf
from typing import Any

import pytest

from meshlib.call import Call, Classifier
from meshlib.errors import BreakerOpen
from meshlib.pipeline import Pipeline, PolicyOrderWarning
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.cache.request_cache import RequestCache, SingleFlight
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.fallback import Fallback
from meshlib.policies.rate.rate_limit import RateLimit
from meshlib.policies.retry.hedge import Hedge
from meshlib.policies.retry.retry import Retry
from meshlib.policies.throttle.throttle import Throttle
from meshlib.runtime import Runtime


class Mark:
    """All that a stranger must implement."""

    def __init__(self, name: str, log: list[str], tier: str = "service") -> None:
        self.name = name
        self.tier = tier
        self.log = log

    def wrap(self, step: Any, run: Runtime, classify: Classifier) -> Any:
        def marked(call: Call) -> Any:
            self.log.append(self.name)
            return step(call)

        return marked

    def wrap_async(self, step: Any, run: Runtime, classify: Classifier) -> Any:
        async def marked(call: Call) -> Any:
            self.log.append(self.name)
            return await step(call)

        return marked


def test_the_first_policy_is_the_outermost() -> None:
    log: list[str] = []
    Pipeline(Mark("a", log), Mark("b", log), Mark("c", log)).over(lambda call: log.append("leaf"))(Call("x"))
    assert log == ["a", "b", "c", "leaf"]


@pytest.mark.anyio
async def test_a_strangers_policy_works_on_async_functions() -> None:
    log: list[str] = []

    @Pipeline(Mark("a", log), Retry(2, on=Exception))
    async def work(a: int, *, b: int) -> int:
        return a + b

    assert await work(1, b=2) == 3
    assert log == ["a"]


def test_a_pipeline_without_policies_is_the_function() -> None:
    assert Pipeline()(lambda a: a)(1) == 1
    assert Pipeline().over(lambda call: call.what)(Call("x")) == "x"


def test_one_policy_may_stand_in_several_pipelines() -> None:
    breaker = CircuitBreaker(name="users", consecutive_failures=1)

    @Pipeline(Retry(1, on=Exception), breaker)
    def broken() -> None:
        raise OSError

    with pytest.raises(OSError):
        broken()
    with pytest.raises(BreakerOpen):
        Pipeline(breaker)(lambda: 1)()
    with pytest.raises(BreakerOpen):
        Pipeline(Timeout(1.0), breaker).over(lambda call: 1)(Call("x"))


def test_gates_alone_guard_generators_until_they_end() -> None:
    breaker = CircuitBreaker(name="items", consecutive_failures=1)

    @Pipeline(breaker)
    def items() -> Iterator[int]:
        yield 1
        raise OSError

    with pytest.raises(OSError):
        list(items())
    assert breaker.state == "open"


def test_gates_alone_use_the_classifier_of_the_pipeline() -> None:
    from meshlib.call import IGNORED

    breaker = CircuitBreaker(name="users", consecutive_failures=1)

    @Pipeline(breaker, classify=lambda *_: IGNORED)
    def work() -> None:
        raise OSError

    with pytest.raises(OSError):
        work()
    assert breaker.state == "closed"


# --- order -----------------------------------------------------------------------------------------------------------


def test_the_recommended_order_is_silent() -> None:
    service = RequestCache(), SingleFlight(), Fallback(0), Timeout(1.0, per_try=0.3), Retry(3, on=Exception), Hedge(0.1)
    Pipeline(*service, CircuitBreaker(name="users"), Throttle(), RateLimit(100), AdaptiveLimit(), Bulkhead(10))


@pytest.mark.parametrize(
    "policies",
    [
        [Retry(on=Exception), SingleFlight()],
        [Retry(on=Exception), Timeout(1.0)],
        [Bulkhead(10), Retry(on=Exception)],
        [Timeout(1.0), Fallback(0)],
        [Retry(on=Exception), Fallback(0, on=KeyError)],
        [Timeout(1.0), Hedge(inf, on_failure=True)],
        [Timeout(1.0), Hedge()],
        [Timeout(9.0, per_try=1.0), Hedge(1.0, on_failure=True)],
        [Hedge(0.1), AdaptiveLimit()],
    ],
)
def test_an_order_that_is_a_choice_is_not_warned_of(policies: list[Any]) -> None:
    Pipeline(*policies)


def test_a_breaker_outside_a_retry_counts_logical_calls() -> None:
    breaker = CircuitBreaker(name="users", consecutive_failures=2)

    @Pipeline(breaker, Retry(3, on=Exception, backoff=0))
    def work() -> None:
        raise OSError

    for _ in range(2):
        assert breaker.state == "closed"
        with pytest.raises(OSError):
            work()
    assert breaker.state == "open"


@pytest.mark.parametrize(
    ("policies", "why"),
    [
        ([Retry(on=Exception), Fallback(0)], "the fallback hides each failure"),
        ([CircuitBreaker(name="users"), Fallback(0)], "the fallback hides each failure"),
        ([Throttle(), Fallback(0)], "the fallback hides each failure"),
        ([AdaptiveLimit(), Fallback(0)], "the fallback hides each failure"),
        ([Retry(on=Exception, name="a"), Retry(on=Exception, name="b")], "attempts multiply"),
        ([Timeout(1.0), Retry(on=Exception), Timeout(2.0)], "can never be reached"),
        ([Hedge(0.1), Retry(on=Exception)], "attempts multiply; put the hedge inside"),
        ([Hedge(0.1, name="a"), Hedge(0.1, name="b")], "attempts multiply"),
        ([Hedge(0.1), Fallback(0)], "the fallback hides each failure"),
        ([Hedge(0.1), SingleFlight()], "equals the first"),
        ([Hedge(0.1), RequestCache()], "equals the first"),
        ([CircuitBreaker(name="users"), SingleFlight()], "once for each call that shares it"),
        ([Throttle(), RequestCache()], "once for each call that shares it"),
        ([AdaptiveLimit(), Retry(on=Exception)], "several attempts"),
        ([AdaptiveLimit(), Hedge(0.1)], "several attempts"),
        ([Timeout(1.0), Hedge(1.0)], "the time is over"),
        ([Timeout(9.0, per_try=1.0), Retry(on=Exception), Hedge(1.0)], "each try is over"),
    ],
)
def test_an_order_without_sense_is_warned_of(policies: list[Any], why: str) -> None:
    with pytest.warns(PolicyOrderWarning, match=why) as warned:
        Pipeline(*policies)
    assert warned[0].filename == __file__


@pytest.mark.parametrize("outer", ["endpoint", "binding"])
def test_a_tier_outside_one_that_it_serves_cannot_work(outer: str) -> None:
    with pytest.raises(ValueError, match="cannot be outside"):
        Pipeline(Mark("m", [], outer), Retry(on=Exception))


def test_the_same_object_twice_cannot_work() -> None:
    breaker = CircuitBreaker(name="users")
    with pytest.raises(ValueError, match="is in the pipeline twice"):
        Pipeline(breaker, Retry(on=Exception), breaker)


@pytest.mark.parametrize("wrong", [Retry, 3, None, lambda step: step])
def test_what_is_no_policy_is_refused(wrong: Any) -> None:
    with pytest.raises(ValueError, match="expected a policy"):
        Pipeline(wrong)

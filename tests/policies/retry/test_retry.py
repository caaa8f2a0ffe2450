"""Retry: what is tried again, after how long, and why it stops."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import tenacity
from retry_script import Script, notes, run

from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS, Call, Classifier, raised
from meshlib.errors import BulkheadFull
from meshlib.events import BudgetExhausted, Event, RetryGivenUp, RetrySpent
from meshlib.pipeline import Pipeline
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.deadline.timeout import Timeout
from meshlib.policies.retry.budget import ConcurrencyBudget, RetryBudget, TokenBudget
from meshlib.policies.retry.retry import Retry, RetryDecision
from meshlib.policies.retry.retry_hooks import RetryHooks
from meshlib.policies.shell import decorators
from meshlib.testing import ManualClock


def test_a_passing_failure_is_tried_again() -> None:
    clock, script = ManualClock(), Script(OSError(), OSError(), "ok")
    assert run(Retry(3, on=Exception, backoff=0.1), script, clock) == "ok"
    assert (script.calls, clock.slept) == (3, [0.1, 0.1])


def test_giving_up_raises_the_last_error_with_a_note() -> None:
    last = OSError("last")
    script = Script(OSError("first"), OSError("second"), last)
    with pytest.raises(OSError) as error:
        run(Retry(3, on=Exception), script, ManualClock())
    assert error.value is last
    assert notes(error) == ["gave up after 3 attempts: no attempts left"]


def test_notes_do_not_pile_up_on_an_error_that_is_raised_again_and_again() -> None:
    script, error = Script(OSError()), OSError()
    script.answers = (error,)
    for _ in range(3):
        with pytest.raises(OSError):
            run(Retry(2, on=Exception, backoff=0), script, ManualClock())
    assert error.__notes__ == ["gave up after 2 attempts: no attempts left"]


def test_only_what_on_claims_is_tried_again() -> None:
    for on in (OSError, (OSError, KeyError), lambda error: isinstance(error, OSError)):
        script = Script(OSError(), ValueError("no"))
        with pytest.raises(ValueError, match="no") as error:
            run(Retry(5, on=on), script, ManualClock())
        assert (script.calls, notes(error)) == (2, [])


def test_on_cannot_overrule_a_final_verdict() -> None:
    for verdict in (FATAL, IGNORED, SUCCESS):
        script = Script(OSError())
        with pytest.raises(OSError):
            run(Retry(5, on=OSError), script, ManualClock(), classify=lambda *_, verdict=verdict: verdict)
        assert script.calls == 1


def test_a_result_may_be_worth_another_try() -> None:
    script = Script(503, 503, 200)
    assert run(Retry(3, on_result=lambda result: result == 503), script, ManualClock()) == 200


def test_the_last_bad_result_is_returned_as_it_is() -> None:
    thrown: list[object] = []
    retry = Retry(2, on_result=lambda result: result >= 500, hooks=RetryHooks(discard=thrown.append))
    assert run(retry, Script(503, 502), ManualClock()) == 502
    assert thrown == [503]


def test_a_result_that_the_classifier_calls_a_failure_is_tried_again() -> None:
    def classify(call: Call, result: object, error: BaseException | None) -> Any:
        return FAILURE if result == 503 else raised(call, result, error)

    assert run(Retry(3), Script(503, 200), ManualClock(), classify=classify) == 200


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit, SystemExit])
def test_no_cancellation_is_tried_again(error: type[BaseException]) -> None:
    script = Script(error())
    with pytest.raises(error):
        run(Retry(3, on=Exception), script, ManualClock())
    assert script.calls == 1


def test_a_call_that_is_not_replayable_is_not_retried() -> None:
    script = Script(OSError())
    with pytest.raises(OSError) as error:
        Pipeline(Retry(3, on=Exception), runtime=ManualClock()).over(script)(Call("POST", replayable=False))
    assert (script.calls, notes(error)) == (1, ["gave up after 1 attempt: the call is not replayable"])


def test_what_never_left_may_be_sent_again_even_so() -> None:
    class Refused(OSError):
        sent = False

    for retry, error in (
        (Retry(2, on=Exception), Refused()),
        (Retry(2, on=Exception, hooks=RetryHooks(unsent=lambda e: isinstance(e, KeyError))), KeyError()),
    ):
        script = Script(error, "ok")
        assert Pipeline(retry, runtime=ManualClock()).over(script)(Call("POST", replayable=False)) == "ok"


def test_an_open_breaker_is_not_waited_for() -> None:
    clock, breaker = ManualClock(), CircuitBreaker(name="users")
    breaker.force_open()
    with pytest.raises(Exception, match="users") as error:
        Pipeline(Retry(3, on=Exception), breaker, runtime=clock)(lambda: 1)()
    assert (clock.slept, notes(error)) == ([], [])


def test_a_refusal_is_tried_again_at_once_where_another_way_exists() -> None:
    clock, script = ManualClock(), Script(BulkheadFull("v1", retry_after=9.0), "ok")
    assert run(Retry(3, on=Exception, rejections=True), script, clock) == "ok"
    assert clock.slept == []


def test_a_retry_stops_when_the_breaker_beneath_it_opens() -> None:
    script = Script(OSError())
    breaker = CircuitBreaker(name="users", consecutive_failures=2)
    with pytest.raises(Exception, match="breaker open"):
        Pipeline(Retry(9, on=Exception), breaker, runtime=ManualClock())(script.__call__)()
    assert script.calls == 2


def test_an_outage_costs_no_more_than_the_budget() -> None:
    clock, script, calls = ManualClock(), Script(OSError()), 2000
    call = Pipeline(Retry(3, on=Exception, backoff=0.0), runtime=clock)(script.__call__)
    for _ in range(calls):
        clock.advance(0.001)
        with pytest.raises(OSError):
            call()
    assert calls * 1.2 <= script.calls <= calls * 1.2 + 101


def test_an_empty_budget_says_so() -> None:
    budget = RetryBudget(0.0, min_per_second=0.0, name="shop")
    heard: list[Event] = []
    budget.port.subscribe(heard.append)
    with pytest.raises(OSError) as error:
        run(Retry(3, on=Exception, budget=budget), Script(OSError()), ManualClock())
    assert notes(error) == ["gave up after 1 attempt: retry budget exhausted"]
    assert [(type(event), event.name) for event in heard] == [(BudgetExhausted, "shop")]


def test_one_deposit_per_call_and_one_withdrawal_per_retry() -> None:
    clock, budget = ManualClock(), RetryBudget(1.0, min_per_second=0.0)
    assert run(Retry(3, on=Exception, budget=budget), Script("ok"), clock) == "ok"
    assert run(Retry(3, on=Exception, budget=budget), Script(OSError(), "ok"), clock) == "ok"
    assert budget.balance(clock.now()) == 1


@pytest.mark.parametrize("last", ["ok", OSError(), KeyboardInterrupt()])
def test_a_budget_of_retries_in_flight_returns_to_zero(last: Any) -> None:
    budget = ConcurrencyBudget()
    try:
        run(Retry(4, on=Exception, budget=budget), Script(OSError(), OSError(), last), ManualClock())
    except BaseException:
        pass
    assert (budget.calls, budget.retries) == (0, 0)


def test_a_token_budget_records_every_attempt() -> None:
    budget = TokenBudget(10, ratio=0.5)
    run(Retry(4, on=Exception, budget=budget), Script(OSError(), OSError(), "ok"), ManualClock())
    assert budget.tokens == 8.5


def test_each_retry_and_the_end_emit_an_event() -> None:
    retry, heard = Retry(2, on=Exception, backoff=0.1, name="users"), list[Event]()
    retry.subscribe(heard.append)
    with pytest.raises(OSError):
        run(retry, Script(OSError()), ManualClock())
    spent, given_up = heard
    assert isinstance(spent, RetrySpent)
    assert (spent.attempt, spent.delay) == (1, 0.1)
    assert isinstance(given_up, RetryGivenUp)
    assert (given_up.attempt, given_up.reason) == (2, "no attempts left")


def test_the_decision_can_be_driven_by_hand() -> None:
    tries = RetryDecision(Retry(3, on=Exception, backoff=[0.1, 0.2]), raised, lambda: 0.5, 0.0)
    delays = [tries.next_delay(Call("x"), None, OSError(), now) for now in (0.0, 1.0, 2.0)]
    assert (delays, tries.reason) == ([0.1, 0.2, None], "no attempts left")


def test_attempts_are_numbered() -> None:
    seen: list[int] = []

    def step(call: Call) -> None:
        seen.append(call.attempt)
        raise OSError

    with pytest.raises(OSError):
        Pipeline(Retry(3, on=Exception), runtime=ManualClock()).over(step)(Call("x"))
    assert seen == [1, 2, 3]


def test_a_failed_call_leaves_no_cycle_behind() -> None:
    class Big:
        pass

    big = Big()
    gone = weakref.ref(big)

    def work(big: Big) -> None:
        raise OSError

    gc.collect()
    gc.disable()
    try:
        try:
            Pipeline(Retry(2, on=Exception), runtime=ManualClock())(work)(big)
        except OSError:
            pass
        del big
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "make",
    [
        lambda: Retry(0, on=Exception),
        lambda: Retry(-1, on=Exception),
        lambda: Retry(True, on=Exception),
        lambda: Retry(on=Exception, backoff=-1.0),
        lambda: Retry(on=Exception, backoff=float("nan")),
        lambda: Retry(on=Exception, backoff=[0.1, -0.1]),
        lambda: Retry(on=Exception, max_retry_after=-1.0),
        lambda: Retry(on=3),  # type: ignore[arg-type]
        lambda: Retry(5, on=Exception, stop=tenacity.stop_never),
        lambda: Retry(on=Exception, stop=3),  # type: ignore[arg-type]
        lambda: Retry(on=Exception, name=""),
    ],
)
def test_nonsense_is_refused(make: Callable[[], Retry]) -> None:
    with pytest.raises(ValueError, match="expected"):
        make()


@pytest.mark.anyio
async def test_async_functions_are_retried_alike() -> None:
    clock, script = ManualClock(), Script(OSError(), 503, "ok")
    thrown: list[object] = []

    async def close(result: object) -> None:
        thrown.append(result)

    async def ask(user: int) -> Any:
        return script()

    retry = Retry(
        3, on=Exception, on_result=lambda result: result == 503, backoff=[0.1, 0.2], hooks=RetryHooks(discard=close)
    )
    assert await Pipeline(retry, runtime=clock)(ask)(7) == "ok"
    assert (clock.slept, thrown) == ([0.1, 0.2], [503])


def test_a_last_result_that_is_no_good_may_become_an_error() -> None:
    retry = Retry(
        3,
        backoff=0,
        on_result=lambda result: result < 0,
        hooks=RetryHooks(exhausted=lambda result: LookupError(result)),
    )
    answers = iter([-1, -2, -3])
    with pytest.raises(LookupError, match="-3"):
        retry(lambda: next(answers))()
    assert retry(lambda: 1)() == 1


def test_what_may_be_retried_has_no_default_for_functions() -> None:
    def load() -> int:
        return 1

    async def load_async() -> int:
        return 1

    for guard in (Retry(3), Pipeline(Timeout(1.0), Retry(3)), Pipeline(Retry(3), CircuitBreaker()), decorators.retry):
        for fn in (load, load_async):
            with pytest.raises(ValueError, match=r"^retry: say what may be retried: on=ConnectionError"):
                guard(fn)
    with pytest.raises(ValueError, match="say what may be retried"):
        Retry(3).decide(0.0)


@pytest.mark.parametrize(
    "chosen", [{"on": OSError}, {"on_result": bool}, {"retry": tenacity.retry_if_exception_type(OSError)}]
)
def test_any_of_the_choices_is_enough(chosen: dict[str, Any]) -> None:
    assert Retry(3, **chosen)(lambda: 0)() == 0


def test_a_pipeline_that_classifies_has_chosen() -> None:
    classify: Classifier = lambda call, result, error: FAILURE if error else SUCCESS  # noqa: E731
    script = Script(OSError(), "ok")
    assert run(Retry(3), script, ManualClock(), classify=classify) == "ok"


def test_an_error_is_not_retried_where_only_results_were_chosen() -> None:
    script = Script(503, OSError())
    with pytest.raises(OSError):
        run(Retry(3, on_result=lambda result: result == 503), script, ManualClock())
    assert script.calls == 2

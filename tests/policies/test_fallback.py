"""Fallback: what it answers for, with what, and what happens when it fails too."""

from __future__ import annotations

from typing import Any

import pytest

from meshlib import fallback
from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS, Call, Verdict, raised
from meshlib.errors import BreakerOpen, DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.fallback import Fallback
from meshlib.testing import ManualClock


def broken(error: BaseException) -> Any:
    def work(*args: Any, **kwargs: Any) -> Any:
        raise error

    return work


def test_a_value_stands_in() -> None:
    assert Fallback(7)(broken(OSError()))() == 7
    assert Fallback(None)(broken(OSError()))() is None


def test_a_function_makes_its_answer_of_the_error() -> None:
    assert Fallback(lambda error: str(error))(broken(OSError("down")))() == "down"


def test_another_function_gets_the_same_arguments() -> None:
    assert Fallback(instead=lambda a, *, b: (a, b))(broken(OSError()))(1, b=2) == (1, 2)


def test_another_pipeline_may_answer() -> None:
    second = Pipeline(Fallback("third"))(broken(OSError()))
    assert Pipeline(Fallback(instead=second))(broken(OSError()))() == "third"


def test_over_a_step_another_step_gets_the_call() -> None:
    step = Pipeline(Fallback(instead=lambda call: call.what)).over(broken(OSError()))
    assert step(Call("request")) == "request"


@pytest.mark.parametrize("error", [OSError(), BreakerOpen("users"), DeadlineExceeded("users", sent=False)])
def test_failures_refusals_and_late_answers_are_answered_for(error: Exception) -> None:
    assert Fallback(7)(broken(error))() == 7


@pytest.mark.parametrize("verdict", [IGNORED, SUCCESS])
def test_what_the_classifier_lets_pass_stays_the_callers(verdict: Any) -> None:
    with pytest.raises(OSError):
        Pipeline(Fallback(7), classify=lambda *_: verdict)(broken(OSError()))()
    assert Pipeline(Fallback(7), classify=lambda *_: FATAL)(broken(OSError()))() == 7


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit])
def test_a_cancellation_is_not_answered_for(error: type[BaseException]) -> None:
    with pytest.raises(error):
        Fallback(7)(broken(error()))()


def test_on_narrows_it() -> None:
    guarded = Fallback(7, on=KeyError)(lambda key: {"a": 1}[key] + key)
    assert guarded("b") == 7
    with pytest.raises(TypeError):
        guarded("a")


def test_a_fallback_that_fails_too_leaves_the_original_error() -> None:
    original = OSError("down")
    with pytest.raises(OSError) as error:
        Fallback(instead=broken(ValueError("as well")))(broken(original))()
    assert error.value is original
    assert original.__notes__ == ["fallback: failed too: ValueError('as well')"]


def test_a_full_fallback_leaves_the_original_error() -> None:
    fallback = Fallback(lambda error: guarded(), max_concurrent=1)
    guarded = fallback(broken(OSError("down")))
    with pytest.raises(OSError) as error:
        guarded()
    assert "fallback: not called: max_concurrent=1 fallbacks are already running" in error.value.__notes__
    assert fallback.active == 0


def test_the_last_good_answer_stands_in_while_it_is_fresh() -> None:
    clock, down = ManualClock(), set[int]()

    def load(user: int) -> str:
        if user in down:
            raise OSError
        return f"user {user}"

    guarded = Pipeline(Fallback(stale=60.0), runtime=clock)(load)
    assert guarded(1) == "user 1"
    down.update({1, 2})
    clock.advance(60.0)
    assert guarded(1) == "user 1"
    with pytest.raises(OSError):
        guarded(2)
    clock.advance(1.0)
    with pytest.raises(OSError):
        guarded(1)


def test_with_nothing_remembered_the_other_answer_stands_in() -> None:
    assert Fallback("empty", stale=60.0)(broken(OSError()))(1) == "empty"


def test_only_so_many_answers_are_remembered() -> None:
    fallback, down = Fallback("none", stale=60.0, max_keys=2, key=lambda user: user["id"]), False

    @fallback
    def load(user: dict[str, int]) -> Any:
        if down:
            raise OSError
        return user["id"]

    for n in (1, 2, 1, 3):
        load({"id": n})
    down = True
    assert [load({"id": n}) for n in (1, 2, 3)] == [1, "none", 3]


def test_an_async_fallback_cannot_answer_for_a_sync_function() -> None:
    async def answer(error: Exception) -> int:
        return 7

    with pytest.raises(TypeError, match="async fallback"):
        Fallback(answer)(lambda: 1)


@pytest.mark.anyio
async def test_async_functions_have_sync_and_async_fallbacks() -> None:
    async def work(user: int) -> int:
        raise OSError

    async def other(user: int) -> int:
        return user

    assert await Fallback(instead=other)(work)(7) == 7
    assert await Fallback(lambda error: 8)(work)(7) == 8


def test_a_result_that_is_no_good_is_answered_for() -> None:
    assert [Fallback(7, on_result=lambda result: result < 0)(lambda n: n)(n) for n in (3, -3)] == [3, 7]


def test_a_result_that_the_pipelines_classifier_calls_a_failure_is_answered_for() -> None:
    def make_classifier(call: Call, result: object, error: BaseException | None) -> Verdict:
        return {"ok": SUCCESS, "busy": FAILURE, "gone": FATAL, "odd": IGNORED}[str(result)]

    load = Pipeline(Fallback("none"), classify=make_classifier)(lambda said: said)
    assert [load(said) for said in ("ok", "busy", "gone", "odd")] == ["ok", "none", "none", "odd"]


def test_a_classifier_of_its_own_replaces_the_pipelines() -> None:
    def mine(call: Call, result: object, error: BaseException | None) -> Verdict:
        return FAILURE if result == "mine" else SUCCESS

    load = Pipeline(Fallback("none", classify=mine), classify=lambda *_: FAILURE)(lambda said: said)
    assert [load("mine"), load("theirs")] == ["none", "theirs"]
    with pytest.raises(OSError):
        Fallback("none", classify=mine)(broken(OSError()))()


def test_on_narrows_it_to_errors_and_on_result_widens_it_again() -> None:
    pipeline = {"classify": lambda call, result, error: FAILURE}
    assert Pipeline(Fallback(7, on=KeyError), **pipeline)(lambda: "bad")() == "bad"
    guarded = Pipeline(Fallback(7, on=KeyError, on_result=lambda result: result == "bad"), **pipeline)
    assert guarded(lambda: "bad")() == 7
    assert guarded(lambda: "healthy")() == "healthy"


def test_a_function_makes_its_answer_of_the_failing_result() -> None:
    assert Fallback(lambda result: result * 10, on_result=lambda result: result < 0)(lambda: -3)() == -30


def test_a_fallback_that_cannot_answer_for_a_result_leaves_the_result() -> None:
    failing = {"on_result": lambda result: result < 0}
    assert Fallback(instead=broken(ValueError()), **failing)(lambda: -3)() == -3
    assert Fallback(stale=60.0, **failing)(lambda: -3)() == -3
    crowded = Fallback(lambda result: guarded(), max_concurrent=1, **failing)
    guarded = crowded(lambda: -3)
    assert guarded() == -3
    assert crowded.active == 0


@pytest.mark.anyio
async def test_async_functions_are_answered_for_by_their_results_too() -> None:
    async def work(n: int) -> int:
        return n

    async def other(n: int) -> int:
        return -n

    guarded = fallback(instead=other, on_result=lambda result: result < 0)(work)
    assert [await guarded(n) for n in (3, -4)] == [3, 4]
    steps = Pipeline(Fallback(7, on_result=lambda result: result < 0)).over_async(lambda call: work(call.what))
    assert [await steps(Call(n)) for n in (3, -3)] == [3, 7]


def test_the_cause_of_an_error_that_is_not_answered_for_stays() -> None:
    def work() -> None:
        raise OSError("down") from KeyError("why")

    with pytest.raises(OSError) as error:
        Fallback(instead=broken(ValueError("as well")))(work)()
    assert isinstance(error.value.__cause__, KeyError)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"value": 1, "instead": print},
        {"instead": 1},
        {"stale": -1.0},
        {"value": 1, "max_concurrent": 0},
        {"value": 1, "on_result": 503},
        {"value": 1, "classify": raised, "on": KeyError},
        {"value": 1, "classify": raised, "on_result": bool},
    ],
)
def test_nonsense_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Fallback(**options)


def test_a_bad_answer_is_not_remembered_as_the_last_good_one() -> None:
    def make_classifier(call: Call, result: object, error: BaseException | None) -> Verdict:
        return FAILURE if error is not None or result == "503" else SUCCESS

    answers: list[Any] = ["good", "503", OSError()]

    @Pipeline(Fallback(stale=60.0), classify=make_classifier, runtime=ManualClock())
    def load() -> Any:
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    assert [load(), load(), load()] == ["good", "good", "good"]

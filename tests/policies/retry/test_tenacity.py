"""Objects of tenacity in a retry: `stop`, `wait` and `retry`."""

from __future__ import annotations

from typing import Any

import pytest
import tenacity
from retry_script import Script, run

from meshlib.policies.retry.retry import Retry
from meshlib.testing import ManualClock


def test_tenacitys_objects_stand_in() -> None:
    clock, script = ManualClock(), Script(KeyError(), KeyError(), KeyError(), "ok")
    retry = Retry(
        stop=tenacity.stop_after_attempt(5),
        wait=tenacity.wait_exponential(multiplier=0.1, max=0.3),
        retry=tenacity.retry_if_exception_type(KeyError),
    )
    assert run(retry, script, clock) == "ok"
    assert clock.slept == pytest.approx([0.1, 0.2, 0.3])


def test_tenacitys_clock_is_ours() -> None:
    for stop in (tenacity.stop_after_delay(1.0), tenacity.stop_before_delay(1.3)):
        script = Script(OSError())
        with pytest.raises(OSError):
            run(Retry(on=Exception, stop=stop, wait=tenacity.wait_fixed(0.4)), script, ManualClock())
        assert script.calls == 4


def test_a_retry_object_of_tenacity_may_judge_results() -> None:
    script = Script(None, None, 1)
    assert run(Retry(retry=tenacity.retry_if_result(lambda result: result is None)), script, ManualClock()) == 1


def test_tenacity_is_asked_only_after_a_failure() -> None:
    def never(state: object) -> Any:
        raise AssertionError("asked")

    assert run(Retry(on=Exception, stop=never, wait=never), Script("ok"), ManualClock()) == "ok"

    asked: list[object] = []

    class IfOSError(tenacity.retry_if_exception_type):
        def __call__(self, state: tenacity.RetryCallState) -> bool:
            asked.append(state.outcome)
            return super().__call__(state)

    script = Script(OSError(), "ok")
    assert run(Retry(retry=IfOSError(OSError), backoff=0), script, ManualClock()) == "ok"
    assert len(asked) == 1, "what only judges exceptions has nothing to say of a result"
    unless = tenacity.retry_unless_exception_type(ValueError)
    with pytest.raises(ValueError, match="enough"):
        run(Retry(retry=unless, backoff=0), Script("again", ValueError("enough")), ManualClock())

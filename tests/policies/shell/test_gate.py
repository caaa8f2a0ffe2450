"""The gate as a layer: which calls reach `enter` and `leave`, and how a deadline differs from a cancellation."""

from __future__ import annotations

import asyncio
from math import inf
from typing import Any

import pytest

from meshlib.call import FAILURE, IGNORED, SUCCESS, Call, Verdict, raised
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, State
from meshlib.policies.shell.gate import Gate
from meshlib.testing import ManualClock


class Notes(Gate):
    """Writes down its calls of `enter` and `leave`."""

    def __init__(self, clock: ManualClock, *, timed: bool = False) -> None:
        super().__init__("notes", runtime=clock)
        self.timed = timed
        self.calls: list[Any] = []

    def enter(self, now: float) -> int:
        self.calls.append(("enter", now))
        return 7

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        self.calls.append((permit, verdict, now, took))


async def sleep_and_answer(clock: ManualClock) -> str:
    clock.advance(2.0)
    return "healthy"


@pytest.mark.parametrize("timed", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
def test_a_layer_asks_before_and_tells_after(timed: bool, is_async: bool) -> None:
    clock = ManualClock(10.0)
    gate = Notes(clock, timed=timed)

    def answer(call: Call) -> str:
        clock.advance(2.0)
        return "healthy"

    async def answer_async(call: Call) -> str:
        return answer(call)

    if is_async:
        assert asyncio.run(gate.wrap_async(answer_async, clock, raised)(Call(None))) == "healthy"
    else:
        assert gate.wrap(answer, clock, raised)(Call(None)) == "healthy"
    assert gate.calls == [("enter", 10.0), (7, SUCCESS, 12.0, 2.0 if timed else 0.0)]


def test_a_gate_that_admits_and_is_quiet_is_not_called() -> None:
    clock = ManualClock()
    gate = Notes(clock)
    gate.admits = gate.quiet = True
    assert gate.wrap(lambda call: "healthy", clock, raised)(Call(None)) == "healthy"
    assert gate(lambda: "healthy")() == "healthy"
    assert gate.calls == []


def test_what_became_noisy_during_the_call_counts_its_success() -> None:
    clock = ManualClock()
    gate = Notes(clock)
    gate.admits = gate.quiet = True
    gate.generation = 3

    def step(call: Call) -> None:
        gate.quiet = False

    gate.wrap(step, clock, raised)(Call(None))
    assert gate.calls == [(3, SUCCESS, 0.0, 0.0)]


def test_a_plain_success_is_one_step_and_nothing_else() -> None:
    clock, steps = ManualClock(), []
    gate = Notes(clock)
    gate.admits, gate.generation, gate.counted, gate.plain_until = True, 3, 3, 5.0
    gate.step = lambda: steps.append(1)
    layer, guarded = gate.wrap(lambda call: None, clock, raised), gate(lambda: None)
    layer(Call(None))
    guarded()
    assert (len(steps), gate.calls) == (2, [])
    clock.advance(5.0)
    layer(Call(None))
    gate.generation = 4
    guarded()
    assert [permit for permit, *_ in gate.calls] == [3, 4] and len(steps) == 2


def test_a_streamed_answer_counts_at_its_end() -> None:
    clock = ManualClock()
    gate = Notes(clock, timed=True)
    call = Call(None)
    call.later = []
    gate.wrap(lambda call: "headers", clock, raised)(call)
    assert gate.calls == [("enter", 0.0)]
    clock.advance(3.0)
    assert call.later is not None
    for tell in call.later:
        tell(FAILURE)
    assert gate.calls[1:] == [(7, FAILURE, 3.0, 3.0)]


def test_a_cancellation_at_the_calls_own_deadline_is_a_failure_and_before_it_none() -> None:
    clock = ManualClock()
    breaker = CircuitBreaker(consecutive_failures=1, runtime=clock)

    async def hangs(call: Call) -> None:
        clock.advance(1.0)
        raise asyncio.CancelledError

    layer = breaker.wrap_async(hangs, clock, raised)
    for deadline in (inf, 2.5):
        with pytest.raises(asyncio.CancelledError):
            asyncio.run(layer(Call(None, deadline)))
        assert breaker.state == State.CLOSED
    with pytest.raises(asyncio.CancelledError):
        asyncio.run(layer(Call(None, 2.5)))
    assert breaker.state == State.OPEN


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_is_no_failure_also_after_the_deadline(error: type[BaseException]) -> None:
    clock = ManualClock(10.0)
    gate = Notes(clock)

    def interrupted(call: Call) -> None:
        raise error

    with pytest.raises(error):
        gate.wrap(interrupted, clock, raised)(Call(None, 1.0))
    assert gate.calls[-1][1] is IGNORED


def test_a_layer_takes_the_classifier_of_the_pipeline_and_prefers_its_own() -> None:
    clock = ManualClock()
    gate = Notes(clock)
    gate.wrap(lambda call: "x", clock, lambda call, result, error: FAILURE)(Call(None))
    gate.classify = lambda call, result, error: IGNORED
    gate.wrap(lambda call: "x", clock, lambda call, result, error: FAILURE)(Call(None))
    assert [note[1] for note in gate.calls if note[0] == 7] == [FAILURE, IGNORED]

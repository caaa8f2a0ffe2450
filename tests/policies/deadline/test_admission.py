"""Deadline admission, by Finagle's DeadlineFilterTest."""

from __future__ import annotations

from math import inf

import anyio
import pytest

from meshlib.call import Call, raised
from meshlib.errors import DeadlineExceeded
from meshlib.policies.deadline.deadline_admission import DeadlineAdmission
from meshlib.runtime import SYSTEM


def serve(gate: DeadlineAdmission, times: int, now: float = 0.0, deadline: float = inf) -> None:
    for _ in range(times):
        gate.enter(now, deadline)


def test_a_late_call_is_served_while_too_few_were_served_to_refuse_one() -> None:
    gate = DeadlineAdmission()
    serve(gate, 3, 0.0, 1.0)
    serve(gate, 1, 2.0, 1.0)
    assert gate.metrics() == {"exceeded": 1, "rejected": 0}


@pytest.mark.parametrize("deadline", [1.0, inf])
def test_after_five_served_one_late_call_is_refused(deadline: float) -> None:
    gate = DeadlineAdmission()
    serve(gate, 5, 0.0, deadline)
    with pytest.raises(DeadlineExceeded) as caught:
        gate.enter(2.0, 1.0)
    assert not caught.value.sent
    assert gate.metrics() == {"exceeded": 1, "rejected": 1}


def test_late_calls_that_had_to_be_served_count_as_served() -> None:
    gate = DeadlineAdmission()
    serve(gate, 5, 2.0, 1.0)
    with pytest.raises(DeadlineExceeded):
        gate.enter(2.0, 1.0)
    serve(gate, 1, 2.0, 1.0)
    assert gate.rejected == 1


def test_a_refusal_does_not_count_as_served() -> None:
    gate = DeadlineAdmission()
    serve(gate, 5)
    with pytest.raises(DeadlineExceeded):
        gate.enter(2.0, 1.0)
    serve(gate, 4, 2.0)
    serve(gate, 1, 4.0, 3.0)
    assert gate.rejected == 1


def test_what_was_served_long_ago_does_not_count() -> None:
    gate = DeadlineAdmission()
    serve(gate, 5)
    serve(gate, 1, 13.0, 12.0)
    assert gate.rejected == 0


def test_with_only_count_it_rejects_nothing() -> None:
    gate = DeadlineAdmission(only_count=True)
    serve(gate, 50)
    serve(gate, 5, 2.0, 1.0)
    assert gate.metrics() == {"exceeded": 5, "rejected": 0}


def test_a_layer_looks_at_the_deadline_of_the_call() -> None:
    gate = DeadlineAdmission(max_rejected=1.0)
    step = gate.wrap(lambda call: "done", SYSTEM, raised)

    async def done(call: Call) -> str:
        return "done"

    later = gate.wrap_async(done, SYSTEM, raised)
    assert step(Call(None)) == "done"
    assert anyio.run(later, Call(None)) == "done"
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            step(Call(None, deadline=SYSTEM.now() - 1.0))


@pytest.mark.parametrize("settings", [{"max_rejected": 0.0}, {"max_rejected": 1.1}, {"window": 0.5}, {"window": 61.0}])
def test_nonsense_is_refused_at_construction(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"^(max_rejected|window)="):
        DeadlineAdmission(**settings)  # type: ignore[arg-type]

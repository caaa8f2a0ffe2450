"""Every short history of a breaker, against a second one written as plainly as can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from reference_breaker import Reference

from meshlib.call import FAILURE, IGNORED, SUCCESS
from meshlib.errors import BreakerOpen
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, Probes
from meshlib.policies.breaker.trip import Consecutive, Either, FailureRate
from meshlib.testing import ManualClock

VERDICTS = {"success": (SUCCESS, False), "failure": (FAILURE, True), "ignored": (IGNORED, None)}
STEPS = ("enter", "wait", *((what, which) for what in (*VERDICTS, "lost") for which in ("oldest", "newest")))

CONFIGS = {
    "one in a row": ({"consecutive_failures": 1}, {"run": 1}, 7),
    "two in a row": ({"consecutive_failures": 2}, {"run": 2}, 7),
    "two probes": ({"consecutive_failures": 1, "probes": 2}, {"run": 1, "probes": 2, "successes": 2, "at_once": 2}, 7),
    "two probes, one by one": (
        {"consecutive_failures": 1, "probes": Probes(2, concurrency=1)},
        {"run": 1, "probes": 2, "successes": 2, "at_once": 1},
        7,
    ),
    "one of two probes": (
        {"consecutive_failures": 1, "probes": Probes(2, successes=1)},
        {"run": 1, "probes": 2, "successes": 1, "at_once": 2},
        7,
    ),
    "half-open bounded": (
        {"consecutive_failures": 1, "probes": Probes(2, lease=3.0, max_duration=1.0)},
        {"run": 1, "longest": 1.0, "probes": 2, "successes": 2, "at_once": 2, "lease": 3.0},
        7,
    ),
    "rate of the last two": (
        {"trip": lambda: FailureRate(0.5, window_calls=2, minimum_calls=2)},
        {"rate": 0.5, "size": 2, "minimum": 2},
        7,
    ),
    "a row or a rate": (
        {"trip": lambda: Either(Consecutive(2), FailureRate(1.0, window_calls=3, minimum_calls=3))},
        {"run": 2, "rate": 1.0, "size": 3, "minimum": 3},
        7,
    ),
}


def histories(length: int) -> Iterator[tuple[Any, ...]]:
    """All of them, without impossible steps: only a call that entered can leave."""

    def grow(history: tuple[Any, ...], inside: int) -> Iterator[tuple[Any, ...]]:
        if len(history) == length:
            yield history
            return
        for step in STEPS:
            if isinstance(step, str):
                yield from grow((*history, step), inside + (step == "enter"))
            elif inside >= (2 if step[1] == "newest" else 1):
                yield from grow((*history, step), inside - 1)

    return grow((), 0)


def walk(history: tuple[Any, ...], settings: dict[str, Any], expected: dict[str, Any]) -> None:
    trip = settings["trip"]() if "trip" in settings else None
    breaker = CircuitBreaker(cooldown=2.0, runtime=ManualClock(), **{**settings, "trip": trip})
    reference = Reference(**expected)
    inside: list[tuple[int, object]] = []
    now = 0.0
    for step in history:
        if step == "wait":
            now += 1.0
        elif step == "enter":
            ticket = reference.enter(now)
            try:
                permit = breaker.enter(now)
            except BreakerOpen:
                assert ticket is None
            else:
                assert ticket is not None
                inside.append((permit, ticket))
        elif inside:
            what, which = step
            permit, ticket = inside.pop(0 if which == "oldest" else -1)
            if what != "lost":
                verdict, failed = VERDICTS[what]
                breaker.leave(permit, verdict, now)
                reference.leave(ticket, failed, now)
        assert breaker.state == reference.state
    # Whatever happened: once no call is inside, and time has passed, it admits again.
    for _ in range(4):
        now += 3.0
        try:
            breaker.enter(now)
            return
        except BreakerOpen:
            pass
    raise AssertionError("it is stuck")


@pytest.mark.parametrize("name", CONFIGS)
def test_every_short_history_ends_where_the_plain_reference_ends(name: str) -> None:
    settings, expected, length = CONFIGS[name]
    for history in histories(length):
        try:
            walk(history, settings, expected)
        except AssertionError as error:
            error.add_note(f"after {history}")
            raise

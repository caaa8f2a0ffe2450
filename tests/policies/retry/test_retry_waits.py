"""How long a retry waits: the backoff, the server, the deadline."""

from __future__ import annotations

from typing import Any

import pytest
from retry_script import Script, notes, run

from meshlib import backoff
from meshlib.errors import DeadlineExceeded
from meshlib.pipeline import Pipeline
from meshlib.policies.deadline.deadline import deadline
from meshlib.policies.retry.retry import Retry
from meshlib.policies.retry.retry_hooks import RetryHooks
from meshlib.testing import ManualClock


class Asked(Exception):
    """A server's "come back later"."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(retry_after)
        self.retry_after = retry_after


@pytest.mark.parametrize(
    ("waits", "slept"),
    [
        (0.5, [0.5, 0.5, 0.5]),
        ([0.1, 0.2, 0.3, 9.0], [0.1, 0.2, 0.3]),
        (backoff.constant(0.2), [0.2, 0.2, 0.2]),
        (backoff.linear(0.1, 0.1), [0.1, 0.2, 0.3]),
        (backoff.exponential(0.1, max_delay=0.3), [0.1, 0.2, 0.3]),
        (backoff.full_jitter(0.1, 1.0), [0.05, 0.1, 0.2]),
        (backoff.equal_jitter(0.1, 1.0), [0.1, 0.15, 0.3]),
        (backoff.decorrelated_jitter(0.1, 1.0), [0.1, 0.2, 0.4]),
    ],
)
def test_it_waits_as_the_backoff_says(waits: Any, slept: list[float]) -> None:
    clock = ManualClock()
    with pytest.raises(OSError):
        run(Retry(4, on=Exception, backoff=waits), Script(OSError()), clock)
    assert clock.slept == pytest.approx(slept)


def test_every_call_begins_its_backoff_anew() -> None:
    clock, retry = ManualClock(), Retry(3, on=Exception, backoff=backoff.exponential(0.1))
    for _ in range(2):
        with pytest.raises(OSError):
            run(retry, Script(OSError()), clock)
    assert clock.slept == [0.1, 0.2, 0.1, 0.2]


def test_it_stops_when_the_waits_are_used_up() -> None:
    script = Script(OSError())
    with pytest.raises(OSError) as error:
        run(Retry(None, on=Exception, backoff=[0.1, 0.1]), script, ManualClock())
    assert (script.calls, notes(error)) == (3, ["gave up after 3 attempts: no waits left in the backoff"])


def test_the_server_may_ask_for_a_longer_wait() -> None:
    clock = ManualClock()
    assert run(Retry(3, on=Exception, backoff=1.0), Script(Asked(2.5), Asked(0.1), "ok"), clock) == "ok"
    assert clock.slept == [2.5, 1.0]


def test_a_wait_asked_for_by_a_result_is_kept_too() -> None:
    clock = ManualClock()
    retry = Retry(
        3,
        on_result=lambda r: r == "busy",
        hooks=RetryHooks(retry_after=lambda outcome: 7.0 if outcome == "busy" else None),
    )
    assert run(retry, Script("busy", "ok"), clock) == "ok"
    assert clock.slept == [7.0]


class Answer:
    """What httpx, requests and aiohttp have in common."""

    def __init__(self, **headers: str) -> None:
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class Refused(Exception):
    """As `raise_for_status` raises it."""

    def __init__(self, response: Answer) -> None:
        super().__init__(response)
        self.response = response


@pytest.mark.parametrize(
    ("headers", "waits"),
    [
        ({"Retry_After": " 3 "}, 3.0),
        ({"Retry_After": "Fri, 31 Dec 1999 23:59:59 GMT", "Date": "Fri, 31 Dec 1999 23:59:52 GMT"}, 7.0),
        ({"Retry_After": "Fri, 31 Dec 1999 23:59:59 GMT"}, 1.0),
        ({"Retry_After": "soon"}, 1.0),
        ({"Retry_After": "\u0663"}, 1.0),
        ({}, 1.0),
    ],
)
def test_the_header_of_a_response_is_read_from_an_error_and_from_a_result(
    headers: dict[str, str], waits: float
) -> None:
    for outcome in (Refused(Answer(**headers)), Answer(**headers)):
        clock = ManualClock()
        retry = Retry(3, on=Exception, on_result=lambda result: isinstance(result, Answer), backoff=1.0)
        assert run(retry, Script(outcome, "ok"), clock) == "ok"
        assert clock.slept == [waits]


@pytest.mark.parametrize(
    ("asked", "why"),
    [(61.0, "the server asks to wait 61 s (max_retry_after is 60 s)"), (-1.0, "the server asks not to come back")],
)
def test_it_gives_up_rather_than_come_early(asked: float, why: str) -> None:
    clock = ManualClock()
    with pytest.raises(Asked) as error:
        run(Retry(3, on=Exception), Script(Asked(asked)), clock)
    assert (clock.slept, notes(error)) == ([], [f"gave up after 1 attempt: {why}"])


def test_it_never_waits_past_the_deadline() -> None:
    clock, script = ManualClock(), Script(OSError())
    with deadline(1.0, runtime=clock), pytest.raises(OSError) as error:
        Pipeline(Retry(9, on=Exception, backoff=0.4), runtime=clock)(script.__call__)()
    assert clock.slept == [0.4, 0.4]
    assert notes(error) == ["gave up after 3 attempts: the deadline is before the next attempt"]


def test_nothing_is_begun_after_the_deadline() -> None:
    clock, script = ManualClock(), Script("ok")
    with deadline(1.0, runtime=clock):
        clock.advance(1.0)
        with pytest.raises(DeadlineExceeded) as error:
            Pipeline(Retry(on=Exception), runtime=clock)(script.__call__)()
    assert (script.calls, error.value.sent) == (0, False)

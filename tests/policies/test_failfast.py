"""Fail fast, by Finagle's FailFastFactoryTest."""

from __future__ import annotations

from itertools import islice

import pytest

from meshlib.errors import NoEndpoint
from meshlib.events import EndpointEjected, EndpointProbed, EndpointRestored, Event
from meshlib.policies.failfast import FailFast, finagle_delays


def make(*delays: float) -> FailFast:
    return FailFast(lambda: delays, address="10.0.0.1:80")


def test_one_failed_connect_marks_it_dead_and_refuses_callers() -> None:
    endpoint = make(1.0, 2.0)
    endpoint.failed(0.0)
    assert not endpoint.available
    with pytest.raises(NoEndpoint) as caught:
        endpoint.enter(0.25)
    assert caught.value.retry_after == 0.75
    assert endpoint.metrics(0.25).unhealthy_for == 0.25


def test_one_background_attempt_at_a_time_after_each_delay() -> None:
    endpoint = make(1.0, 2.0, 4.0)
    endpoint.failed(0.0)
    assert [endpoint.due(now) for now in (0.9, 1.0, 1.1)] == [False, True, False]
    endpoint.ended(False, 1.5)
    assert (endpoint.retry_at, endpoint.available) == (3.5, False)
    assert [endpoint.due(now) for now in (3.4, 3.5)] == [False, True]
    assert endpoint.metrics(3.5).unhealthy_tries == 2


def test_a_success_brings_it_back() -> None:
    endpoint, told = make(1.0, 2.0), list[Event]()
    endpoint.subscribe(told.append)
    endpoint.failed(0.0)
    assert endpoint.due(1.0)
    endpoint.ended(True, 1.1)
    assert endpoint.available
    assert endpoint.metrics(1.1).marked_available == 1
    assert [type(event) for event in told] == [EndpointEjected, EndpointProbed, EndpointRestored]


def test_when_the_delays_are_used_up_it_is_taken_for_alive() -> None:
    endpoint = make(1.0)
    endpoint.failed(0.0)
    assert endpoint.due(1.0)
    endpoint.ended(False, 1.0)
    assert endpoint.available
    assert make().available
    empty = make()
    empty.failed(0.0)
    assert empty.available


def test_connects_under_way_mark_it_dead_only_once() -> None:
    endpoint = make(1.0, 2.0)
    endpoint.failed(0.0)
    endpoint.failed(0.5)
    assert (endpoint.retry_at, endpoint.metrics(0.5).marked_dead) == (1.0, 1)


def test_as_a_gate_one_caller_is_the_attempt_and_server_errors_do_not_count() -> None:
    endpoint = make(0.0, 100.0)

    @endpoint
    def connect(error: BaseException | None = None) -> str:
        if error:
            raise error
        return "connected"

    with pytest.raises(ValueError):
        connect(ValueError())
    assert endpoint.available
    with pytest.raises(ConnectionRefusedError):
        connect(ConnectionRefusedError())
    with pytest.raises(KeyboardInterrupt):
        connect(KeyboardInterrupt())  # the attempt was called off: the next caller makes it
    with pytest.raises(ConnectionRefusedError):
        connect(ConnectionRefusedError())
    with pytest.raises(NoEndpoint):
        connect()
    endpoint.succeeded(0.0)
    assert connect() == "connected"


def test_finagles_delays_are_sixteen_and_a_last_one() -> None:
    delays = list(islice(finagle_delays(lambda: 1.0), 20))
    assert (len(delays), delays[0], delays[-1], max(delays)) == (17, 1.0, 32.0, 32.0)

"""Fail fast, by Finagle's FailFastFactoryTest."""

from __future__ import annotations

from itertools import islice
from math import inf, nan

import pytest

from meshlib.call import FAILURE, IGNORED, SUCCESS
from meshlib.errors import NoEndpoint
from meshlib.events import EndpointEjected, EndpointProbed, EndpointRestored, Event
from meshlib.policies.breaker.fail_fast import FailFast, finagle_delays


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
    endpoint, events = make(1.0, 2.0), list[Event]()
    endpoint.subscribe(events.append)
    endpoint.failed(0.0)
    assert endpoint.due(1.0)
    endpoint.ended(True, 1.1)
    assert endpoint.available
    assert endpoint.metrics(1.1).marked_available == 1
    assert [type(event) for event in events] == [EndpointEjected, EndpointProbed, EndpointRestored]


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


def test_an_attempt_that_never_ends_costs_one_lease_and_not_the_endpoint() -> None:
    endpoint = FailFast(lambda: (1.0, 2.0, 4.0), lease=10.0)
    endpoint.failed(0.0)
    assert endpoint.due(1.0)  # and the caller that got True crashed
    assert [endpoint.due(now) for now in (5.0, 10.9, 11.0, 11.1)] == [False, False, True, False]
    endpoint.ended(True, 12.0)
    assert endpoint.available


def test_a_caller_that_vanished_as_the_attempt_keeps_others_out_for_one_lease() -> None:
    endpoint = FailFast(lambda: (1.0, 2.0), lease=10.0)
    endpoint.failed(0.0)
    vanished = endpoint.enter(1.0)
    with pytest.raises(NoEndpoint) as caught:
        endpoint.enter(4.0)
    assert caught.value.retry_after == 7.0
    second = endpoint.enter(11.0)
    assert second not in (0, vanished)
    endpoint.leave(second, SUCCESS, 11.5)
    assert endpoint.available


def test_an_attempt_that_ends_after_its_lease_brings_it_back_and_does_no_harm() -> None:
    endpoint = FailFast(lambda: (1.0, 2.0, 4.0), lease=10.0)
    endpoint.failed(0.0)
    slow = endpoint.enter(1.0)
    second = endpoint.enter(11.0)
    endpoint.leave(slow, FAILURE, 11.5)  # older than the attempt that is under way
    endpoint.leave(slow, IGNORED, 11.5)
    assert endpoint.retry_at == 1.0
    with pytest.raises(NoEndpoint):
        endpoint.enter(11.6)
    endpoint.leave(slow, SUCCESS, 12.0)
    assert endpoint.enter(12.0) == 0
    endpoint.leave(second, FAILURE, 12.1)
    assert endpoint.available


def test_an_attempt_that_fails_late_but_alone_goes_on_to_the_next_delay() -> None:
    endpoint = FailFast(lambda: (1.0, 2.0), lease=10.0)
    endpoint.failed(0.0)
    slow = endpoint.enter(1.0)
    endpoint.leave(slow, FAILURE, 50.0)
    assert endpoint.retry_at == 52.0
    with pytest.raises(NoEndpoint):
        endpoint.enter(51.0)


def test_an_attempt_from_before_a_recovery_says_nothing_about_the_next_illness() -> None:
    endpoint = make(1.0, 2.0)
    endpoint.failed(0.0)
    old = endpoint.enter(1.0)
    endpoint.succeeded(1.1)
    endpoint.failed(5.0)
    endpoint.leave(old, FAILURE, 5.5)
    assert endpoint.retry_at == 6.0


@pytest.mark.parametrize("lease", [0.0, -1.0, nan, inf])
def test_a_lease_without_sense_is_refused(lease: float) -> None:
    with pytest.raises(ValueError, match="lease="):
        FailFast(lease=lease)


def test_finagles_delays_are_sixteen_and_a_last_one() -> None:
    delays = list(islice(finagle_delays(lambda: 1.0), 20))
    assert (len(delays), delays[0], delays[-1], max(delays)) == (17, 1.0, 32.0, 32.0)

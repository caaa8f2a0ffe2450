"""Events: each heard once, in order, by everybody, and no listener can break a call."""

from __future__ import annotations

import logging
import re
import threading
from pathlib import Path

import pytest

from meshlib.errors import BreakerOpen
from meshlib.events import BreakerChanged, CallRejected, Event, Port
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, State
from meshlib.testing import ManualClock


def test_a_listener_receives_each_event_once_and_in_order() -> None:
    port, heard = Port(), []
    port.subscribe(heard.append)
    events = [Event(str(i)) for i in range(10)]
    for event in events:
        port.send(event)
    assert heard == events


def test_a_listener_that_raises_is_logged_once_and_dropped_and_the_others_hear_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    port, heard = Port(), []

    def bad(event: Event) -> None:
        raise RuntimeError("no")

    port.subscribe(bad)
    port.subscribe(heard.append)
    with caplog.at_level(logging.ERROR, "meshlib"):
        port.send(Event("a"))
        port.send(Event("b"))
    assert [event.name for event in heard] == ["a", "b"]
    assert len(caplog.records) == 1


def test_ending_one_of_two_subscriptions_of_one_function_leaves_the_other() -> None:
    port, heard = Port(), []
    end = port.subscribe(heard.append)
    port.subscribe(heard.append)
    end()
    end()
    port.send(Event("a"))
    assert len(heard) == 1


def test_what_a_listener_causes_comes_after_what_it_received() -> None:
    port, first, second = Port(), [], []

    def causes(event: Event) -> None:
        first.append(event.name)
        if event.name == "a":
            port.send(Event("caused"))

    port.subscribe(causes)
    port.subscribe(lambda event: second.append(event.name))
    port.send(Event("a"))
    port.send(Event("b"))
    assert first == second == ["a", "caused", "b"]


def test_subscriptions_from_many_threads_are_all_kept() -> None:
    port, heard = Port(), []
    threads = [threading.Thread(target=port.subscribe, args=(heard.append,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    port.send(Event("a"))
    assert len(heard) == 16


def test_events_from_many_threads_are_heard_once_each_and_in_the_same_order_by_all() -> None:
    port, one, two = Port(), [], []
    port.subscribe(one.append)
    port.subscribe(two.append)
    start = threading.Barrier(8)

    def send(number: int) -> None:
        start.wait()
        for i in range(200):
            port.send(Event(f"{number}/{i}"))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one == two and len(set(map(id, one))) == len(one) == 1600
    for number in range(8):
        mine = [event.name for event in one if event.name.startswith(f"{number}/")]
        assert mine == [f"{number}/{i}" for i in range(200)]


def test_an_event_says_what_it_is_about() -> None:
    event = BreakerChanged("users", "closed", "open", "5 failures in a row", 1.0, 30.0)
    assert repr(event) == (
        "BreakerChanged(name='users', after='open', before='closed', cooldown=30.0, manual=False, now=1.0, "
        "reason='5 failures in a row')"
    )


def test_a_listener_may_use_and_steer_the_breaker_it_listens_to() -> None:
    """A12: reading the state from a listener was a deadlock in a peer."""
    breaker = CircuitBreaker(consecutive_failures=1, cooldown=5.0, runtime=ManualClock())
    seen: list[tuple[str, str, str]] = []

    @breaker
    def fails() -> None:
        raise OSError

    def listener(event: Event) -> None:
        if isinstance(event, BreakerChanged):
            seen.append((event.before, event.after, breaker.state))
            breaker.metrics()
            if event.after == State.OPEN:
                with pytest.raises(BreakerOpen):
                    fails()
                breaker.reset()

    breaker.subscribe(listener)
    with pytest.raises(OSError):
        fails()
    assert seen == [("closed", "open", "open"), ("open", "closed", "closed")]


def test_a_raising_listener_does_not_replace_the_callers_exception() -> None:
    breaker = CircuitBreaker(consecutive_failures=1)

    @breaker
    def fails() -> None:
        raise OSError("mine")

    def bad(event: Event) -> None:
        raise RuntimeError("the listener's")

    breaker.subscribe(bad)
    logging.getLogger("meshlib").disabled = True
    try:
        with pytest.raises(OSError, match="mine"):
            fails()
        with pytest.raises(BreakerOpen):
            fails()
    finally:
        logging.getLogger("meshlib").disabled = False


def test_refusals_are_emitted_with_the_sentence_that_the_caller_got() -> None:
    breaker = CircuitBreaker(name="users", runtime=ManualClock())
    heard: list[Event] = []
    breaker.force_open()
    breaker.subscribe(heard.append)
    with pytest.raises(BreakerOpen) as caught:
        breaker.enter(0.0)
    assert [type(event) for event in heard] == [CallRejected]
    assert heard[0].reason == str(caught.value) == "users: breaker forced open by hand"  # type: ignore[attr-defined]


def test_the_page_has_each_event_with_its_fields() -> None:
    page = (Path(__file__).parents[1] / "docs" / "events.md").read_text(encoding="utf-8")
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| (.*) \|$", page, re.MULTILINE))
    fields = {cls.__name__: set(cls.__slots__) for cls in Event.__subclasses__() if cls.__module__ == Event.__module__}
    assert {name: set(re.findall(r"`(\w+)`", row)) for name, row in rows.items()} == fields

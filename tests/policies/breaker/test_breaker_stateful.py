"""Long histories of a breaker with any settings, against the plain reference (Hypothesis)."""

from __future__ import annotations

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule
from reference_breaker import Reference

from meshlib.call import FAILURE, FATAL, IGNORED, SUCCESS
from meshlib.errors import BreakerOpen
from meshlib.events import BreakerChanged, Event
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker, Probes
from meshlib.policies.breaker.trip_arguments import choose_trip
from meshlib.testing import ManualClock


class Breakers(RuleBasedStateMachine):
    inside = Bundle("inside")

    @initialize(
        run=st.none() | st.integers(1, 4),
        rate=st.sampled_from([0.3, 0.5, 1.0]),
        size=st.integers(1, 6),
        minimum=st.integers(1, 8),
        probes=st.integers(1, 4),
        at_once=st.integers(1, 4),
        fewer=st.integers(0, 3),
        lease=st.sampled_from([1.0, 2.0, 5.0]),
        longest=st.none() | st.sampled_from([1.5, 4.0]),
    )
    def build(self, run, rate, size, minimum, probes, at_once, fewer, lease, longest) -> None:  # type: ignore[no-untyped-def]
        successes = max(1, probes - fewer)
        self.now = 0.0
        self.breaker = CircuitBreaker(
            trip=choose_trip(consecutive_failures=run, failure_rate=rate, window_calls=size, minimum_calls=minimum),
            cooldown=2.0,
            probes=Probes(probes, successes=successes, concurrency=at_once, lease=lease, max_duration=longest),
            runtime=ManualClock(),
        )
        self.reference = Reference(
            run=run,
            rate=rate,
            size=size,
            minimum=minimum,
            cooldown=2.0,
            probes=probes,
            successes=successes,
            at_once=at_once,
            lease=lease,
            longest=float("inf") if longest is None else longest,
        )
        self.events: list[Event] = []
        self.breaker.subscribe(self.events.append)

    @rule(target=inside)
    def enter(self):  # type: ignore[no-untyped-def]
        ticket = self.reference.enter(self.now)
        try:
            permit = self.breaker.enter(self.now)
        except BreakerOpen as refusal:
            assert ticket is None
            assert refusal.retry_after is not None and refusal.retry_after > 0
            return multiple()
        assert ticket is not None
        return permit, ticket

    @rule(pair=consumes(inside), verdict=st.sampled_from([SUCCESS, SUCCESS, FAILURE, FAILURE, FATAL, IGNORED]))
    def leave(self, pair, verdict) -> None:  # type: ignore[no-untyped-def]
        permit, ticket = pair
        self.breaker.leave(permit, verdict, self.now)
        self.reference.leave(ticket, None if verdict is IGNORED else verdict.failed, self.now)

    @rule(pair=consumes(inside))
    def lose(self, pair) -> None:  # type: ignore[no-untyped-def]
        pass

    @rule(seconds=st.sampled_from([0.25, 0.5, 1.0, 2.0, 10.0]))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @invariant()
    def same_state(self) -> None:
        if hasattr(self, "breaker"):
            assert self.breaker.state == self.reference.state

    @invariant()
    def every_transition_was_one_event_and_in_order(self) -> None:
        if hasattr(self, "breaker"):
            changes = [event for event in self.events if isinstance(event, BreakerChanged)]
            assert [event.before for event in changes[1:]] == [event.after for event in changes[:-1]]
            assert (changes[-1].after if changes else "closed") == self.breaker.state


TestBreakers = Breakers.TestCase
TestBreakers.settings = settings(max_examples=150, stateful_step_count=40, deadline=None, derandomize=True)

"""Any history of a gate, against a model that is too simple to be wrong."""

from __future__ import annotations

from collections import deque
from itertools import pairwise

import hypothesis.strategies as st
from hypothesis import given, settings
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, precondition, rule

from meshlib.errors import BulkheadFull
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.bulkhead import Bulkhead
from meshlib.policies.concurrency.limit_algorithms import FixedLimit
from meshlib.policies.concurrency.wait_queue import Waiter
from meshlib.policies.rate.rate_limit import RateLimit, Smooth, TokenBucket


class Seat:
    """A parking in which no thread sleeps. `gone`: its event loop is closed."""

    def __init__(self) -> None:
        self.woken, self.gone = False, False

    def wake(self) -> bool:
        assert not self.woken
        self.woken = not self.gone
        return self.woken


class BulkheadHistory(RuleBasedStateMachine):
    """Places, a line of at most three, cancellations, closed event loops and resizing."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = Bulkhead(2, max_queue=3, max_wait=1.0)
        self.inside = 0
        self.line: deque[tuple[Waiter, Seat]] = deque()

    def settle(self) -> None:
        """What the model expects: the head of the line comes in while there is room; the gone are passed over."""
        while self.line and self.inside < self.gate.max_concurrent:
            _, seat = self.line.popleft()
            self.inside += not seat.gone
            assert seat.woken == (not seat.gone)

    @rule()
    def come(self) -> None:
        free = self.inside < self.gate.max_concurrent and not self.line
        assert (self.gate.take() == 0) == free
        self.inside += free

    @precondition(lambda self: self.inside)
    @rule()
    def go(self) -> None:
        self.gate.leave()
        self.inside -= 1
        self.settle()

    @rule()
    def stand(self) -> None:
        seat = Seat()
        full = len(self.line) >= 3
        try:
            waiter = self.gate._wait_queue._join(seat)
        except BulkheadFull:
            assert full
            return
        assert not full
        self.line.append((waiter, seat))
        self.settle()

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 2))
    def walk_away(self, which: int) -> None:
        waiter, _ = self.line[which % len(self.line)]
        del self.line[which % len(self.line)]
        self.gate._wait_queue._abandon(waiter)
        self.settle()

    @precondition(lambda self: self.line)
    @rule()
    def granted_and_cancelled_at_once(self) -> None:
        if not self.inside:
            return
        waiter, seat = self.line[0]
        self.gate.leave()
        self.inside -= 1
        self.settle()
        if seat.woken:
            self.gate._wait_queue._abandon(waiter)
            self.inside -= 1
            self.settle()

    @precondition(lambda self: self.line)
    @rule(which=st.integers(0, 2))
    def close_the_loop(self, which: int) -> None:
        self.line[which % len(self.line)][1].gone = True

    @rule(places=st.integers(1, 4))
    def resize(self, places: int) -> None:
        self.gate.resize(places)
        self.settle()

    @invariant()
    def counts_agree(self) -> None:
        state = self.gate.metrics()
        assert state.in_flight == self.inside
        assert state.waiting == len(self.line)
        assert state.available == max(0, state.max_concurrent - self.inside)


class PartitionHistory(RuleBasedStateMachine):
    """Shares of a limit: guaranteed while the whole is in use, open to all while it is not."""

    permits = Bundle("permits")

    def __init__(self) -> None:
        super().__init__()
        self.limit = FixedLimit(4)
        self.gate = AdaptiveLimit(self.limit, partitions={"a": 0.5, "b": 0.25})
        self.busy = {"a": 0, "b": 0, "unknown": 0}

    @rule(target=permits, name=st.sampled_from(["a", "b", "unknown"]))
    def come(self, name: str) -> tuple[int, str]:
        shares = {"a": max(1, -(-self.gate.max_concurrent * 2 // 4)), "b": max(1, -(-self.gate.max_concurrent // 4))}
        room = sum(self.busy.values()) < self.gate.max_concurrent or self.busy[name] < shares.get(name, 0)
        permit = self.gate.take(0.0, name)
        assert (permit > 0) == room
        self.busy[name] += room
        return permit, name

    @rule(held=consumes(permits))
    def go(self, held: tuple[int, str]) -> None:
        permit, name = held
        if permit > 0:
            self.gate.leave(permit, now=1.0, took=1.0)
            self.busy[name] -= 1

    @rule(places=st.integers(1, 8))
    def change(self, places: int) -> None:
        self.limit.settle(places)

    @invariant()
    def counts_agree(self) -> None:
        state = self.gate.metrics()
        assert {name: share.in_flight for name, share in state.partitions.items()} == self.busy
        assert state.in_flight == sum(self.busy.values())


class KeyHistory(RuleBasedStateMachine):
    """However many keys come, no key ever gets more than a bucket that was never forgotten would give it."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = RateLimit(TokenBucket(1.0, burst=2), max_keys=3)
        self.model: dict[int, TokenBucket] = {}
        self.now = 0.0

    @rule(seconds=st.floats(0.0, 3.0))
    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @rule(key=st.integers(0, 8))
    def call(self, key: int) -> None:
        if self.gate.take(self.now, key) == 0:
            assert self.model.setdefault(key, TokenBucket(1.0, burst=2)).reserve(self.now + 1e-6) >= 0

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.gate.metrics(self.now).keys <= 3


class WaitHistory(RuleBasedStateMachine):
    """Reservations used and given up in any order: the permits that are used stay evenly apart, and none is lost."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = RateLimit(Smooth(1, per=1.0), max_wait=5.0)
        self.now = 0.0
        self.held: list[float] = []
        self.used: list[float] = []

    @rule()
    def reserve(self) -> None:
        bucket = self.gate._whole
        wait = bucket.reserve(self.now, 1, 5.0)
        if wait == 0.0:
            self.used.append(self.now)
        elif wait > 0.0:
            bucket.waiting += 1
            self.held.append(self.now + wait)

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, 9))
    def give_up(self, which: int) -> None:
        at = self.held.pop(which % len(self.held))
        self.gate._go(self.gate._whole, self.now, at, 1)

    @rule(seconds=st.floats(0.0, 2.0))
    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        for at in sorted(at for at in self.held if at <= until):
            self.held.remove(at)
            self.now = at
            self.used.append(at)
            self.gate._go(self.gate._whole, at)
        self.now = until

    @invariant()
    def never_closer_than_the_interval(self) -> None:
        times = sorted(self.used + self.held)
        assert all(later - earlier >= 1.0 - 1e-6 for earlier, later in pairwise(times))

    @invariant()
    def nothing_is_lost(self) -> None:
        assert self.gate.metrics(self.now).waiting == len(self.held)
        if not self.held:
            assert self.gate._whole.rate.wait(self.now) <= 1.0


for _history in (BulkheadHistory, PartitionHistory, KeyHistory, WaitHistory):
    _case = _history.TestCase
    _case.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
    globals()[f"Test{_history.__name__}"] = _case
del _case, _history


@given(st.lists(st.sampled_from(["come", "go"]), max_size=12), st.integers(1, 3))
def test_a_bulkhead_admits_exactly_while_there_is_room(history: list[str], places: int) -> None:
    gate, inside = Bulkhead(places), 0
    for step in history:
        if step == "come":
            admitted = gate.take() == 0
            assert admitted == (inside < places)
            inside += admitted
        elif inside:
            gate.leave()
            inside -= 1

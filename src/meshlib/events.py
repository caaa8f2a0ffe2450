"""Events: facts in the past tense, and the port that emits them to listeners.

The hot path tests `if port.listeners:` and nothing else. A listener is a function of one event. It is called outside
all locks, once for each event, in the order in which the events happened. A listener that raises is logged once and
dropped, so that it cannot break a call. docs/events.md lists when each event is emitted.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Lock
from typing import Any, TypeAlias

_log = logging.getLogger("meshlib")


class Event:
    """A fact. `name` is the policy, cluster, source or mesh that it is about."""

    __slots__ = ("name",)

    def __init__(self, name: str) -> None:
        self.name: str = name

    def __repr__(self) -> str:
        slots = [slot for cls in reversed(type(self).__mro__) for slot in getattr(cls, "__slots__", ())]
        return f"{type(self).__name__}({', '.join(f'{slot}={getattr(self, slot)!r}' for slot in slots)})"


class BreakerChanged(Event):
    """A circuit breaker went from one state to another; `reason` says why in words.

    `cooldown` is how many seconds it stays open (`None`: it did not open), and `manual` says whether a person did it.
    """

    __slots__ = ("after", "before", "cooldown", "manual", "now", "reason")

    def __init__(
        self,
        name: str,
        before: str,
        after: str,
        reason: str,
        now: float,
        cooldown: float | None = None,
        manual: bool = False,
    ) -> None:
        super().__init__(name)
        self.before: str = before
        self.after: str = after
        self.reason: str = reason
        self.now: float = now
        self.cooldown: float | None = cooldown
        self.manual: bool = manual


class BreakerWouldOpen(Event):
    """A circuit breaker that only counts (metrics only) would have opened now. Emitted once for each trip."""

    __slots__ = ("now", "reason")

    def __init__(self, name: str, reason: str, now: float) -> None:
        super().__init__(name)
        self.reason: str = reason
        self.now: float = now


class CallRejected(Event):
    """A policy refused a call; `reason` is the text of the caller's error."""

    __slots__ = ("reason",)

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.reason: str = reason


class RetrySpent(Event):
    """Attempt number `attempt` failed with `error` and is repeated after `delay` seconds."""

    __slots__ = ("attempt", "delay", "error")

    def __init__(self, name: str, attempt: int, delay: float, error: BaseException | None) -> None:
        super().__init__(name)
        self.attempt: int = attempt
        self.delay: float = delay
        self.error: BaseException | None = error


class RetryGivenUp(Event):
    """A retry stopped after `attempt` attempts; `reason` says why (attempts, budget, deadline, not replayable …)."""

    __slots__ = ("attempt", "reason")

    def __init__(self, name: str, attempt: int, reason: str) -> None:
        super().__init__(name)
        self.attempt: int = attempt
        self.reason: str = reason


class BudgetExhausted(Event):
    """A retry or a hedge was wanted, and the budget `name` had nothing left."""

    __slots__ = ()


class HedgeSent(Event):
    """The answer was `delay` seconds late, and attempt number `attempt` was sent beside the others."""

    __slots__ = ("attempt", "delay")

    def __init__(self, name: str, attempt: int, delay: float) -> None:
        super().__init__(name)
        self.attempt: int = attempt
        self.delay: float = delay


class HedgeWon(Event):
    """Attempt number `attempt`, a hedge, was answered first."""

    __slots__ = ("attempt",)

    def __init__(self, name: str, attempt: int) -> None:
        super().__init__(name)
        self.attempt: int = attempt


class QuotaStoreLost(Event):
    """The store of the quota `name` does not answer; meanwhile the quota is `instead` (open, closed, a local limit)."""

    __slots__ = ("error", "instead")

    def __init__(self, name: str, error: Exception, instead: str) -> None:
        super().__init__(name)
        self.error: Exception = error
        self.instead: str = instead


class QuotaStoreFound(Event):
    """The store of the quota `name` answers again."""

    __slots__ = ()


class EndpointEjected(Event):
    """The endpoint `address` of cluster `name` gets no traffic until `until` (monotonic seconds)."""

    __slots__ = ("address", "reason", "until")

    def __init__(self, name: str, address: str, reason: str, until: float) -> None:
        super().__init__(name)
        self.address: str = address
        self.reason: str = reason
        self.until: float = until


class EndpointProbed(Event):
    """The ejected endpoint `address` of cluster `name` gets one call as a probe."""

    __slots__ = ("address",)

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address: str = address


class EndpointRestored(Event):
    """The endpoint `address` of cluster `name` is back in the rotation."""

    __slots__ = ("address",)

    def __init__(self, name: str, address: str) -> None:
        super().__init__(name)
        self.address: str = address


class AttemptFinished(Event):
    """One attempt at the endpoint `address` of cluster `name` ended: `verdict`, and `took` seconds to the headers."""

    __slots__ = ("address", "attempt", "service", "took", "verdict")

    def __init__(self, name: str, service: str, address: str, attempt: int, verdict: Any, took: float) -> None:
        super().__init__(name)
        self.service: str = service
        self.address: str = address
        self.attempt: int = attempt
        self.verdict: Any = verdict
        self.took: float = took


class CallFinished(Event):
    """One logical call ended: `verdict` is a `Verdict`, `took` its seconds, `attempts` how often it was sent."""

    __slots__ = ("attempts", "error", "took", "verdict")

    def __init__(self, name: str, verdict: Any, took: float, attempts: int, error: BaseException | None) -> None:
        super().__init__(name)
        self.verdict: Any = verdict
        self.took: float = took
        self.attempts: int = attempts
        self.error: BaseException | None = error


class SnapshotPublished(Event):
    """The mesh `name` published the snapshot `version`."""

    __slots__ = ("version",)

    def __init__(self, name: str, version: int) -> None:
        super().__init__(name)
        self.version: int = version


class ConfigRefused(Event):
    """A changed configuration was refused and the last good one stays; `error` says what is wrong with it."""

    __slots__ = ("error",)

    def __init__(self, name: str, error: Exception) -> None:
        super().__init__(name)
        self.error: Exception = error


class SourceAway(Event):
    """The store or source `name` does not answer: `reason`. What is known stays."""

    __slots__ = ("reason",)

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name)
        self.reason: str = reason


class SourceBack(Event):
    """The store or source `name` answers again."""

    __slots__ = ()


Listener: TypeAlias = Callable[[Event], object]


class Port:
    """Emits the events of one object. `port.listeners` is empty while there is no listener.

    Events are queued, and one thread at a time delivers them in order. A listener may use the object whose events it
    receives.
    """

    __slots__ = ("_changing", "_delivering", "_queue", "listeners")

    def __init__(self) -> None:
        self.listeners: tuple[Listener, ...] = ()
        self._queue: deque[Event] = deque()
        self._delivering = Lock()
        self._changing = Lock()

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event from now on. The function returned ends it."""

        def notify(event: Event) -> object:  # one for each subscription, so that ending one does not end another
            return listener(event)

        with self._changing:
            self.listeners = (*self.listeners, notify)
        return lambda: self._drop(notify)

    def post(self, event: Event) -> None:
        """Queue an event; safe to call while holding a lock. Follow with `flush` after letting it go."""
        self._queue.append(event)

    def flush(self) -> None:
        """Deliver the queued events, unless another thread or an outer call is delivering them already."""
        # An event posted while another thread delivers is found by its second look at the queue, after the release.
        while self._queue:
            delivering = self._delivering  # a listener may fork, and the child has another one
            if not delivering.acquire(blocking=False):
                return
            try:
                while self._queue:
                    self._deliver(self._queue.popleft())
            finally:
                delivering.release()

    def send(self, event: Event) -> None:
        """Emit one event now."""
        self._queue.append(event)
        self.flush()

    def _after_fork(self) -> None:
        """For the owner in a forked child. What is queued still is the parent's, which delivers it."""
        self._delivering, self._changing = Lock(), Lock()
        self._queue.clear()

    def _deliver(self, event: Event) -> None:
        for listener in self.listeners:
            try:
                listener(event)
            except Exception:
                self._drop(listener)
                _log.exception("a listener raised at %r and is dropped", event)

    def _drop(self, listener: Listener) -> None:
        with self._changing:
            self.listeners = tuple(other for other in self.listeners if other is not listener)

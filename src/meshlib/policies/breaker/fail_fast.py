"""Fail fast: after a connection is refused, nobody tries again but one background attempt at a time.

      a connect fails                          the next delay is over
    OK ──────────────▶ DEAD: callers refused ───────────────────────▶ one attempt (`due`) ──┐
     ▲                  ▲         failed: the next delay                                    │
     │                  └───────────────────────────────────────────────────────────────────┤
     └────── succeeded, or the list of delays is used up ───────────────────────────────────┘

An attempt is a *lease*: one that has not ended when it runs out is made anew, so that an attempt that never returns (a
crashed thread, a task that vanished) costs one lease and not the endpoint.

After Finagle's FailFastFactory. It belongs to one endpoint, and hears of sessions, not of calls: a server that answers
with errors is not dead. Where failure accrual hears of connects too it adds little; with one endpoint it must be off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import inf
from threading import RLock

from ...call import FAILURE, IGNORED, SUCCESS, Call, Classifier, Verdict
from ...errors import NoEndpoint
from ...events import CallRejected, EndpointEjected, EndpointProbed, EndpointRestored
from ...runtime import SYSTEM, Runtime
from ..retry.backoff_schedules import exponential_jittered
from ..shell import checks
from ..shell.gate import Gate


@dataclass(frozen=True, slots=True)
class FailFastMetrics:
    """Finagle's `failfast/…` stats at one moment."""

    is_marked_dead: bool
    unhealthy_for: float
    unhealthy_tries: int
    marked_dead: int
    marked_available: int


class FailFast(Gate):
    """Marks an endpoint dead at its first failed connect, and keeps callers away meanwhile; refuses with `NoEndpoint`.

    `delays` makes the seconds before each background attempt; when they are used up the endpoint is taken for alive
    again. Default: exponential with jitter from 1 to 32 s, sixteen times, then one of 32 s (Finagle's). `lease` seconds
    are what one attempt may take before another is made (Finagle: no bound); let it be longer than a connect may take.

    By hand: `failed(now)` and `succeeded(now)` for each connect, `due(now)` to learn whether a background attempt is to
    be made now, `retry_at` for when. As a gate: each call is a connect, and only `OSError` (or what `classify` calls a
    failure) counts against it; once a delay is over one caller is let through as the attempt.
    Raises ValueError for values without sense.
    """

    tier = "endpoint"

    def __init__(
        self,
        delays: Callable[[], Iterable[float]] | None = None,
        *,
        lease: float = 60.0,
        address: str = "",
        name: str = "fail fast",
        classify: Classifier | None = None,
        runtime: Runtime = SYSTEM,
    ) -> None:
        super().__init__(name, classify=classify or refused_connects, runtime=runtime)
        checks.function("delays", delays, "nothing, which makes the delays")
        self.delays = delays if delays is not None else lambda: finagle_delays(runtime.random)
        self.lease = checks.seconds("lease", lease)
        self.address = address
        self.retry_at = inf
        self._lock = RLock()
        self._left: Iterator[float] = iter(())
        self._dead_since: float | None = None
        self._attempt = 0  # the number of the one that is under way, which is its permit; callers get 0
        self._attempts = 0
        self._leased_until = -inf
        self._tries = self._marked_dead = self._marked_available = 0
        self.admits = self.quiet = True

    @property
    def available(self) -> bool:
        """Whether callers are let through. In Finagle's words: Open, else Busy."""
        return self._dead_since is None

    # --- sessions --------------------------------------------------------------------------------------------------

    def failed(self, now: float) -> None:
        """A connect that was not the background attempt failed. Those that were under way already change nothing."""
        with self._lock:
            if self._dead_since is None:
                self._dead_since = now
                self._marked_dead += 1
                self._tries = 0
                self._left = iter(self.delays())
                self.admits = self.quiet = False
                self._next(now)
        self.port.flush()

    def succeeded(self, now: float) -> None:
        """A connect succeeded: the endpoint is alive."""
        with self._lock:
            self._revive()
        self.port.flush()

    def due(self, now: float) -> bool:
        """Whether a background attempt is to be made now. Whoever is told so makes it and says how it `ended`."""
        return self._begin(now) > 0

    def ended(self, alive: bool, now: float) -> None:
        """The background attempt that is under way ended."""
        self._ended(self._attempt, alive, now)

    def _begin(self, now: float) -> int:
        """The number of a new attempt, or 0 if none is to be made now."""
        with self._lock:
            if self._dead_since is None or now < self.retry_at or now < self._leased_until:
                return 0
            self._attempts += 1
            self._attempt = attempt = self._attempts
            self._leased_until = now + self.lease
            self._tries += 1
            if self.port.listeners:
                self.port.post(EndpointProbed(self.name, self.address))
        self.port.flush()
        return attempt

    def _ended(self, attempt: int, alive: bool, now: float) -> None:
        # A connect is a connect, however late: any that succeeds brings the endpoint back. A failure that comes after
        # another attempt has begun, or after the endpoint came back, is older than what is known by now.
        with self._lock:
            if alive:
                self._revive()
            elif attempt == self._attempt > 0:
                self._attempt, self._leased_until = 0, -inf
                self._next(now)
        self.port.flush()

    def _next(self, now: float) -> None:
        delay = next(self._left, None)
        if delay is None:
            self._revive()  # optimistic: nobody will try any more but the callers themselves
            return
        self.retry_at = now + delay
        if self.port.listeners:
            self.port.post(EndpointEjected(self.name, self.address, "a connect failed", self.retry_at))

    def _revive(self) -> None:
        if self._dead_since is None:
            return
        self._dead_since = None
        self._attempt, self._leased_until = 0, -inf
        self.retry_at = inf
        self._marked_available += 1
        self.admits = self.quiet = True
        if self.port.listeners:
            self.port.post(EndpointRestored(self.name, self.address))

    # --- as a gate -------------------------------------------------------------------------------------------------

    def enter(self, now: float) -> int:
        """Admit one call; raises `NoEndpoint` with the seconds until the next attempt at the latest."""
        if self._dead_since is None:
            return 0
        attempt = self._begin(now)
        if attempt or self._dead_since is None:  # it may have come back in this very moment
            return attempt
        wait = max(self.retry_at, self._leased_until) - now
        error = NoEndpoint(self.name, "the last connect failed", retry_after=max(0.0, wait) if wait < inf else None)
        if self.port.listeners:
            self.port.send(CallRejected(self.name, str(error)))
        raise error

    def leave(self, permit: int, verdict: Verdict, now: float, took: float = 0.0) -> None:
        """Hear how a call ended. An attempt that was cancelled is made again by the next caller."""
        if permit:
            if verdict is not IGNORED:
                self._ended(permit, verdict is SUCCESS, now)
                return
            with self._lock:
                if permit == self._attempt:
                    self._attempt, self._leased_until = 0, -inf
        elif verdict.failed:
            self.failed(now)

    def metrics(self, now: float | None = None) -> FailFastMetrics:
        """Everything at one moment, for a live view. `now` defaults to the clock."""
        now = self.runtime.now() if now is None else now
        with self._lock:
            since = self._dead_since
            return FailFastMetrics(
                since is not None,
                0.0 if since is None else now - since,
                self._tries,
                self._marked_dead,
                self._marked_available,
            )


def finagle_delays(random: Callable[[], float]) -> Iterator[float]:
    """Sixteen delays of exponential jitter from 1 to 32 s, then one of 32 s."""
    return chain(islice(exponential_jittered(1.0, 32.0, random), 16), (32.0,))


def refused_connects(call: Call, result: object, error: BaseException | None) -> Verdict:
    """An `OSError` (refused, unreachable, timed out while connecting) is a failure, any other error an answer."""
    if isinstance(error, OSError):
        return FAILURE
    return SUCCESS if error is None or isinstance(error, Exception) else IGNORED

"""Fail fast: after a refused connect, only one background attempt at a time tries again.

      a connect fails                          the next delay is over
    OK ──────────────▶ DEAD: calls rejected  ───────────────────────▶ one attempt (`due`) ──┐
     ▲                  ▲         failed: the next delay                                    │
     │                  └───────────────────────────────────────────────────────────────────┤
     └────── succeeded, or the list of delays is used up ───────────────────────────────────┘

An attempt is a *lease*: when it runs out before the attempt ended, another attempt begins, so that one that never
returns (a crashed thread, a lost task) costs one lease and not the endpoint.

After Finagle's FailFastFactory. It belongs to one endpoint, and counts connects, not calls: a server that answers
with errors is not dead. Where failure accrual counts connects too it adds little; with one endpoint it must be off.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from math import inf
from threading import RLock

from ... import forked
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
    """Marks an endpoint dead at its first failed connect, and rejects calls meanwhile with `NoEndpoint`.

    `delays` makes the seconds before each background attempt; when they are used up the endpoint is alive
    again. Default: exponential with jitter from 1 to 32 s, sixteen times, then one of 32 s (Finagle's). `lease` seconds
    are what one attempt may take before another is made (Finagle: no bound); let it be longer than a connect may take.

    Without a gate: `failed(now)` and `succeeded(now)` for each connect, `due(now)` for whether a background attempt is
    due now, `retry_at` for when. As a gate: each call is a connect, and only `OSError` (or what `classify` calls a
    failure) counts against it; once a delay is over one call is admitted as the attempt.
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
        self.delays: Callable[[], Iterable[float]] = (
            delays if delays is not None else lambda: finagle_delays(runtime.random)
        )
        self.lease: float = checks.seconds("lease", lease)
        self.address = address
        self.retry_at: float = inf
        self._lock = RLock()
        self._left: Iterator[float] = iter(())
        self._dead_since: float | None = None
        self._attempt = 0  # the number of the one in flight, which is its permit; other calls get 0
        self._attempts = 0
        self._leased_until = -inf
        self._tries = self._marked_dead = self._marked_available = 0
        self.admits: bool = True
        self.quiet: bool = True

    def _after_fork(self) -> None:
        """An attempt that is under way is the parent's."""
        super()._after_fork()
        torn, self._lock = forked.held(self._lock), RLock()
        self._attempt, self._leased_until = 0, -inf
        if torn:
            self.admits = self.quiet = self._dead_since is None
            self.retry_at = inf if self.admits else min(self.retry_at, self.runtime.now() + self.lease)

    @property
    def available(self) -> bool:
        """Whether calls are admitted. In Finagle's words: Open, else Busy."""
        return self._dead_since is None

    # --- sessions --------------------------------------------------------------------------------------------------

    def failed(self, now: float) -> None:
        """Count a failed connect that was not the background attempt. Once dead, further ones change nothing."""
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
        """Count a successful connect: the endpoint is alive."""
        with self._lock:
            self._revive()
        self.port.flush()

    def due(self, now: float) -> bool:
        """Whether a background attempt is due now. The caller that gets True makes it, and calls `ended`."""
        return self._begin(now) > 0

    def ended(self, alive: bool, now: float) -> None:
        """Count the end of the background attempt."""
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
            self._revive()  # optimistic: from now on only calls can try
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
        """Count how a call ended. After a cancelled attempt the next call is the attempt."""
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

"""Health check: whether an endpoint is healthy by its active checks, and when the next is due. The state machine only.

The sender of the checks (HTTP, TCP, gRPC) waits `delay` seconds and passes each result to `checked`.
"""

from __future__ import annotations

from collections.abc import Callable

from ..policies.shell import checks as _check
from .endpoint import Endpoint


class HealthCheck:
    """One endpoint's active health. It starts unknown, which counts as healthy or not as `initially` says.

    The first result decides at once; later `unhealthy_threshold` failures or `healthy_threshold` successes in a row
    change it. `fatal` results (HTTP 503) make it unhealthy at once. Seconds: `interval`, with up to `jitter` (a share
    of it) added at random, and `initial_jitter` before the first; `unhealthy_interval` while unhealthy; `edge_interval`
    right after a first contrary result (both default to `interval`).
    """

    __slots__ = (
        "_known",
        "_run",
        "_settings",
        "edge_interval",
        "endpoint",
        "healthy",
        "healthy_threshold",
        "initial_jitter",
        "interval",
        "jitter",
        "unhealthy_interval",
        "unhealthy_threshold",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        interval: float = 10.0,
        healthy_threshold: int = 2,
        unhealthy_threshold: int = 3,
        jitter: float = 0.1,
        initial_jitter: float = 1.0,
        unhealthy_interval: float | None = None,
        edge_interval: float | None = None,
        initially: bool = True,
    ) -> None:
        self.endpoint: Endpoint = endpoint
        self.interval: float = _check.seconds("interval", interval)
        self.healthy_threshold: int = _check.count("healthy_threshold", healthy_threshold)
        self.unhealthy_threshold: int = _check.count("unhealthy_threshold", unhealthy_threshold)
        self.jitter: float = _check.ratio("jitter", jitter, zero=True, above_one=True)
        self.initial_jitter: float = _check.seconds("initial_jitter", initial_jitter, zero=True)
        self.unhealthy_interval: float = _check.seconds("unhealthy_interval", unhealthy_interval or interval)
        self.edge_interval: float = _check.seconds("edge_interval", edge_interval or interval)
        self.healthy: bool = initially
        self._known = False
        self._run = 0  # results in a row that contradict the present state

    def delay(self, random: Callable[[], float]) -> float:
        """Seconds until the next check."""
        if not self._known:
            return self.initial_jitter * random()
        base = self.edge_interval if self._run else self.interval if self.healthy else self.unhealthy_interval
        return base * (1.0 + self.jitter * random())

    def checked(self, passed: bool, now: float, *, fatal: bool = False) -> bool:
        """Take in one result; True if the endpoint's health changed by it."""
        first, self._known = not self._known, True
        if passed is self.healthy:
            self._run = 0
            if first and not passed:
                self._apply(now)
            return False
        self._run += 1
        needed = self.healthy_threshold if passed else self.unhealthy_threshold
        if not (first or (fatal and not passed) or self._run >= needed):
            return False
        self._run = 0
        self.healthy = passed
        self._apply(now)
        return True

    def _apply(self, now: float) -> None:
        if self.healthy:
            self.endpoint.release("health check", now)
        else:
            self.endpoint.hold("health check", now, "it failed its health checks")

"""The limits of a cluster: how many connections, requests and retries it may have at once, as Envoy's thresholds.

    max_requests      attempts under way                                  the innermost gate of the cluster
    max_connections   connections in use                                  taken by the transport of an attempt
    max_pending       attempts that wait for one of these connections     its wait queue
    max_retries       retries under way                                   taken by `Retry`, with its budget

Envoy calls these thresholds a circuit breaker; nothing opens or heals here. The counts are exact, where Envoy's threads
may exceed them for a moment. A share of the calls in flight (Envoy's `retry_budget`) is `ConcurrencyBudget`.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import inf

from ...events import Port
from ...runtime import SYSTEM, Runtime
from ..shell import checks
from .bulkhead import Bulkhead


class ClusterLimits:
    """What one cluster may have at once; None: no limit. All clients of a mesh share it, in any thread or event loop.

    An attempt beyond `max_requests` is refused with `BulkheadFull`. An attempt beyond `max_connections` waits for a
    connection until its time limits are over, if fewer than `max_pending` others wait, or is refused with
    `BulkheadFull`. A retry beyond `max_retries` is not made: the outcome of the attempt before it stands. Raises
    ValueError for values without sense.
    """

    __slots__ = ("connections", "name", "requests", "retries")

    def __init__(
        self,
        *,
        max_connections: int | None = None,
        max_pending: int | None = None,
        max_requests: int | None = None,
        max_retries: int | None = None,
        name: str = "cluster",
        runtime: Runtime = SYSTEM,
    ) -> None:
        self.name: str = checks.name(name)
        if max_pending is not None and max_connections is None:
            raise checks.refused("max_pending", max_pending, "max_connections beside it, or no request ever waits")
        self.connections: Bulkhead | None = None
        self.requests: Bulkhead | None = None
        self.retries: Bulkhead | None = None
        if max_connections is not None:
            checks.count("max_connections", max_connections)
            if max_pending is not None:
                checks.count("max_pending", max_pending, min_value=0)
            reason = f"all {max_connections} connections of the cluster are in use"
            self.connections = _slots(name, max_connections, reason, runtime, max_pending, inf)
        if max_requests is not None:
            checks.count("max_requests", max_requests)
            self.requests = _slots(
                name, max_requests, f"all {max_requests} requests of the cluster are under way", runtime
            )
        if max_retries is not None:
            checks.count("max_retries", max_retries, min_value=0)
            reason = f"all {max_retries} retries of the cluster are under way"
            self.retries = _slots(name, max_retries, reason, runtime)

    def send_events_to(self, port: Port) -> None:
        """Send each refusal to `port`."""
        for gate in self._gates().values():
            gate.port = port

    def maxima(self) -> Mapping[str, int]:
        """The limits that are set, by the name of their argument."""
        found = {f"max_{kind}": gate.max_concurrent for kind, gate in self._gates().items()}
        if self.connections is not None and self.connections.max_queue < inf:
            found["max_pending"] = int(self.connections.max_queue)
        return found

    def remaining(self) -> Mapping[str, int]:
        """How many more of each limited kind there may be now: Envoy's gauges `remaining_cx`, `remaining_rq` …"""
        return {kind: gate.available for kind, gate in self._gates().items()}

    def overflows(self) -> Mapping[str, int]:
        """How often each limited kind was refused: Envoy's `upstream_rq_pending_overflow` and its siblings."""
        return {kind: gate.metrics().rejected for kind, gate in self._gates().items()}

    def take_retry(self) -> bool:
        """Take a slot for one retry, and give it back with `retries.leave()`. False: none is free."""
        if self.retries is None or self.retries.take() >= 0:
            return True
        self.retries._rejected += 1  # no `CallRejected`: the call goes on with the outcome that it has
        return False

    def _gates(self) -> dict[str, Bulkhead]:
        kinds = {"connections": self.connections, "requests": self.requests, "retries": self.retries}
        return {kind: gate for kind, gate in kinds.items() if gate is not None}


def _slots(
    name: str, count: int, reason: str, runtime: Runtime, max_queue: int | None = None, max_wait: float | None = None
) -> Bulkhead:
    """A bulkhead with a reason of its own; `count` may be 0."""
    gate = Bulkhead(max(count, 1), max_queue=max_queue, max_wait=max_wait, name=name, runtime=runtime)
    gate.max_concurrent = count
    gate.reason = reason
    return gate

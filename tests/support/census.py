"""Census: how many calls are under way, by whatever counts them? After each lifecycle the sum must be 0."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from meshlib import forked
from meshlib.asgi.meter import LoadMeter
from meshlib.balancing import BasePicker
from meshlib.balancing.locality_balancer import LocalityBalancer
from meshlib.http.client.client_state import ClientState
from meshlib.http.engine.mirror import Mirrors
from meshlib.mesh import Mesh
from meshlib.policies.breaker.circuit_breaker import CircuitBreaker
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.cache.collapse import _OpenBatches
from meshlib.policies.cache.request_cache import _SharedRuns
from meshlib.policies.concurrency.adaptive_limit import AdaptiveLimit
from meshlib.policies.concurrency.slots import Slots
from meshlib.policies.concurrency.thread_bulkhead import ThreadBulkhead
from meshlib.policies.fallback import Fallback
from meshlib.policies.rate.rate_limit import RateLimit
from meshlib.policies.retry.budget import ConcurrencyBudget
from meshlib.policies.throttle.throttle import SreThrottle, Throttle


def _of_throttle(gate: Throttle) -> int:
    return sum(gate.by._in_flight._began.values()) if isinstance(gate.by, SreThrottle) else 0


def _of_balancer(balancer: BasePicker | LocalityBalancer) -> int:
    return sum(one.pending for one in balancer.endpoints)


def _of_door(door: ClientState) -> int:
    stations = list(door.lane._stations.values()) if door.lane is not None else []
    return len(door.busy) + sum(pool.active + pool.pending for one in stations for pool in one._pools.values())


COUNTS: tuple[tuple[type, Callable[[Any], int]], ...] = (
    (BasePicker, _of_balancer),
    (LocalityBalancer, _of_balancer),
    (Slots, lambda gate: gate._made - len(gate._free) + len(gate._wait_queue.waiters)),
    (AdaptiveLimit, lambda gate: sum(share.busy for share in gate._shares)),
    (CircuitBreaker, lambda gate: len(gate._round._leases)),
    (FailFast, lambda gate: int(gate._attempt > 0)),
    (RateLimit, lambda gate: sum(bucket.waiting for bucket in gate._keys.all) + gate._whole.waiting),
    (Throttle, _of_throttle),
    (ConcurrencyBudget, lambda budget: budget.calls + budget.retries),
    (Fallback, lambda policy: policy.active),
    (_SharedRuns, lambda policy: sum(flight.outcome is None for flight in policy._own.values())),
    (_OpenBatches, lambda line: len(line._open)),
    (ThreadBulkhead, lambda pool: pool._active + len(pool._queue)),
    (LoadMeter, lambda meter: meter.in_flight),
    (ClientState, _of_door),
    (Mirrors, lambda mirrors: len(mirrors._running)),
    (Mesh, lambda mesh: len(mesh._waiting)),
)


def under_way(known: frozenset[int] = frozenset()) -> dict[str, int]:
    """What counts other than 0, among all that is alive but for what is `known`."""
    found: dict[str, int] = {}
    for owner in [kept() for key, kept in list(forked._owners.items()) if key not in known]:
        for kind, count in COUNTS:
            if isinstance(owner, kind) and (number := count(owner)):
                found[f"{owner!r} as {kind.__name__}"] = number
    return found


@contextmanager
def none_under_way() -> Iterator[Callable[[], dict[str, int]]]:
    """At the end of the block, nothing that was made in it has a call under way. Yields the census, to be taken."""
    known = frozenset(forked._owners)
    yield lambda: under_way(known)
    assert under_way(known) == {}

"""Guard: every lock and every thread of the library is known to `forked`, or stands here with a reason.

The first half walks the syntax trees. The second holds each lock in another thread, forks, and looks at it in the
child.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from support.children import elsewhere, in_child

import meshlib
from meshlib import (
    Bulkhead,
    CircuitBreaker,
    Fallback,
    Hedge,
    ManualControl,
    Mesh,
    Quota,
    RateLimit,
    RedisStore,
    RetryBudget,
)
from meshlib.asgi.meter import LoadMeter
from meshlib.balancing import Endpoint, make_balancer
from meshlib.balancing.outlier_detection import OutlierDetection
from meshlib.config.reader import MeshReader
from meshlib.config.store_reader import StoreReader
from meshlib.discovery.process_status import ProcessStatus
from meshlib.discovery.store import MemoryStore
from meshlib.http.health.health_thread import HealthThread
from meshlib.named import _Current
from meshlib.policies.breaker.fail_fast import FailFast
from meshlib.policies.cache.collapse import _OpenBatches
from meshlib.policies.cache.request_cache import SingleFlight
from meshlib.policies.concurrency.thread_bulkhead import ThreadBulkhead
from meshlib.policies.deadline.deadline_admission import DeadlineAdmission
from meshlib.policies.fallback import _StaleAnswers
from meshlib.policies.retry.budget import _shared
from meshlib.policies.throttle.throttle import Throttle
from meshlib.telemetry.figures import Figures

SOURCE = Path(meshlib.__file__).parent
LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Barrier", "allocate_lock"}
STATES = {"Event", "local", "Queue", "LifoQueue", "PriorityQueue", "SimpleQueue"}
ROOMS = {"threading", "_thread", "anyio", "trio", "queue", "futures", "parking", "native"}  # where they come from
THREADS = {"Thread", "Timer", "ThreadPoolExecutor", "start_thread", "start_native_thread", "start_new_thread"}

EXEMPT: dict[str, str] = {
    "parking.py ThreadParking": "one waiter's own: whoever could wake it forgets it",
    "parking.py TrioParking": "the same",
    "parking.py start_thread": "starts what its callers ask for",
    "native.py start_native_thread": "starts what its callers ask for",
    "policies/concurrency/thread_bulkhead.py ThreadBulkhead": "threads start again when there is work",
    "http/engine/stream_lease.py StreamLease": "ends by itself; what it would give back is free in a child",
    "http/engine/mirror.py Mirrors": "a copy that the parent sends",
    "http/transports/h2_connections.py SyncWatched": "one connection's, which is left to the parent",
    "http/transports/h2_connections.py _Serialized": "the same",
    "http/transports/h2_streams.py SyncStream": "the same",
    "wire/h2_link.py Link": "the same",
    "testing/clock.py ManualClock": "anyio's events, of tasks of the parent",
    "testing/clock.py _Alarm": "anyio's events, of tasks of the parent",
    "policies/retry/hedge_race.py _on_anyio": "an anyio event, of tasks of the parent",
    "cli/routes.py watch": "a command, which does not fork",
    "cli/demo/server.py main": "a command, which does not fork",
}


class Made(NamedTuple):
    """A lock, an event or a thread that the source makes."""

    file: str
    owner: str  # the class, or the function
    kind: str
    attribute: str
    line: int
    node: ast.AST
    dotted: bool  # `threading.Lock()`, rather than an imported name


def made() -> Iterator[Made]:
    for path in sorted(SOURCE.rglob("*.py")):
        file = path.relative_to(SOURCE).as_posix()
        tree = ast.parse(path.read_text(), file)
        imported = {
            alias.asname or alias.name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[-1] in ROOMS
            for alias in node.names
        }
        yield from (one for one in _made(tree, file, "", tree, "") if one.dotted or one.kind in imported)


def _made(node: ast.AST, file: str, owner: str, scope: ast.AST, attribute: str) -> Iterator[Made]:
    for child in ast.iter_child_nodes(node):
        inside, what, named = owner, scope, attribute
        if isinstance(child, ast.ClassDef):
            inside, what = child.name, child
            if any(_name(base) == "local" for base in child.bases):
                yield Made(file, child.name, "local", "", child.lineno, child, True)
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            if child.name == "_after_fork":
                continue
            if not owner:
                inside, what = child.name, child
        elif isinstance(child, ast.Assign | ast.AnnAssign):
            targets = child.targets if isinstance(child, ast.Assign) else [child.target]
            own = [one.attr for one in targets if isinstance(one, ast.Attribute) and _name(one.value) == "self"]
            named = own[0] if own else ""
        elif isinstance(child, ast.Call) and _name(child.func) in LOCKS | STATES | THREADS:
            dotted = isinstance(child.func, ast.Attribute) and _name(child.func.value) in ROOMS
            yield Made(file, owner, _name(child.func), attribute, child.lineno, scope, dotted)
        yield from _made(child, file, inside, what, named)


def _name(node: ast.AST) -> str:
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


FOUND = list(made())


def renewed(one: Made) -> bool:
    """Whether the class has an `_after_fork` that speaks of this attribute, or for threads a `_resume`."""
    methods = {node.name: ast.unparse(node) for node in ast.walk(one.node) if isinstance(node, ast.FunctionDef)}
    if one.kind in THREADS:
        return "_resume" in methods
    anew = methods.get("_after_fork", "")
    if "self._start()" in methods.get("_resume", ""):
        anew += methods["_start"]
    return f"self.{one.attribute}" in anew and bool(one.attribute)


@pytest.mark.parametrize("one", FOUND, ids=lambda one: f"{one.file}:{one.line}")
def test_a_lock_or_a_thread_is_known_to_forked_or_stands_here_with_a_reason(one: Made) -> None:
    wanted = "a `_resume` that starts it" if one.kind in THREADS else f"an `_after_fork` that renews {one.attribute!r}"
    assert renewed(one) or f"{one.file} {one.owner}" in EXEMPT, (
        f"{one.file}:{one.line}: {one.owner} makes a {one.kind}: expected {wanted}, and its owner to call "
        f"forked.register(self); or a reason in EXEMPT of this test"
    )


def test_no_reason_is_left_without_its_lock() -> None:
    assert EXEMPT.keys() <= {f"{one.file} {one.owner}" for one in FOUND}


# --- each of them, held by another thread ------------------------------------------------------------------------


def _cluster(name: str) -> Any:
    return make_balancer(name, "users", [Endpoint("h", 1), Endpoint("h", 2, weight=2.0)])


def _flown() -> Any:
    """A flight that is under way, and its policy."""
    policy, inside = SingleFlight(), list[Any]()
    policy(lambda: inside.extend(policy._own.values()))()
    policy._own["place"] = inside[0]
    return inside[0], policy


# By "file class": what makes one, or one and its owner.
MAKE: dict[str, Callable[[], Any]] = {
    "asgi/meter.py LoadMeter": LoadMeter,
    "balancing/outlier_detection.py OutlierDetection": OutlierDetection,
    "balancing/prequal.py Prequal": lambda: _cluster("prequal"),
    "balancing/endpoint_stats.py EndpointStats": lambda: ((owner := _cluster("default")).endpoints[0], owner),
    "balancing/edf_schedule.py EdfSchedule": lambda: ((owner := _cluster("round_robin"))._turns, owner),
    "balancing/ejection.py ClusterHealth": lambda: ((owner := _cluster("default")).health, owner),
    "config/store_reader.py StoreReader": lambda: StoreReader(Mesh(), MemoryStore(), None),
    "config/reader.py MeshReader": lambda: MeshReader(Mesh(), "mesh.yaml"),
    "discovery/process_status.py ProcessStatus": lambda: ProcessStatus(Path("copy.yaml")),
    "discovery/store.py MemoryStore": MemoryStore,
    "events.py Port": lambda: ((owner := Bulkhead()).port, owner),
    "http/health/health_thread.py HealthThread": lambda: HealthThread(Mesh()),
    "mesh.py Mesh": Mesh,
    "named.py _Current": lambda: _Current("users", Mesh(), print),
    "policies/shell/with_blocks.py OpenBlocks": lambda: ((owner := CircuitBreaker())._blocks, owner),
    "policies/breaker/manual_control.py ManualControl": ManualControl,
    "policies/cache/flight.py Flight": _flown,
    "policies/statistics/histogram.py Histogram": lambda: ((owner := Hedge()).estimate._histogram, owner),
    "policies/concurrency/slots.py Slots": Bulkhead,
    "policies/deadline/deadline_admission.py DeadlineAdmission": DeadlineAdmission,
    "policies/breaker/circuit_breaker.py CircuitBreaker": CircuitBreaker,
    "policies/retry/budget.py Budget": RetryBudget,
    "policies/retry/budget.py _Shared": lambda: _shared,
    "policies/cache/collapse.py _OpenBatches": lambda: _OpenBatches(10, 1.0),
    "policies/breaker/fail_fast.py FailFast": FailFast,
    "policies/fallback.py Fallback": lambda: Fallback(0),
    "policies/fallback.py _StaleAnswers": lambda: _StaleAnswers(1.0, None, 10),
    "policies/retry/hedge.py Hedge": Hedge,
    "policies/rate/quota.py Quota": lambda: Quota(1.0, when_away="open", store=RedisStore(object())),
    "policies/rate/rate_limit.py RateLimit": lambda: RateLimit(1.0),
    "policies/concurrency/thread_bulkhead.py ThreadBulkhead": ThreadBulkhead,
    "policies/throttle/throttle.py Throttle": Throttle,
    "telemetry/figures.py Figures": Figures,
}
HELD: dict[str, list[str]] = {}
for _one in FOUND:
    if _one.kind in LOCKS and _one.attribute and _one.owner:
        HELD.setdefault(f"{_one.file} {_one.owner}", []).append(_one.attribute)


def test_each_class_with_a_lock_is_tried() -> None:
    assert HELD.keys() - EXEMPT.keys() - MAKE.keys() == set(), "what makes one of them? Say it in MAKE of this test"


@pytest.mark.parametrize("name", MAKE)
def test_a_lock_that_another_thread_holds_is_free_in_a_child(name: str) -> None:
    one = MAKE[name]()
    one, owner = one if isinstance(one, tuple) else (one, one)
    locks = [getattr(one, attribute) for attribute in HELD[name]]

    def hold(pause: Callable[[], None]) -> None:
        for lock in locks:
            lock.acquire()
        pause()
        for lock in locks:
            lock.release()

    def child() -> list[bool]:
        found = [getattr(one, attribute).acquire(blocking=False) for attribute in HELD[name]]
        assert owner is not None
        return found

    with elsewhere(hold):
        assert in_child(child) == [True] * len(locks)

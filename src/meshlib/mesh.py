"""Mesh: the services, clusters and routes of a process, as an immutable snapshot that is replaced whole.

`Mesh.current` is one attribute that holds a frozen `Snapshot`; reading it needs no lock. Writers (a configuration
reload, discovery) build the next picture beside it and publish it. What must outlive a picture lives in objects that
are carried over: an `Endpoint` by its address, a `Cluster` as long as its settings stay, so that calls in flight,
latencies and open circuits survive every change.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import RLock
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from . import forked
from .balancing import Balancer, Endpoint
from .events import Event, Listener, Port, SnapshotPublished
from .named import withdraw
from .parking import TaskParking, task_parking
from .policies.breaker.circuit_breaker import CircuitBreaker
from .routing.request import RouteRequest
from .routing.table import RouteTable
from .runtime import SYSTEM, Runtime

if TYPE_CHECKING:
    import os

    from .balancing.outlier_detection import OutlierDetection
    from .config.document_types import MeshDocument
    from .discovery.store import RouteStore
    from .pipeline import Pipeline
    from .policies.concurrency.cluster_limits import ClusterLimits
    from .policies.retry.budget import RetryBudget
    from .policies.shell.gate import Gate
    from .routing.split import Sticky

_ROUNDS = 10  # how often a change is made again because it set off others

__all__ = ["Cluster", "Endpoint", "Mesh", "RouteRequest", "Service", "Snapshot"]


class Service:
    """The logical name that callers use, and the policies of the whole call: deadline, retries, hedging, fallback.

    `statuses` are the HTTP statuses that another attempt may cure. `steps` is where the doors (`http`, `grpc`) keep the
    pipeline that they have compiled over their own innermost step.
    """

    __slots__ = ("budget", "name", "per_try_timeout", "pipeline", "statuses", "steps")

    def __init__(
        self,
        name: str,
        pipeline: Pipeline,
        *,
        budget: RetryBudget | None = None,
        per_try_timeout: float | None = None,
        statuses: Container[int] = (502, 503, 504),
    ) -> None:
        self.name: str = name
        self.pipeline: Pipeline = pipeline
        self.budget: RetryBudget | None = budget
        self.per_try_timeout: float | None = per_try_timeout
        self.statuses: Container[int] = statuses
        self.steps: dict[Any, Any] = {}


class Cluster:
    """A set of endpoints that are one and the same thing (a version, a subset), and the gates in front of them.

    `gates` are asked outermost first, for each attempt. `limits` bounds connections, requests and retries under way.
    `sticky` is what a hashing balancer goes by. With `tls`, what callers send by http goes out by https. `tls_name` is
    the name that certificates are checked against (None: the name that the caller used). `outlier` records the
    outcome of each attempt.

    A connection older than `max_connection_duration` (seconds; None: any age) takes no new exchange, and is closed as
    soon as it is at rest. This holds for the mesh's own connections. Over httpx's transports
    (sync clients, trio, HTTP/2, a `transport=` of the caller) it does nothing: httpx cannot say how old one is.
    """

    __slots__ = (
        "balancer", "gates", "limits", "max_connection_duration", "name", "outlier", "settings", "steps", "sticky",
        "tls", "tls_name",
    )  # fmt: skip

    def __init__(
        self,
        name: str,
        balancer: Balancer,
        gates: Sequence[Gate] = (),
        *,
        limits: ClusterLimits | None = None,
        sticky: Sticky | None = None,
        outlier: OutlierDetection | None = None,
        tls: bool = False,
        tls_name: str | None = None,
        max_connection_duration: float | None = None,
        settings: Any = None,
    ) -> None:
        if max_connection_duration is not None and not max_connection_duration > 0:
            raise ValueError(f"max_connection_duration: found {max_connection_duration!r}, expected None or above 0")
        self.name: str = name
        self.max_connection_duration: float | None = max_connection_duration
        self.balancer: Balancer = balancer
        self.limits: ClusterLimits | None = limits
        # The innermost gate, so that a call counts only while it is really under way.
        of_limits = (limits.requests,) if limits is not None and limits.requests is not None else ()
        self.gates: tuple[Gate, ...] = (*(gate for gate in gates if gate not in of_limits), *of_limits)
        self.sticky: Sticky | None = sticky
        self.outlier: OutlierDetection | None = outlier
        self.tls: bool = tls
        self.tls_name: str | None = tls_name
        self.settings: Any = settings
        self.steps: dict[Any, Any] = {}

    @property
    def breaker(self) -> CircuitBreaker | None:
        """The circuit breaker among the gates, if there is one."""
        return next((gate for gate in self.gates if isinstance(gate, CircuitBreaker)), None)

    def __repr__(self) -> str:
        return f"<Cluster {self.name}, {len(self.balancer.endpoints)} endpoints>"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One consistent world. A call reads it once per attempt."""

    version: int = 0
    routes: RouteTable = field(default_factory=RouteTable)
    services: Mapping[str, Service] = field(default_factory=lambda: MappingProxyType({}))
    clusters: Mapping[str, Cluster] = field(default_factory=lambda: MappingProxyType({}))
    pipelines: Mapping[str, Pipeline] = field(default_factory=lambda: MappingProxyType({}))
    """For functions under `@resilient(name)`."""


class Mesh:
    """The one shared state of a process: who is out there, and who should be asked.

    Clients, functions and threads share it. Events of the mesh itself and of everything in it come out of one port:
    `mesh.subscribe(listener)`.
    """

    def __init__(self, snapshot: Snapshot | None = None, *, name: str = "mesh", runtime: Runtime = SYSTEM) -> None:
        self.name = name
        self.runtime = runtime
        self.port: Port = Port()
        self.current: Snapshot = snapshot or Snapshot()
        self.labels: Mapping[str, str] = {}
        """The caller's own labels (app, version, env …), which routing rules may ask for."""
        self.doors: dict[Any, Any] = {}
        """What the doors (`http`, `grpc`) keep for all clients of this mesh."""
        self.reader: Any = None
        """What keeps this mesh in step with its configuration (`loading`); None: only `publish` does."""
        self._publishing = RLock()
        self._routes = self.current.routes  # the last table: what was a service stays known from one to the next
        self._waiting: set[TaskParking] = set()
        self._closers: list[Callable[[], None]] = []
        self._pipelines: dict[str, Pipeline] = {}
        forked.register(self)

    def _after_fork(self) -> None:
        self._publishing = RLock()
        self._waiting = set()  # tasks of the parent's event loops
        self.port._after_fork()
        for cluster in self.current.clusters.values():
            for endpoint in cluster.balancer.endpoints:
                endpoint._after_fork()

    @classmethod
    def from_file(
        cls,
        path: str | os.PathLike[str],
        *,
        watch: bool = True,
        strict: bool = False,
        endpoints: Mapping[str, Iterable[Any]] | None = None,
        namespace: str = "default",
        gateways: Iterable[str] = (),
        runtime: Runtime = SYSTEM,
    ) -> Self:
        """The mesh that the file `path` describes: a mesh.yaml; manifests of Istio and of the Gateway API (a file, a
        folder or a pattern such as "istio/*.yaml"); or a linkerd.yaml.

        In manifests, a key without effect in a client is logged, and with `strict` it is an error. `endpoints` gives
        the endpoints of hosts that no ServiceEntry has ({"users": ["10.0.0.1:80", {"address": …, "labels": …}]}).
        `namespace` is the caller's own; `gateways` are those whose rules apply besides those for clients.

        With `watch`, an edit of the file, or of an endpoints file that it names, takes effect in under a second. An
        invalid edit is refused with a `ConfigRefused` event, and the last good snapshot stays. Raises `ConfigError` if
        the file is invalid now.
        """
        from .loading import mesh_from_file

        return mesh_from_file(
            cls,
            path,
            watch=watch,
            strict=strict,
            endpoints=endpoints,
            namespace=namespace,
            gateways=tuple(gateways),
            runtime=runtime,
        )

    @classmethod
    def from_dict(
        cls,
        document: MeshDocument,
        *,
        name: str = "mesh",
        folder: str | os.PathLike[str] | None = None,
        watch: bool = True,
        runtime: Runtime = SYSTEM,
    ) -> Self:
        """The mesh that `document` describes: the data of a mesh.yaml, in code.

        The document is copied; `update` replaces it. Relative paths of endpoints files start at `folder` (None: the
        process's folder now); with `watch`, these files are watched. Raises `ConfigError` with the place of what is
        wrong: `services.users.timeoutt: unknown key; did you mean 'timeout'?`.
        """
        from .loading import mesh_from_dict

        return mesh_from_dict(cls, document, name=name, folder=folder, watch=watch, runtime=runtime)

    @classmethod
    def from_store(
        cls,
        store: RouteStore,
        *,
        copy: str | os.PathLike[str] | None = None,
        wait: float = 10.0,
        runtime: Runtime = SYSTEM,
    ) -> Self:
        """The mesh that the text in `store` describes, kept in step with it.

        While the store is away the last good snapshot stays, and `SourceAway` is emitted. With `copy`, each good text
        is kept in that file, and a start while the store is away begins with it. Waits up to `wait` seconds for the
        first text. Raises `StoreAway` if there is neither a text nor a copy, `ConfigError` if the first text is
        invalid.
        """
        from .loading import mesh_from_store

        return mesh_from_store(cls, store, copy=copy, wait=wait, runtime=runtime)

    def update(self, document: MeshDocument) -> Snapshot:
        """Replace the whole configuration by `document`, the data of a mesh.yaml; returns the new snapshot.

        What stays as it was keeps its state: endpoints, breakers, budgets. As for files, a section that was full is
        emptied only by a document that says so (`{"services": {}}`). Raises `ConfigError`, and then nothing has
        changed; RuntimeError if a watched file or a store keeps this mesh.
        """
        from .loading import update_mesh

        return update_mesh(self, document)

    def publish(self, change: Callable[[Snapshot], Snapshot]) -> Snapshot:
        """Replace the picture by `change(current)`. Writers come one after the other; readers never wait.

        If `change` raises, nothing has happened. The new picture gets the next version, whatever it says itself, and
        its routes remember the hosts that have been services of this mesh (`RouteTable.after`). Where something that
        `change` sets off (a listener) publishes too, that one goes first, and `change` is asked again; RuntimeError if
        that never ends.
        """
        with self._publishing:
            for _ in range(_ROUNDS):
                old = self.current
                new = change(old)
                if self.current is old:
                    break
            else:
                raise RuntimeError(f"{self.name}: each change publishes another one: expected `change` to return one")
            if isinstance(new.routes, RouteTable):  # else: a stand-in, which decides by itself
                self._routes = new.routes.after(self._routes)
                new = replace(new, routes=self._routes)
            new = replace(new, version=old.version + 1)
            self.current = new
            waiting, self._waiting = self._waiting, set()
            for parking in waiting:
                parking.wake()
            self.port.post(SnapshotPublished(self.name, new.version))
        self.port.flush()
        return new

    async def newer_than(self, version: int) -> Snapshot:
        """The first picture with a version above `version`, waiting for it if need be. asyncio and trio."""
        while True:
            parking = task_parking()
            with self._publishing:
                if self.current.version > version:
                    return self.current
                self._waiting.add(parking)
            try:
                await parking.wait()
            finally:
                self._waiting.discard(parking)

    @property
    def version(self) -> int:
        """The number of the current picture."""
        return self.current.version

    def pipeline(self, name: str) -> Pipeline:
        """What guards a plain function under `@resilient(name)`.

        The pipeline of that name, if the mesh file has one under `pipelines`; else the policies of that service, with
        the gates beneath of the one cluster to which it leads (a function is sent nowhere: where several share the
        calls, those of the cluster that has the service's name, if there is one). The same object as long as none of
        these has changed. Raises LookupError if neither is there.
        """
        from .pipeline import Pipeline

        now = self.current
        found = now.pipelines.get(name)
        if found is not None:
            return found
        service = now.services.get(name)
        if service is None:
            names = ", ".join([*now.pipelines, *now.services]) or "none"
            raise LookupError(f"{self.name} has no pipeline or service {name!r}; it has {names}")
        rules = now.routes.services.get(name)
        leads = rules.clusters() if rules is not None else frozenset[str]()
        cluster = now.clusters.get(next(iter(leads)) if len(leads) == 1 else name)
        policies = (*service.pipeline.policies, *(cluster.gates if cluster is not None else ()))
        known = self._pipelines.get(name)
        if known is None or known.policies != policies:
            known = self._pipelines[name] = Pipeline(*policies, runtime=self.runtime)
        return known

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` with each event of the mesh, its breakers and endpoints; the function returned ends that."""
        return self.port.subscribe(listener)

    def tell(self, event: Event) -> None:
        """Pass an event of something in the mesh on to whoever listens to the mesh."""
        if self.port.listeners:
            self.port.send(event)

    def on_close(self, closer: Callable[[], None]) -> None:
        """Have `closer` called by `close`: file watches, discovery."""
        self._closers.append(closer)

    def close(self) -> None:
        """Stop watching. What is known stays usable."""
        withdraw(self)
        closers, self._closers = self._closers, []
        for closer in closers:
            closer()

    def __enter__(self) -> Mesh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        now = self.current
        return f"<Mesh {self.name}, version {now.version}: {', '.join(now.services) or 'no services'}>"

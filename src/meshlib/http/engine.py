"""One request through the mesh: service, binding, cluster, endpoint; then back up the same stairs.

    `send`   tier 1: the service's pipeline (deadline, retries under one budget), compiled once per service
    `_bind`  tier 2: the routes of the current snapshot name a cluster, afresh for every attempt
    `step`   tier 3: that cluster's gates (breaker, bulkhead …), compiled once per cluster
    `_ask`   tier 4: the balancer picks, the endpoint counts, the road sends

The engine knows neither httpx nor sockets: the exchange brings its road. What an attempt says about the server is
settled at the end of the body: for a plain call the road reads it inside the attempt; for a streamed one the verdict
waits until the stream is closed.

`Engine` decides; `AsyncEngine` and `SyncEngine` drive, and differ in `await` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar
from weakref import ref

from ..balancing import Balancer, Endpoint
from ..call import SUCCESS, AsyncStep, Call, Step, Verdict
from ..errors import NoEndpoint
from ..events import AttemptFinished, CallFinished
from ..mesh import Cluster, Mesh, Service
from ..policies import deadline
from ..routing.route import Decision
from .actions import act, act_sync, policies_for
from .caretaker import Caretaker
from .classify import classifier
from .exchange import Exchange
from .learn import learn, listen
from .mirror import Mirrors
from .stream import AsyncGuarded, Held, SyncGuarded

E = TypeVar("E", bound="Engine")
ANY = "*"  # the service whose policies names have that no service has: those of a dtab, or beyond the mesh


class Engine:
    """The decisions about exchanges of one mesh. Holds no state of its own; one serves all its clients (`of`)."""

    @classmethod
    def of(cls: type[E], mesh: Mesh) -> E:
        """The engine of `mesh`, so that what one client compiles serves the others."""
        engine: E | None = mesh.doors.get(cls)
        return mesh.doors.setdefault(cls, cls(mesh)) if engine is None else engine

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.run = mesh.runtime
        self.now = mesh.runtime.now
        self._random = mesh.runtime.random
        self._classify = classifier(self.now)
        self.mirrors = Mirrors()

    def decide(self, exchange: Exchange) -> Decision | None:
        """Where the first attempt goes; None: the mesh does not know the host, and the road beneath takes it."""
        decision = self.mesh.current.routes.resolve(exchange.route, self._random)
        if decision is not None:
            if decision.cluster is None and decision.route.outside:
                return None
            exchange.service = decision.service
            exchange.decision = decision
        return decision

    def _begin(self, exchange: Exchange) -> tuple[Service, Call]:
        """Tier 1: the service, and the call under the deadline that is in force where the request was made."""
        services, decision = self.mesh.current.services, exchange.decision
        service = services.get(exchange.service) or services.get(ANY)
        if service is None or decision.refused is not None:
            raise NoEndpoint(exchange.service, decision.refused or "the mesh no longer has this service")
        if not decision.plain:
            service = policies_for(service, decision.route, self.run)
        exchange.curable = service.statuses
        exchange.deadline = deadline.current()
        return service, Call(exchange, exchange.deadline, 1, exchange.replayable)

    def _choose(self, exchange: Exchange) -> Cluster:
        """Tier 2: the cluster for this attempt, as the newest snapshot sees it."""
        exchange.attempts += 1
        snapshot = self.mesh.current
        decision = (
            exchange.decision if exchange.attempts == 1 else snapshot.routes.resolve(exchange.route, self._random)
        )
        exchange.cluster = exchange.endpoint = None
        if decision is None or decision.cluster is None or decision.cluster not in snapshot.clusters:
            raise NoEndpoint(exchange.service, (decision and decision.refused) or "no route leads to a cluster")
        exchange.decision = decision
        return snapshot.clusters[decision.cluster]

    def _enter(self, exchange: Exchange, cluster: Cluster) -> tuple[Endpoint, int, float]:
        """Tier 4: the endpoint for this attempt, the permit to leave it with, and when it began."""
        start = self.now()
        exchange.cluster = cluster
        sticky, outlier = cluster.sticky, cluster.outlier
        if outlier is not None and start >= outlier.due:
            outlier.tick(start, self._random)
        key = None if sticky is None else sticky.hash(exchange.route)
        balancer = cluster.balancer
        endpoint = balancer.pick(self._random, start, key=key, avoid=exchange.tried)
        if balancer.rate:
            self._probe(cluster, balancer)
        exchange.endpoint = endpoint
        exchange.tried.append(endpoint)
        exchange.heard, exchange.release = 0.0, None
        return endpoint, endpoint.enter(start), start

    def _probe(self, cluster: Cluster, balancer: Balancer) -> None:
        """After a pick: the balancer may want to know more about some of its endpoints."""
        Caretaker.of(self.mesh).probe(cluster, balancer)

    def _leave(
        self,
        call: Call,
        cluster: Cluster,
        entered: tuple[Endpoint, int, float],
        verdict: Verdict,
        heard: float,
        outcome: Any,
    ) -> None:
        """The attempt is over, with a response or an error. Its latency is the time to its headers, if there were
        any."""
        endpoint, permit, start = entered
        end = self.now()
        took = (heard or end) - start
        endpoint.leave(permit, verdict, end, took)
        if verdict is not SUCCESS or cluster.outlier is not None:
            learn(cluster.outlier, call, endpoint, verdict, outcome, end, self._random)
        if self.mesh.port.listeners:
            service, number = call.what.service, call.attempt
            self.mesh.tell(AttemptFinished(cluster.name, service, endpoint.address, number, verdict, took))

    def _answered(self, call: Call, cluster: Cluster, entered: tuple[Endpoint, int, float], response: Any) -> None:
        heard = call.what.heard
        if cluster.balancer.listens:
            listen(cluster.balancer, entered[0], response, heard)
        if call.later is None:
            self._leave(call, cluster, entered, self._classify(call, response, None), heard, response)
        else:
            entered[0].heard(entered[1], heard)
            known = ref(response)  # what the stream holds must not keep its response alive
            call.later.append(lambda verdict: self._leave(call, cluster, entered, verdict, heard, known()))
            release = call.what.release
            if release is not None:
                call.later.append(lambda verdict: release())

    def _failed(self, call: Call, cluster: Cluster, entered: tuple[Endpoint, int, float], error: BaseException) -> None:
        self._leave(call, cluster, entered, self._classify(call, None, error), call.what.heard, error)

    def _hold(self, call: Call, response: Any, guarded: Callable[[Any, Held], Any]) -> Any:
        """A streamed answer keeps what its attempt holds until it is closed; some are closed from the start."""
        held = Held(response, call, self._classify, self.now)
        if response.is_closed:
            held.settle()
        else:
            response.stream = guarded(response.stream, held)
        return response

    def finished(self, call: Call, response: Any, error: BaseException | None) -> None:
        """A logical call is over, or will be when its stream is closed."""
        exchange: Exchange = call.what

        def told(verdict: Verdict) -> None:
            took = self.now() - exchange.start
            self.mesh.tell(CallFinished(exchange.service, verdict, took, exchange.attempts, error))

        stream = getattr(response, "stream", None)
        if isinstance(stream, AsyncGuarded | SyncGuarded):
            stream.held.then(told)
        else:
            told(self._classify(call, response, error))


class AsyncEngine(Engine):
    """Drives the exchanges of async clients: asyncio and trio."""

    def send(self, exchange: Exchange) -> Coroutine[Any, Any, Any]:
        """The final response of an exchange that was decided. Raises `MeshError`, or what the road raised."""
        return self.call(exchange) if exchange.decision.plain else act(self, exchange)

    async def call(self, exchange: Exchange) -> Any:
        """`send` without what the rule does besides."""
        service, call = self._begin(exchange)
        step = service.steps.get(self)
        if step is None:
            step = service.steps[self] = self._compile(service)
        if not self.mesh.port.listeners:
            return await step(call)
        try:
            response = await step(call)
        except BaseException as error:
            self.finished(call, None, error)
            raise
        self.finished(call, response, None)
        return response

    def _compile(self, service: Service) -> AsyncStep[Any]:
        return service.pipeline.over_async(self._bind, keeps_deadline=True)

    async def _bind(self, call: Call) -> Any:
        exchange: Exchange = call.what
        cluster = self._choose(exchange)
        step = cluster.steps.get(self) or self.step(cluster)
        if not exchange.stream:
            return await step(call)
        call = call.held()
        return self._hold(call, await step(call), exchange.family.AsyncGuarded)

    def step(self, cluster: Cluster) -> AsyncStep[Any]:
        """An attempt at this cluster: its gates, compiled once, and an endpoint behind them."""
        step: AsyncStep[Any] | None = cluster.steps.get(self)
        if step is None:
            step = self._ask(cluster)
            for gate in reversed(cluster.gates):
                step = gate.wrap_async(step, self.run, self._classify)
            cluster.steps[self] = step
        return step

    def _ask(self, cluster: Cluster) -> AsyncStep[Any]:
        async def ask(call: Call) -> Any:
            exchange: Exchange = call.what
            entered = self._enter(exchange, cluster)
            try:
                response = await exchange.road(exchange, entered[0], call.deadline)
            except BaseException as error:
                self._failed(call, cluster, entered, error)
                raise
            self._answered(call, cluster, entered, response)
            return response

        return ask


class SyncEngine(Engine):
    """Drives the exchanges of sync clients, from any number of threads."""

    def send(self, exchange: Exchange) -> Any:
        """The final response of an exchange that was decided. Raises `MeshError`, or what the road raised."""
        return self.call(exchange) if exchange.decision.plain else act_sync(self, exchange)

    def call(self, exchange: Exchange) -> Any:
        """`send` without what the rule does besides."""
        service, call = self._begin(exchange)
        step = service.steps.get(self)
        if step is None:
            step = service.steps[self] = service.pipeline.over(self._bind)
        if not self.mesh.port.listeners:
            return step(call)
        try:
            response = step(call)
        except BaseException as error:
            self.finished(call, None, error)
            raise
        self.finished(call, response, None)
        return response

    def _bind(self, call: Call) -> Any:
        exchange: Exchange = call.what
        cluster = self._choose(exchange)
        step = cluster.steps.get(self) or self.step(cluster)
        if not exchange.stream:
            return step(call)
        call = call.held()
        return self._hold(call, step(call), exchange.family.SyncGuarded)

    def step(self, cluster: Cluster) -> Step[Any]:
        """An attempt at this cluster: its gates, compiled once, and an endpoint behind them."""
        step: Step[Any] | None = cluster.steps.get(self)
        if step is None:
            step = self._ask(cluster)
            for gate in reversed(cluster.gates):
                step = gate.wrap(step, self.run, self._classify)
            cluster.steps[self] = step
        return step

    def _ask(self, cluster: Cluster) -> Step[Any]:
        def ask(call: Call) -> Any:
            exchange: Exchange = call.what
            entered = self._enter(exchange, cluster)
            try:
                response = exchange.road(exchange, entered[0], call.deadline)
            except BaseException as error:
                self._failed(call, cluster, entered, error)
                raise
            self._answered(call, cluster, entered, response)
            return response

        return ask

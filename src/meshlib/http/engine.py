"""One request through the mesh: service, binding, cluster, endpoint; then back up the same stairs.

    `send`      tier 1: the service's pipeline (deadline, retries under one budget), compiled once per service
    `_bind`     tier 2: the routes of the current snapshot name a cluster, afresh for every attempt
    `_cluster`  tier 3: that cluster's gates (breaker, bulkhead …), compiled once per cluster
    `_endpoint` tier 4: the balancer picks, the endpoint counts, the road sends

The engine knows neither httpx nor sockets: the exchange brings its road. What an attempt says about the server is
settled at the end of the body: for a plain call the body is read here, inside the attempt; for a streamed one the
verdict waits until the stream is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from math import inf
from typing import Any

from ..call import Call, Verdict
from ..errors import NoEndpoint
from ..events import AttemptFinished, CallFinished
from ..mesh import Cluster, Mesh
from ..routing.route import Decision
from .classify import classifier
from .exchange import Exchange
from .stream import Held

AsyncAnswer = Callable[[Call], Any]


class Engine:
    """Sends exchanges through one mesh. Holds no state of its own; one serves all clients of a mesh (`Engine.of`)."""

    @classmethod
    def of(cls, mesh: Mesh) -> Engine:
        """The engine of `mesh`, so that what one client compiles serves the others."""
        engine = mesh.doors.get(cls)
        if engine is None:
            engine = mesh.doors[cls] = cls(mesh)
        return engine

    def __init__(self, mesh: Mesh) -> None:
        self.mesh = mesh
        self.now = mesh.runtime.now
        self._random = mesh.runtime.random
        self._classify = classifier(self.now)

    def decide(self, exchange: Exchange) -> Decision | None:
        """Where the first attempt goes; None: the mesh does not know the host, and the road beneath takes it."""
        decision = self.mesh.current.routes.resolve(exchange.route, self._random)
        if decision is not None:
            exchange.service = decision.service
            exchange.decision = decision
        return decision

    async def send(self, exchange: Exchange, deadline: float = inf) -> Any:
        """The final response of an exchange that was decided. Raises `MeshError`, or what the road raised."""
        service = self.mesh.current.services.get(exchange.service)
        if service is None:
            raise NoEndpoint(exchange.service, exchange.decision.refused or "the mesh no longer has this service")
        exchange.curable = service.statuses
        step = service.steps.get(self)
        if step is None:
            step = service.steps[self] = service.pipeline.over_async(self._bind, keeps_deadline=True)
        call = Call(exchange, deadline, 1, exchange.replayable)
        if not self.mesh.port.listeners:
            return await step(call)
        return await self._told(step, call)

    async def _told(self, step: AsyncAnswer, call: Call) -> Any:
        exchange, start = call.what, self.now()
        result, error = None, None
        try:
            result = await step(call)
            return result
        except BaseException as raised:
            error = raised
            raise
        finally:
            verdict = self._classify(call, result, error)
            took = self.now() - start
            self.mesh.tell(CallFinished(exchange.service, verdict, took, exchange.attempts, error))

    async def _bind(self, call: Call) -> Any:
        exchange: Exchange = call.what
        exchange.attempts += 1
        snapshot = self.mesh.current
        decision = (
            exchange.decision if exchange.attempts == 1 else snapshot.routes.resolve(exchange.route, self._random)
        )
        if decision is None or decision.cluster is None or decision.cluster not in snapshot.clusters:
            raise NoEndpoint(exchange.service, (decision and decision.refused) or "no route leads to a cluster")
        cluster = exchange.cluster = snapshot.clusters[decision.cluster]
        exchange.endpoint = None
        step = cluster.steps.get(self)
        if step is None:
            step = cluster.steps[self] = self._cluster(cluster)
        if exchange.stream:
            call = call.held()
        return await step(call)

    def _cluster(self, cluster: Cluster) -> AsyncAnswer:
        step: AsyncAnswer = self._endpoint
        for gate in reversed(cluster.gates):
            step = gate.wrap_async(step, self.mesh.runtime, self._classify)
        return step

    async def _endpoint(self, call: Call) -> Any:
        exchange: Exchange = call.what
        cluster, now = exchange.cluster, self.now
        assert cluster is not None
        start = now()
        endpoint = cluster.balancer.pick(self._random, start, avoid=exchange.tried)
        exchange.endpoint = endpoint
        exchange.tried.append(endpoint)
        permit = endpoint.enter(start)
        headers = 0.0
        response = None

        def leave(verdict: Verdict) -> None:
            end = now()
            took = (headers or end) - start
            endpoint.leave(permit, verdict, end, took)
            if self.mesh.port.listeners:
                name, service, attempt = cluster.name, exchange.service, exchange.attempts
                self.mesh.tell(AttemptFinished(name, service, endpoint.address, attempt, verdict, took))

        try:
            response = await exchange.road(exchange, endpoint, call.deadline)
            headers = now()
            if call.later is not None:
                endpoint.heard(permit, headers)
                call.later.append(leave)
                held = Held(response, call, self._classify, now, start)
                response.stream = exchange.family.AsyncGuarded(response.stream, held)
                return response
            await response.aread()
        except BaseException as error:
            leave(self._classify(call, None, error))
            if response is not None:
                await _give_up(response)
            raise
        leave(self._classify(call, response, None))
        return response


async def _give_up(response: Any) -> None:
    """Close what may already be broken; the error that brought us here is the one to tell."""
    try:
        await response.aclose()
    except Exception:
        pass

"""One request through the mesh: service, binding, cluster, endpoint; then back up the same stairs.

    `send`   tier 1: the service's pipeline (deadline, retries under one budget), compiled once per service
    `_bind`  tier 2: the routes of the current snapshot name a cluster, afresh for every attempt
    `step`   tier 3: that cluster's gates (breaker, bulkhead …), compiled once per cluster
    `_ask`   tier 4: the balancer picks, the endpoint counts, the road sends

The engine knows neither httpx nor sockets: the exchange brings its road. What an attempt says about the server is
settled at the end of the body: for a plain call the road reads it inside the attempt; for a streamed one the verdict
waits until the stream is closed.

`Engine` decides; `AsyncEngine` and, in `sync_engine`, `SyncEngine` drive, and differ in `await` alone.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from itertools import islice
from typing import Any, TypeVar
from weakref import ref

from ...balancing import Balancer
from ...call import FAILURE, IGNORED, SUCCESS, AsyncStep, Call, Verdict
from ...errors import NoEndpoint
from ...events import AttemptFinished, CallFinished
from ...mesh import Cluster, Mesh, Service
from ...policies.deadline import deadline
from ...routing.route import Decision
from ...runtime import Runtime
from .classify import classifier
from .exchange import Attempt, Exchange
from .feedback import learn, listen
from .goaway import GRACEFUL, fate
from .mirror import Mirrors
from .rule_actions import DECISION, act, decided, edited, policies_for
from .session_cookie import key_of, set_session
from .stream_lease import AsyncGuarded, StreamLease, SyncGuarded

E = TypeVar("E", bound="Engine")
_ASKED = 20  # of a cluster's endpoints, whether they are well: in an outage nobody shall search ten thousand
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
        self.run: Runtime = mesh.runtime
        self.now: Callable[[], float] = mesh.runtime.now
        self._random = mesh.runtime.random
        self._classify = classifier(self.now)
        self.mirrors: Mirrors = Mirrors()

    def decide(self, exchange: Exchange) -> Decision | None:
        """Where the first attempt goes; None: the mesh does not know the host, and the road beneath takes it."""
        exchange.snapshot = snapshot = self.mesh.current
        decision = snapshot.routes.resolve(exchange.route, self._random)
        if decision is not None:
            if decision.cluster is None and decision.route.outside:
                return None
            exchange.service = decision.service
            exchange.decision = decision
        return decision

    def _begin(self, exchange: Exchange) -> tuple[Service, Call]:
        """Tier 1: the service, and the call under the deadline that is in force where the request was made."""
        services, decision = exchange.snapshot.services, exchange.decision
        service = services.get(exchange.service) or services.get(ANY)
        if service is None or decision.refused is not None:
            raise NoEndpoint(exchange.service, decision.refused or "the mesh no longer has this service")
        if not decision.plain:
            service = policies_for(service, decision.route, self.run)
        exchange.curable = service.statuses
        exchange.deadline = deadline.current()
        # A hedge asks before anything has failed, so "replayable" must mean here that two servers may see it. (What
        # never left is repeated all the same: then the error says so.)
        return service, Call(exchange, exchange.deadline, 1, exchange.repeatable)

    def _choose(self, call: Call) -> Attempt:
        """Tier 2: the cluster for this attempt, as the newest snapshot sees it."""
        exchange: Exchange = call.what
        exchange.attempts += 1
        snapshot = self.mesh.current
        # Rules and clusters are of one picture, or a call could be sent by the old rules to the new endpoints.
        decided = exchange.attempts == 1 and snapshot is exchange.snapshot
        decision = exchange.decision if decided else snapshot.routes.resolve(exchange.route, self._random)
        exchange.newest = None
        if decision is None or decision.cluster is None or decision.cluster not in snapshot.clusters:
            raise NoEndpoint(exchange.service, (decision and decision.refused) or "no route leads to a cluster")
        exchange.newest = attempt = Attempt(call, decision, snapshot.clusters[decision.cluster])
        return attempt

    def _enter(self, attempt: Attempt) -> None:
        """Tier 4: the endpoint for this attempt, and the permit to leave it with."""
        attempt.start = start = self.now()
        exchange, cluster = attempt.what, attempt.cluster
        sticky, outlier = cluster.sticky, cluster.outlier
        if outlier is not None and start >= outlier.due:
            outlier.tick(start, self._random)
        key = None if sticky is None else key_of(sticky, exchange)
        balancer = cluster.balancer
        endpoint = balancer.pick(self._random, start, key=key, avoid=exchange.tried)
        if balancer.rate:
            self._probe(cluster, balancer)
        exchange.tried.append(endpoint)
        attempt.permit = endpoint.enter(start)
        attempt.endpoint = endpoint

    def _probe(self, cluster: Cluster, balancer: Balancer) -> None:
        """After a pick: the balancer may want to know more about some of its endpoints."""
        from ..health.health_thread import HealthThread  # few balancers want any

        HealthThread.of(self.mesh).probe(cluster, balancer)

    def _leave(self, attempt: Attempt, verdict: Verdict, outcome: Any) -> None:
        """The attempt is over, with a response or an error. Its latency is the time to its headers, if there were
        any."""
        endpoint = attempt.endpoint
        assert endpoint is not None
        end = self.now()
        took = (attempt.heard or end) - attempt.start
        endpoint.leave(attempt.permit, verdict, end, took)
        outlier = attempt.cluster.outlier
        if verdict is not SUCCESS or outlier is not None:
            learn(outlier, attempt, endpoint, verdict, outcome, end, self._random)
        if self.mesh.port.listeners:
            cluster, service = attempt.cluster.name, attempt.what.service
            self.mesh.tell(AttemptFinished(cluster, service, endpoint.address, attempt.attempt, verdict, took))

    def _answered(self, attempt: Attempt, response: Any) -> None:
        endpoint, balancer = attempt.endpoint, attempt.cluster.balancer
        assert endpoint is not None
        if not attempt.decision.plain:
            decided(attempt, response)
        if balancer.wants_reports:
            listen(balancer, endpoint, response, attempt.heard)
        sticky = attempt.cluster.sticky
        if sticky is not None and sticky.session is not None:
            set_session(sticky.session, attempt.what, response)
        if attempt.later is None:
            self._leave(attempt, self._classify(attempt, response, None), response)
        else:
            endpoint.answered(attempt.permit, attempt.heard)
            held = ref(response)  # a response must not live for its stream's sake
            attempt.later.append(lambda verdict: self._leave(attempt, verdict, held()))
            if attempt.releases:
                attempt.later.append(attempt.give_back)

    def _failed(self, attempt: Attempt, error: BaseException) -> None:
        attempt.mark(error)
        self._leave(attempt, self._evidence(attempt, None, error), error)

    def _evidence(self, call: Call, result: object, error: BaseException | None) -> Verdict:
        """What an attempt says about its server. One that ends a connection after a graceful GOAWAY works as it should,
        even if a response is lost with the connection."""
        if error is not None and fate(error) is GRACEFUL:
            return IGNORED
        return self._classify(call, result, error)

    def _of_cluster(self, call: Call, result: object, error: BaseException | None) -> Verdict:
        """What an attempt says to the cluster's gates: while others are well, what ails one endpoint is its own affair.

        Accrual takes that endpoint out, and a retry has gone elsewhere. But its failures come back before the good
        answers of the others, so that a burst of them would open the whole cluster's breaker. Hence a refused
        connection counts when all endpoints are out, and any other failure of an endpoint once, until it has answered
        well again or nobody is known to be better.
        """
        verdict = self._classify(call, result, None) if error is None else self._evidence(call, result, error)
        if verdict is FAILURE:
            attempt: Any = call  # the call of a gate is an `Attempt`
            balancer, endpoint = attempt.cluster.balancer, attempt.endpoint
            if isinstance(error, call.what.family.lib.ConnectError):
                if len(balancer.health.ejected) < len(balancer.endpoints):
                    return IGNORED
            elif (
                endpoint is not None
                and (endpoint.run > 1 or not endpoint.healthy)
                and (balancer.health.consecutive_failures or endpoint.accrual is not None)
                and any(other.healthy and not other.run for other in islice(balancer.endpoints, _ASKED))
            ):
                return IGNORED
        return verdict

    def _hold(self, attempt: Attempt, response: Any, guarded: Callable[[Any, StreamLease], Any]) -> Any:
        """A streamed answer keeps what its attempt holds until it is closed; some are closed from the start."""
        held = StreamLease(response, attempt, self._evidence, self.now)
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
            response = await step(call)
        else:
            try:
                response = await step(call)
            except BaseException as error:
                self.finished(call, None, error)
                raise
            self.finished(call, response, None)
        return edited(exchange, response) if DECISION in response.__dict__ else response

    def _compile(self, service: Service) -> AsyncStep[Any]:
        return service.pipeline.over_async(self._bind, keeps_deadline=True)

    async def _bind(self, call: Call) -> Any:
        attempt = self._choose(call)
        cluster = attempt.cluster
        step = cluster.steps.get(self) or self.step(cluster)
        if attempt.later is None:
            return await step(attempt)
        return self._hold(attempt, await step(attempt), attempt.what.family.AsyncGuarded)

    def step(self, cluster: Cluster) -> AsyncStep[Any]:
        """An attempt at this cluster: its gates, compiled once, and an endpoint behind them."""
        step: AsyncStep[Any] | None = cluster.steps.get(self)
        if step is None:
            step = self._ask
            for gate in reversed(cluster.gates):
                step = gate.wrap_async(step, self.run, self._of_cluster)
            cluster.steps[self] = step
        return step

    async def _ask(self, attempt: Any) -> Any:
        self._enter(attempt)
        try:
            response = await attempt.what.road(attempt)
        except BaseException as error:
            self._failed(attempt, error)
            raise
        self._answered(attempt, response)
        return response

"""The engine's steps for plain requests over the fast lane: the same decisions, fewer frames, and no timer per call.

Most services have a limit of time and a retry, most clusters a circuit breaker, some a bulkhead, and most requests
succeed at once. For those the whole way down and up again is written out here as one coroutine (`call`). As soon as
anything is otherwise, it goes on as for any other exchange: from the start, if a policy of another kind stands in the
way, or the bulkhead is full; with the second attempt, if the first has failed.

The connection keeps the deadline of each attempt. What may wait between attempts knows the call's deadline too, so the
timer of the whole call is needed only where a policy of a foreign kind might wait for something else.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from math import inf
from typing import Any, Final, TypeAlias

from ...balancing import Endpoint
from ...call import SUCCESS, AsyncStep, Call, Classifier
from ...events import AttemptFinished, CallFinished
from ...mesh import Cluster, Mesh, Service
from ...policies.breaker.circuit_breaker import CircuitBreaker
from ...policies.concurrency.bulkhead import Bulkhead
from ...policies.deadline import deadline
from ...policies.deadline.deadline_timer import within_async
from ...policies.deadline.timeout import Timeout
from ...policies.retry.budget import RetryBudget
from ...policies.retry.hedge import Hedge
from ...policies.retry.retry import Retry, RetryDecision
from .async_engine import AsyncEngine
from .exchange import Attempt
from .fast_exchange import FastExchange
from .rule_actions import DECISION, edited

Gates: TypeAlias = tuple[CircuitBreaker | None, Bulkhead | None]
"""All that most clusters have. The bulkhead is asked first: if it is full, nothing else has been done yet."""

_PUNCTUAL: Final = (Timeout, Retry, Hedge)


class First:
    """What the first attempt of a service must know: limits in seconds, where to pay in, and who goes on after it."""

    __slots__ = ("again", "budget", "classify", "deposit", "per_try", "retry", "seconds")

    def __init__(self, service: Service, engine: FusedEngine, timeout: Timeout | None, retry: Retry | None) -> None:
        self.seconds: float = inf if timeout is None else timeout.seconds
        self.per_try: float = min(self.seconds, (timeout and timeout.per_try) or inf)
        self.retry: Retry | None = retry
        budget = None if retry is None else retry.budget
        self.deposit: Callable[[float], None] | None = None if budget is None else budget.deposit
        # Most deposits are only a step of its counter.
        self.budget: RetryBudget | None = budget if type(budget) is RetryBudget else None
        self.classify: Classifier = service.pipeline.classify
        self.again: Any = None
        if retry is not None:
            step: AsyncStep[Any] = engine._bind
            if timeout is not None and timeout.per_try is not None:
                step = within_async(step, engine.run, timeout.per_try, timeout.name, outermost=False, cancels=False)
            self.again = retry.wrap_async(step, engine.run, self.classify)


class FusedEngine(AsyncEngine):
    """Drives exchanges that are plain: not streamed, each attempt over by its deadline without anybody's help."""

    def __init__(self, mesh: Mesh) -> None:
        super().__init__(mesh)
        # Under this key a service keeps its `First` and a cluster its `Gates`; False: not of the usual kind.
        self._key = object()

    async def call(self, exchange: FastExchange) -> Any:  # type: ignore[override]
        start, decision, snapshot = exchange.start, exchange.decision, exchange.snapshot
        service, cluster = snapshot.services.get(exchange.service), snapshot.clusters.get(decision.cluster)
        outer = deadline.current()
        if service is None or cluster is None or start >= outer:
            return await super().call(exchange.usual())
        first: Any = service.steps.get(self._key)
        gates: Any = cluster.steps.get(self._key)
        if first is None or gates is None:
            first, gates = self._look(service, cluster)
        balancer = cluster.balancer
        if first is False or gates is False or cluster.sticky is not None or balancer.rate or balancer.wants_reports:
            return await super().call(exchange.usual())
        gate, bulkhead = gates
        if bulkhead is not None and bulkhead.take() < 0:
            return await super().call(exchange.usual())  # which refuses it, or lets it wait
        exchange.curable = service.statuses
        exchange.deadline = outer
        exchange.attempts = 1
        left = first.per_try if start + first.per_try < outer else outer - start
        budget, outlier = first.budget, cluster.outlier
        endpoint: Endpoint | None = None
        permit, passed, heard = 0, None, 0.0
        try:
            if budget is not None and start < budget.plain_until:
                budget.step()
            elif first.deposit is not None:
                first.deposit(start)
            if gate is not None:
                passed = gate.generation if gate.admits else gate.enter(start)
            if outlier is not None and start >= outlier.due:
                outlier.tick(start, self._random)
            endpoint = balancer.pick(self._random, start)
            permit = endpoint.enter(start)
            asked = exchange.ask(endpoint, cluster, left)
            try:
                answer = await asked[0]
            except BaseException as error:
                answer = await exchange.rescue(error, asked, left, start + left)
            end = self.now()
            heard = answer.heard or end
            response = exchange.answered(answer)
        except BaseException as error:
            begun = start, left, heard, endpoint, permit, passed
            failed = self._missed(exchange, first, cluster, gates, begun, None, error)
            if failed is None:
                raise
        else:
            status, listeners = answer.head.status, self.mesh.port.listeners
            if status < 500 and status != 429 and status not in exchange.curable:  # a success, says the classifier
                endpoint.leave(permit, SUCCESS, end, heard - start)
                if outlier is not None:
                    outlier.record(endpoint, status, end, self._random)
                if bulkhead is not None:
                    bulkhead.leave()
                if listeners:
                    called, took = exchange.service, heard - start
                    self.mesh.tell(AttemptFinished(cluster.name, called, endpoint.address, 1, SUCCESS, took))
                if gate is not None and not gate.quiet:
                    gate.leave(passed, SUCCESS, end, end - start)
                if answer.head.plain:
                    exchange.took = end - start
                    exchange.settled = True
                if listeners:
                    self.mesh.tell(CallFinished(exchange.service, SUCCESS, end - start, 1, None))
                return response
            begun = start, left, heard, endpoint, permit, passed
            failed = self._missed(exchange, first, cluster, gates, begun, response, None)
            if failed is None:
                return response
        return await self._again(exchange, first, *failed)

    def _look(self, service: Service, cluster: Cluster) -> tuple[Any, Any]:
        """Are they of the usual kind? False stands for what is not."""
        policies = service.pipeline.policies
        gates: Any = False
        breakers = [gate for gate in cluster.gates if type(gate) is CircuitBreaker and gate.classify is None]
        bulkheads = [gate for gate in cluster.gates if type(gate) is Bulkhead]
        slots = list(bulkheads)
        if cluster.limits is not None and cluster.limits.connections is not None:
            slots.append(cluster.limits.connections)  # taken and given back in the same way
        if len(breakers) < 2 and len(slots) < 2 and len(breakers) + len(bulkheads) == len(cluster.gates):
            gates = breakers[0] if breakers else None, slots[0] if slots else None
        timeout: Any = next((policy for policy in policies if type(policy) is Timeout), None)
        retry: Any = next((policy for policy in policies if type(policy) is Retry), None)
        judge = getattr(service.pipeline.classify, "__code__", None)
        first: Any = False
        if (
            policies == tuple(policy for policy in (timeout, retry) if policy is not None)
            and judge is self._classify.__code__
            and (retry is None or _asks_only_the_classifier(retry))
        ):
            first = First(service, self, timeout, retry)
        service.steps[self._key] = first
        cluster.steps[self._key] = gates
        return first, gates

    def _missed(
        self,
        exchange: FastExchange,
        first: First,
        cluster: Cluster,
        gates: Gates,
        begun: tuple[float, float, float, Endpoint | None, int, int | None],
        response: Any,
        error: BaseException | None,
    ) -> tuple[Call, RetryDecision, float, Any] | None:
        """The first attempt was no success: settle it with all who must know. What `_again` needs; None: it stands."""
        start, left, heard, endpoint, permit, passed = begun
        gate, bulkhead = gates
        call = Call(exchange, min(start + first.seconds, exchange.deadline), 1, exchange.repeatable)
        attempt = Attempt(call.by(start + left), exchange.decision, cluster)
        attempt.start, attempt.heard = start, heard
        exchange.newest, exchange.tried = attempt, []
        if endpoint is not None:
            attempt.endpoint, attempt.permit = endpoint, permit
            exchange.tried.append(endpoint)
            if error is None:
                self._leave(attempt, self._classify(attempt, response, None), response)
            else:
                self._failed(attempt, error)
        if bulkhead is not None:
            bulkhead.leave()
        if gate is not None and passed is not None:
            gate._leave_with(passed, self._of_cluster, attempt, response, error, self.now, start)
        retry = first.retry
        if retry is not None and (error is None or isinstance(error, Exception)):
            tries = RetryDecision(retry, first.classify, self._random, self.now())
            delay = tries.next_delay(call, response, error, self.now())
            if delay is not None:
                return call.again(), tries, delay, response
            tries.close()
        if self.mesh.port.listeners:
            self.finished(call, response, error)
        return None

    async def _again(
        self, exchange: FastExchange, first: First, call: Call, tries: RetryDecision, delay: float, thrown: Any
    ) -> Any:
        """The second attempt, and whatever follows."""
        assert first.retry is not None
        token, discard = deadline.enter(call.deadline), first.retry.discard
        try:
            if thrown is not None and discard is not None and isawaitable(done := discard(thrown)):
                await done
            response = await first.again(call, tries, delay)
        except BaseException as error:
            tries.close()  # where it was cut off before `again` began, which closes it too
            if self.mesh.port.listeners:
                self.finished(call, None, error)
            raise
        finally:
            deadline.leave(token)
        if self.mesh.port.listeners:
            self.finished(call, response, None)
        return edited(exchange, response) if DECISION in response.__dict__ else response

    def _compile(self, service: Service) -> AsyncStep[Any]:
        punctual = all(type(policy) in _PUNCTUAL for policy in service.pipeline.policies)
        return service.pipeline.over_async(self._bind, keeps_deadline=True, timer=not punctual)

    def _bind(self, call: Call) -> Any:  # not async: one frame less
        attempt = self._choose(call)
        cluster = attempt.cluster
        return (cluster.steps.get(self) or self.step(cluster))(attempt)


def _asks_only_the_classifier(retry: Retry) -> bool:
    """Whether nobody but the classifier has a say about results, and the budget wants no more than a deposit."""
    others = retry.stop, retry.wait, retry.retry, retry.on_result
    return others == (None,) * 4 and not (retry.budget is not None and retry.budget.counts_attempts)

"""The engine's steps for plain requests over the fast lane: the same decisions, fewer frames, and no timer per call.

The connection keeps the deadline of each attempt. What may wait between attempts knows the call's deadline too, so the
timer of the whole call is needed only where a policy of a foreign kind might wait for something else.
"""

from __future__ import annotations

from typing import Any, Final

from ..call import SUCCESS, AsyncStep, Call
from ..mesh import Cluster, Service
from ..policies.hedge import Hedge
from ..policies.retry import Retry
from ..policies.timeout import Timeout
from .engine import AsyncEngine

_PUNCTUAL: Final = (Timeout, Retry, Hedge)


class LeanEngine(AsyncEngine):
    """Drives exchanges that are plain: not streamed, each attempt over by its deadline without anybody's help."""

    def _compile(self, service: Service) -> AsyncStep[Any]:
        punctual = all(type(policy) in _PUNCTUAL for policy in service.pipeline.policies)
        return service.pipeline.over_async(self._bind, keeps_deadline=True, timer=not punctual)

    def _bind(self, call: Call) -> Any:  # not async: one frame less
        cluster = self._choose(call.what)
        return (cluster.steps.get(self) or self.step(cluster))(call)

    def _ask(self, cluster: Cluster) -> AsyncStep[Any]:
        balancer = cluster.balancer
        if cluster.sticky is not None or cluster.outlier is not None or balancer.rate or balancer.listens:
            return super()._ask(cluster)  # more is to be learnt from each attempt than the usual
        now, random, classify = self.now, self._random, self._classify
        port = self.mesh.port

        async def ask(call: Call) -> Any:
            exchange = call.what
            start = now()
            exchange.cluster = cluster
            exchange.endpoint = endpoint = cluster.balancer.pick(random, start, avoid=exchange.tried)
            exchange.tried.append(endpoint)
            exchange.heard = 0.0
            permit = endpoint.enter(start)
            try:
                response = await exchange.road(exchange, endpoint, call.deadline)
            except BaseException as error:
                self._failed(call, cluster, (endpoint, permit, start), error)
                raise
            heard = exchange.heard
            verdict = classify(call, response, None)
            if port.listeners or verdict is not SUCCESS:
                self._leave(call, cluster, (endpoint, permit, start), verdict, heard, response)
            else:
                endpoint.leave(permit, verdict, now(), heard - start)
            return response

        return ask

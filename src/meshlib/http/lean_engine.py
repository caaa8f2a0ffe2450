"""The engine's steps for plain requests over the fast lane: the same decisions, fewer frames, and no timer per call.

The connection keeps the deadline of each attempt. What may wait between attempts knows the call's deadline too, so the
timer of the whole call is needed only where a policy of a foreign kind might wait for something else.
"""

from __future__ import annotations

from typing import Any, Final

from ..call import SUCCESS, AsyncStep, Call
from ..mesh import Service
from ..policies.hedge import Hedge
from ..policies.retry import Retry
from ..policies.timeout import Timeout
from .actions import decided
from .engine import AsyncEngine

_PUNCTUAL: Final = (Timeout, Retry, Hedge)


class LeanEngine(AsyncEngine):
    """Drives exchanges that are plain: not streamed, each attempt over by its deadline without anybody's help."""

    def _compile(self, service: Service) -> AsyncStep[Any]:
        punctual = all(type(policy) in _PUNCTUAL for policy in service.pipeline.policies)
        return service.pipeline.over_async(self._bind, keeps_deadline=True, timer=not punctual)

    def _bind(self, call: Call) -> Any:  # not async: one frame less
        attempt = self._choose(call)
        cluster = attempt.cluster
        return (cluster.steps.get(self) or self.step(cluster))(attempt)

    async def _ask(self, attempt: Any) -> Any:
        cluster, exchange = attempt.cluster, attempt.what
        balancer = cluster.balancer
        if cluster.sticky is not None or cluster.outlier is not None or balancer.rate or balancer.listens:
            return await super()._ask(attempt)  # more is to be learnt from each attempt than the usual
        attempt.start = start = self.now()
        endpoint = balancer.pick(self._random, start, avoid=exchange.tried)
        exchange.tried.append(endpoint)
        attempt.permit = permit = endpoint.enter(start)
        attempt.endpoint = endpoint
        try:
            response = await exchange.road(attempt)
        except BaseException as error:
            self._failed(attempt, error)
            raise
        if not attempt.decision.plain:
            decided(attempt, response)
        verdict = self._classify(attempt, response, None)
        if self.mesh.port.listeners or verdict is not SUCCESS:
            self._leave(attempt, verdict, response)
        else:
            endpoint.leave(permit, verdict, self.now(), attempt.heard - start)
        return response

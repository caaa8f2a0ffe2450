"""The same stairs as in `engine`, for sync clients: up and down in the caller's own thread."""

from __future__ import annotations

from typing import Any

from ...call import Call, Step
from ...mesh import Cluster
from .async_engine import Engine
from .exchange import Exchange
from .rule_actions import DECISION, act_sync, edited
from .service_pipeline import unhedged


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
            step = service.steps[self] = unhedged(service.pipeline).over(self._bind)
        if not self.mesh.port.listeners:
            response = step(call)
        else:
            try:
                response = step(call)
            except BaseException as error:
                self.finished(call, None, error)
                raise
            self.finished(call, response, None)
        return edited(exchange, response) if DECISION in response.__dict__ else response

    def _bind(self, call: Call) -> Any:
        attempt = self._choose(call)
        cluster = attempt.cluster
        step = cluster.steps.get(self) or self.step(cluster)
        if attempt.later is None:
            return step(attempt)
        return self._hold(attempt, step(attempt), attempt.what.family.SyncGuarded)

    def step(self, cluster: Cluster) -> Step[Any]:
        """An attempt at this cluster: its gates, compiled once, and an endpoint behind them."""
        step: Step[Any] | None = cluster.steps.get(self)
        if step is None:
            step = self._ask
            for gate in reversed(cluster.gates):
                step = gate.wrap(step, self.run, self._of_cluster)
            cluster.steps[self] = step
        return step

    def _ask(self, attempt: Any) -> Any:
        self._enter(attempt)
        try:
            response = attempt.what.road(attempt)
        except BaseException as error:
            self._failed(attempt, error)
            raise
        self._answered(attempt, response)
        return response

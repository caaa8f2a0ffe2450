"""Balancer adapter: pick, start, finish and report, for a loop or simulator of your own.

    balancer = Plain(make("default", "users", endpoints), Random(1).random)
    endpoint = balancer.pick(now)
    balancer.start(endpoint, now)
    balancer.finish(endpoint, now, True, latency)

Time is whatever the caller says (seconds, never going backwards), and chance what it has injected.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING

from ..call import FAILURE, SUCCESS, Verdict
from .endpoint import Endpoint
from .load_report import LoadReport

if TYPE_CHECKING:
    from .balancer import Balancer


class BalancerAdapter:
    """A balancer, driven by hand. For one thread; the balancer itself may be shared."""

    def __init__(self, balancer: Balancer, random: Callable[[], float]) -> None:
        self.balancer = balancer
        self.random = random
        self._out: dict[Endpoint, dict[int, float]] = {}  # calls under way: permit, and when it was given

    def pick(self, now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()) -> Endpoint:
        """The endpoint for the next call; raises `NoEndpoint`. Nothing is counted before `start`."""
        return self.balancer.pick(self.random, now, key=key, avoid=avoid)

    def start(self, endpoint: Endpoint, now: float) -> int:
        """A call is being sent there. Returns its permit, for `finish`."""
        permit = endpoint.enter(now)
        self._out.setdefault(endpoint, {})[permit] = now
        return permit

    def finish(
        self, endpoint: Endpoint, now: float, outcome: bool | Verdict, latency: float, permit: int | None = None
    ) -> None:
        """A call is over: `outcome` is True for success (or a `Verdict`; IGNORED for a cancelled one),
        `latency` seconds after its start.

        Without the permit it is the call whose start fits best. Raises ValueError if there is none under way.
        """
        out = self._out.get(endpoint)
        if not out:
            raise ValueError(f"{endpoint.address}: no call is under way")
        if permit is None:
            permit = min(out, key=lambda one: abs(now - latency - out[one]))
        del out[permit]
        verdict = outcome if isinstance(outcome, Verdict) else SUCCESS if outcome else FAILURE
        endpoint.leave(permit, verdict, now, latency)

    def report(self, endpoint: Endpoint, now: float, **values: float) -> None:
        """Record a load report of a response or a probe; `values` are the fields of `LoadReport`."""
        self.balancer.reported(endpoint, LoadReport(now, **values), now)

    def probes(self) -> list[Endpoint]:
        """The endpoints to probe after this pick (the balancer's `rate`); `report` takes their answers."""
        return self.balancer.probes(self.random)

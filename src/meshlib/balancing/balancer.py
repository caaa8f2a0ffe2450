"""Balancer: what the engine needs of any algorithm, and what a balancer of your own must have.

`BasePicker` (base_picker.py) is the base of the algorithms here, factory.py makes one by its name.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from .ejection import ClusterHealth
from .endpoint import Endpoint
from .load_report import LoadReport


class Balancer(Protocol):
    """What the engine needs. `pick` never waits; `update` builds a new snapshot beside the old one.

    `wants_reports` is True if the balancer uses the load reports in responses. `rate` is the number of endpoints to
    probe for a load report per pick, on average (0: none).
    """

    name: str
    health: ClusterHealth
    wants_reports: bool
    rate: float

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    def pick(
        self, random: Callable[[], float], now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()
    ) -> Endpoint:
        """The endpoint for the next call. `key` is the hash that calls of one session share (`None`: no session),
        `avoid` holds endpoints that this call has already tried. Raises `NoEndpoint`."""

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership."""

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        """Record a server's load report. Called only if `wants_reports` or `rate` is set."""

    def probes(self, random: Callable[[], float]) -> list[Endpoint]:
        """The endpoints to probe for a load report after a pick: `rate` of them on average."""

"""Who gets the next call: one file per algorithm, all over the same `Endpoint`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from .aperture import Aperture
from .default import Default
from .endpoint import Endpoint
from .layered import Layered
from .least_loaded import LeastLoaded, LeastLoadedScan
from .least_request import LeastRequest
from .maglev import Maglev
from .peak_ewma import PeakEwma
from .pick_first import PickFirst
from .prequal import Prequal
from .random_choice import RandomChoice
from .report import LoadReport
from .reported_weights import ReportedWeights
from .ring_hash import RingHash
from .roster import Roster, carry
from .round_robin import RoundRobin
from .ward import Ward


class Balancer(Protocol):
    """What the engine needs. `pick` never waits; `update` makes a new picture beside the old one."""

    name: str
    ward: Ward
    listens: bool
    rate: float

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    def pick(
        self, random: Callable[[], float], now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()
    ) -> Endpoint:
        """The endpoint for the next call. `key` is the hash of whatever makes calls stick together (`None`: nothing),
        `avoid` holds endpoints that this call has already tried. Raises `NoEndpoint`."""

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership."""

    def reported(self, endpoint: Endpoint, report: LoadReport, now: float) -> None:
        """A server has told its load. Only a balancer that `listens` makes use of it."""

    def probes(self, random: Callable[[], float]) -> list[Endpoint]:
        """Whom to ask for a load report after a pick: `rate` of them on average."""


_ALGORITHMS: dict[str, type[Roster]] = {
    cls.name: cls
    for cls in (
        Default,
        RoundRobin,
        RandomChoice,
        LeastLoaded,
        LeastLoadedScan,
        LeastRequest,
        PeakEwma,
        RingHash,
        Maglev,
        Aperture,
        Prequal,
        ReportedWeights,
        PickFirst,
    )
}
NAMES = tuple(_ALGORITHMS)
_LAYERS = ("overprovisioning", "zone", "callers", "zone_weights", "nearest")


def make(
    name: str = "default",
    cluster: str = "cluster",
    endpoints: Sequence[Endpoint] = (),
    *,
    ward: Ward | None = None,
    **settings: Any,
) -> Balancer:
    """A balancer by its name, one of `NAMES`, with the settings of its class.

    Hand over the `ward` of the one before it to swap algorithms under load: the endpoints keep what they know.
    Endpoints of several priorities, or the settings of `Layered` (`zone`, `zone_weights` …), put the algorithm below
    priorities and zones.
    """
    algorithm = _ALGORITHMS.get(name)
    if algorithm is None:
        raise ValueError(f"balancer={name!r}: expected one of {', '.join(NAMES)}")
    if any(setting in settings for setting in _LAYERS) or any(endpoint.priority for endpoint in endpoints):
        return Layered(cluster, endpoints, algorithm=algorithm, ward=ward, **settings)
    return algorithm(cluster, endpoints, ward=ward, **settings)


__all__ = [
    "NAMES",
    "Aperture",
    "Balancer",
    "Default",
    "Endpoint",
    "Layered",
    "LeastLoaded",
    "LeastLoadedScan",
    "LeastRequest",
    "LoadReport",
    "Maglev",
    "PeakEwma",
    "PickFirst",
    "Prequal",
    "RandomChoice",
    "ReportedWeights",
    "RingHash",
    "Roster",
    "RoundRobin",
    "Ward",
    "carry",
    "make",
]

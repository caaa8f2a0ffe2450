"""Who gets the next call: one file per algorithm, all over the same `Endpoint`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from .base_picker import BasePicker, carry_over
from .default import Default
from .ejection import ClusterHealth
from .endpoint import Endpoint
from .load_report import LoadReport

if TYPE_CHECKING:
    from .aperture import Aperture
    from .balancer_adapter import BalancerAdapter
    from .least_loaded import LeastLoaded, LeastLoadedScan
    from .least_request import LeastRequest
    from .locality_balancer import LocalityBalancer
    from .maglev import Maglev
    from .peak_ewma import PeakEwma
    from .pick_first import PickFirst
    from .prequal import Prequal
    from .random_choice import RandomChoice
    from .reported_weights import ReportedWeights
    from .ring_hash import RingHash
    from .round_robin import RoundRobin


class Balancer(Protocol):
    """What the engine needs. `pick` never waits; `update` makes a new picture beside the old one."""

    name: str
    health: ClusterHealth
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


# Most meshes use one algorithm. The others are loaded when somebody asks for them.
_CLASSES = {
    "default": "Default",
    "round_robin": "RoundRobin",
    "random": "RandomChoice",
    "least_loaded": "LeastLoaded",
    "least_loaded_scan": "LeastLoadedScan",
    "least_request": "LeastRequest",
    "peak_ewma": "PeakEwma",
    "ring_hash": "RingHash",
    "maglev": "Maglev",
    "aperture": "Aperture",
    "prequal": "Prequal",
    "reported_weights": "ReportedWeights",
    "pick_first": "PickFirst",
}
_FILES = {
    **{name: file for file, name in _CLASSES.items()},
    "RandomChoice": "random_choice",
    "LeastLoadedScan": "least_loaded",
    "LocalityBalancer": "locality_balancer",
    "BalancerAdapter": "balancer_adapter",
}
NAMES = tuple(_CLASSES)
_LAYERS = ("overprovisioning", "zone", "callers", "zone_weights", "nearest")


def make_balancer(
    name: str = "default",
    cluster: str = "cluster",
    endpoints: Sequence[Endpoint] = (),
    *,
    health: ClusterHealth | None = None,
    **settings: Any,
) -> Balancer:
    """A balancer by its name, one of `NAMES`, with the settings of its class.

    Hand over the `health` of the one before it to swap algorithms under load: the endpoints keep what they know.
    Endpoints of several priorities, or the settings of `LocalityBalancer` (`zone`, `zone_weights` …), put the algorithm
    below priorities and zones.
    """
    if name not in _CLASSES:
        raise ValueError(f"balancer={name!r}: expected one of {', '.join(NAMES)}")
    algorithm: type[BasePicker] = _class(_CLASSES[name])
    if any(setting in settings for setting in _LAYERS) or any(endpoint.priority for endpoint in endpoints):
        from .locality_balancer import LocalityBalancer

        return LocalityBalancer(cluster, endpoints, algorithm=algorithm, health=health, **settings)
    return algorithm(cluster, endpoints, health=health, **settings)


def _class(name: str) -> Any:
    return getattr(import_module(f"{__name__}.{_FILES[name]}"), name)


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = _class(name)
    return value


__all__ = [
    "NAMES",
    "Aperture",
    "Balancer",
    "BalancerAdapter",
    "BasePicker",
    "ClusterHealth",
    "Default",
    "Endpoint",
    "LeastLoaded",
    "LeastLoadedScan",
    "LeastRequest",
    "LoadReport",
    "LocalityBalancer",
    "Maglev",
    "PeakEwma",
    "PickFirst",
    "Prequal",
    "RandomChoice",
    "ReportedWeights",
    "RingHash",
    "RoundRobin",
    "carry_over",
    "make_balancer",
]

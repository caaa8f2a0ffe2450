"""Balancer factory: makes a balancer by its name, and imports its class on first use."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import Any

from .balancer import Balancer
from .base_picker import BasePicker
from .ejection import ClusterHealth
from .endpoint import Endpoint

# Most meshes use one algorithm. The others are imported on first use.
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
FILES = {
    **{name: file for file, name in _CLASSES.items()},
    "RandomChoice": "random_choice",
    "LeastLoadedScan": "least_loaded",
    "LocalityBalancer": "locality_balancer",
    "BalancerAdapter": "balancer_adapter",
    "OutlierDetection": "outlier_detection",
    "EjectionTime": "outlier_criteria",
    "FailurePercentageEjection": "outlier_criteria",
    "SuccessRateEjection": "outlier_criteria",
    "HealthCheck": "health_check",
}
NAMES = tuple(_CLASSES)
_LAYERS = ("overprovisioning", "zone", "callers", "zone_weights", "min_cluster_size")


def make_balancer(
    name: str = "default",
    cluster: str = "cluster",
    endpoints: Sequence[Endpoint] = (),
    *,
    health: ClusterHealth | None = None,
    **settings: Any,
) -> Balancer:
    """A balancer by its name, one of `NAMES`, with the settings of its class.

    To swap algorithms under load, pass the `health` of the balancer before: the endpoints keep their statistics.
    Endpoints of several priorities, or the settings of `LocalityBalancer` (`zone`, `zone_weights` …), put the algorithm
    below priorities and zones.
    """
    if name not in _CLASSES:
        raise ValueError(f"balancer={name!r}: expected one of {', '.join(NAMES)}")
    algorithm: type[BasePicker] = load_class(_CLASSES[name])
    if any(setting in settings for setting in _LAYERS) or any(endpoint.priority for endpoint in endpoints):
        from .locality_balancer import LocalityBalancer

        return LocalityBalancer(cluster, endpoints, algorithm=algorithm, health=health, **settings)
    return algorithm(cluster, endpoints, health=health, **settings)


def load_class(name: str) -> Any:
    """The class of that name, one of `FILES`."""
    return getattr(import_module(f".{FILES[name]}", __package__), name)

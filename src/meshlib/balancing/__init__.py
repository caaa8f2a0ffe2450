"""Load balancing: which endpoint gets the next call. One file per algorithm, all over the same `Endpoint`.

The protocol is in balancer.py, the names of the algorithms in factory.py, and the ejection of endpoints in ejection.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .balancer import Balancer
from .base_picker import BasePicker, carry_over
from .default import Default
from .ejection import ClusterHealth
from .endpoint import Endpoint
from .factory import FILES, NAMES, load_class, make_balancer
from .load_report import LoadReport

if TYPE_CHECKING:
    from .aperture import Aperture
    from .balancer_adapter import BalancerAdapter
    from .health_check import HealthCheck
    from .least_loaded import LeastLoaded, LeastLoadedScan
    from .least_request import LeastRequest
    from .locality_balancer import LocalityBalancer
    from .maglev import Maglev
    from .outlier_criteria import EjectionTime, FailurePercentageEjection, SuccessRateEjection
    from .outlier_detection import OutlierDetection
    from .peak_ewma import PeakEwma
    from .pick_first import PickFirst
    from .prequal import Prequal
    from .random_choice import RandomChoice
    from .reported_weights import ReportedWeights
    from .ring_hash import RingHash
    from .round_robin import RoundRobin


def __getattr__(name: str) -> Any:
    if name not in FILES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = load_class(name)
    return value


__all__ = [
    "NAMES",
    "Aperture",
    "Balancer",
    "BalancerAdapter",
    "BasePicker",
    "ClusterHealth",
    "Default",
    "EjectionTime",
    "Endpoint",
    "FailurePercentageEjection",
    "HealthCheck",
    "LeastLoaded",
    "LeastLoadedScan",
    "LeastRequest",
    "LoadReport",
    "LocalityBalancer",
    "Maglev",
    "OutlierDetection",
    "PeakEwma",
    "PickFirst",
    "Prequal",
    "RandomChoice",
    "ReportedWeights",
    "RingHash",
    "RoundRobin",
    "SuccessRateEjection",
    "carry_over",
    "make_balancer",
]

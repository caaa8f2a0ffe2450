"""Subsets: the endpoints that have given labels."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from .endpoint import Endpoint
from .hashing import hash64


def matches(endpoint: Endpoint, labels: Mapping[str, str]) -> bool:
    """Does the endpoint have all these labels? `zone` may be asked for like a label."""
    own = endpoint.labels
    return all(own.get(name, endpoint.zone if name == "zone" else None) == value for name, value in labels.items())


def subset(endpoints: Iterable[Endpoint], labels: Mapping[str, str]) -> tuple[Endpoint, ...]:
    """The endpoints that have all these labels; all of them if there are none."""
    return tuple(endpoint for endpoint in endpoints if matches(endpoint, labels))


def subset_or(
    endpoints: Sequence[Endpoint], labels: Mapping[str, str], fallback: Mapping[str, str] | None
) -> tuple[Endpoint, ...]:
    """The subset, or if it is empty the subset of the `fallback` labels (`{}`: all; None: none)."""
    return subset(endpoints, labels) or (() if fallback is None else subset(endpoints, fallback))


def random_subset(endpoints: Sequence[Endpoint], size: int, seed: int) -> tuple[Endpoint, ...]:
    """`size` endpoints that depend only on the client's `seed` and the addresses (gRPC A68).

    Each client has a different order of all addresses, so the servers are spread evenly over many clients, and one
    address that comes or goes changes at most one place.
    """
    return tuple(sorted(endpoints, key=lambda endpoint: hash64(endpoint.address, seed & (2**64 - 1)))[:size])

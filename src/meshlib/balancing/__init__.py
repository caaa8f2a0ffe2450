"""Who gets the next call: one file per algorithm, all over the same `Endpoint`."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any, Protocol

from .default import Default
from .endpoint import Endpoint
from .roster import Roster, carry
from .ward import Ward


class Balancer(Protocol):
    """What the engine needs. `pick` never waits; `update` makes a new picture beside the old one."""

    name: str
    ward: Ward

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    def pick(
        self, random: Callable[[], float], now: float, *, key: int | None = None, avoid: Collection[Endpoint] = ()
    ) -> Endpoint:
        """The endpoint for the next call. `key` is the hash of whatever makes calls stick together (`None`: nothing),
        `avoid` holds endpoints that this call has already tried. Raises `NoEndpoint`."""

    def update(self, endpoints: Sequence[Endpoint]) -> None:
        """Replace the membership."""


_ALGORITHMS: dict[str, type[Roster]] = {cls.name: cls for cls in (Default,)}
NAMES = tuple(_ALGORITHMS)


def make(
    name: str = "default",
    cluster: str = "cluster",
    endpoints: Sequence[Endpoint] = (),
    *,
    ward: Ward | None = None,
    **settings: Any,
) -> Balancer:
    """A balancer by its name. Hand over the `ward` of the one before it to swap algorithms under load."""
    algorithm = _ALGORITHMS.get(name)
    if algorithm is None:
        raise ValueError(f"balancer={name!r}: expected one of {', '.join(NAMES)}")
    return algorithm(cluster, endpoints, ward=ward, **settings)


__all__ = ["NAMES", "Balancer", "Default", "Endpoint", "Roster", "Ward", "carry", "make"]

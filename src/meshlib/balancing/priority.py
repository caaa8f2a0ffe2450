"""Priority and locality: the share of calls of each level and each zone, by Envoy's arithmetic, as pure functions.

Healthier levels first, with overprovisioning: a level counts as full while 1 ÷ 1.4 = 71.4 % of it is healthy.
"""

from __future__ import annotations

from collections.abc import Sequence

OVERPROVISIONING = 1.4


def level_health(available: int, total: int, overprovisioning: float = OVERPROVISIONING) -> int:
    """The health of a level in whole percent, at most 100."""
    return min(100, int(round(overprovisioning * 100) * available / total)) if total else 0


def priority_loads(
    levels: Sequence[tuple[int, int]], *, overprovisioning: float = OVERPROVISIONING, panic: float = 0.5
) -> tuple[list[int], list[bool]]:
    """How the traffic is split over the levels, in percent, and which of them are in a panic.

    `levels` are (available, total) from the highest priority on. A level is in a panic, so that its health is to be
    ignored, when less than the share `panic` of it is available and the levels together cannot take all traffic. If
    no endpoint is available anywhere, all levels share by size and all are in a panic (with `panic` 0: none gets any).
    """
    health = [level_health(available, total, overprovisioning) for available, total in levels]
    together = min(100, sum(health))
    all_endpoints = sum(total for _, total in levels)
    if together == 0:
        if not panic or not all_endpoints:
            return [0] * len(levels), [False] * len(levels)
        loads = [100 * total // all_endpoints for _, total in levels]
        panics = [total > 0 for _, total in levels]
    else:
        loads, left = [], 100
        for value in health:
            loads.append(min(left, value * 100 // together))
            left -= loads[-1]
        panics = [together < 100 and total > 0 and available < panic * total for available, total in levels]
    # What whole percents lost goes to the first that has anything.
    first = next(index for index, load in enumerate(loads) if load or health[index] or together == 0)
    loads[first] += 100 - sum(loads)
    return loads, panics


def locality_weights(
    localities: Sequence[tuple[float, int, int]], *, overprovisioning: float = OVERPROVISIONING
) -> list[float]:
    """The effective weights of localities given as (weight, available, total): weight × min(1, 1.4 × available share).

    Weights 1 and 2, the second half available: 1 : 1.4, that is 42 % and 58 %; the first half available: 26 % and 74 %.
    """
    return [
        weight * min(1.0, overprovisioning * available / total) if total else 0.0
        for weight, available, total in localities
    ]


def zone_shares(local: int, zones: Sequence[tuple[float, float]]) -> list[float]:
    """Zone-aware routing: the share of our calls that each zone gets, from (share of callers, share of servers).

    If our own zone `local` has at least as large a share of the servers as of the callers, everything stays there.
    Otherwise as much stays as its servers can take, and the rest spills over in proportion to what the other zones have
    left.
    """
    shares = [0.0] * len(zones)
    callers, servers = zones[local]
    if servers >= callers:
        shares[local] = 1.0
        return shares
    shares[local] = servers / callers
    residual = [0.0 if index == local else max(0.0, there - here) for index, (here, there) in enumerate(zones)]
    spare = sum(residual)
    if not spare:  # no zone has anything left: rounding, or only one zone
        return [there / sum(servers for _, servers in zones) for _, there in zones]
    return [share + (1.0 - shares[local]) * left / spare for share, left in zip(shares, residual, strict=True)]

"""What the demo claims, and whether it happened in this run.

Where chance is at work (which endpoint, which version), a claim holds if the count is one that chance alone would
exceed in fewer than one run of a million: the bounds are exact binomial tails, so that no verdict depends on luck.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import exp, inf, lgamma, log

from ...events import BreakerChanged, CallRejected, EndpointEjected, EndpointProbed, EndpointRestored, SnapshotPublished
from .script import SLOW
from .tally import Tally
from .world import DemoWorld

DOUBT = 1e-6


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that should have happened, and the figures that say whether it did."""

    words: str
    holds: bool
    figures: str


def share_bounds(count: int, share: float) -> tuple[int, int]:
    """The least and the greatest number of hits in `count` draws, each a hit with probability `share`.

    Fewer than the least, or more than the greatest, come with a probability below one in a million each.
    """
    if share <= 0.0 or share >= 1.0:
        return (0, 0) if share <= 0.0 else (count, count)
    least, below = 0, _chance(count, share, 0)
    while below < DOUBT:
        least += 1
        below += _chance(count, share, least)
    greatest, above = count, _chance(count, share, count)
    while above < DOUBT:
        greatest -= 1
        above += _chance(count, share, greatest)
    return least, greatest


def _chance(count: int, share: float, hits: int) -> float:
    """The probability of exactly so many hits (binomial, through logarithms: the factorials are large)."""
    ways = lgamma(count + 1) - lgamma(hits + 1) - lgamma(count - hits + 1)
    return exp(ways + hits * log(share) + (count - hits) * log(1.0 - share))


def outage(mesh: Tally) -> tuple[float, float]:
    """When nobody was left: from the kill until the breaker let traffic through again (inf: it never did)."""
    healed, _ = mesh.first(BreakerChanged, mesh.began["healing"], name="users-v2", after="closed")
    return mesh.began["outage"], healed


def failures_outside(tally: Tally, span: tuple[float, float]) -> int:
    """Failures of requests that were over before a span, or due after it."""
    start, end = span
    return sum(not one.ok and not (one.at < end and one.at + one.took > start) for one in tally.answers)


def to_dead(tally: Tally, world: DemoWorld) -> int:
    """What was sent to the dead endpoint of v1 while it was dead."""
    return len(tally.to([world.servers["v1-c"].address], tally.done["dead"], tally.began["back"]))


def to_dead_v2(tally: Tally, world: DemoWorld) -> int:
    """What was sent to v2 while all of it was dead."""
    return len(tally.to([one.address for one in world.of("v2")], tally.done["outage"], tally.began["healing"]))


def judge(mesh: Tally, plain: Tally, world: DemoWorld) -> list[Claim]:
    """All claims, in the order of the play."""
    return [
        _loses_its_share(mesh, world),
        _gets_it_back(mesh, world),
        _is_ejected(mesh, world),
        _comes_back_by_a_probe(mesh, world),
        *_splits(mesh),
        _edits(mesh),
        _breaker_opens(mesh),
        _breaker_heals(mesh),
        _callers(mesh, plain),
    ]


def _loses_its_share(mesh: Tally, world: DemoWorld) -> Claim:
    start, end = mesh.done["slow"], mesh.began["healed"]
    everyone = len(mesh.to([one.address for one in world.of("v1")], start, end))
    here = len(mesh.to([world.servers["v1-b"].address], start, end))
    least, _ = share_bounds(everyone, 1 / 3)
    return Claim(
        "the slow endpoint loses its share",
        here < least,
        f"{here} of {everyone} requests; by chance at least {least}",
    )


def _gets_it_back(mesh: Tally, world: DemoWorld) -> Claim:
    # By a probe as a rule. But whoever answered so late only once was never taken out, and is only thought dear.
    address = world.servers["v1-b"].address
    restored, _ = mesh.first(EndpointRestored, mesh.began["healed"], address=address)
    sent = mesh.to([address], mesh.done["healed"], mesh.began["all"])
    quick = sum(one.ok and one.took < SLOW / 2 for one in sent)
    probe = f"; by a probe {_after(restored, mesh, 'healed')}" if restored < mesh.began["dead"] else ""
    return Claim("quick again, it is asked again", quick > 0, f"{quick} quick answers since{probe}")


def _is_ejected(mesh: Tally, world: DemoWorld) -> Claim:
    address = world.servers["v1-c"].address
    start, end = mesh.done["dead"], mesh.began["back"]
    ejected, _ = mesh.first(EndpointEjected, mesh.began["dead"], address=address)
    everyone = len(mesh.to([one.address for one in world.of("v1")], start, end))
    here = len(mesh.to([address], start, end))
    probes = sum(start < at < end for at, _ in mesh.all(EndpointProbed, start, address=address))
    least, _ = share_bounds(everyone, 1 / 3)
    return Claim(
        "the dead endpoint is ejected",
        ejected < end and here < least,
        f"{_after(ejected, mesh, 'dead')}; got {here} of {everyone}, {probes} of them probes",
    )


def _comes_back_by_a_probe(mesh: Tally, world: DemoWorld) -> Claim:
    address = world.servers["v1-c"].address
    start, end = mesh.began["back"], mesh.began["all"]
    probed, _ = mesh.first(EndpointProbed, mesh.began["dead"], address=address)
    restored, _ = mesh.first(EndpointRestored, start, address=address)
    served = sum(one.ok for one in mesh.to([address], restored, end))
    return Claim(
        "restarted, it comes back by a probe",
        probed < restored < end and served > 0,
        f"{_after(restored, mesh, 'back')}; {served} good answers since",
    )


def _splits(mesh: Tally) -> list[Claim]:
    found = []
    for share, act, until in ((0.0, "", "tenth"), (0.1, "tenth", "half"), (0.5, "half", "all"), (1.0, "all", "outage")):
        start = mesh.first(SnapshotPublished, mesh.began[act])[0] if act else 0.0
        servers = [one.server for one in mesh.answered(start, mesh.began[until]) if one.server]
        v2 = sum(server.startswith("v2") for server in servers)
        least, greatest = share_bounds(len(servers), share)
        measured = v2 / len(servers) if servers else 0.0
        found.append(
            Claim(
                f"{share:.0%} of the traffic goes to v2",
                bool(servers) and least <= v2 <= greatest,
                f"{v2} of {len(servers)} = {measured:.1%}; expected {_range(least, greatest)}",
            )
        )
    return found


def _edits(mesh: Tally) -> Claim:
    acts = ("tenth", "half", "all")
    waits = [mesh.first(SnapshotPublished, mesh.began[act])[0] - mesh.done[act] for act in acts]
    return Claim(
        "edits take effect in under a second",
        max(waits) < 1.0,
        "after " + ", ".join(_seconds(wait) for wait in waits),
    )


def _breaker_opens(mesh: Tally) -> Claim:
    opened, _ = mesh.first(BreakerChanged, mesh.began["outage"], name="users-v2", after="open")
    refused = sum(at < mesh.began["healing"] for at, _ in mesh.all(CallRejected, opened, name="users-v2"))
    return Claim(
        "a total outage opens the breaker",
        opened < mesh.began["healing"],
        f"{_after(opened, mesh, 'outage')}; {refused} attempts refused unsent",
    )


def _breaker_heals(mesh: Tally) -> Claim:
    _, healed = outage(mesh)
    later = mesh.answered(healed, inf)
    ok = sum(one.ok for one in later)
    return Claim(
        "restarted, the breaker closes by a probe",
        healed < inf and ok > len(later) / 2,
        f"{_after(healed, mesh, 'healing')}; then {ok} of {len(later)} succeeded",
    )


def _callers(mesh: Tally, plain: Tally) -> Claim:
    span = outage(mesh)
    here, there = failures_outside(mesh, span), failures_outside(plain, span)
    return Claim(
        "outside the outage, callers see next to nothing",
        here <= len(mesh.answers) * 0.005 and here < there,
        f"{here} of {len(mesh.answers)} failed; plain httpx: {there}",
    )


def _after(at: float, mesh: Tally, act: str) -> str:
    return "never" if at == inf else f"after {_seconds(max(0.0, at - mesh.done[act]))}"


def _range(least: int, greatest: int) -> str:
    return str(least) if least == greatest else f"{least} to {greatest}"


def _seconds(seconds: float) -> str:
    return "never" if seconds == inf else f"{seconds:.2f} s"

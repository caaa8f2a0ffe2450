"""How good are the balancers? The published experiments, in virtual time, with the shipped code.

    python benchmarks/balancersim.py [--fast] [--json] [--only NAME] [--svg DIRECTORY]

Every figure is the median of three seeds, of the heavy experiments one. `--fast` uses one seed and shorter runs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random
from statistics import median
from typing import Any

import _harness as harness

from meshlib.balancing import ClusterHealth, Endpoint, LoadReport, make_balancer
from meshlib.balancing.aperture import overlaps, width
from meshlib.sim import Client, Delay, Score, Sharing, World, arrivals

CALM = ["round_robin", "least_loaded", "peak_ewma", "prequal", "default"]
Row = dict[str, float]


class Fleet:
    """Servers, and clients each of which has its own endpoints and balancer."""

    def __init__(
        self, algorithm: str, seed: int, servers: Callable[[World, Random], list[Any]], *, clients: int = 1,
        deadline: float = 1.0, since: float = 0.0, reports: str = "", **options: Any,
    ) -> None:  # fmt: skip
        self.world, self.score = World(), Score(deadline, since=since)
        # One stream of chance each, so that two balancers see the same work, arrivals and disturbances.
        self.chance, self.turns = Random(seed), Random(seed + 1)
        self.servers = servers(self.world, Random(seed + 2))
        self.clients = [
            self._client(algorithm, Random(seed + 3 + n), self._seen_by(n, clients), reports, options)
            for n in range(clients)
        ]

    def _seen_by(self, client: int, clients: int) -> list[Any]:
        """All servers; of very many, a client's own slice of the ring (deterministic aperture)."""
        if clients < 100:
            return self.servers
        size = len(self.servers)
        return [self.servers[n] for n, _ in overlaps([1.0] * size, client / clients, width(clients, size))]

    def _client(
        self, algorithm: str, random: Random, servers: list[Any], reports: str, options: dict[str, Any]
    ) -> Client:
        """`reports` come with "answers", or to three "probes" for each pick as well."""
        members = [Endpoint("10.0.0.1", port) for port in range(1, len(servers) + 1)]
        for member, server in zip(members, servers, strict=True):
            member.carrier = server
        # The known algorithms are shown as they are known: without failure accrual.
        balancer = make_balancer(
            algorithm, "demo", members, health=ClusterHealth(consecutive_failures=5 if algorithm == "default" else 0)
        )

        def tell(endpoint: Endpoint, server: Any, now: float) -> None:
            balancer.reported(endpoint, LoadReport(now, in_flight=server.pending, latency=server.latency), now)

        def probe(now: float) -> None:
            for _ in range(3):
                chosen = members[int(random.random() * len(members))]
                tell(chosen, chosen.carrier, now)

        return Client(
            self.world, balancer, random.random, self.score,
            reports=tell if reports else None,
            after=probe if reports == "probes" or algorithm == "prequal" else None,
            **options,
        )  # fmt: skip

    def run(self, rate: float, seconds: float, *, steady: bool = True) -> Fleet:
        turn = iter(range(1 << 60))
        count = len(self.clients)

        def ask(now: float) -> None:
            self.clients[next(turn) % count if steady else int(self.turns.random() * count)].ask(now)

        gap = (lambda: 1.0) if steady else (lambda: self.chance.expovariate(1.0))
        arrivals(self.world, ask, lambda now: rate, seconds, gap)
        self.world.run(seconds + 10.0)
        return self

    def row(self, bad: Any = None, *, ejected: tuple[float, float] = (15.0, 45.0)) -> Row:
        p50, p90, p99, p999 = self.score.quantiles(0.5, 0.9, 0.99, 0.999)
        row = {"success": self.score.success, "p50": p50, "p90": p90, "p99": p99, "p99.9": p999}
        if self.score.hedges:
            row["extra"] = self.score.hedges / self.score.requests
        if bad is not None:
            row["to_bad"] = self.score.asked(bad, *ejected)
            row["back_5s"] = self.score.share(bad, ejected[1] + 5.0, ejected[1] + 8.0)
            row["back_after"] = recovery(self.score, bad, ejected[1])
        return row


def recovery(score: Score, server: Any, healed: float) -> float:
    """Seconds after healing until the server has 90 % of its share for the first time, within one second."""
    for tenth in range(150):
        since = healed + tenth / 10
        if score.share(server, since, since + 1.0) >= 0.9:
            return tenth / 10
    return float("inf")


def replayed(number: int = 11) -> Callable[[World, Random], list[Any]]:
    return lambda world, random: [Delay(world, lambda: max(0.001, random.gauss(0.167, 0.005))) for _ in range(number)]


def linkerd(algorithm: str, seed: int, fast: bool, *, fails: bool = False, **options: Any) -> Row:
    """Linkerd, "Beyond round robin": 11 servers around 167 ms, 1,000 requests/s; one is at 2 s from 15 s to 45 s."""
    fleet = Fleet(algorithm, seed, replayed(), **options)
    bad, world = fleet.servers[0], fleet.world
    usual = bad.draw

    def sicken(now: float) -> None:
        if fails:
            bad.failing = lambda: 0.001
        else:
            bad.draw = lambda: 2.0

    def heal(now: float) -> None:
        bad.draw, bad.failing = usual, None

    world.at(15.0, sicken)
    world.at(45.0, heal)
    return fleet.run(1000.0, 60.0).row(bad)


def flapping(algorithm: str, seed: int, fast: bool) -> Row:
    """One of 11 servers is at 2 s for one second out of every three."""
    fleet = Fleet(algorithm, seed, replayed())
    bad, world = fleet.servers[0], fleet.world
    usual, slow = bad.draw, lambda: 2.0
    for second in range(15, 45, 3):
        world.at(float(second), lambda now: setattr(bad, "draw", slow))
        world.at(second + 1.0, lambda now: setattr(bad, "draw", usual))
    return fleet.run(1000.0, 60.0).row(bad)


def newcomer(algorithm: str, seed: int, fast: bool) -> Row:
    """A cold server joins at 15 s: it needs 2 s per request at first, and warms up over 10 s."""
    fleet = Fleet(algorithm, seed, replayed())
    client, world, cold = fleet.clients[0], fleet.world, fleet.servers[0]
    members = client.balancer.endpoints  # type: ignore[attr-defined]
    usual = cold.draw
    cold.draw = lambda: max(usual(), 2.0 - (world.now - 15.0) * 0.18)
    client.balancer.update(members[1:])  # type: ignore[attr-defined]
    world.at(15.0, lambda now: client.balancer.update(members))  # type: ignore[attr-defined]
    return fleet.run(1000.0, 60.0).row(cold, ejected=(15.0, 25.0))


def mixed(algorithm: str, seed: int, fast: bool) -> Row:
    """A heterogeneous fleet: 20 servers with 1, 2 or 4 cores, exponential work of 20 ms, 75 % loaded, 4 clients."""

    def servers(world: World, random: Random) -> list[Any]:
        return [Sharing(world, lambda: random.expovariate(50.0), float(2 ** (n % 3))) for n in range(20)]

    fleet = Fleet(algorithm, seed, servers, clients=4, since=5.0)
    capacity = sum(server.cores for server in fleet.servers) * 50.0
    return fleet.run(0.75 * capacity, 15.0 if fast else 40.0, steady=False).row()


def many(algorithm: str, seed: int, fast: bool) -> Row:
    """1,000 clients, each with its slice of 1,000 one-core servers; exponential work of 50 ms, 70 % loaded."""
    size = 300 if fast else 1000
    fleet = Fleet(
        algorithm, seed, lambda world, random: [Sharing(world, lambda: random.expovariate(20.0)) for _ in range(size)],
        clients=size, since=2.0,
    )  # fmt: skip
    return fleet.run(0.7 * size * 20.0, 6.0, steady=False).row()


def antagonists(
    algorithm: str, seed: int, fast: bool, *, load: float = 1.27, reports: str = "", on_off: bool = False
) -> Row:
    """Prequal's testbed: 50 processor-sharing replicas with one core allocated each, to which antagonists leave 0.9 to
    2.6 cores, drawn anew every 4 s on average. 20 clients with only their own views; work N(40, 40) ms, time-out 5 s.

    `on_off` is harder: an antagonist takes all it can or nothing, 30 % of the time, for 5 s on average.
    """

    def left(random: Random) -> float:
        return (0.9 if random.random() < 0.3 else 2.6) if on_off else random.uniform(0.9, 2.6)

    often = 0.2 if on_off else 0.25

    def servers(world: World, random: Random) -> list[Any]:
        return [shaken(world, random) for _ in range(50)]

    def shaken(world: World, random: Random) -> Sharing:
        server = Sharing(world, lambda: max(0.0005, random.gauss(0.04, 0.04)), left(random))

        def shake(now: float) -> None:
            server.resize(now, left(random))
            world.at(now + random.expovariate(often), shake)

        world.at(random.expovariate(often), shake)
        return server

    fleet = Fleet(algorithm, seed, servers, clients=20, since=5.0, reports=reports, timeout=5.0)
    return fleet.run(load * 50 / (0.04 if on_off else 0.0433), 20.0 if fast else 45.0, steady=False).row()


def ramp(load: float, reports: str = "", on_off: bool = False) -> Callable[[str, int, bool], Row]:
    return lambda algorithm, seed, fast: antagonists(algorithm, seed, fast, load=load, reports=reports, on_off=on_off)


def trickle(algorithm: str, seed: int, fast: bool, *, rate: float) -> Row:
    """Hardly any traffic: 3 servers around 20 ms, and the first answer of one takes 0.4 s longer, as a new connection
    may. `least_share`: of whoever was asked least in the minute after the first 15 s, relative to a fair share."""

    def servers(world: World, random: Random) -> list[Any]:
        def draw() -> float:
            return max(0.001, random.gauss(0.02, 0.002))

        return [Delay(world, draw) for _ in range(3)]

    fleet = Fleet(algorithm, seed, servers)
    cold = fleet.servers[0]
    usual = cold.draw
    cold.draw = lambda: usual() + (0.4 if cold.served == 1 else 0.0)
    row = fleet.run(rate, 75.0, steady=False).row()
    row["least_share"] = min(fleet.score.share(server, 15.0, 75.0) for server in fleet.servers)
    return row


EXPERIMENTS: dict[str, tuple[list[str], Callable[[str, int, bool], Row]]] = {
    "slow": ([*CALM, "random", "least_loaded_scan", "least_request"], linkerd),
    "slow, time-out 1 s": (CALM, lambda a, s, f: linkerd(a, s, f, timeout=1.0)),
    "slow, hedged at 0.2 s": (["default"], lambda a, s, f: linkerd(a, s, f, hedge=0.2)),
    "slow, 10 clients": (CALM, lambda a, s, f: linkerd(a, s, f, clients=10)),
    "sink-hole": ([*CALM, "least_loaded_scan"], lambda a, s, f: linkerd(a, s, f, fails=True)),
    "flapping": (CALM, flapping),
    "cold newcomer": (CALM, newcomer),
    "mixed fleet": (CALM, mixed),
    "many to many": (["round_robin", "least_loaded", "peak_ewma", "default"], many),
    **{f"antagonists, load {load}": (CALM, ramp(load)) for load in (0.75, 1.03, 1.27, 1.57, 1.74)},
    "antagonists, load 1.27, on and off": (CALM, ramp(1.27, on_off=True)),
    **{
        f"antagonists, load {load}{', on and off' * on_off}, reports by {reports}": (
            ["default"],
            ramp(load, reports, on_off),
        )
        for load, on_off in ((1.27, False), (1.27, True), (1.57, False))
        for reports in ("answers", "probes")
    },
    **{
        f"{rate:g} requests/s, a slow first answer": (CALM, lambda a, s, f, rate=rate: trickle(a, s, f, rate=rate))  # type: ignore[misc]
        for rate in (1.0, 10.0)
    },
}  # fmt: skip


def measure(fast: bool, only: str) -> dict[str, dict[str, Row]]:
    results: dict[str, dict[str, Row]] = {}
    for name, (algorithms, experiment) in EXPERIMENTS.items():
        if only in name:
            heavy = name.startswith(("antagonists", "many", "mixed"))
            seeds = (1,) if fast or heavy else (1, 2, 3)
            results[name] = {}
            for algorithm in algorithms:
                rows = [experiment(algorithm, 10_000 * seed, fast) for seed in seeds]
                results[name][algorithm] = {key: median(row[key] for row in rows) for key in rows[0]}
    return results


def table(results: dict[str, dict[str, Row]]) -> str:
    lines = []
    for name, rows in results.items():
        keys = list(next(iter(rows.values())))
        lines.append(f"\n{name}\n{'':20}" + "".join(f"{key:>12}" for key in keys))
        for algorithm, row in rows.items():
            shown = [f"{row[k]:.3%}" if k in ("success", "extra") else f"{row[k]:.3f}" for k in keys]
            lines.append(f"{algorithm:20}" + "".join(f"{value:>12}" for value in shown))
    return "\n".join(lines)


def chart(name: str, rows: dict[str, Row]) -> str:
    """Bars of the share that was missed, on a logarithmic scale from 0.001 % to 100 %."""
    from math import log10

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {50 + 26 * len(rows)}" font-family="sans-serif" '
        f'font-size="13"><text x="10" y="20" font-size="15">{name}: not answered within 1 s</text>'
    ]
    for place, (algorithm, row) in enumerate(rows.items()):
        missed, y = 1.0 - row["success"], 36 + 26 * place
        length = max(2.0, (log10(max(missed, 1e-5)) + 5.0) / 5.0 * 360.0)
        colour = "#2a7" if algorithm == "default" else "#89a"
        parts.append(
            f'<text x="10" y="{y + 14}">{algorithm}</text><rect x="160" y="{y}" width="{length:.0f}" height="18" '
            f'fill="{colour}"/><text x="{170 + length:.0f}" y="{y + 14}">{missed:.3%}</text>'
        )
    return "".join(parts) + "</svg>\n"


def main() -> None:
    options = harness.options(
        __doc__,
        lambda p: p.add_argument("--only", default="", help="only experiments whose name contains this"),
        lambda p: p.add_argument("--svg", type=Path, help="also draw the charts into this directory"),
    )
    results = measure(options.fast, options.only)
    sys.stdout.write(table(results) + "\n")
    harness.finish(options, {"experiments": results})
    if options.svg:
        options.svg.mkdir(parents=True, exist_ok=True)
        for name, rows in results.items():
            slug = "".join(letter if letter.isalnum() else "-" for letter in name).replace("--", "-")
            if len(rows) > 1:
                (options.svg / f"balancing-{slug}.svg").write_text(chart(name, rows))


if __name__ == "__main__":
    main()

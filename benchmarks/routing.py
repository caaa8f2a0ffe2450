"""What does a routing decision cost, and a new table?

    python benchmarks/routing.py [--fast] [--json FILE]

Nanoseconds for one `RouteTable.resolve`, for small and large tables and every kind of rule, beside what a scan of the
same 1,000 rules costs; the milliseconds to build a table of 1,000 rules over 200 services, from objects and from
nothing; and what a reload from the text costs a thread, with how long an event loop beside it waited at worst. Each
figure is the median over rounds, with the range behind it. Trust the ratios more than the figures.
"""

from __future__ import annotations

import asyncio
import gc
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from random import random

import _harness as harness

from meshlib import Mesh
from meshlib.config.reader import MeshReader
from meshlib.routing.binding import Interpreter
from meshlib.routing.dtab_reader import read_path
from meshlib.routing.dtab_router import DtabRouter
from meshlib.routing.match import Match, PrefixPath, RegexPath, TemplatePath
from meshlib.routing.namer import SourceNamer
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Split, Sticky, StickyKey
from meshlib.routing.table import RouteTable, ServiceRoutes

SERVICES, RULES = 200, 1_000


def measured(work: Callable[[], object], *, calls: int, rounds: int) -> list[float]:
    """Nanoseconds per call, one figure a round."""
    figures = []
    for _ in range(rounds):
        begin = time.perf_counter_ns()
        for _ in range(calls):
            work()
        figures.append((time.perf_counter_ns() - begin) / calls)
    return figures


def rule(number: int) -> Route:
    return Route(
        name=f"rule-{number}",
        match=Match(
            path=PrefixPath(f"/api/v{number % 3}/resource-{number}"),
            methods=["GET", "HEAD"] if number % 2 else [],
            headers={"x-tenant": "blue"} if number % 5 == 0 else None,
        ),
        to=Split({"v1": 90, "v2": 10}),
    )


def services(rules_each: int) -> list[ServiceRoutes]:
    return [
        ServiceRoutes(f"service-{n}", routes=[rule(number) for number in range(rules_each)], default=Split("v1"))
        for n in range(SERVICES)
    ]


def special(name: str, service: ServiceRoutes, request: RouteRequest) -> tuple[str, RouteTable, RouteRequest]:
    return name, RouteTable([service]), request


def cases() -> list[tuple[str, RouteTable, RouteRequest]]:
    """What is looked up in what: the name, the table, the request."""
    by_user = Sticky(StickyKey("key"))
    user = RouteRequest("users", path="/api/v1/resource-7/x", key="user-7")
    many = RouteTable(services(RULES // SERVICES))
    big = ServiceRoutes("big", routes=[rule(number) for number in range(RULES)], default=Split("v1"))
    fs = read_path("/#/io.l5d.fs")
    dtab = DtabRouter(Interpreter("/svc => /#/io.l5d.fs", namers=[(fs, SourceNamer(fs, {"users": "users"}))]))
    regex = Route(match=Match(path=RegexPath("/api/v[0-9]+/resource-[a-z0-9]+/.*")), to=Split("v2"))
    template = Route(match=Match(path=TemplatePath("/api/{version}/{resource}/**")), to=Split("v2"))
    wild = ServiceRoutes("wild", hosts=["*.users.internal"], default=Split({"v1": 90, "v2": 10}))
    return [
        special("one cluster", ServiceRoutes("users", default=Split("v1")), user),
        special("split by chance", ServiceRoutes("users", default=Split({"v1": 90, "v2": 10})), user),
        special(
            "split of 5 by chance", ServiceRoutes("users", default=Split({f"v{n}": n + 1 for n in range(5)})), user
        ),
        special("sticky split of 2", ServiceRoutes("users", default=Split({"v1": 90, "v2": 10}, sticky=by_user)), user),
        special(
            "sticky split of 3", ServiceRoutes("users", default=Split({"a": 8, "b": 1, "c": 1}, sticky=by_user)), user
        ),
        special("host by wildcard", wild, RouteRequest("eu.users.internal:8080")),
        ("1,000 rules over 200 services", many, RouteRequest("service-77", path="/api/v1/resource-4/x")),
        ("1,000 rules over 200 services, default", many, RouteRequest("service-77", path="/other")),
        special("1,000 rules in one service, the last", big, RouteRequest("big", path="/api/v0/resource-999/x")),
        special("a regular expression", ServiceRoutes("users", routes=[regex]), user),
        special("a template", ServiceRoutes("users", routes=[template]), user),
        ("a dtab", RouteTable(unknown=dtab), user),
    ]


def scan() -> Callable[[], object]:
    """The last of 1,000 rules, found by asking each rule in turn."""
    rules = [rule(number) for number in range(RULES)]
    request = RouteRequest("big", path="/api/v0/resource-999/x")
    return lambda: next(route for route in rules if any(match.matches(request) for match in route.match))


def reload_times(rounds: int) -> dict[str, list[float]]:
    """Nanoseconds to build a table, from nothing and with one service changed."""
    table = RouteTable(services(RULES // SERVICES))
    changed = [rule(number) for number in range(RULES // SERVICES)]
    gc.collect()
    return {
        "1,000 rules × 200 services, from nothing": measured(
            lambda: RouteTable(services(RULES // SERVICES)), calls=1, rounds=rounds
        ),
        "the same with one service changed": measured(
            lambda: table.replacing(ServiceRoutes("service-7", routes=changed, default=Split("v1"))),
            calls=1,
            rounds=rounds,
        ),
    }


def rules_text(tenant: str) -> str:
    """A mesh.yaml of 1,000 rules over 200 services. `tenant` stands in the last rule, or with a space in all."""
    lines = ["services:"]
    for service in range(SERVICES):
        lines += [f"  service-{service}:", "    routes:"]
        for number in range(RULES // SERVICES):
            last = (service, number) == (SERVICES - 1, RULES // SERVICES - 1)
            name = tenant if last or " " in tenant else "blue"
            lines += [
                f"    - name: rule-{number}",
                f"      match: {{path: {{prefix: /v{number}}}, method: [GET, HEAD], headers: {{x-tenant: {name}}}}}",
                f"      split: {{c{service}-v1: 90, c{service}-v2: 10}}",
            ]
        lines += [f"    split: c{service}-v1"]
    lines += ["clusters:"]
    for service in range(SERVICES):
        lines += [f"  c{service}-v{version}: {{endpoints: [127.0.0.1:80, 127.0.0.1:81]}}" for version in (1, 2)]
    return "\n".join(lines) + "\n"


def endpoints_text(first: str) -> str:
    """A mesh.yaml with one cluster of 10,000 endpoints."""
    rest = ", ".join(f"10.{n // 65536}.{n // 256 % 256}.{n % 256}:80" for n in range(1, 10_000))
    return f"services: {{users: {{}}}}\nclusters: {{users: {{endpoints: [{first}:80, {rest}]}}}}\n"


def reloads(rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Processor nanoseconds of the thread that reloads, and the longest wait of the event loop meanwhile."""
    took: dict[str, list[float]] = {}
    waited: dict[str, list[float]] = {}
    texts: dict[str, Callable[[int], str]] = {
        "1,000 rules × 200 services, one rule changed": lambda turn: rules_text(f"red{turn}"),
        "1,000 rules × 200 services, all changed": lambda turn: rules_text(f"red {turn}"),
        "10,000 endpoints, one changed": lambda turn: endpoints_text(f"10.9.9.{turn + 1}"),
    }
    for name, text in texts.items():
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "mesh.yaml"
            file.write_text(text(0))
            reader = MeshReader(Mesh(), file)
            reader.load()
            took[name], waited[name] = [], []
            for turn in range(1, rounds + 1):
                file.write_text(text(turn))
                cost, wait = asyncio.run(beside_a_loop(reader.load))
                took[name].append(cost)
                waited[name].append(wait)
    return took, waited


async def beside_a_loop(work: Callable[[], object]) -> tuple[float, float]:
    """Do the work in a thread. Its processor time, and how late a ticker of 1 ms was at worst, in nanoseconds."""
    late: list[float] = [0.0]
    costs: list[float] = []

    def worked() -> None:
        began = time.thread_time_ns()
        work()
        costs.append(time.thread_time_ns() - began)

    async def tick() -> None:
        while not costs:
            due = time.perf_counter_ns() + 1_000_000
            await asyncio.sleep(0.001)
            late.append(max(0, time.perf_counter_ns() - due))

    await asyncio.gather(tick(), asyncio.to_thread(worked))
    return costs[0], max(late)


def summary(figures: list[float], unit: float) -> dict[str, float]:
    return {
        "median": round(statistics.median(figures) / unit, 3),
        "least": round(min(figures) / unit, 3),
        "most": round(max(figures) / unit, 3),
    }


def main() -> None:
    options = harness.options(__doc__)
    calls, rounds = (2_000, 3) if options.fast else (50_000, 9)
    resolve_ns: dict[str, dict[str, float]] = {}
    for name, table, request in cases():
        resolve = table.resolve
        resolve_ns[name] = summary(
            measured(lambda resolve=resolve, request=request: resolve(request, random), calls=calls, rounds=rounds), 1
        )
    resolve_ns["(a scan of 1,000 rules)"] = summary(measured(scan(), calls=max(calls // 500, 3), rounds=rounds), 1)
    build_ms = {name: summary(figures, 1e6) for name, figures in reload_times(rounds).items()}
    took, waited = reloads(rounds)
    reload_ms = {name: summary(figures, 1e6) for name, figures in took.items()}
    wait_ms = {name: summary(figures, 1e6) for name, figures in waited.items()}
    machine = f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}"
    parts = (
        ("ns per decision", resolve_ns),
        ("ms per table", build_ms),
        ("ms of a thread per reload from the text", reload_ms),
        ("ms that an event loop waited meanwhile, at worst", wait_ms),
    )
    for unit, table_of in parts:
        print(f"{unit} ({machine})")
        for name, figures in table_of.items():
            print(f"  {name:<45}{figures['median']:>12,.1f}   {figures['least']:,.1f} – {figures['most']:,.1f}")
    found = {"resolve_ns": resolve_ns, "build_ms": build_ms, "reload_ms": reload_ms, "loop_waits_ms": wait_ms}
    harness.finish(options, found)


if __name__ == "__main__":
    main()

"""`meshlib explain`: shows where a request goes and why: rules, dtab, draw, candidates, and the policies in order."""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from ..balancing import Endpoint
from ..errors import ConfigError
from ..http.engine.async_engine import ANY
from ..http.engine.rule_actions import policies_for
from ..loading import load_mesh
from ..mesh import Mesh
from ..routing.explain import Explanation, Step, explain
from ..routing.request import RouteRequest
from ..runtime import SYSTEM


def add(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    parser = commands.add_parser(
        "explain",
        help="say step by step where a request would go, and why",
        description="Nothing is sent. Loads are those of a process that has just started.",
    )
    parser.add_argument("method", metavar="METHOD", help="GET, POST …")
    parser.add_argument("url", metavar="URL", help="http://users/v1/me")
    parser.add_argument("-H", "--header", action="append", default=[], metavar="'NAME: VALUE'")
    parser.add_argument("--mesh", default="mesh.yaml", metavar="FILE", help="mesh.yaml, manifests or linkerd.yaml")
    parser.add_argument("--key", help="what identifies the user to a sticky split")
    parser.add_argument("--draw", type=_draw, metavar="0…1", help="the draw of splits, instead of a random one")
    parser.add_argument("--json", action="store_true")
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    try:
        mesh = load_mesh(options.mesh)
        request = _request(options, mesh)
    except (ConfigError, ValueError) as error:
        print(f"meshlib explain: {error}", file=sys.stderr)
        return 1
    draw = random.random if options.draw is None else lambda: options.draw
    found = explain(mesh.current.routes, request, draw)
    found.steps += _beyond(mesh, found)
    if options.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print(f"{request.method} {options.url}")
        print(found)
    return 0 if found.decision is None or found.decision.refused is None else 1


def _draw(text: str) -> float:
    value = float(text)
    if not 0 <= value < 1:
        raise argparse.ArgumentTypeError(f"{text}: expected a number from 0 to 1, without 1")
    return value


def _request(options: argparse.Namespace, mesh: Mesh) -> RouteRequest:
    url = urlsplit(options.url)
    if not url.netloc:
        raise ValueError(f"{options.url!r}: expected a URL such as http://users/v1/me")
    headers: dict[str, str] = {}
    for line in options.header:
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError(f"{line!r}: expected 'name: value'")
        key = name.strip().lower()
        headers[key] = f"{headers[key]}, {value.strip()}" if key in headers else value.strip()
    headers.setdefault("host", url.netloc)
    return RouteRequest(
        url.netloc.lower(),
        options.method.upper(),
        url.path or "/",
        url.query,
        headers.get,
        mesh.labels,
        options.key,
        url.scheme or "http",
    )


def _beyond(mesh: Mesh, found: Explanation) -> Iterator[Step]:
    """What the route table does not know: the policies, and who could be asked."""
    decision = found.decision
    if decision is None or decision.cluster is None:
        return
    now = mesh.current
    service = now.services.get(decision.service) or now.services.get(ANY)
    cluster = now.clusters.get(decision.cluster)
    policies: list[Any] = []
    if service is not None:
        policies += policies_for(service, decision.route, SYSTEM).pipeline.policies
    if cluster is not None:
        policies += cluster.gates
    yield Step("policies, outermost first", *[_described(policy) for policy in policies] or ["none"])
    if cluster is not None and cluster.limits is not None:
        yield Step(
            f"limits of {cluster.name}", *[f"{kind}: {limit}" for kind, limit in cluster.limits.maxima().items()]
        )
    if cluster is None:
        yield Step(f"no cluster is called {decision.cluster!r}: the call is refused")
        return
    balancer = cluster.balancer
    endpoints = balancer.endpoints
    yield Step(
        f"candidates of {cluster.name}: {len(endpoints)}, by {getattr(balancer, 'name', type(balancer).__name__)}",
        *[
            f"{one.address}  weight {one.weight:g}  in flight {one.pending}  {_latency(one)}  {one.state}"
            + (f"  zone {one.zone}" if one.zone else "")
            + ("  " + " ".join(f"{name}={value}" for name, value in one.labels.items()) if one.labels else "")
            for one in endpoints
        ]
        or ["none: the call is refused"],
    )


def _latency(endpoint: Endpoint) -> str:
    return "no calls yet" if endpoint.stamp < 0 else f"latency {endpoint.latency * 1000:.1f} ms"


def _described(policy: Any) -> str:
    """`Timeout 2 s, 0.5 s for each try`: the name of the class, and the settings that people ask for."""
    words = []
    for attribute, said in (
        ("seconds", "{:g} s"),
        ("per_try", "{:g} s for each try"),
        ("attempts", "{} attempts"),
        ("max_concurrent", "{} at a time"),
        ("limit", "limit {}"),
        ("cooldown", "cooldown {:g} s"),
    ):
        value = getattr(policy, attribute, None)
        value = getattr(value, "seconds", value)  # of a breaker's cooldown
        if isinstance(value, int | float) and value != float("inf"):
            words.append(said.format(value))
    state = getattr(policy, "state", None)
    if state is not None and hasattr(state, "name"):
        words.append(str(state.name).lower().replace("_", "-"))
    return f"{type(policy).__name__} {', '.join(words)}".rstrip()

"""A real Envoy sends the same keys to the same endpoints: ring hash, Maglev, bounded loads, and what is hashed."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.cookies import SimpleCookie
from typing import Any

import httpx
import pytest
from servers.envoy import envoy
from servers.server import free_port
from servers.upstream import Upstream, upstreams

from meshlib import Mesh, SyncMeshClient
from meshlib.balancing import Endpoint
from meshlib.call import IGNORED
from meshlib.config.envoy_export import export
from meshlib.config.load import load
from meshlib.routing.request import RouteRequest

KEYS = 300
WEIGHTS = {"even": (1, 1, 1, 1, 1), "weighty": (1, 1, 2, 5, 3)}
BALANCERS = {
    "ring": "ring_hash",
    "small-ring": "{kind: ring_hash, min_size: 16, max_size: 64}",
    "maglev": "maglev",
    "small-maglev": "{kind: maglev, size: 101}",
}
POLICIES = {
    "header": "{header: x-user}",
    "cookie": "{cookie: user}",
    "query": "{query: user}",
    "all": "{by: [{header: x-user}, {cookie: user}, {query: user}]}",
    "terminal": "{by: [{header: x-user, terminal: true}, {cookie: user, terminal: true}, {query: user}]}",
    "session": "{cookie: mesh, ttl: 1h, path: /here}",
}


@dataclass
class Both:
    client: SyncMeshClient
    sidecar: httpx.Client
    mesh: Mesh
    port: int
    members: list[Upstream]

    def ours(self, host: str, **request: Any) -> httpx.Response:
        return self.client.get(f"http://{host}/", **request)

    def theirs(self, host: str, **request: Any) -> httpx.Response:
        headers = {**request.pop("headers", {}), "host": host}
        return self.sidecar.get(f"http://127.0.0.1:{self.port}/", headers=headers, **request)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Both]:
    folder = tmp_path_factory.mktemp("hashing")
    with upstreams("a", "b", "c", "d", "e") as members:

        def cluster(name: str, balancer: str, weights: tuple[int, ...], sticky: str) -> str:
            pairs = zip(members, weights, strict=True)
            listed = ", ".join(f"{{address: '127.0.0.1:{one.port}', weight: {weight}}}" for one, weight in pairs)
            return f"  {name}: {{endpoints: [{listed}], balancer: {balancer}, sticky: {sticky}}}\n"

        kinds = [
            (f"{kind}-{spread}", balancer, weights, POLICIES["header"])
            for kind, balancer in BALANCERS.items()
            for spread, weights in WEIGHTS.items()
        ]
        kinds += [(f"by-{name}", "ring_hash", WEIGHTS["weighty"], policy) for name, policy in POLICIES.items()]
        for kind, spread in (("ring_hash", "even"), ("ring_hash", "weighty"), ("maglev", "weighty")):
            kinds.append(
                (f"bound-{kind}-{spread}", f"{{kind: {kind}, bound: 1.2}}", WEIGHTS[spread], POLICIES["header"])
            )
        services = "".join(f"  {name}: {{timeout: 20s}}\n" for name, *_ in kinds)
        file = folder / "mesh.yaml"
        file.write_text(f"services:\n{services}clusters:\n{''.join(cluster(*kind) for kind in kinds)}")
        exported = export(load(file), port=free_port(), admin_port=free_port())
        listener = exported.bootstrap["static_resources"]["listeners"][0]
        port = listener["address"]["socket_address"]["port_value"]
        mesh = Mesh.from_file(file, watch=False)
        with envoy(exported.bootstrap, folder), SyncMeshClient(mesh=mesh) as client, httpx.Client() as sidecar:
            yield Both(client, sidecar, mesh, port, members)
        mesh.close()


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("spread", WEIGHTS)
@pytest.mark.parametrize("kind", BALANCERS)
def test_every_key_finds_the_same_endpoint(both: Both, kind: str, spread: str) -> None:
    host = f"{kind}-{spread}"
    balancer = both.mesh.current.clusters[host].balancer
    sticky = both.mesh.current.clusters[host].sticky
    assert sticky is not None
    names = {f"127.0.0.1:{one.port}": one.name for one in both.members}
    found: Counter[str] = Counter()
    for number in range(KEYS):
        user = f"user-{number}"
        key = sticky.hash(route_request(user))
        ours = names[balancer.pick(float, 0.0, key=key).address]
        assert both.theirs(host, headers={"x-user": user}).json()["name"] == ours
        found[ours] += 1
    assert len(found) > 2  # all five, but for an address whose points on a small ring lie close to others


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("policy", ["header", "cookie", "query", "all", "terminal"])
def test_what_is_hashed_is_hashed_alike(both: Both, policy: str) -> None:
    for number in range(60):
        request: dict[str, Any] = {}
        if policy == "header" or (number % 2 and policy in ("all", "terminal")):
            request["headers"] = {"x-user": f"header {number}"}
        if policy == "cookie" or (number % 3 and policy in ("all", "terminal")):
            request.setdefault("headers", {})["cookie"] = f'other=x; user="cookie-{number}"; last=y'
        if policy == "query" or (number % 5 and policy in ("all", "terminal")):
            request["params"] = {"a": "b", "user": f"query-{number}"}
        if request:
            ours, theirs = both.ours(f"by-{policy}", **request), both.theirs(f"by-{policy}", **request)
            assert ours.json()["name"] == theirs.json()["name"]


@pytest.mark.needs("envoy")
def test_a_session_cookie_is_made_up_and_leads_to_the_same_endpoint_on_both(both: Both) -> None:
    theirs = both.theirs("by-session")
    both.sidecar.cookies.clear()
    ours = both.ours("by-session")
    both.client.cookies.clear()
    for answer in (ours, theirs):
        (morsel,) = SimpleCookie(answer.headers["set-cookie"]).values()
        assert (morsel.key, morsel["path"], morsel["max-age"], morsel["httponly"]) == ("mesh", "/here", "3600", True)
        headers = {"cookie": f"mesh={morsel.value}"}
        again = both.ours("by-session", headers=headers), both.theirs("by-session", headers=headers)
        assert {one.json()["name"] for one in again} == {answer.json()["name"]}
        assert not any("set-cookie" in one.headers for one in again)


@pytest.mark.needs("envoy")
@pytest.mark.parametrize("host", ["bound-ring_hash-even", "bound-ring_hash-weighty", "bound-maglev-weighty"])
def test_bounded_loads_overflow_to_the_same_endpoints(both: Both, host: str) -> None:
    cluster = both.mesh.current.clusters[host]
    assert cluster.sticky is not None
    names = {f"127.0.0.1:{one.port}": one.name for one in both.members}
    go, seen = threading.Event(), {one.name: len(one.seen) for one in both.members}
    for member in both.members:
        member.hold = lambda: go.wait(20.0)
    threads, held, theirs, ours = [], list[tuple[Endpoint, int]](), list[str](), list[str]()
    try:
        for number in range(36):
            user = f"user-{number % 2}"
            thread = threading.Thread(target=both.theirs, args=(host,), kwargs={"headers": {"x-user": user}})
            threads.append(thread)
            thread.start()
            theirs.append(arrival(both.members, seen))
            endpoint = cluster.balancer.pick(float, 0.0, key=cluster.sticky.hash(route_request(user)))
            held.append((endpoint, endpoint.enter(0.0)))
            ours.append(names[endpoint.address])
    finally:
        go.set()
        for thread in threads:
            thread.join(20.0)
        for member in both.members:
            member.hold = lambda: None
    assert ours == theirs
    assert len(set(ours)) > 2  # no two of them may have 36
    for endpoint, permit in held:
        endpoint.leave(permit, IGNORED, 0.0, 0.0)


def route_request(user: str) -> RouteRequest:
    return RouteRequest("any", header={"x-user": user}.get)


def arrival(members: list[Upstream], seen: dict[str, int]) -> str:
    """The member that the next request came to."""
    give_up = time.monotonic() + 10.0
    while time.monotonic() < give_up:
        for member in members:
            if len(member.seen) > seen[member.name]:
                seen[member.name] += 1
                return member.name
        time.sleep(0.001)
    raise AssertionError("no request came")

"""A linkerd.yaml of Linkerd 1.x as it is: its dtab, its files of endpoints, its settings for services and clients."""

from __future__ import annotations

from pathlib import Path

import pytest
from servers.upstream import upstreams
from support.waiting import wait_until

from meshlib import ConfigError, Mesh, NoEndpoint, SyncMeshClient
from meshlib.config.manifests import Manifests, read_manifests
from meshlib.routing.request import RouteRequest

TEXT = """
admin: {port: 9990}
namers:
- kind: io.l5d.fs
  rootDir: disco
routers:
- protocol: http
  label: out
  dtab: |
    # environments
    /env/prod => /#/io.l5d.fs ;
    /svc => /env/prod ;
    /svc/both => 3 * /svc/users & 1 * /svc/orders ;
    /svc/direct => /$/inet/127.0.0.1/7777 ;
  service:
    totalTimeoutMs: 1500
    responseClassifier: {kind: io.l5d.http.retryableRead5XX}
    retries: {budget: {minRetriesPerSec: 5, percentCanRetry: 0.5, ttlSecs: 15}, backoff: {kind: constant, ms: 20}}
  client:
    loadBalancer: {kind: ewma}
    requestAttemptTimeoutMs: 400
    failureAccrual: {kind: io.l5d.consecutiveFailures, failures: 9, backoff: {kind: jittered, minMs: 100, maxMs: 2000}}
  servers: [{port: 4140, ip: 0.0.0.0}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "disco").mkdir()
    (tmp_path / "disco" / "users").write_text("# two of them\n10.0.0.1 80\n10.0.0.2 81 * 2.5  # larger\n\n")
    (tmp_path / "disco" / "orders").write_text("10.0.0.3 80\n")
    (tmp_path / "linkerd.yaml").write_text(TEXT)
    return tmp_path


def test_its_settings_become_ours(folder: Path) -> None:
    found = read_manifests([folder / "linkerd.yaml"])
    assert [one.message.split(": ")[1] for one in found.report] == ["admin", "routers[0].servers"]
    cluster = found.model.clusters["/#/io.l5d.fs/users"]
    assert (cluster.balancer.kind, cluster.breaker) == ("peak_ewma", None)
    assert cluster.accrual is not None and (cluster.accrual.consecutive_failures, cluster.accrual.backoff) == (
        9,
        (0.1, 2.0),
    )
    policies = found.model.dtab.policies
    assert (policies.timeout, policies.per_try_timeout) == (1.5, 0.4)
    assert (policies.budget.ratio, policies.budget.min_per_second, policies.budget.ttl) == (0.5, 5.0, 15.0)
    assert set(policies.retry.statuses) == set(range(500, 600)) and policies.retry.backoff == 0.02
    users = found.endpoints["/#/io.l5d.fs/users"]
    assert [(one.address, one.weight) for one in users] == [("10.0.0.1:80", 1.0), ("10.0.0.2:81", 2.5)]


def test_requests_go_by_the_dtab_and_a_request_may_bring_its_own(folder: Path) -> None:
    with upstreams("users", "orders") as (users, orders):
        (folder / "disco" / "users").write_text(f"127.0.0.1 {users.port}\n")
        (folder / "disco" / "orders").write_text(f"127.0.0.1 {orders.port}\n")
        mesh = Mesh.from_file(folder / "linkerd.yaml", watch=False)
        with SyncMeshClient(mesh=mesh) as client:
            assert client.get("http://users/a").json() == {"name": "users", "path": "/a", "host": "users"}
            assert {client.get("http://both/").json()["name"] for _ in range(60)} == {"users", "orders"}
            steered = client.get("http://users/", headers={"l5d-dtab": "/svc/users => /svc/orders"})
            assert steered.json()["name"] == "orders"
            with pytest.raises(NoEndpoint, match="/svc/nobody"):
                client.get("http://nobody/")
        assert users.seen[0]["headers"]["l5d-dst-client"] == "/#/io.l5d.fs/users"


def test_a_file_that_appears_is_a_new_name(folder: Path) -> None:
    mesh = Mesh.from_file(folder / "linkerd.yaml")
    with upstreams("new") as [new], mesh, SyncMeshClient(mesh=mesh) as client:
        with pytest.raises(NoEndpoint):
            client.get("http://new/")
        (folder / "disco" / "new").write_text(f"127.0.0.1 {new.port}\n")
        wait_until(lambda: "/#/io.l5d.fs/new" in mesh.current.clusters)
        assert client.get("http://new/").json()["name"] == "new"


@pytest.mark.parametrize("line", ["10.0.0.1", "10.0.0.1 http", "10.0.0.1 80 2", "10.0.0.1 80 * x", "10.0.0.1 99999"])
def test_a_line_that_is_none_is_told_with_its_place(folder: Path, line: str) -> None:
    (folder / "disco" / "users").write_text(f"10.0.0.1 80\n{line}\n")
    with pytest.raises(ConfigError, match="host port") as caught:
        read_manifests([folder / "linkerd.yaml"])
    assert caught.value.line == 2


def of(folder: Path, text: str, **how: object) -> Manifests:
    """What a linkerd.yaml with this text amounts to."""
    (folder / "linkerd.yaml").write_text(text)
    return read_manifests([folder / "linkerd.yaml"], **how)  # type: ignore[arg-type]


def told(found: Manifests) -> list[str]:
    return [one.message.partition(": ")[2] for one in found.report]


BY_PREFIX = """
namers: [{kind: io.l5d.fs, rootDir: disco}]
routers:
- protocol: http
  dtab: "/svc => /#/io.l5d.fs; /svc/away => /$/inet/shop.example/443; /svc/near => /$/inet/localhost/7777"
  client:
    kind: io.l5d.static
    configs:
    - {prefix: /, loadBalancer: {kind: ewma}, requestAttemptTimeoutMs: 700}
    - {prefix: "/#/io.l5d.fs/{service}", tls: {commonName: "{service}.internal"}}
    - {prefix: /#/io.l5d.fs/orders, loadBalancer: {kind: aperture}, requestAttemptTimeoutMs: 100, failFast: true}
    - {prefix: "/$/inet/{host}", tls: {commonName: "{host}"}}
    - {prefix: /$/inet/localhost, tls: {enabled: false}}
  service:
    kind: io.l5d.static
    configs:
    - {prefix: /svc, totalTimeoutMs: 500}
    - {prefix: /svc/users, totalTimeoutMs: 1000}
    - {prefix: "/svc/{any}", retries: {budget: {percentCanRetry: 0.5}, backoff: {kind: constant, ms: 20}}}
"""


def test_of_the_settings_whose_prefix_fits_the_later_ones_count_more(folder: Path) -> None:
    found = of(folder, BY_PREFIX)
    users, orders = (found.model.clusters[f"/#/io.l5d.fs/{name}"] for name in ("users", "orders"))
    assert (users.balancer.kind, users.tls, users.tls_name) == ("peak_ewma", True, "users.internal")
    assert (orders.balancer.kind, orders.tls_name) == ("aperture", "orders.internal")
    away, near = found.model.clusters["/$/inet/shop.example/443"], found.model.clusters["/$/inet/localhost/7777"]
    assert (away.tls, away.tls_name, near.tls, near.tls_name) == (True, "shop.example", False, None)
    assert [one.partition(": ")[0] for one in told(found)] == [
        "routers[0].client.configs[2].failFast",
        "routers[0].client.configs[2].requestAttemptTimeoutMs",
    ]


def test_names_have_the_policies_of_the_last_prefix_that_fits(folder: Path) -> None:
    found = of(folder, BY_PREFIX)
    dtab = found.model.dtab
    assert dtab is not None and dtab.policies.timeout == 0.5 and dtab.policies.per_try_timeout == 0.5
    by_prefix = {one.prefix: one.policies for one in dtab.names}
    assert by_prefix["/svc/users"].timeout == 1.0 and by_prefix["/svc/users"].per_try_timeout == 0.7
    assert by_prefix["/svc/{any}"].timeout == 0.5 and by_prefix["/svc/{any}"].budget.ratio == 0.5
    mesh = found.mesh()
    decision = mesh.current.routes.resolve(RouteRequest("users"), lambda: 0.0)
    assert decision is not None and decision.route.policies is mesh.current.services["/svc/{any}"]


def test_one_router_counts_and_the_process_may_say_which(folder: Path) -> None:
    text = """
routers:
- {protocol: thrift, dtab: "/svc => /$/inet/127.1/1"}
- {protocol: http, label: out, dtab: "/svc => /$/inet/127.0.0.1/1"}
- {protocol: h2, label: grpc, dtab: "/svc => /$/inet/127.0.0.1/2", identifier: {kind: io.l5d.header.path, segments: 2}}
"""
    first = of(folder, text)
    assert list(first.model.clusters) == ["/$/inet/127.0.0.1/1"]
    assert told(first)[0] == "routers[0]: is left out: it does not speak HTTP"
    assert "gateways=['grpc']" in told(first)[1]
    other = of(folder, text, gateways=["grpc"])
    assert list(other.model.clusters) == ["/$/inet/127.0.0.1/2"]
    assert other.model.dtab is not None and other.model.dtab.identifiers[0].by == "path"
    assert of(folder, "routers: [{protocol: thrift}]").model.dtab is None


def test_who_is_behind_names_of_other_namers_can_be_given(folder: Path) -> None:
    text = """
namers: [{kind: io.l5d.consul, includeTag: true}, {kind: io.l5d.k8s}]
routers: [{protocol: http, dtab: "/svc => /#/io.l5d.consul/dc1/prod"}]
"""
    found = of(folder, text, endpoints={"/#/io.l5d.consul/dc1/prod/users": ["10.0.0.1:80"]})
    assert told(found) == [
        "namers[1].kind: io.l5d.k8s is not asked here: its names lead nowhere, unless endpoints= has them"
    ]
    decision = found.mesh().current.routes.resolve(RouteRequest("users"), lambda: 0.0)
    assert decision is not None and decision.cluster == "/#/io.l5d.consul/dc1/prod/users"
    assert [one.address for one in found.endpoints[decision.cluster]] == ["10.0.0.1:80"]


def test_transformers_of_port_and_host_change_the_endpoints(folder: Path) -> None:
    text = """
namers: [{kind: io.l5d.fs, rootDir: disco}]
routers:
- protocol: http
  dtab: /svc => /#/io.l5d.fs
  interpreter:
    kind: default
    transformers:
    - {kind: io.l5d.port, port: 4141}
    - {kind: io.l5d.specificHost, host: 10.9.9.9}
    - {kind: io.l5d.localhost}
"""
    found = of(folder, text)
    behind = found.endpoints["/#/io.l5d.fs/users"]
    assert [(one.address, one.weight) for one in behind] == [("10.9.9.9:4141", 1.0), ("10.9.9.9:4141", 2.5)]
    assert [one.partition(": ")[0] for one in told(found)] == ["routers[0].interpreter.transformers[2].kind"]


def test_a_dtab_may_stand_in_a_file_of_its_own_before_the_routers(folder: Path) -> None:
    (folder / "base.dtab").write_text("# base\n/svc/* => /$/inet/127.0.0.1/9999;\n")
    text = "routers: [{protocol: http, interpreter: {kind: io.l5d.fs, dtabFile: base.dtab}, dtab: '/svc/a => /#/b'}]"
    found = of(folder, text)
    assert found.model.dtab is not None
    assert found.model.dtab.entries == "/svc/*=>/$/inet/127.0.0.1/9999;/svc/a=>/#/b"
    assert folder / "base.dtab" in found.seen


def test_an_address_that_the_name_makes_up_is_gone_to_if_the_url_asks_for_it(folder: Path) -> None:
    text = """
routers:
- protocol: http
  dtab: |
    /ph => /$/io.buoyant.rinet ;
    /svc => /ph/80 ;
    /svc => /$/io.buoyant.porthostPfx/ph ;
    /svc/elsewhere => /$/inet/127.0.0.1/7 ;
"""
    routes = of(folder, text, endpoints={"/$/inet/127.0.0.1/7": ["10.0.0.7:7"]}).mesh().current.routes
    straight = routes.resolve(RouteRequest("www.example.com:8080"), lambda: 0.0)
    assert straight is not None and straight.route.outside and straight.refused is None
    given = routes.resolve(RouteRequest("elsewhere"), lambda: 0.0)
    assert given is not None and given.cluster == "/$/inet/127.0.0.1/7"
    steered = RouteRequest("www.example.com", header={"l5d-dtab": "/svc => /$/inet/10.0.0.1/1"}.get)
    refused = routes.resolve(steered, lambda: 0.0)
    assert refused is not None and refused.refused is not None and "no cluster here" in refused.refused


def test_a_folder_of_names_is_also_looked_for_where_the_process_runs(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "etc").mkdir()
    (folder / "etc" / "linkerd.yaml").write_text(TEXT)
    monkeypatch.chdir(folder)
    assert "/#/io.l5d.fs/users" in read_manifests(["etc/linkerd.yaml"]).model.clusters
    (folder / "linkerd.yaml").write_text(TEXT.replace("disco", "nowhere"))
    with pytest.raises(ConfigError, match="no such folder") as caught:
        read_manifests([folder / "linkerd.yaml"])
    assert caught.value.line == 5


def test_a_dtab_that_makes_no_sense_is_told_with_its_router(folder: Path) -> None:
    (folder / "linkerd.yaml").write_text(TEXT.replace("/svc => /env/prod", "/svc = /env/prod"))
    with pytest.raises(ConfigError) as caught:
        read_manifests([folder / "linkerd.yaml"])
    assert caught.value.line is not None and caught.value.where.startswith("dtab")

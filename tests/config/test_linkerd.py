"""A linkerd.yaml of Linkerd 1.x as it is: its dtab, its files of endpoints, its settings for services and clients."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from servers.upstream import upstreams

from meshlib import ConfigError, Mesh, NoEndpoint, SyncMeshClient
from meshlib.config.istio import load

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
    found = load(folder / "linkerd.yaml")
    assert [one.message.split(": ")[1] for one in found.report] == ["admin", "routers[0].servers"]
    cluster = found.model.clusters["/#/io.l5d.fs/users"]
    assert (cluster.balancer.kind, cluster.breaker) == ("peak_ewma", None)
    assert cluster.accrual is not None and (cluster.accrual.failures, cluster.accrual.backoff) == (9, (0.1, 2.0))
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
        give_up = time.monotonic() + 15
        while "/#/io.l5d.fs/new" not in mesh.current.clusters and time.monotonic() < give_up:
            time.sleep(0.02)
        assert client.get("http://new/").json()["name"] == "new"


@pytest.mark.parametrize("line", ["10.0.0.1", "10.0.0.1 http", "10.0.0.1 80 2", "10.0.0.1 80 * x", "10.0.0.1 99999"])
def test_a_line_that_is_none_is_told_with_its_place(folder: Path, line: str) -> None:
    (folder / "disco" / "users").write_text(f"10.0.0.1 80\n{line}\n")
    with pytest.raises(ConfigError, match="host port") as caught:
        load(folder / "linkerd.yaml")
    assert caught.value.line == 2


def test_a_dtab_that_makes_no_sense_is_told_with_its_router(folder: Path) -> None:
    (folder / "linkerd.yaml").write_text(TEXT.replace("/svc => /env/prod", "/svc = /env/prod"))
    with pytest.raises(ConfigError) as caught:
        load(folder / "linkerd.yaml")
    assert caught.value.line is not None and caught.value.where.startswith("dtab")

"""What an attempt says about its endpoint besides its verdict: to outlier detection, accrual, and the balancer."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
from support.client_kinds import ClientKind, HandClock, Server, cluster_of, mesh_of
from support.loopback import served
from support.scripted import answering

from meshlib import Mesh
from meshlib.balancing import ClusterHealth, make_balancer
from meshlib.balancing.outlier_detection import OutlierDetection
from meshlib.policies.breaker.accrual import UnifiedAccrual
from meshlib.policies.retry.backoff_schedules import equal_jittered
from meshlib.routing.split import Sticky, StickyKey

pytestmark = pytest.mark.anyio


def watched(mesh: Mesh, **settings: Any) -> OutlierDetection:
    """Outlier detection over the mesh's cluster, by runs of three."""
    cluster = cluster_of(mesh)
    found = OutlierDetection(**{"consecutive_5xx": 3, "consecutive_local": 3, **settings})
    found.update(cluster.balancer.endpoints)
    cluster.outlier = found
    return found


def rebalanced(mesh: Mesh, name: str, **settings: Any) -> Any:
    cluster = cluster_of(mesh)
    cluster.balancer = make_balancer(name, "users", cluster.balancer.endpoints, **settings)
    return cluster.balancer


async def test_a_load_report_of_a_number_beyond_all_floats_is_no_report(client_kind: ClientKind) -> None:
    """The server's OverflowError was the caller's."""
    mesh = mesh_of("10.0.0.1")
    rebalanced(mesh, "prequal")
    report = 'JSON {"named_metrics": {"rif": 1' + "0" * 400 + "}}"
    server = Server(
        client_kind, lambda request: client_kind.lib.Response(200, headers={"endpoint-load-metrics": report})
    )
    async with client_kind.open(mesh, transport=server.transport) as client:
        assert (await client.get("http://users/")).status_code == 200


async def test_three_errors_in_a_row_eject_and_time_brings_back(client_kind: ClientKind) -> None:
    clock = [100.0]
    mesh = mesh_of("10.0.0.1", attempts=1, runtime=HandClock(clock))
    outlier = watched(mesh, ejection_time=5.0, interval=2.0)
    (one,) = cluster_of(mesh).balancer.endpoints
    server = Server(client_kind, 200, 500, 500, 200, 500, 502, 503, 200)
    async with client_kind.open(mesh, transport=server.transport) as client:
        for _ in range(6):
            await client.get("http://users/")
        assert one.healthy
        await client.get("http://users/")
        assert outlier.ejected == (one,) and not one.healthy
        clock[0] += 4.9
        await client.get("http://users/")  # in a panic, for there is nobody else
        assert not one.healthy
        clock[0] += 2.1
        await client.get("http://users/")
        assert one.healthy


async def test_an_endpoint_that_nobody_may_ask_comes_back_by_time_alone(client_kind: ClientKind) -> None:
    clock = [100.0]
    mesh = mesh_of("10.0.0.1", attempts=1, runtime=HandClock(clock))
    watched(mesh, ejection_time=5.0, interval=2.0)
    rebalanced(mesh, "round_robin", panic=0.0)
    async with client_kind.open(mesh, transport=Server(client_kind, 500, 500, 500, 200).transport) as client:
        for _ in range(3):
            await client.get("http://users/")
        with pytest.raises(client_kind.lib.ConnectError, match=r"no healthy endpoint \(1 of 1 ejected\)"):
            await client.get("http://users/")
        clock[0] += 8.0
        assert (await client.get("http://users/")).status_code == 200


@pytest.mark.parametrize(
    ("error", "status"), [("ConnectError", 503), ("ReadTimeout", 504), ("ReadError", 500), ("RemoteProtocolError", 500)]
)
async def test_errors_of_our_own_side_count_as_the_status_they_stand_for(
    client_kind: ClientKind, error: str, status: int
) -> None:
    mesh = mesh_of("10.0.0.1", attempts=1)
    outlier = watched(mesh, consecutive_gateway=2, enforce=("gateway",))
    failing = getattr(client_kind.lib, error)("no")
    async with client_kind.open(mesh, transport=Server(client_kind, failing).transport) as client:
        for _ in range(2):
            with pytest.raises(type(failing)):
                await client.get("http://users/")
    (one,) = cluster_of(mesh).balancer.endpoints
    assert (outlier.tally(one).total, outlier.tally(one).good) == (2, 0)
    assert one.healthy is (status == 500)  # a gateway error is 502, 503 or 504


async def test_errors_of_our_own_side_can_be_counted_apart(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1", attempts=1)
    outlier = watched(mesh, split=True)
    async with client_kind.open(
        mesh, transport=Server(client_kind, client_kind.lib.ReadError("no")).transport
    ) as client:
        for _ in range(3):
            with pytest.raises(client_kind.lib.ReadError):
                await client.get("http://users/")
    assert outlier.enforced["local"] == 1 and outlier.enforced["5xx"] == 0


async def test_our_own_limits_say_nothing_about_the_endpoint(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1", attempts=1)
    outlier = watched(mesh)
    async with client_kind.open(
        mesh, transport=Server(client_kind, client_kind.lib.PoolTimeout("full")).transport
    ) as client:
        with pytest.raises(client_kind.lib.PoolTimeout):
            await client.get("http://users/")
    assert outlier.tally(cluster_of(mesh).balancer.endpoints[0]).total == 0


async def test_a_stream_that_breaks_off_counts_when_it_ends(client_kind: ClientKind) -> None:
    mesh = mesh_of("10.0.0.1", attempts=1)
    outlier = watched(mesh)
    body = client_kind.body(b"half", error=client_kind.lib.ReadError("gone"))
    server = Server(client_kind, lambda request: client_kind.lib.Response(200, stream=body))
    (one,) = cluster_of(mesh).balancer.endpoints
    async with client_kind.open(mesh, transport=server.transport) as client:
        with pytest.raises(client_kind.lib.ReadError):
            async with client.stream("GET", "http://users/") as response:
                assert outlier.tally(one).total == 0
                await client.read(response)
    assert (outlier.tally(one).total, outlier.tally(one).good) == (1, 0)


# --- Retry-After and 429 ---------------------------------------------------------------------------------------------


async def test_retry_after_keeps_the_next_probe_away(client_kind: ClientKind) -> None:
    clock = [100.0]
    mesh = mesh_of("10.0.0.1", attempts=1, runtime=HandClock(clock))
    health = ClusterHealth("users", consecutive_failures=1, backoff=(1.0, 4.0))
    rebalanced(mesh, "default", health=health)
    server = Server(client_kind, lambda request: client_kind.lib.Response(503, headers={"retry-after": "30"}))
    async with client_kind.open(mesh, transport=server.transport) as client:
        await client.get("http://users/")
    assert health.probe(lambda: 0.0, 129.9) is None
    assert health.probe(lambda: 0.0, 130.1) is cluster_of(mesh).balancer.endpoints[0]


async def test_without_retry_after_the_backoff_alone_counts(client_kind: ClientKind) -> None:
    clock = [100.0]
    mesh = mesh_of("10.0.0.1", attempts=1, runtime=HandClock(clock))
    health = ClusterHealth("users", consecutive_failures=1, backoff=(1.0, 4.0))
    rebalanced(mesh, "default", health=health)
    async with client_kind.open(mesh, transport=Server(client_kind, 503).transport) as client:
        await client.get("http://users/")
    assert health.probe(lambda: 0.0, 100.9) is None
    assert health.probe(lambda: 0.0, 101.1) is cluster_of(mesh).balancer.endpoints[0]


@pytest.mark.parametrize(("unified", "healthy"), [(True, False), (False, True)])
async def test_a_429_counts_in_the_rate_of_linkerds_accrual_and_nowhere_else(
    client_kind: ClientKind, unified: bool, healthy: bool
) -> None:
    mesh = mesh_of("10.0.0.1", attempts=1)
    backoff = partial(equal_jittered, 1.0, 60.0, lambda: 0.5)
    health = ClusterHealth(
        "users", accrual=(lambda: UnifiedAccrual(backoff, minimum_calls=5)) if unified else None, consecutive_failures=1
    )
    rebalanced(mesh, "default", health=health)
    async with client_kind.open(mesh, transport=Server(client_kind, 429).transport) as client:
        for _ in range(5):
            assert (await client.get("http://users/")).status_code == 429
    assert cluster_of(mesh).balancer.endpoints[0].healthy is healthy


# --- Load reports and keys -------------------------------------------------------------------------------------------


def reporting(client_kind: ClientKind) -> Any:
    told = {"endpoint-load-metrics": "TEXT application_utilization=0.5,rps_fractional=20,named_metrics.in_flight=7"}
    return Server(client_kind, lambda request: client_kind.lib.Response(200, headers=told, text="ok")).transport


@pytest.mark.parametrize(
    ("name", "settings", "heard"),
    [
        ("default", {}, False),
        ("default", {"reports": True}, True),
        ("reported_weights", {}, True),
        ("prequal", {"rate": 0.0}, True),
        ("round_robin", {}, False),
        ("default", {"reports": True, "overprovisioning": 1.4}, True),
    ],
)
async def test_load_reports_are_read_where_the_balancer_wants_them(
    client_kind: ClientKind, name: str, settings: dict[str, Any], heard: bool
) -> None:
    mesh = mesh_of("10.0.0.1")
    rebalanced(mesh, name, **settings)
    async with client_kind.open(mesh, transport=reporting(client_kind)) as client:
        await client.get("http://users/")
        async with client.stream("GET", "http://users/") as response:
            assert response.status_code == 200
    report = cluster_of(mesh).balancer.endpoints[0].report
    assert (report is not None) is heard
    if report is not None:
        assert (report.in_flight, report.utilization, report.qps) == (7, 0.5, 20)


async def test_the_same_user_finds_the_same_endpoint(client_kind: ClientKind) -> None:
    mesh = mesh_of(*(f"10.0.0.{n}" for n in range(1, 9)))
    rebalanced(mesh, "ring_hash")
    cluster_of(mesh).sticky = Sticky(StickyKey("header", "x-user"))
    server = Server(client_kind)
    async with client_kind.open(mesh, transport=server.transport) as client:
        for user in ("ann", "bob", "eve"):
            before = len(server.hosts)
            for _ in range(6):
                await client.get("http://users/", headers={"x-user": user})
            assert len(set(server.hosts[before:])) == 1
    assert len(set(server.hosts)) > 1


# --- Over real sockets, where plain requests take the fast lane ------------------------------------------------------


def refusing(*fields: bytes) -> bytes:
    return b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n" + b"".join(fields) + b"\r\n"


async def test_the_fast_lane_tells_outlier_detection_too(client_kind: ClientKind) -> None:
    with served(answering(refusing())) as server:
        mesh = mesh_of(server.port, attempts=1)
        outlier = watched(mesh)
        async with client_kind.open(mesh) as client:
            for _ in range(3):
                assert (await client.get("http://users/")).status_code == 503
    assert outlier.ejected == tuple(cluster_of(mesh).balancer.endpoints)


async def test_the_fast_lane_hears_retry_after_too(client_kind: ClientKind) -> None:
    with served(answering(refusing(b"Retry-After: 30\r\n"))) as server:
        mesh = mesh_of(server.port, attempts=1)
        health = ClusterHealth("users", consecutive_failures=1, backoff=(1.0, 4.0))
        rebalanced(mesh, "default", health=health)
        async with client_kind.open(mesh) as client:
            await client.get("http://users/")
    ejection = cluster_of(mesh).balancer.endpoints[0].ejection
    assert ejection is not None and ejection.due - mesh.runtime.now() > 20.0


async def test_the_fast_lane_keeps_a_user_where_he_is(client_kind: ClientKind) -> None:
    with served(answering()) as one, served(answering()) as other:
        mesh = mesh_of(one.port, other.port)
        rebalanced(mesh, "maglev", size=251)
        cluster_of(mesh).sticky = Sticky(StickyKey("query", "user"))
        async with client_kind.open(mesh) as client:
            for user in range(8):
                before = len(one.requests), len(other.requests)
                for _ in range(4):
                    await client.get(f"http://users/?user={user}")
                assert (len(one.requests) - before[0], len(other.requests) - before[1]) in ((4, 0), (0, 4))


async def test_the_fast_lane_hears_reports_too(client_kind: ClientKind) -> None:
    told = b"Endpoint-Load-Metrics: TEXT application_utilization=0.5,rps_fractional=5\r\n"
    with served(answering(refusing(told))) as server:
        mesh = mesh_of(server.port)
        rebalanced(mesh, "reported_weights")
        async with client_kind.open(mesh) as client:
            await client.get("http://users/")
    report = cluster_of(mesh).balancer.endpoints[0].report
    assert report is not None and report.qps == 5.0

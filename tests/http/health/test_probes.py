"""A balancer that lives on probes gets them, whichever client picks; and who does not know them is left alone."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from support.client_kinds import ClientKind, cluster_of, in_flight, mesh_of
from support.loopback import served
from support.scripted import OK, Peer, Script, answering
from support.waiting import wait_until_async

from meshlib import Mesh
from meshlib.balancing import make_balancer
from meshlib.balancing.load_report import PROBE_PATH
from meshlib.http.health.health_thread import HealthThread

pytestmark = pytest.mark.anyio


@pytest.fixture
def client_kind(wired: ClientKind) -> ClientKind:
    return wired


def busy(requests: int, latency: float) -> Script:
    """Answers probes, as `LoadReports` does."""
    told = f"TEXT named_metrics.in_flight={requests},named_metrics.latency={latency}"
    report = f"HTTP/1.1 204 No Content\r\nendpoint-load-metrics: {told}\r\n\r\n".encode()

    async def script(peer: Peer) -> None:
        while True:
            head = await peer.request()
            await peer.send(report if PROBE_PATH.encode() in head else OK)

    return script


def rebalanced(mesh: Mesh, name: str, **settings: Any) -> None:
    cluster = cluster_of(mesh)
    cluster.balancer = make_balancer(name, "users", cluster.balancer.endpoints, **settings)


def probes(server: Any) -> int:
    return sum(PROBE_PATH.encode() in line for _, line in server.requests)


@pytest.mark.parametrize(("name", "settings"), [("prequal", {"max_age": 60.0}), ("default", {"rate": 2.0})])
async def test_calls_bring_probes_and_probes_bring_reports(
    client_kind: ClientKind, name: str, settings: dict[str, Any]
) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(served(busy(*load))) for load in ((2, 0.5), (3, 0.1), (9, 0.3))]
        mesh = mesh_of(*(server.port for server in servers))
        stack.callback(mesh.close)
        rebalanced(mesh, name, **settings)
        async with client_kind.open(mesh) as client:
            with anyio.fail_after(20):
                while any(endpoint.report is None for endpoint in cluster_of(mesh).balancer.endpoints):
                    assert (await client.get("http://users/")).text == "ok"
        reports = [endpoint.report for endpoint in cluster_of(mesh).balancer.endpoints]
        assert [(report.in_flight, report.latency) for report in reports if report] == [(2, 0.5), (3, 0.1), (9, 0.3)]
        assert in_flight(mesh) == 0  # a probe is no call


async def test_who_does_not_know_probes_is_asked_once(client_kind: ClientKind) -> None:
    lost = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with served(answering(lost)) as server:
        mesh = mesh_of(server.port)
        rebalanced(mesh, "prequal")
        async with client_kind.open(mesh) as client:
            await client.get("http://users/")
            await wait_until_async(lambda: probes(server) == 1)
            await wait_until_async(lambda: not HealthThread.of(mesh)._probing)  # the answer has been read, too
            for _ in range(5):
                await client.get("http://users/")
        mesh.close()
        assert probes(server) == 1


async def test_a_server_that_cannot_be_probed_costs_the_caller_nothing(client_kind: ClientKind) -> None:
    async def hanging_probes(peer: Peer) -> None:
        while True:
            if PROBE_PATH.encode() in await peer.request():
                await peer.reader.read()
                return
            await peer.send(OK)

    with served(hanging_probes) as server:
        mesh = mesh_of(server.port)
        rebalanced(mesh, "prequal")
        async with client_kind.open(mesh) as client:
            for _ in range(5):
                assert (await client.get("http://users/")).text == "ok"
        mesh.close()
        assert probes(server) <= 1

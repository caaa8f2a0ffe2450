"""gRPC's health protocol against grpcio's own health server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
import trustme
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from meshlib import Endpoint, Mesh
from meshlib.events import EndpointEjected, EndpointRestored, Event
from meshlib.http.health.health_checks import FAILED, PASSED, CheckKind, GrpcCheck, Health, TcpCheck
from meshlib.http.transports.own_transport import LoopPools

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@contextmanager
def serving(credentials: grpc.ServerCredentials | None = None) -> Iterator[tuple[health.HealthServicer, Endpoint]]:
    server, servicer = grpc.server(ThreadPoolExecutor(2)), health.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(servicer, server)
    place = "127.0.0.1:0"
    port = server.add_insecure_port(place) if credentials is None else server.add_secure_port(place, credentials)
    server.start()
    try:
        yield servicer, Endpoint("127.0.0.1", port)
    finally:
        server.stop(None).wait()


def ask(way: CheckKind, endpoint: Endpoint) -> Health | str:
    """What one check says; the name of the error if it raises one, which counts as FAILED."""

    async def asked() -> Health | str:
        station = LoopPools(asyncio.get_running_loop(), None, 60.0)
        try:
            return await way.ask(endpoint, station)
        except Exception as error:
            return type(error).__name__
        finally:
            await station.aclose()

    return asyncio.run(asked())


def test_a_server_is_healthy_while_it_says_serving() -> None:
    with serving() as (servicer, endpoint):
        assert ask(GrpcCheck(timeout=10.0), endpoint) is PASSED
        servicer.set("", NOT_SERVING)
        assert ask(GrpcCheck(timeout=10.0), endpoint) is FAILED
        servicer.set("", SERVING)
        assert ask(GrpcCheck(timeout=10.0), endpoint) is PASSED


@pytest.mark.parametrize("name", ["users", "a.long.package." + "x" * 200])
def test_each_service_of_a_server_has_its_own_health(name: str) -> None:
    with serving() as (servicer, endpoint):
        assert ask(GrpcCheck(name, timeout=10.0), endpoint) == "AioRpcError"  # not known there
        servicer.set(name, SERVING)
        assert ask(GrpcCheck(name, timeout=10.0), endpoint) is PASSED
        servicer.set(name, NOT_SERVING)
        assert ask(GrpcCheck(name, timeout=10.0), endpoint) is FAILED
        assert ask(GrpcCheck(timeout=10.0), endpoint) is PASSED


def test_a_server_that_comes_back_is_seen_at_the_next_check() -> None:
    with serving() as (_, endpoint):
        pass
    for _ in range(5):
        assert ask(GrpcCheck(timeout=10.0), endpoint) == "AioRpcError"
    server = grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(health.HealthServicer(), server)
    server.add_insecure_port(endpoint.address)
    server.start()
    try:
        assert ask(GrpcCheck(timeout=10.0), endpoint) is PASSED
    finally:
        server.stop(None).wait()


def test_a_server_that_is_silent_has_failed_after_the_timeout() -> None:
    class Silent(health_pb2_grpc.HealthServicer):  # type: ignore[misc]
        def Check(self, request: object, context: object) -> object:
            done.wait(20.0)
            return health_pb2.HealthCheckResponse(status=SERVING)

    done, server = threading.Event(), grpc.server(ThreadPoolExecutor(1))
    health_pb2_grpc.add_HealthServicer_to_server(Silent(), server)
    endpoint = Endpoint("127.0.0.1", server.add_insecure_port("127.0.0.1:0"))
    server.start()
    try:
        assert ask(GrpcCheck(timeout=0.1), endpoint) == "AioRpcError"
    finally:
        done.set()
        server.stop(None).wait()


def test_with_tls_the_certificate_must_name_the_host() -> None:
    authority = trustme.CA()
    issued = authority.issue_cert("users")
    pair = issued.private_key_pem.bytes(), issued.cert_chain_pems[0].bytes()
    roots = authority.cert_pem.bytes()
    with serving(grpc.ssl_server_credentials([pair])) as (_, endpoint):
        assert ask(GrpcCheck(host="users", tls=True, roots=roots, timeout=10.0), endpoint) is PASSED
        assert ask(GrpcCheck(host="x", tls=True, tls_name="users", roots=roots, timeout=10.0), endpoint) is PASSED
        assert ask(GrpcCheck(host="orders", tls=True, roots=roots, timeout=10.0), endpoint) == "AioRpcError"
        assert ask(GrpcCheck(host="users", timeout=10.0), endpoint) == "AioRpcError"


def test_a_mesh_file_asks_for_it_by_name(tmp_path: Path) -> None:
    seen: list[str] = []
    changed = threading.Condition()

    def told(event: Event) -> None:
        if isinstance(event, EndpointEjected | EndpointRestored):
            with changed:
                seen.append(type(event).__name__)
                changed.notify_all()

    with serving() as (servicer, endpoint):
        servicer.set("users", SERVING)
        (tmp_path / "mesh.yaml").write_text(
            f"clusters: {{users: {{endpoints: ['{endpoint.address}'], health_check: {{grpc: {{service: users}}, "
            "interval: 20ms, initial_jitter: 0, timeout: 5s}}}\nservices: {users: {}}\n"
        )
        with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as mesh:
            mesh.subscribe(told)
            servicer.set("users", NOT_SERVING)
            with changed:
                assert changed.wait_for(lambda: seen == ["EndpointEjected"], 20)
            servicer.set("users", SERVING)
            with changed:
                assert changed.wait_for(lambda: seen == ["EndpointEjected", "EndpointRestored"], 20)


def test_a_port_that_is_open_is_not_yet_a_healthy_server() -> None:
    with serving() as (servicer, endpoint):
        servicer.set("", NOT_SERVING)
        assert ask(TcpCheck(timeout=10.0), endpoint) is PASSED
        assert ask(GrpcCheck(timeout=10.0), endpoint) is FAILED

"""The tools that people put beside httpx see our clients as they see httpx's own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest
import respx
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pytest_httpx import HTTPXMock
from support.client_kinds import CLIENT_KINDS, ClientKind, Server, mesh_of
from support.loopback import served
from support.scripted import answering

pytestmark = pytest.mark.anyio
HTTPX = pytest.mark.parametrize(
    "client_kind",
    [client_kind for client_kind in CLIENT_KINDS if client_kind.lib is httpx],
    ids=lambda client_kind: client_kind.name,
)
HTTPX2 = pytest.mark.parametrize(
    "client_kind",
    [client_kind for client_kind in CLIENT_KINDS if client_kind.lib is httpx2],
    ids=lambda client_kind: client_kind.name,
)
EACH = pytest.mark.parametrize("client_kind", CLIENT_KINDS, ids=lambda client_kind: client_kind.name)


@HTTPX
@pytest.mark.parametrize("mocker", ["httpx", "httpcore"])
async def test_respx_mocks_a_service_without_endpoints_by_its_name(client_kind: ClientKind, mocker: str) -> None:
    with respx.mock(using=mocker) as mock:
        route = mock.get("http://users/v1").respond(json={"name": "Ada"})
        async with client_kind.open(mesh_of(name="orders")) as client:
            assert (await client.get("http://users/v1")).json() == {"name": "Ada"}
    assert route.call_count == 1


@HTTPX
@pytest.mark.parametrize("mocker", ["httpx", "httpcore"])
async def test_respx_sees_each_attempt_at_its_endpoint(client_kind: ClientKind, mocker: str) -> None:
    with respx.mock(using=mocker) as mock:
        route = mock.route(host__in=["10.0.0.1", "10.0.0.2", "10.0.0.3"])
        route.side_effect = [httpx.Response(503), httpx.ConnectError, httpx.Response(200, text="third time")]
        async with client_kind.open(mesh_of()) as client:
            assert (await client.get("http://users/v1")).text == "third time"
    assert route.call_count == 3
    assert {call.request.headers["host"] for call in route.calls} == {"users"}


@HTTPX
async def test_pytest_httpx_answers_each_attempt(client_kind: ClientKind, httpx_mock: HTTPXMock) -> None:
    httpx_mock.add_response(status_code=503)
    httpx_mock.add_exception(httpx.ReadTimeout("slow"))
    httpx_mock.add_response(json={"name": "Ada"})
    httpx_mock.add_response(url="http://elsewhere/", text="out there")
    async with client_kind.open(mesh_of()) as client:
        assert (await client.get("http://users/v1")).json() == {"name": "Ada"}
        assert (await client.get("http://elsewhere/")).text == "out there"
    assert len(httpx_mock.get_requests()) == 4


@HTTPX2
async def test_httpx2_pytest_answers_each_attempt(client_kind: ClientKind, httpx2_mock: Any) -> None:
    httpx2_mock.add_response(status_code=503)
    httpx2_mock.add_response(json={"name": "Ada"})
    async with client_kind.open(mesh_of()) as client:
        assert (await client.get("http://users/v1")).json() == {"name": "Ada"}
    assert len(httpx2_mock.get_requests()) == 2


# --- OpenTelemetry -------------------------------------------------------------------------------------------------


@pytest.fixture
def spans() -> Iterator[tuple[TracerProvider, InMemorySpanExporter]]:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    yield provider, exporter
    provider.shutdown()


def instrumentor(client_kind: ClientKind) -> Any:
    return HTTPXClientInstrumentor() if client_kind.lib is httpx else HTTPX2ClientInstrumentor()


@EACH
async def test_opentelemetry_sees_each_attempt_when_it_instruments_all_clients(
    client_kind: ClientKind, spans: Any
) -> None:
    provider, exporter = spans
    instrumentor(client_kind).instrument(tracer_provider=provider)
    try:
        with served(answering()) as server:
            async with client_kind.open(mesh_of(server.port)) as client:
                assert (await client.get("http://users/v1")).text == "ok"
    finally:
        instrumentor(client_kind).uninstrument()
    [span] = exporter.get_finished_spans()
    assert span.kind.name == "CLIENT"
    assert span.attributes["http.url"] == f"http://127.0.0.1:{server.port}/v1"


@EACH
async def test_opentelemetry_sees_each_attempt_when_it_instruments_one_client(
    client_kind: ClientKind, spans: Any
) -> None:
    provider, exporter = spans
    with served(answering()) as server:
        async with client_kind.open(mesh_of(server.port)) as client:
            instrumentor(client_kind).instrument_client(client.client, tracer_provider=provider)
            assert (await client.get("http://users/v1")).text == "ok"
            instrumentor(client_kind).uninstrument_client(client.client)
            assert (await client.get("http://users/v2")).text == "ok"
    assert len(exporter.get_finished_spans()) == 1


@EACH
async def test_opentelemetry_sees_retries_beneath_a_transport_of_the_callers(
    client_kind: ClientKind, spans: Any
) -> None:
    provider, exporter = spans
    async with client_kind.open(mesh_of(), transport=Server(client_kind, 503, 503, 200).transport) as client:
        instrumentor(client_kind).instrument_client(client.client, tracer_provider=provider)
        assert (await client.get("http://users/v1")).status_code == 200
        instrumentor(client_kind).uninstrument_client(client.client)
    assert [span.attributes["http.status_code"] for span in exporter.get_finished_spans()] == [503, 503, 200]

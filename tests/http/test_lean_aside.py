"""The lean path steps aside for what only httpx's own steps see, whenever it came; and takes what they take."""

from __future__ import annotations

from typing import Any

import httpx
import httpx2
import pytest
import wrapt
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from support.client_kinds import TLS, mesh_of
from support.scripted import answering, serving

import meshlib
import meshlib.httpx2

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]
FAMILIES = [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)]
EACH = pytest.mark.parametrize(("lib", "kind"), FAMILIES, ids=["httpx", "httpx2"])
URL = "http://users/v1"


@EACH
async def test_instrumentation_that_comes_after_the_first_request_sees_the_next(lib: Any, kind: Any) -> None:
    instrumentor = (HTTPXClientInstrumentor if lib is httpx else HTTPX2ClientInstrumentor)()
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port), verify=TLS) as client:
        await client.get(URL)
        await client.send(client.build_request("GET", URL))
        instrumentor.instrument(tracer_provider=provider)
        try:
            await client.get(URL)
            await client.send(client.build_request("GET", URL))
        finally:
            instrumentor.uninstrument()
        assert len(exporter.get_finished_spans()) == 2
        await client.get(URL)
        assert len(exporter.get_finished_spans()) == 2


@EACH
@pytest.mark.parametrize("step", ["send", "request", "_send_handling_auth"])
async def test_a_tracer_that_wraps_a_step_after_the_first_request_sees_the_next(
    lib: Any, kind: Any, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def tracer(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        seen.append(step)
        return wrapped(*args, **kwargs)

    async with serving(answering()) as server, kind(mesh=mesh_of(server.port), verify=TLS) as client:
        await client.get(URL)
        theirs = lib.AsyncClient.__dict__[step]
        monkeypatch.setattr(lib.AsyncClient, step, wrapt.FunctionWrapper(theirs, tracer))
        await client.get(URL)
    assert seen == [step]


@EACH
@pytest.mark.parametrize("verb", ["get", "head", "options", "delete"])
@pytest.mark.parametrize("how", [{"json": {}}, {"content": b"x"}, {"data": None}, {"files": None}, {"json": None}])
async def test_a_verb_without_a_body_takes_none(lib: Any, kind: Any, verb: str, how: dict[str, Any]) -> None:
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port), verify=TLS) as client:
        with pytest.raises(TypeError, match=next(iter(how))):
            await getattr(client, verb)(URL, **how)
    assert server.requests == []


@EACH
async def test_a_subclass_may_make_its_settings_afresh_for_each_request(lib: Any, kind: Any) -> None:
    class Fresh(kind):  # type: ignore[misc]
        made = 0

        @property
        def headers(self) -> Any:
            self.made += 1
            return lib.Headers({"x-made": str(self.made)})

        @headers.setter
        def headers(self, headers: Any) -> None:
            pass

        @property
        def timeout(self) -> Any:
            return lib.Timeout(3.0)

        @timeout.setter
        def timeout(self, timeout: Any) -> None:
            pass

    async with serving(answering()) as server, Fresh(mesh=mesh_of(server.port), verify=TLS) as client:
        for number in ("1", "2"):
            request = (await client.get(URL)).request
            assert request.headers["x-made"] == number
            assert request.extensions["timeout"]["read"] == 3.0


@EACH
async def test_a_proxy_object_in_the_place_of_the_transport_sees_the_next_request(lib: Any, kind: Any) -> None:
    class Seeing(wrapt.ObjectProxy):  # type: ignore[misc]
        async def handle_async_request(self, request: Any) -> Any:
            seen.append(request)
            return await self.__wrapped__.handle_async_request(request)

    seen: list[Any] = []
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port), verify=TLS) as client:
        await client.get(URL)
        client._transport = Seeing(client._transport)
        await client.get(URL)
    assert len(seen) == 1


@EACH
async def test_cookies_that_were_replaced_are_not_asked_again(lib: Any, kind: Any) -> None:
    async with serving(answering()) as server, kind(mesh=mesh_of(server.port), verify=TLS) as client:
        await client.get(URL)
        client.cookies.set("name", "1", domain="here.local")
        client.cookies.set("name", "2", domain="there.local")  # asked for "name" alone, they now raise CookieConflict
        client.cookies = {}
        assert (await client.get(URL)).text == "ok"

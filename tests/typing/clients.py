"""What both type checkers must make of the clients. Checked, never run."""

import ssl
from typing import assert_type

import anthropic
import groq
import httpx
import httpx2
import openai

import meshlib.httpx2
from meshlib import Mesh, MeshClient, SyncMeshClient


async def over_httpx(mesh: Mesh) -> None:
    async with MeshClient(
        mesh=mesh,
        auth=("user", "pass"),
        params={"a": 1},
        headers=[("x-app", "shop")],
        cookies={"c": "1"},
        verify=ssl.create_default_context(),
        http2=True,
        mounts={"all://": httpx.AsyncHTTPTransport(), "http://a": None},
        timeout=httpx.Timeout(5.0, read=None),
        limits=httpx.Limits(max_connections=3),
        base_url="http://users",
        transport=httpx.AsyncHTTPTransport(),
        default_encoding=lambda raw: "utf-8",
    ) as client:
        assert_type(client, MeshClient)
        assert_type(client.mesh, Mesh | None)
        response = await client.get("/me", timeout=1.0)
        assert_type(response, httpx.Response)
        assert_type(await client.send(client.build_request("GET", "/")), httpx.Response)
        async with client.stream("GET", "/") as streamed:
            assert_type(streamed, httpx.Response)
    MeshClient(timeuot=3.0)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    MeshClient(transport=httpx.HTTPTransport())  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    groq.AsyncGroq(http_client=MeshClient(mesh=mesh))


def over_httpx_in_threads(mesh: Mesh) -> None:
    with SyncMeshClient(mesh=mesh, transport=httpx.HTTPTransport()) as client:
        assert_type(client, SyncMeshClient)
        assert_type(client.get("/me"), httpx.Response)
    groq.Groq(http_client=SyncMeshClient(mesh=mesh))


async def over_httpx2(mesh: Mesh) -> None:
    async with meshlib.httpx2.MeshClient(mesh=mesh, transport=httpx2.AsyncHTTPTransport()) as client:
        assert_type(client, meshlib.httpx2.MeshClient)
        assert_type(await client.query("/me"), httpx2.Response)
    anthropic.AsyncAnthropic(http_client=meshlib.httpx2.MeshClient(mesh=mesh))
    openai.AsyncOpenAI(http_client=meshlib.httpx2.MeshClient(mesh=mesh))


def over_httpx2_in_threads(mesh: Mesh) -> None:
    with meshlib.httpx2.SyncMeshClient(mesh=mesh) as client:
        assert_type(client, meshlib.httpx2.SyncMeshClient)
        assert_type(client.get("/me"), httpx2.Response)
    anthropic.Anthropic(http_client=meshlib.httpx2.SyncMeshClient(mesh=mesh))
    openai.OpenAI(http_client=meshlib.httpx2.SyncMeshClient(mesh=mesh))

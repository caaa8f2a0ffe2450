"""SDKs that take `http_client=` take ours, and get the mesh's answers and errors as they expect them."""

from __future__ import annotations

from typing import Any

import anthropic
import groq
import httpx
import httpx2
import openai
import pytest
from mistralai.client import Mistral
from support.client_kinds import CLIENT_KINDS, ClientKind, Server, mesh_of

from meshlib import Bulkhead

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"  # the SDKs themselves know no other


CHAT = {
    "id": "1",
    "object": "chat.completion",
    "created": 1,
    "model": "m",
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hello"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}
MESSAGE = {
    "id": "1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "stop_sequence": None,
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
ASKED: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
BY_NAME = {client_kind.name: client_kind for client_kind in CLIENT_KINDS}


def client_kinds(*names: str) -> Any:
    return pytest.mark.parametrize("client_kind", [BY_NAME[name] for name in names], ids=names)


def server_of(client_kind: ClientKind, answer: Any) -> Server:
    def thrice(request: Any) -> Any:
        return client_kind.lib.Response(200, json=answer)

    unready = client_kind.lib.ConnectError("refused")
    return Server(client_kind, unready, thrice)


async def _answer(called: Any) -> Any:
    return await called if hasattr(called, "__await__") else called


@client_kinds("httpx-async", "httpx-sync", "httpx2-async", "httpx2-sync")
async def test_openai(client_kind: ClientKind) -> None:
    server = server_of(client_kind, CHAT)
    async with client_kind.open(mesh_of(name="llm"), transport=server.transport) as client:
        kind: Any = openai.AsyncOpenAI if client_kind.is_async else openai.OpenAI
        sdk = kind(api_key="k", base_url="http://llm/v1", http_client=client.client, max_retries=0)
        answer = await _answer(sdk.chat.completions.create(**ASKED))
    assert answer.choices[0].message.content == "hello"
    assert len(set(server.hosts)) == 2  # the mesh left the endpoint that refused


@client_kinds("httpx-async", "httpx2-async")
async def test_openai_streams(client_kind: ClientKind) -> None:
    chunk = b'data: {"id":"1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,"delta":{"content":"he"}}]}\n\n'  # noqa: E501
    headers = {"content-type": "text/event-stream"}
    server = Server(
        client_kind,
        lambda request: client_kind.lib.Response(
            200, headers=headers, stream=client_kind.body(chunk, chunk, b"data: [DONE]\n\n")
        ),
    )
    mesh = mesh_of(name="llm")
    async with client_kind.open(mesh, transport=server.transport) as client:
        sdk = openai.AsyncOpenAI(api_key="k", base_url="http://llm/v1", http_client=client.client)
        stream = await sdk.chat.completions.create(**ASKED, stream=True)
        assert sum(one.pending for one in mesh.current.clusters["llm"].balancer.endpoints) == 1
        assert [part.choices[0].delta.content async for part in stream] == ["he", "he"]
    assert sum(one.pending for one in mesh.current.clusters["llm"].balancer.endpoints) == 0


@client_kinds("httpx-async", "httpx2-async")
async def test_openai_knows_our_refusals_as_its_own_errors(client_kind: ClientKind) -> None:
    full = Bulkhead(1, name="llm")
    full.enter()
    async with client_kind.open(mesh_of(name="llm", gates=[full]), transport=Server(client_kind).transport) as client:
        sdk = openai.AsyncOpenAI(api_key="k", base_url="http://llm/v1", http_client=client.client, max_retries=0)
        with pytest.raises(openai.APITimeoutError) as caught:
            await sdk.chat.completions.create(**ASKED)
    assert isinstance(caught.value.__cause__, client_kind.lib.PoolTimeout)


@client_kinds("httpx2-async", "httpx2-sync")
async def test_anthropic(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(name="llm"), transport=server_of(client_kind, MESSAGE).transport) as client:
        kind: Any = anthropic.AsyncAnthropic if client_kind.is_async else anthropic.Anthropic
        sdk = kind(api_key="k", base_url="http://llm", http_client=client.client, max_retries=0)
        answer = await _answer(sdk.messages.create(**ASKED, max_tokens=5))
    assert answer.content[0].text == "hello"


@client_kinds("httpx-async", "httpx-sync")
async def test_groq(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(name="llm"), transport=server_of(client_kind, CHAT).transport) as client:
        kind: Any = groq.AsyncGroq if client_kind.is_async else groq.Groq
        sdk = kind(api_key="k", base_url="http://llm", http_client=client.client, max_retries=0)
        answer = await _answer(sdk.chat.completions.create(**ASKED))
    assert answer.choices[0].message.content == "hello"


@client_kinds("httpx2-async", "httpx2-sync")
async def test_mistral(client_kind: ClientKind) -> None:
    async with client_kind.open(mesh_of(name="llm"), transport=server_of(client_kind, CHAT).transport) as client:
        if client_kind.is_async:
            sdk = Mistral(api_key="k", server_url="http://llm", async_client=client.client)
            answer = await sdk.chat.complete_async(**ASKED)
        else:
            sdk = Mistral(api_key="k", server_url="http://llm", client=client.client)
            answer = sdk.chat.complete(**ASKED)
    assert answer.choices[0].message.content == "hello"


def test_each_sdk_refuses_the_wrong_family_so_both_must_exist() -> None:
    assert BY_NAME["httpx-async"].lib is httpx
    assert BY_NAME["httpx2-async"].lib is httpx2
    with pytest.raises(TypeError, match="http_client"):
        anthropic.AsyncAnthropic(api_key="k", http_client=BY_NAME["httpx-async"].kind())
    with pytest.raises(TypeError, match="http_client"):
        groq.AsyncGroq(api_key="k", http_client=BY_NAME["httpx2-async"].kind())

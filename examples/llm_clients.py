"""LLM SDKs over the mesh: OpenAI's client over httpx, Anthropic's over httpx2, against two fake providers.

The `base_url` names a service of the mesh. A POST is repeated only when the request says that this is safe, by an
`Idempotency-Key`; a connection that is refused costs nothing, so that attempt is repeated in any case.
"""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler

import anthropic
import openai
from _servers import Answer, serving

import meshlib.httpx2
from meshlib import Mesh, SyncMeshClient


def chat(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
    assert request.headers["authorization"] == "Bearer key-of-one"
    message = {"role": "assistant", "content": "hello from one"}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return 200, {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def messages(request: BaseHTTPRequestHandler, body: bytes) -> Answer:
    assert request.headers["authorization"] == "Bearer key-of-two"
    return 200, {
        "id": "1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn",
        "stop_sequence": None, "content": [{"type": "text", "text": "hello from two"}],
        "usage": {"input_tokens": 1, "output_tokens": 3},
    }  # fmt: skip


def dead_address() -> str:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{one.getsockname()[1]}"


def main() -> None:
    with serving(chat) as one, serving(messages) as two:
        mesh = Mesh.from_dict(
            {
                "services": {"openai": {"timeout": "60s"}, "anthropic": {"timeout": "60s"}},
                "clusters": {
                    "openai": {"endpoints": [one, dead_address()]},  # a region that is down
                    "anthropic": {"endpoints": [two]},
                },
            }
        )
        with mesh:
            first = openai.OpenAI(
                api_key="key-of-one", base_url="http://openai/v1", http_client=SyncMeshClient(mesh=mesh), max_retries=0
            )
            second = anthropic.Anthropic(
                api_key="key-of-two",
                base_url="http://anthropic",
                http_client=meshlib.httpx2.SyncMeshClient(mesh=mesh),
                max_retries=0,
            )
            with first, second:
                for _ in range(5):
                    said = first.chat.completions.create(model="m", messages=[{"role": "user", "content": "hello"}])
                    assert said.choices[0].message.content == "hello from one"
                answer = second.messages.create(
                    model="m", max_tokens=10, messages=[{"role": "user", "content": "hello"}]
                )
                assert answer.content[0].type == "text"
                print(said.choices[0].message.content, "and", answer.content[0].text)


if __name__ == "__main__":
    main()

"""A client whose settings change between its requests asks what httpx's own client asks, and answers the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.client_kinds import TLS, mesh_of
from support.scripted import OK, Peer, serving

import meshlib
import meshlib.httpx2

FAMILIES = [(httpx, meshlib.MeshClient), (httpx2, meshlib.httpx2.MeshClient)]
EACH = pytest.mark.parametrize(("lib", "kind"), FAMILIES, ids=["httpx", "httpx2"])

ANSWERS = {
    b"/moved": b"HTTP/1.1 302 Found\r\nLocation: /plain\r\nSet-Cookie: moved=1\r\nContent-Length: 0\r\n\r\n",
    b"/again": b"HTTP/1.1 307 Again\r\nLocation: /plain\r\nContent-Length: 0\r\n\r\n",
    b"/cookie": b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=7; Path=/\r\nContent-Length: 0\r\n\r\n",
    b"/forget": b"HTTP/1.1 200 OK\r\nSet-Cookie: sid=; Max-Age=0; Path=/\r\nContent-Length: 0\r\n\r\n",
}


async def site(peer: Peer) -> None:
    while True:
        head = await peer.reader.readuntil(b"\r\n\r\n")
        if b"content-length: 7" in head.lower():
            await peer.reader.readexactly(7)
        path = head.split(b" ")[1].partition(b"?")[0]
        await peer.send(ANSWERS.get(path.removeprefix(b"/base"), OK))


class Driven:
    """One client, and all that was seen of it."""

    def __init__(self, lib: Any, client: Any, origin: str) -> None:
        self.lib = lib
        self.client = client
        self.origin = origin
        self.seen: list[Any] = []

    async def requested(self, request: Any) -> None:
        self.seen.append(("hook", request.method, str(request.url)))
        request.headers["x-hook"] = "1"

    async def answered(self, response: Any) -> None:
        self.seen.append(("hook", response.status_code))

    async def ask(self, verb: str, path: str, options: dict[str, Any]) -> None:
        try:
            response = await getattr(self.client, verb)(self.origin + path, **options)
        except self.lib.RequestError as error:
            self.seen.append((type(error).__name__, str(error)))
            return
        sent = response.request
        told = response.status_code, response.headers.raw, response.encoding, [str(one.url) for one in response.history]
        asked = sent.method, str(sent.url), sent.headers.raw, sent.extensions
        self.seen.append((*told, *asked, sorted((one.name, one.value) for one in self.client.cookies.jar)))


def setting(name: str, value: Callable[[Driven], Any]) -> Callable[[Driven], Any]:
    return lambda driven: setattr(driven.client, name, value(driven))


CHANGES: dict[str, Callable[[Driven], Any]] = {
    "a header": lambda driven: driven.client.headers.update({"X-A": "1"}),
    "another value": lambda driven: driven.client.headers.update({"x-a": "2"}),
    "no such header": lambda driven: driven.client.headers.pop("x-a", None),
    "other headers": setting("headers", lambda _: {"X-B": "1"}),
    "httpx's headers": setting("headers", lambda _: None),
    "a cookie": lambda driven: driven.client.cookies.set("mine", "1"),
    "no cookies": lambda driven: driven.client.cookies.clear(),
    "other cookies": setting("cookies", lambda _: {"other": "1"}),
    "a base": setting("base_url", lambda driven: driven.origin + "/base"),
    "no base": setting("base_url", lambda _: ""),
    "params": setting("params", lambda _: {"p": "1"}),
    "no params": setting("params", lambda _: {}),
    "hooks": setting("event_hooks", lambda driven: {"request": [driven.requested], "response": [driven.answered]}),
    "a hook": lambda driven: driven.client.event_hooks["request"].append(driven.requested),
    "no hooks": setting("event_hooks", lambda _: {}),
    "credentials": setting("auth", lambda _: ("ada", "secret")),
    "no credentials": setting("auth", lambda _: None),
    "a timeout": setting("timeout", lambda driven: driven.lib.Timeout(4.0, read=3.0)),
    "another timeout": setting("timeout", lambda _: 5.0),
    "redirects": setting("follow_redirects", lambda _: True),
    "no redirects": setting("follow_redirects", lambda _: False),
}
CALLS = st.tuples(
    st.sampled_from(["get", "post", "delete"]),
    st.sampled_from(["/plain", "/plain?a=1", "/moved", "/again", "/cookie", "/forget"]),
    st.fixed_dictionaries(
        {}, optional={"headers": st.sampled_from([{"X-C": "1"}, {"x-a": "3"}]), "params": st.just({"q": 1})}
    ),
)


@EACH
@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.one_of(st.sampled_from([*CHANGES]), CALLS), max_size=25))
def test_it_does_as_httpx_does(lib: Any, kind: Any, steps: list[Any]) -> None:
    async def compare() -> None:
        async with serving(site) as server:
            name = f"127.0.0.1:{server.port}"
            async with (
                lib.AsyncClient(verify=TLS) as plain,
                kind(mesh=mesh_of(server.port, name=name), verify=TLS) as ours,
            ):
                both = [Driven(lib, client, f"http://{name}") for client in (plain, ours)]
                for step in steps:
                    for driven in both:
                        if isinstance(step, str):
                            CHANGES[step](driven)
                        else:
                            verb, path, options = step
                            body = {"json": {"a": 1}} if verb == "post" else {}
                            await driven.ask(verb, path, {**options, **body})
                assert both[1].seen == both[0].seen

    asyncio.run(compare())

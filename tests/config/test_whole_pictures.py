"""A reader never sees half a change: what a call is told, where it goes and who is there belong to one picture.

`python tests/config/test_whole_pictures.py 60` does for a minute, with 1,000 pictures a second and 1,000 calls at once,
what the suite does with a few hundred of each.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx

from meshlib import Mesh, MeshClient, SyncMeshClient
from meshlib.config.build import Builder
from meshlib.config.document import parse_document
from meshlib.config.load import load_document
from meshlib.config.loaded import Loaded
from meshlib.routing.request import RouteRequest
from meshlib.testing.transport import ScriptedTransport

PICTURES = 4


def text(number: int) -> str:
    """A mesh in which everything bears its number: rule, endpoints, weights, policies, and who is there at all."""
    return f"""
services:
  shop:
    routes:
    - match: {{path: /pay}}
      split: {{pay-{number % 2}: 1}}
      request_headers: {{set: {{x-picture: "{number}"}}}}
    split: {{shop: 1}}
    timeout: {number + 1}s
clusters:
  shop: {{endpoints: [10.0.{number}.1:80, 10.0.{number}.2:80, 10.0.{number}.3:80]}}
  pay-0: {{endpoints: [{f"10.0.{number}.9:80" if number % 2 == 0 else ""}]}}
  pay-1: {{endpoints: [{f"10.0.{number}.9:80" if number % 2 == 1 else ""}]}}
"""


def loaded(number: int) -> Loaded:
    return load_document(parse_document(text(number), "mesh.yaml"), Path(), {})


class Writer:
    """Publishes picture after picture, as a reload does."""

    def __init__(self) -> None:
        self.mesh = Mesh()
        self._builder = Builder(self.mesh)
        self._pictures = [loaded(number) for number in range(PICTURES)]
        self.published = 0
        self.publish()

    def publish(self) -> None:
        snapshot = self._pictures[self.published % PICTURES]
        self.mesh.publish(lambda old: self._builder.snapshot(snapshot))
        self._builder.look_after()
        self.published += 1


def told_and_gone_to(request: httpx.Request) -> tuple[str, str]:
    """The number in the rule's header, and that in the address."""
    return request.headers["x-picture"], str(request.url.host).split(".")[2]


def test_a_snapshot_is_of_one_picture_whenever_it_is_read() -> None:
    writer, found = Writer(), []
    stop = threading.Event()

    def read() -> int:
        looked = 0
        while not stop.is_set():
            now = writer.mesh.current
            decision = now.routes.resolve(RouteRequest("shop", path="/pay"), lambda: 0.0)
            assert decision is not None and decision.cluster is not None and decision.route.headers is not None
            told = decision.route.headers.set[0][1]
            here = {one.host.split(".")[2] for one in now.clusters["shop"].balancer.endpoints}
            picked = now.clusters[decision.cluster].balancer.pick(lambda: 0.5, 0.0).host.split(".")[2]
            found.append((told, here, picked))
            looked += 1
        return looked

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        for _ in range(500):
            writer.publish()
        stop.set()
        assert sum(reader.result() for reader in readers) == len(found)
    assert all(here == {told} and picked == told for told, here, picked in found)


async def call_while_publishing(calls: int, done: Callable[[Writer], bool]) -> tuple[Writer, ScriptedTransport]:
    """`calls` at once, again and again, until the writer is done."""
    writer, wire = Writer(), ScriptedTransport()
    ended = threading.Event()

    def write() -> None:
        began = time.monotonic()
        while not done(writer):
            writer.publish()
            early = began + writer.published / 1_000 - time.monotonic()
            if early > 0:
                time.sleep(early)
        ended.set()

    thread = threading.Thread(target=write)
    async with MeshClient(mesh=writer.mesh, transport=wire) as client:

        async def calling() -> None:
            while True:
                assert (await client.get("http://shop/pay")).status_code == 200
                if ended.is_set():
                    return
                await asyncio.sleep(0)

        thread.start()
        await asyncio.gather(*[calling() for _ in range(calls)])
    thread.join()
    return writer, wire


def test_a_call_of_many_at_once_is_served_by_one_picture() -> None:
    _, wire = asyncio.run(call_while_publishing(100, lambda writer: writer.published >= 300))
    seen = [told_and_gone_to(request) for request in wire.requests]
    assert len(seen) >= 100 and all(told == there for told, there in seen)
    assert len(set(seen)) > 1, "several pictures were seen"


def test_a_call_in_a_thread_is_served_by_one_picture() -> None:
    writer, wire = Writer(), ScriptedTransport()
    stop = threading.Event()

    def calling(client: SyncMeshClient) -> None:
        while not stop.is_set():
            assert client.get("http://shop/pay").status_code == 200

    with SyncMeshClient(mesh=writer.mesh, transport=wire) as client, ThreadPoolExecutor(8) as pool:
        callers = [pool.submit(calling, client) for _ in range(8)]
        for _ in range(1_000):
            writer.publish()
        stop.set()
        for caller in callers:
            caller.result()
    assert all(told == there for told, there in map(told_and_gone_to, wire.requests))


if __name__ == "__main__":
    end = time.monotonic() + float(sys.argv[1])
    writer, wire = asyncio.run(call_while_publishing(1_000, lambda writer: time.monotonic() > end))
    seen = [told_and_gone_to(request) for request in wire.requests]
    print(f"{writer.published:,} pictures, {len(seen):,} calls, {sum(a != b for a, b in seen)} of them torn")

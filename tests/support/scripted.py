"""A server that does to a connection exactly what a test says, and remembers what it was sent."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def get(path: bytes = b"/") -> bytes:
    return b"GET " + path + b" HTTP/1.1\r\nHost: test\r\n\r\n"


def post(length: int) -> bytes:
    return b"POST / HTTP/1.1\r\nHost: test\r\nContent-Length: %d\r\n\r\n" % length


class Peer:
    """One accepted connection, from the server's side. `number` counts from 0."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> bytes:
        """The next request's head, its body read and dropped. IncompleteReadError at the end of the connection."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.split(b"\r\n"):
            name, _, value = line.partition(b": ")
            if name == b"Content-Length":
                await self.reader.readexactly(int(value))
        return head

    async def send(self, *pieces: bytes) -> None:
        for piece in pieces:
            self.writer.write(piece)
            await self.writer.drain()
            await asyncio.sleep(0)

    def reset(self) -> None:
        """Close so that the other side sees a reset, not an end."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Peer], Awaitable[None]]


class Server:
    port: int

    def __init__(self) -> None:
        self.peers: list[Peer] = []
        self.requests: list[tuple[int, bytes]] = []  # which connection, first line of what


def answering(*pieces: bytes) -> Script:
    """Answer every request of a connection in the same way."""

    async def script(peer: Peer) -> None:
        while True:
            await peer.request()
            await peer.send(*(pieces or (OK,)))

    return script


def once(*pieces: bytes) -> Script:
    """Answer one request, and close."""

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.send(*pieces)

    return script


@asynccontextmanager
async def serving(*scripts: Script, uds: str | None = None, **how: Any) -> AsyncIterator[Server]:
    """The first connection runs the first script, and so on; all further ones the last. Then the peer is closed."""
    server = Server()
    tasks: set[asyncio.Task[None]] = set()

    async def run(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = Peer(reader, writer, len(server.peers))
        server.peers.append(peer)
        original = peer.request

        async def recorded() -> bytes:
            head = await original()
            server.requests.append((peer.number, head.split(b"\r\n")[0]))
            return head

        peer.request = recorded  # type: ignore[method-assign]
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            await scripts[min(peer.number, len(scripts) - 1)](peer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        except asyncio.CancelledError:
            pass
        finally:
            tasks.discard(task)
            writer.close()

    if uds is None:
        listener = await asyncio.start_server(run, "127.0.0.1", 0, **how)
        server.port = listener.sockets[0].getsockname()[1]
    else:
        listener = await asyncio.start_unix_server(run, uds, **how)
    try:
        yield server
    finally:
        for one in listener.sockets:  # accept no more: whom asyncio has accepted when it closes, it forgets
            asyncio.get_running_loop().remove_reader(one.fileno())
        for _ in range(5):  # as many turns as asyncio needs to bring one that it has just accepted to `run`
            await asyncio.sleep(0)
        listener.close()
        for task in list(tasks):
            task.cancel()
        if tasks:
            await asyncio.wait(list(tasks), timeout=5)
        for peer in server.peers:
            peer.writer.transport.abort()
        if sys.version_info >= (3, 13):
            listener.abort_clients()  # whoever it did not bring to `run` after all
        await asyncio.sleep(0)
        await asyncio.sleep(0)

"""Scripted servers in a thread of their own, so that asyncio, trio and threads can all talk to them."""

from __future__ import annotations

import asyncio
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import trustme

from support.scripted import Peer, Script, Server, serving


@contextmanager
def served(*scripts: Script, **how: Any) -> Iterator[Server]:
    """`scripted.serving`, from a thread."""
    ready = threading.Event()
    found: list[Any] = []

    async def serve() -> None:
        stop = asyncio.Event()
        try:
            async with serving(*scripts, **how) as server:
                found.extend([server, asyncio.get_running_loop(), stop])
                ready.set()
                await stop.wait()
        finally:
            ready.set()

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="loopback")
    thread.start()
    ready.wait()
    try:
        yield found[0]
    finally:
        found[1].call_soon_threadsafe(found[2].set)
        thread.join()


class Trust:
    """A certificate authority of our own: contexts for servers, and one for clients who believe it."""

    def __init__(self) -> None:
        self._authority = trustme.CA()
        self.client = ssl.create_default_context()
        self._authority.configure_trust(self.client)

    def server(self, *names: str, alpn: tuple[str, ...] = ()) -> tuple[ssl.SSLContext, list[str | None]]:
        """A server's context with a certificate for `names`, and the list of the names that clients ask for."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._authority.issue_cert(*names).configure_cert(context)
        if alpn:
            context.set_alpn_protocols(list(alpn))
        asked: list[str | None] = []
        context.sni_callback = lambda connection, name, of: asked.append(name)
        return context, asked


async def http2(peer: Peer) -> None:
    """Answer HTTP/2 requests with their `:authority`."""
    import h2.config
    import h2.connection
    import h2.events

    connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="ascii"))
    connection.initiate_connection()
    peer.writer.write(connection.data_to_send())
    while data := await peer.reader.read(65536):
        for event in connection.receive_data(data):
            if isinstance(event, h2.events.RequestReceived):
                authority = dict(event.headers)[":authority"]
                connection.send_headers(event.stream_id, [(":status", "200")])
                connection.send_data(event.stream_id, authority.encode(), end_stream=True)
        peer.writer.write(connection.data_to_send())
        await peer.writer.drain()

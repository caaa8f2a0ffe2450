"""One server of the demo, a process of its own: `python server.py NAME`.

It answers every request with its name after 20 ms, and obeys lines on its standard input:

    listen PORT       begin to serve on 127.0.0.1 (answered by "listening" or "taken" on standard output)
    delay SECONDS     take so long for each answer from now on

Standard input is a lifeline, too. When the parent is gone, whatever way it went, the pipe ends, and so does the server.
Nothing of meshlib is imported here: a server of the real world would not do so either.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from typing import Any

import uvicorn

USUAL = 0.02  # as in script.py, which cannot be imported from here


class App:
    """The smallest ASGI app that can be slow."""

    def __init__(self, name: str) -> None:
        self.delay = USUAL
        self._body = f'{{"served by": "{name}"}}'.encode()
        self._headers = [
            (b"content-type", b"application/json"),
            (b"content-length", b"%d" % len(self._body)),
            (b"x-server", name.encode()),
        ]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(self.delay)
        await send({"type": "http.response.start", "status": 200, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


class ObedientServer(uvicorn.Server):
    """uvicorn, saying on standard output that it listens."""

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        print("listening", flush=True)


def obey(app: App) -> None:
    """Do what the parent says, until there is no parent."""
    for line in sys.stdin:
        _, seconds = line.split()
        app.delay = float(seconds)
    os._exit(0)


def main() -> None:
    line = sys.stdin.readline()
    if not line:
        return
    # With its protocol named: asyncio gives TCP_NODELAY only to such, and 40 ms of Nagle would drown our 20 ms.
    door = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        door.bind(("127.0.0.1", int(line.split()[1])))
    except OSError:
        print("taken", flush=True)
        return
    app = App(sys.argv[1])
    threading.Thread(target=obey, args=(app,), daemon=True).start()
    # Plain asyncio and no logging: what the demo shows must not depend on what else is installed.
    config = uvicorn.Config(app, loop="asyncio", ws="none", lifespan="off", log_config=None, access_log=False)
    ObedientServer(config).run([door])


if __name__ == "__main__":
    main()

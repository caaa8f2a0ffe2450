"""A server that misbehaves by the dice: `python rough_server.py LOG SEED [PORT]` prints its port and serves for ever.

Of each request that came whole it first writes `method number` to LOG, where it stays whatever becomes of the process.
"""

from __future__ import annotations

import asyncio
import os
import random
import socket
import struct
import sys

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n" + b"x" * 1000
WELL = 80  # of a hundred answers; the others:
SINS = {
    "reset": 4, "close": 4, "garbage": 3, "half a head": 3, "half a body": 3, "two answers": 1, "silence": 1, "503": 1,
}  # fmt: skip


class Rough(asyncio.Protocol):
    def __init__(self, log: int, dice: random.Random) -> None:
        self._log = log
        self._dice = dice
        self._data = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (end := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[:end]
            fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
            end += 4 + int(fields.get(b"content-length", 0))
            if len(self._data) < end:
                return
            self._data = self._data[end:]
            os.write(self._log, head.split(b" ", 1)[0] + b" " + fields[b"x-number"] + b"\n")
            self._answer()

    def _answer(self) -> None:
        way = self._transport
        sin = self._dice.choices(["none", *SINS], [WELL, *SINS.values()])[0]
        if sin == "none":
            way.write(ANSWER)
        elif sin == "two answers":
            way.write(ANSWER + ANSWER)
        elif sin == "503":
            way.write(b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n")
        elif sin == "garbage":
            way.write(self._dice.randbytes(100))
        elif sin == "reset":
            linger = struct.pack("ii", 1, 0)
            way.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            way.abort()
        elif sin != "silence":
            way.write({"close": b"", "half a head": ANSWER[:20], "half a body": ANSWER[:-500]}[sin])
            way.close()


async def main(log: str, seed: str, port: str = "0") -> None:
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    dice = random.Random(seed)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Rough(file, dice), "127.0.0.1", int(port), reuse_address=True)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))

"""Feeds made-up and damaged responses to our reader and to h11 as httpcore drives it; they must agree.

`python tests/http/fuzz_wire.py 3600` runs for an hour; the suite runs it for a moment, with a fixed seed.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterator

import h11

from meshlib.wire.h1_errors import RemoteProtocolError
from meshlib.wire.h11_reader import LONGEST_HEAD
from meshlib.wire.response_reader import SLICE, ResponseReader

REQUEST = b" / HTTP/1.1\r\nHost: example\r\n"
Outcome = tuple[object, ...]


def by_h11(pieces: list[bytes], method: bytes, *, closing: bool, extra: list[tuple[bytes, bytes]]) -> Outcome:
    """What httpcore would make of these bytes: it reads no further than the end of the response."""
    h = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
    h.send(h11.Request(method=method, target=b"/", headers=[(b"Host", b"example"), *extra]))
    h.send(h11.EndOfMessage())
    waiting: Iterator[bytes] = iter([p[i : i + SLICE] for p in pieces for i in range(0, len(p), SLICE)])
    head: tuple[object, ...] | None = None
    body = b""
    while True:
        try:
            event = h.next_event()
        except h11.RemoteProtocolError:
            return ("RemoteProtocolError",)
        if event is h11.NEED_DATA:
            data = next(waiting, b"")
            if not data and not closing:
                return ("waits", head, body)
            if not data and h.their_state is h11.SEND_RESPONSE:
                return ("RemoteProtocolError",)
            h.receive_data(data)
        elif isinstance(event, h11.Response) or (
            isinstance(event, h11.InformationalResponse) and event.status_code == 101
        ):
            head = (event.status_code, event.reason, b"HTTP/" + event.http_version, event.headers.raw_items())
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
            left = h.trailing_data != (b"", False) or any(waiting)
            reusable = h.our_state is h11.DONE and h.their_state is h11.DONE and not left
            return ("done", head, body, reusable)


def by_reader(
    pieces: list[bytes], method: bytes, *, closing: bool, extra: list[tuple[bytes, bytes]], reader: ResponseReader
) -> Outcome:
    reader.begin(method + REQUEST + b"".join(b"%s: %s\r\n" % field for field in extra) + b"\r\n", method)
    complete = False
    try:
        for piece in pieces:
            complete = reader.feed(piece)
        if closing and not complete:
            complete = reader.eof()
    except RemoteProtocolError:
        return ("RemoteProtocolError",)
    answer = reader.answer
    said = answer and answer.head
    head = said and (said.status, said.reason, said.http_version, said.headers)
    keep = (b"Connection", b"close") not in extra  # what Pool.exchange is told
    return ("done", head, reader.take(), reader.reusable and keep) if complete else ("waits", head, reader.take())


def agree(pieces: list[bytes], method: bytes, *, closing: bool, extra: list[tuple[bytes, bytes]]) -> None:
    theirs = by_h11(pieces, method, closing=closing, extra=extra)
    reader = ResponseReader()
    first = by_reader(pieces, method, closing=closing, extra=extra, reader=reader)
    by_reader([b"".join(pieces)] if pieces else [], b"GET", closing=False, extra=[], reader=reader)
    ours = by_reader(pieces, method, closing=closing, extra=extra, reader=reader)
    assert ours == first, ("what was read before makes a difference", ours, first, pieces, method, closing, extra)
    if ours[0] == theirs[0] == "done" and theirs[3] and not ours[3]:
        headers = {name.lower() for name, _ in theirs[1][3]}  # type: ignore[index]
        assert {b"content-length", b"transfer-encoding"} <= headers, (ours, theirs, pieces)
        return  # both framings at once: we take the answer as h11 does, but close the connection
    assert ours == theirs, (ours, theirs, pieces, method, closing, extra)


NAMES = [b"Content-Length", b"content-length", b"Transfer-Encoding", b"TRANSFER-ENCODING", b"Connection", b"connection"]
NAMES += [
    b"Date",
    b"X-Y",
    b"Set-Cookie",
    b"Upgrade",
    b"keep-alive",
    b"x" * 10,
    b"x" * 14,
    b"x" * 17,
    b"",
    b"a b",
    b"\xff",
]
VALUES = [
    b"0",
    b"5",
    b"05",
    b"5, 5",
    b"5,6",
    b"+5",
    b"-1",
    b"5 ",
    b"1" * 19,
    b"1" * 21,
    b"chunked",
    b"Chunked",
    b"gzip",
]
VALUES += [
    b"gzip, chunked",
    b"close",
    b"keep-alive",
    b"Close, x",
    b"x, CLOSE ,",
    b"",
    b" \t",
    b"a\tb  c",
    b"\x01",
    b"\x00",
]
VALUES += [b"caf\xe9", b"a\x0bb", b"a\x7fb", b"websocket", b"a\r\n folded", b"a\nb", b"a\rb"]
STARTS = [b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK", b"HTTP/1.0 200 OK", b"HTTP/1.1 204 No Content", b"HTTP/1.1 304 x"]
STARTS += [
    b"HTTP/1.1 200",
    b"HTTP/1.1 200 ",
    b"HTTP/1.1  200 OK",
    b"HTTP/1.2 200 OK",
    b"HTTP/2.0 200 OK",
    b"HTTP/0.9 200",
]
STARTS += [
    b"HTTP/1.1 099 x",
    b"HTTP/1.1 999 x",
    b"HTTP/1.1 2000 x",
    b"http/1.1 200 OK",
    b"HTTP/1.1 200 \xff",
    b"\x16\x03",
]
STARTS += [b"HTTP/1.1 200 a\tb ", b"HTTP/1.1 200 \x00", b"HTTP/1.1 101 Switching Protocols", b"", b" HTTP/1.1 200 OK"]
INFORMATIONAL = [
    b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n",
    b"HTTP/1.1 102\n\n",
]
SIZES = [
    b"5",
    b"05",
    b"A",
    b"a",
    b"0",
    b"5;x=y",
    b"5 ",
    b"5\t",
    b" 5",
    b"g",
    b"",
    b"-1",
    b"f" * 15,
    b"f" * 16,
    b"0" * 20,
]
SIZES += [b"0" * 21, b"5;" + b"x" * 40, b'5;a="\r"']
ENDS = [b"\r\n", b"\r\n", b"\r\n", b"\r\n", b"\n", b"\r", b""]


def response(rng: random.Random) -> bytes:
    """A response: mostly sound, with oddities of every kind thrown in."""
    pick, chance = rng.choice, rng.random
    odd = chance() < 0.5

    def end() -> bytes:
        return pick(ENDS) if odd and chance() < 0.1 else b"\r\n"

    out = [pick(INFORMATIONAL)] if chance() < 0.1 else []
    out += [pick(STARTS) if odd else pick(STARTS[:5]), end()]
    framing = rng.randrange(4)
    if framing == 0:
        out += [pick(NAMES[:2]), b": %d" % rng.randrange(12), end()]
    elif framing == 1:
        out += [b"Transfer-Encoding: chunked", end()]
    for _ in range(rng.randrange(4)):
        name, value = (pick(NAMES), pick(VALUES)) if odd else (pick(NAMES[6:9]), pick(VALUES[:3]))
        out += [name, pick([b": ", b":", b":\t ", b" : "]) if odd and chance() < 0.3 else b": ", value, end()]
    if not odd and chance() < 0.2:
        out += [b"Connection: ", pick([b"close", b"keep-alive"]), b"\r\n"]
    out.append(end())
    if framing == 1:
        for _ in range(rng.randrange(4)):
            if odd and chance() < 0.3:
                out += [pick(SIZES), end(), b"hello", end()]
            else:
                data = rng.randbytes(rng.randrange(1, 20))
                out += [b"%x" % len(data), b"\r\n", data, b"\r\n"]
        out += [b"0", end(), b"X-Trailer: 1\r\n" if chance() < 0.2 else b"", end()]
    else:
        out.append(rng.randbytes(rng.randrange(14)))
    if chance() < 0.1:
        out.append(b"HTTP/1.1 200 OK\r\n")
    whole = bytearray(b"".join(out))
    while whole and chance() < 0.15:
        what = rng.randrange(3)
        at = rng.randrange(len(whole))
        if what == 0:
            whole[at] = rng.randrange(256)
        elif what == 1:
            del whole[at : at + rng.randrange(1, 5)]
        else:
            whole[at:at] = pick([b"\r", b"\n", b"\x00", b" ", b":", b"\r\n\r\n", rng.randbytes(2)])
    return bytes(whole)


def split(whole: bytes, rng: random.Random) -> list[bytes]:
    how = rng.randrange(4)
    if how == 0:
        return [whole] if whole else []
    if how == 1:
        return [whole[i : i + 1] for i in range(len(whole))]
    cuts = sorted(rng.randrange(len(whole) + 1) for _ in range(rng.randrange(1, 5)))
    pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    return [piece for piece in pieces if piece]


def once(seed: int) -> None:
    rng = random.Random(seed)
    extra: list[tuple[bytes, bytes]] = []
    if rng.random() < 0.1:
        extra.append(rng.choice([(b"Connection", b"close"), (b"Upgrade", b"websocket"), (b"Expect", b"100-continue")]))
    method = rng.choice([b"GET", b"GET", b"POST", b"HEAD", b"OPTIONS"])
    agree(split(response(rng), rng), method, closing=rng.random() < 0.7, extra=extra)


if __name__ == "__main__":
    end = time.monotonic() + float(sys.argv[1] if len(sys.argv) > 1 else 10)
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    first = seed
    while time.monotonic() < end:
        once(seed)
        seed += 1
    print(f"{seed - first} responses from seed {first}: all agree")

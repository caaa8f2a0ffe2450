"""What the head guard keeps from h11, and that it keeps nothing else: h11 with and without it, side by side."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import fuzz_wire
import h11
import h11._readers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.wire.h1_errors import RemoteProtocolError
from meshlib.wire.head_guard import MOST_BLANKS, HeadGuard

HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
LONG = b" " * (MOST_BLANKS + 1)
MANY = re.compile(rb":(?:[ \t]|\r?\n[ \t]){%d}" % (MOST_BLANKS + 1)).search


def guarding(*pieces: bytes, method: bytes = b"GET") -> HeadGuard:
    guard = HeadGuard()
    guard.sent(method + b" / HTTP/1.1\r\nHost: test\r\n\r\n")
    for piece in pieces:
        guard.received(piece)
    return guard


REFUSED = {
    "blanks": HEAD + b"X:" + LONG + b"\0\r\n\r\n",
    "tabs": HEAD + b"X:" + LONG.replace(b" ", b"\t") + b"\0\r\n\r\n",
    "mixed": HEAD + b"X:" + b" \t\t" * MOST_BLANKS + b"\0\r\n\r\n",
    "a value that is right": HEAD + b"X:" + LONG + b"x\r\n\r\n",
    "folded lines": HEAD + b"X:\r\n" + b" \r\n" * MOST_BLANKS + b" \0\r\n\r\n",
    "folded lines with bare line feeds": HEAD + b"X:\n" + b"\t\n" * MOST_BLANKS + b" \0\n\n",
    "bare line feeds": b"HTTP/1.1 200 OK\nX:" + LONG + b"\0\n\n",
    "the last line": HEAD + b"A: b\r\n" * 100 + b"X:" + LONG + b"\0\r\n\r\n",
    "an informational head": b"HTTP/1.1 103 Early Hints\r\nX:" + LONG + b"\0\r\n\r\n",
    "after an informational head": b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"X:" + LONG + b"\0\r\n\r\n",
    "trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX:" + LONG + b"\0\r\n\r\n",
    "trailers after an extension": CHUNKED + b"0;a=b\r\nA: b\r\nX:" + LONG + b"\0\r\n\r\n",
    "a bare line feed in a size": CHUNKED + b"5;" + LONG + b"\n\r\nhello\r\n",
    "a bare line feed in a later size": CHUNKED + b"5\r\nhello\r\n5;a\nb\r\nhello\r\n",
}


@pytest.mark.parametrize("whole", REFUSED.values(), ids=REFUSED)
def test_refuses_what_h11_would_be_slow_at(whole: bytes) -> None:
    for size in (len(whole), 7, 1):
        with pytest.raises(RemoteProtocolError):
            guarding(*(whole[at : at + size] for at in range(0, len(whole), size)))


BODY = b"\r\n\r\nX:" + LONG + b"\0\r\n\r\n"  # what would be refused in a head
PASSED = {
    "as many as are allowed": HEAD + b"X:" + b" " * MOST_BLANKS + b"\0\r\n\r\n",
    "many lines of them": HEAD + (b"X:" + b" " * 1000 + b"x\r\n") * 60 + b"\r\n",
    "within a value": HEAD + b"X: a" + LONG + b"b\r\n\r\n",
    "a long name": HEAD + b"x" * 60_000 + b": y\r\n\r\n",
    "a body of some length": HEAD + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY,
    "a body until the end": HEAD + b"A: b\r\n\r\n" + BODY,
    "a chunk": CHUNKED + b"%x\r\n" % len(BODY) + BODY + b"\r\n0\r\n\r\n",
    "a long extension": CHUNKED + b"5;" + LONG * 20 + b"\r\nhello\r\n0\r\n\r\n",
    "what comes after a response": HEAD + b"Content-Length: 0\r\n\r\n" + BODY,
    "what comes after trailers": CHUNKED + b"0\r\nA: b\r\n\r\n" + BODY,
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\n\r\n" + BODY,
    "a head that is none": b"\r\n" + BODY,
}


@pytest.mark.parametrize("whole", PASSED.values(), ids=PASSED)
def test_lets_everything_else_pass(whole: bytes) -> None:
    for size in (len(whole), 7, 1):
        guarding(*(whole[at : at + size] for at in range(0, len(whole), size)))


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_without_body_has_no_chunks(status: bytes) -> None:
    guarding(b"HTTP/1.1 " + status + b"\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + BODY)


def test_a_response_to_head_has_no_chunks() -> None:
    guarding(CHUNKED + b"0\r\n" + BODY, method=b"HEAD")


def test_each_response_of_a_connection_is_looked_at() -> None:
    guard = guarding(HEAD + b"Content-Length: 2\r\n\r\nok")
    guard.sent(b"POST / HTTP/1.1\r\nHost: test\r\n\r\n")
    guard.sent(b"and its body, in a write of its own")
    with pytest.raises(RemoteProtocolError):
        guard.received(REFUSED["blanks"])


@pytest.mark.parametrize(
    ("request_", "answer"),
    [
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", b"HTTP/1.1 101 Switching Protocols\r\n\r\n"),
        (b"CONNECT test:443 HTTP/1.1\r\n\r\n", HEAD + b"\r\n"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b""),
    ],
)
def test_nothing_is_looked_at_in_another_protocol(request_: bytes, answer: bytes) -> None:
    guard = HeadGuard()
    guard.sent(request_)
    guard.received(answer)
    guard.sent(b"GET / HTTP/1.1\r\n\r\n")  # whatever this is, over there
    guard.received(REFUSED["blanks"])


class Watched:
    """What h11 reads: its heads and trailers, and what its two slow expressions are asked to read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begin()
        validate_, extract = h11._readers.validate, h11._readers.ReceiveBuffer.maybe_extract_lines

        def validate(regex: re.Pattern[bytes], data: bytes, *message: object) -> dict[str, bytes]:
            if regex is h11._readers.header_field_re:
                self.slow += re.match(rb"[^:]*:[ \t]{%d}" % (MOST_BLANKS + 1), data) is not None
            if regex is h11._readers.chunk_header_re:
                self.slow += b"\n" in data[:-2]
            return validate_(regex, data, *message)  # type: ignore[arg-type]

        def maybe_extract_lines(buffer: h11._readers.ReceiveBuffer) -> list[bytearray] | None:
            lines = extract(buffer)
            self.blocks.append(b"\n".join(lines or []))
            return lines

        monkeypatch.setattr(h11._readers, "validate", validate)
        monkeypatch.setattr(h11._readers.ReceiveBuffer, "maybe_extract_lines", maybe_extract_lines)

    def begin(self) -> None:
        self.slow = 0
        self.blocks: list[bytes] = []


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield Watched(monkeypatch)


@settings(max_examples=1500)
@given(seed=st.integers(0, 2**64 - 1))
def test_nothing_slow_comes_to_h11_and_all_else_does(watched: Watched, seed: int) -> None:
    rng = random.Random(seed)
    whole = fuzz_wire.response(rng)
    for _ in range(rng.randrange(3)):
        at = rng.randrange(len(whole) + 1)
        if rng.random() < 0.7:  # behind a colon, as far as there is one
            at = whole.find(b":", at) + 1 or at
        what = rng.choice([LONG, LONG.replace(b" ", b"\t"), b"\r\n " * MOST_BLANKS + LONG, b"\n\t" * (MOST_BLANKS + 9)])
        whole = whole[:at] + what + whole[at:]
    pieces = fuzz_wire.split(whole, rng) if rng.random() < 0.9 else [whole]
    method = rng.choice([b"GET", b"POST", b"HEAD"])

    watched.begin()
    alone = fuzz_wire.by_h11(pieces, method, closing=False, extra=[])
    was_slow, blocks = watched.slow, watched.blocks
    guard = HeadGuard()
    guard.sent(method + b" / HTTP/1.1\r\n\r\n")
    let_through: list[bytes] = []
    refused = False
    try:
        for piece in pieces:
            guard.received(piece)
            let_through.append(piece)
    except RemoteProtocolError:
        refused = True
    watched.begin()
    guarded = fuzz_wire.by_h11(let_through, method, closing=False, extra=[])
    assert watched.slow == 0
    if refused:
        # h11 would refuse it as well, or has read a field, perhaps a folded one, with that many blanks.
        assert alone[0] == "RemoteProtocolError" or any(map(MANY, blocks))
    else:
        assert guarded == alone
        assert was_slow == 0

"""The rules by which a response is read. That they are h11's is shown by fuzz_wire, run here for a moment."""

from __future__ import annotations

import fuzz_wire
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.wire.h1_errors import RemoteProtocolError
from meshlib.wire.response_reader import ResponseReader

REQUEST = b"GET / HTTP/1.1\r\nHost: example\r\n\r\n"


def reading(*pieces: bytes, method: bytes = b"GET", closing: bool = False) -> ResponseReader:
    reader = ResponseReader()
    reader.begin(REQUEST, method)
    for piece in pieces:
        reader.feed(piece)
    if closing:
        reader.eof()
    return reader


def test_reads_a_plain_response() -> None:
    reader = reading(b"HTTP/1.1 200 Fine so\r\nContent-Length: 3\r\nX-Case: kept \r\n\r\nabc")
    assert reader.complete and reader.reusable and reader.answer is not None
    head = reader.answer.head
    assert (head.status, head.reason, head.http_version) == (200, b"Fine so", b"HTTP/1.1")
    assert head.headers == [(b"Content-Length", b"3"), (b"X-Case", b"kept")]
    assert reader.take() == b"abc"


WHOLE = [
    (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n0123456789", b"0123456789"),
    (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1;ext=1\r\n!\r\n0\r\nT: 1\r\n\r\n",
        b"hello!",
    ),
    (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nA: b\r\n c\r\nContent-Length: 2\r\n\r\nok", b"ok"),
    (b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", b"ok"),
]


@pytest.mark.parametrize(("whole", "body"), WHOLE)
@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
def test_splitting_a_response_at_any_two_positions_changes_nothing(whole: bytes, body: bytes, method: bytes) -> None:
    whole = whole[: -len(whole.partition(b"200")[2].partition(b"\r\n\r\n")[2])] if method == b"HEAD" else whole
    for first in range(1, len(whole)):
        for second in range(first + 1, len(whole)):
            pieces = [whole[:first], whole[first:second], whole[second:]]
            fuzz_wire.agree(pieces, method, closing=False, extra=[])


def test_a_response_without_length_lasts_until_the_connection_closes() -> None:
    reader = reading(b"HTTP/1.1 200 OK\r\n\r\nab", b"cd")
    assert not reader.complete
    assert reader.eof() and reader.take() == b"abcd" and not reader.reusable


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_a_status_without_body_has_none_whatever_the_headers_say(status: bytes) -> None:
    reader = reading(b"HTTP/1.1 " + status + b"\r\nContent-Length: 5\r\n\r\n")
    assert reader.complete and reader.reusable and reader.take() == b""


def test_both_framings_at_once_are_read_as_chunked_and_end_the_connection() -> None:
    reader = reading(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n")
    assert reader.complete and reader.take() == b"ok" and not reader.reusable


@pytest.mark.parametrize(
    "surplus",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n!",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nTrailer: x\r\n\r\n!",
    ],
)
def test_bytes_left_over_end_the_connection(surplus: bytes) -> None:
    reader = reading(surplus)
    assert reader.complete and reader.take() == b"ok" and not reader.reusable


@pytest.mark.parametrize(
    "malformed",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n: x\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"\r\nHTTP/1.1 200 OK\r\n\r\n",
        b"\x16\x03\x01\x02",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok!!",
        b"HTTP/1.1 200 OK\r\nA: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + b"x" * 200_000,
    ],
)
def test_refuses_what_h11_refuses(malformed: bytes) -> None:
    fuzz_wire.agree([malformed], b"GET", closing=False, extra=[])
    with pytest.raises(RemoteProtocolError):
        reading(malformed)


@pytest.mark.parametrize(
    "cut_off",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
    ],
)
def test_a_response_cut_off_is_an_error(cut_off: bytes) -> None:
    with pytest.raises(RemoteProtocolError):
        reading(*([cut_off] if cut_off else []), closing=True)


def test_the_next_response_starts_afresh() -> None:
    reader = reading(b"HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\na")
    reader.begin(REQUEST, b"GET")
    assert not reader.complete and reader.answer is None
    assert reader.feed(b"HTTP/1.1 201 Created\r\nContent-Length: 1\r\n\r\nb")
    assert reader.take() == b"b" and reader.reusable


@settings(max_examples=1000)
@given(st.integers(0, 2**64 - 1))
def test_agrees_with_h11_on_generated_responses(seed: int) -> None:
    fuzz_wire.once(seed)


@settings(max_examples=500)
@given(st.lists(st.binary(max_size=30), max_size=5), st.booleans())
def test_agrees_with_h11_on_any_bytes(pieces: list[bytes], closing: bool) -> None:
    fuzz_wire.agree([b"HTTP/1.1 200 OK\r\n", *[p for p in pieces if p]], b"GET", closing=closing, extra=[])


def test_a_head_in_small_pieces_is_looked_at_twice_and_not_with_each_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    """60 KB that came byte by byte were searched from the start with each byte: two seconds of work."""
    looks: list[int] = []
    theirs = ResponseReader._feed_head
    monkeypatch.setattr(ResponseReader, "_feed_head", lambda self, data: looks.append(len(data)) or theirs(self, data))
    whole = b"HTTP/1.1 200 OK\r\nX: " + b"x" * 5000 + b"\r\nContent-Length: 2\r\n\r\nok"
    reader = reading(*(whole[at : at + 1] for at in range(len(whole))))
    assert reader.complete and reader.take() == b"ok"
    assert looks == [1, len(whole) - 2]

"""A request becomes the bytes that h11 makes of it, or is refused as h11 refuses it."""

from __future__ import annotations

import h11
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshlib.wire.h1_errors import LocalProtocolError
from meshlib.wire.request_writer import _by_h11, request_bytes

HOST = (b"Host", b"users")


def test_writes_a_plain_request() -> None:
    head, body, keep = request_bytes(b"POST", b"/a?b=c", [HOST, (b"Content-Length", b"2"), (b"X", b"")], b"ok")
    assert head == b"POST /a?b=c HTTP/1.1\r\nHost: users\r\nContent-Length: 2\r\nX: \r\n\r\n"
    assert body == b"ok" and keep


def test_a_request_that_says_close_does_not_keep_the_connection() -> None:
    assert not request_bytes(b"GET", b"/", [HOST, (b"Connection", b"x, Close")])[2]


@pytest.mark.parametrize(
    ("method", "target", "headers", "body"),
    [
        (b"GET", b"/", [], b""),
        (b"GET", b"/", [HOST, HOST], b""),
        (b"GE T", b"/", [HOST], b""),
        (b"GET", b"/ HTTP/1.1\r\nEvil: 1", [HOST], b""),
        (b"GET", b"/a b", [HOST], b""),
        (b"GET", b"/", [HOST, (b"A", b"1\r\nEvil: 1")], b""),
        (b"GET", b"/", [HOST, (b"A", b"1\nEvil: 1")], b""),
        (b"GET", b"/", [HOST, (b"A\r\nEvil", b"1")], b""),
        (b"GET", b"/", [HOST, (b"A", b"1\r\n\r\nGET /evil HTTP/1.1")], b""),
        (b"GET", b"/", [HOST, (b"A", b"nul \x00")], b""),
        (b"GET", b"/", [HOST, (b"A", b" space")], b""),
        (b"GET", b"/", [HOST, (b"", b"x")], b""),
        (b"POST", b"/", [HOST, (b"Content-Length", b"3")], b"ok"),
        (b"POST", b"/", [HOST, (b"Content-Length", b"1")], b"ok"),
        (b"POST", b"/", [HOST], b"ok"),
        (b"POST", b"/", [HOST, (b"Content-Length", b"2"), (b"content-length", b"3")], b"ok"),
        (b"POST", b"/", [HOST, (b"Transfer-Encoding", b"gzip")], b"ok"),
    ],
)
def test_refuses_what_h11_refuses(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    with pytest.raises(LocalProtocolError):
        request_bytes(method, target, headers, body)


def test_a_chunked_body_is_framed() -> None:
    headers = [HOST, (b"Transfer-Encoding", b"chunked")]
    assert request_bytes(b"POST", b"/", headers, b"ok")[1] == b"2\r\nok\r\n0\r\n\r\n"


names = st.sampled_from([b"Host", b"host", b"HOST", b"Content-Length", b"content-length", b"Transfer-Encoding"])
names |= st.sampled_from([b"Connection", b"connection", b"X-Y", b"Expect", b"a b", b"", b"\xff", b"a:b"])
values = st.sampled_from(
    [b"", b"0", b"2", b"02", b"2, 2", b"chunked", b"Chunked", b"close", b"CLOSE, x", b"\xe9", b"a\tb"]
)
values |= st.binary(max_size=6)
targets = st.sampled_from([b"/", b"/a?b=%20", b"*", b"/\xe9", b""]) | st.binary(max_size=4)
fields = st.lists(st.tuples(names, values), max_size=4)


@settings(max_examples=700)
@given(
    method=st.sampled_from([b"GET", b"POST", b"get", b"M-SEARCH", b"", b"G\n"]),
    target=targets,
    headers=fields.map(lambda rest: [HOST, *rest]) | fields,
    body=st.sampled_from([b"", b"ok"]),
)
def test_the_bytes_are_those_of_h11(
    method: bytes, target: bytes, headers: list[tuple[bytes, bytes]], body: bytes
) -> None:
    try:
        theirs = _by_h11(method, target, headers, body)
    except LocalProtocolError:
        with pytest.raises(LocalProtocolError):
            request_bytes(method, target, headers, body)
    else:
        assert request_bytes(method, target, headers, body) == theirs
        server = h11.Connection(h11.SERVER)
        server.receive_data(theirs[0])
        request = server.next_event()
        assert isinstance(request, h11.Request) and len(request.headers) <= len(headers)

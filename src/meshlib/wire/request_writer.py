"""Which bytes does a request become? Its head and its body, framed, as h11 writes them; pure.

As in `response_reader`: what is plain is put together here, after a check that is a strict subset of h11's; everything
else is left to h11, which writes it or refuses it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from meshlib.wire.h1_errors import LocalProtocolError

_TOKEN = rb"[-!#$%&'*+.^_`|~0-9a-zA-Z]+"
_VALUE = rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?|)"
_is_plain = re.compile(
    rb"%b [!-~]+ HTTP/1\.1\r\n[Hh]ost: %b\r\n(?:%b: %b\r\n)*\r\n" % (_TOKEN, _VALUE, _TOKEN, _VALUE)
).fullmatch


def request_bytes(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes = b""
) -> tuple[bytes, bytes, bool]:
    """The head, the body as framed, and whether the connection may be kept afterwards.

    Raises LocalProtocolError for what h11 does not send: a character that may not stand where it does, no `Host` or
    two, a `Content-Length` that is not that of `body`.
    """
    fields = b"".join([b"%b: %b\r\n" % field for field in headers])
    head = b"%b %b HTTP/1.1\r\n%b\r\n" % (method, target, fields)
    # A line break within a name, a value or the target makes more lines than there are fields.
    plain = _is_plain(head) is not None and head.count(b"\n") == len(headers) + 2
    keep = True
    length = 0
    lengths = 0
    for name, value in headers[1:]:
        size = len(name)
        if size == 14:
            if name.lower() == b"content-length":
                lengths += 1
                plain = plain and value.isdigit() and lengths == 1
                length = int(value) if plain else 0
        elif size == 10:
            if name.lower() == b"connection":
                keep = keep and b"close" not in [token.strip() for token in value.lower().split(b",")]
        elif size == 4 or size == 17:
            plain = plain and name.lower() not in (b"host", b"transfer-encoding")
    if plain and length == len(body) and method != b"CONNECT":
        return head, body, keep
    return _by_h11(method, target, headers, body)


def _by_h11(
    method: bytes, target: bytes, headers: Sequence[tuple[bytes, bytes]], body: bytes
) -> tuple[bytes, bytes, bool]:
    import h11  # seldom needed, and slow to load

    writer = h11.Connection(h11.CLIENT)
    try:
        head = writer.send(h11.Request(method=method, target=target, headers=list(headers)))
        framed = writer.send(h11.Data(data=body)) if body else b""
        framed += writer.send(h11.EndOfMessage())
    except h11.LocalProtocolError as error:
        raise LocalProtocolError(str(error)) from error
    return head, framed, writer.our_state is not h11.MUST_CLOSE

"""What did the server answer? Reads one HTTP/1.1 response from bytes; pure, no sockets.

Two roads lead to the same answer. Nearly every response is plain: a head of printable characters with CRLF line ends,
at most one `Content-Length` or one `Transfer-Encoding: chunked`, no 1xx before it. Those are read here, by regular
expressions that accept a strict subset of h11's grammar. Whatever does not fit (folded lines, bare LF, repeated or
doubled framing, 1xx, upgrades, chunk extensions, trailers, nonsense) is handed, with all its bytes, to h11 itself.
So acceptance and refusal equal those of httpx's own road by construction, not by imitation. That is also why no
llhttp is used here: it refuses what h11 accepts (both framings at once, repeated lengths, folds) and accepts what h11
refuses (an unknown transfer coding, an empty line before the status), and it saves one microsecond.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from meshlib.wire.h1_errors import RemoteProtocolError
from meshlib.wire.raw_response import CachedHead, RawResponse, ResponseHead

if TYPE_CHECKING:
    from .h11_reader import H11Road

SLICE: Final = 64 * 1024  # bytes that httpcore reads at once: h11 measures its limits between reads
LONGEST_KNOWN: Final = 2 * 1024  # bytes of the last head that a connection remembers

_status = re.compile(rb"(HTTP/1\.[01]) ([2-9][0-9][0-9])(?: ([\t -~]*))?\r\n").match
# The blanks are possessive: an empty value would otherwise stand between any two of them, and each way would be tried.
_fields = re.compile(
    rb"(?m)^([-!#$%&'*+.^_`|~0-9a-zA-Z]+):[ \t]*+([!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?|)[ \t]*+\r\n"
).findall
_head_end = re.compile(rb"\n\r?\n").search
_chunk = re.compile(rb"([0-9a-fA-F]{1,15})\r\n").match
_REMARKABLE = frozenset({b"content-encoding", b"location", b"set-cookie2"})
_NOT_AS_GET = frozenset({b"HEAD", b"CONNECT"})  # methods that change where the response ends
_CHUNKED_SO_FAR = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

_HEAD, _LENGTH, _CHUNKS, _UNTIL_CLOSE, _H11, _DONE = range(6)


class ResponseReader:
    """Reads the responses of one connection, one after the other: `begin`, then `feed` or `eof` until one is True.

    `answer` is there once the head is complete. Body bytes gather in `parts`; `held` is their number.
    `reusable`, once complete, says whether another request may follow on the connection.
    """

    __slots__ = (
        "_buffer", "_left", "_length", "_part", "_road", "_state",
        "answer", "fresh", "held", "known", "method", "not_as_get", "parts", "request", "reusable",
    )  # fmt: skip

    def __init__(self) -> None:
        self._road: H11Road | None = None
        self.known: CachedHead | None = None
        self.begin(b"", b"")

    def begin(self, request: bytes, method: bytes) -> None:
        """Expect the response to `request`, which is the head that was sent, with its `method` in capitals."""
        self.request: bytes = request
        self.method: bytes = method
        self.not_as_get: bool = method in _NOT_AS_GET
        self.fresh: bool = True  # nothing has come since `begin`
        self._state = _HEAD
        self._buffer = b""
        self._part: bytearray | None = None  # of a head, when it comes in pieces
        self.answer: RawResponse | None = None
        self.parts: list[bytes] = []
        self.held: int = 0

    @property
    def complete(self) -> bool:
        return self._state == _DONE

    def take(self) -> bytes:
        """The body bytes that have come since the last time."""
        data = self.parts[0] if len(self.parts) == 1 else b"".join(self.parts)
        self.parts.clear()
        self.held = 0
        return data

    def feed(self, data: bytes) -> bool:
        """Take bytes from the server; True when the response is complete. Raises RemoteProtocolError."""
        state = self._state
        if state == _HEAD:
            self.fresh = False
            return self._feed_head(data) if self._part is None else self._feed_part(self._part, data)
        if state == _LENGTH:
            return self._feed_length(data)
        if state == _CHUNKS:
            return self._feed_chunks(self._buffer + data if self._buffer else data)
        if state == _UNTIL_CLOSE:
            self.keep(data)
            return False
        if state == _H11:
            return self._feed_h11(data)
        self.reusable: bool = False  # more than was asked for
        return True

    def eof(self) -> bool:
        """The server closed its side; True when that completes the response. Raises RemoteProtocolError."""
        state = self._state
        if state == _UNTIL_CLOSE:
            return self._done(reusable=False)
        if state == _LENGTH:
            raise RemoteProtocolError(
                "peer closed connection without sending complete message body "
                f"(received {self._length - self._left} bytes, expected {self._length})"
            )
        if state == _CHUNKS:
            raise RemoteProtocolError(
                "peer closed connection without sending complete message body (incomplete chunked read)"
            )
        if state == _H11 and self.answer is not None:
            return self._feed_h11(b"")
        if state == _DONE:
            return True
        raise RemoteProtocolError("Server disconnected without sending a response.")

    def _feed_head(self, data: bytes) -> bool:
        known = self.known
        if known is not None and data.startswith(known.bytes) and not self.not_as_get:
            self.reusable = known.reusable
            self.answer = RawResponse(known.head, b"", None)
            return self._begin_length(data[len(known.bytes) :], known.length)
        end = data.find(b"\r\n\r\n", 0, SLICE) + 4
        line = _status(data)
        if end < 4 or line is None:
            return self._feed_odd_head(data)
        start = line.end()
        headers = _fields(data, start, end - 2)
        if len(headers) != data.count(b"\n", start, end - 2):  # every line is one field, and nothing else
            return self._hand_over(data)
        version, code, reason = line.groups(b"")
        status, length, chunked, plain = int(code), -1, False, True
        self.reusable = version == b"HTTP/1.1"
        for name, value in headers:
            size = len(name)
            if size == 14:
                if name.lower() == b"content-length":
                    if length >= 0 or not value.isdigit() or len(value) > 18:
                        return self._hand_over(data)
                    length = int(value)
            elif size == 10:
                field = name.lower()
                if field == b"connection":
                    if value != b"keep-alive" and b"close" in tokens(value):
                        self.reusable = False
                elif field == b"set-cookie":
                    plain = False
            elif size == 16 or size == 8 or size == 11:
                if name.lower() in _REMARKABLE:
                    plain = False
            elif size == 17 and name.lower() == b"transfer-encoding":
                if chunked or value != b"chunked":
                    return self._hand_over(data)
                chunked = True
        if (chunked and length >= 0) or self.method == b"CONNECT":
            return self._hand_over(data)
        head = ResponseHead(status, reason, version, headers, plain)
        self.answer = RawResponse(head, b"", None)
        body = data[end:]
        if self.method == b"HEAD" or status in (204, 304):
            return self._begin_length(body, 0)
        if length >= 0:
            if end <= LONGEST_KNOWN:
                self.known = CachedHead(data[:end], head, length, self.reusable)
            return self._begin_length(body, length)
        if not chunked:
            self._state = _UNTIL_CLOSE
            self.keep(body)
            return False
        self._state = _CHUNKS
        self._left = 0
        return self._feed_chunks(body)

    def _begin_length(self, body: bytes, length: int) -> bool:
        if len(body) == length:  # the everyday case: all of it came at once
            self._state = _DONE
            self.parts.append(body)
            self.held = length
            return True
        self._state = _LENGTH
        self._length = self._left = length
        return self._feed_length(body)

    def _feed_odd_head(self, data: bytes) -> bool:
        """The head is not plain, or not whole. Wait for more only while nothing speaks against a plain one."""
        if len(data) >= SLICE or data[0] < 0x21 or b"\n\n" in data or b"\n\r\n" in data:
            return self._hand_over(data)
        self._part = bytearray(data)
        return False

    def _feed_part(self, part: bytearray, data: bytes) -> bool:
        """Another piece of a head. Until its end is there only what is new is looked at, however small the pieces."""
        new = max(0, len(part) - 2)
        part += data
        if len(part) < SLICE and _head_end(part, new) is None:
            return False
        return self._feed_head(bytes(part))

    def _feed_length(self, data: bytes) -> bool:
        left = self._left - len(data)
        if left > 0:
            self._left = left
            self.keep(data)
            return False
        if left < 0:
            self.reusable = False
            data = data[:left]
        self.keep(data)
        return self._done(self.reusable)

    def _feed_chunks(self, data: bytes) -> bool:
        """`_left` counts the bytes that the current chunk still lacks, its CRLF included; 0 means a size comes next."""
        position, size = 0, len(data)
        while position < size:
            if not self._left:
                line = _chunk(data, position)
                if line is None:
                    if size - position > 16 or data.find(b"\r\n", position) >= 0:
                        return self._hand_over(data[position:], _CHUNKED_SO_FAR)
                    break
                length = int(line[1], 16)
                if length:
                    self._left = length + 2
                    position = line.end()
                    continue
                after = data[line.end() : line.end() + 2]
                if after == b"\r\n":
                    if line.end() + 2 < size:
                        self.reusable = False
                    return self._done(self.reusable)
                if after not in (b"", b"\r"):
                    return self._hand_over(data[position:], _CHUNKED_SO_FAR)
                break
            end = min(size, position + self._left)
            after_data = position + self._left - 2
            if end > after_data:
                start = max(position, after_data)
                if data[start:end] != b"\r\n"[start - after_data : end - after_data]:
                    raise RemoteProtocolError(f"malformed chunk footer: {data[start:end]!r} (expected b'\\r\\n')")
            if after_data > position:
                self.keep(data[position : min(end, after_data)])
            self._left -= end - position
            position = end
        self._buffer = data[position:]
        return False

    def keep(self, data: bytes) -> None:
        if data:
            self.parts.append(data)
            self.held += len(data)

    def _done(self, reusable: bool) -> bool:
        self._state = _DONE
        self.reusable = reusable
        return True

    def _hand_over(self, data: bytes, so_far: bytes = b"") -> bool:
        """Let h11 read on: from the response's first byte, or from a chunk's size line after a head like `so_far`."""
        from .h11_reader import H11Road  # seldom needed, and slow to load

        self._road = H11Road(self.request, self.method, so_far)
        if not so_far:
            self.reusable = True
        self._buffer = b""
        self._state = _H11
        return self._feed_h11(data)

    def _feed_h11(self, data: bytes) -> bool:
        assert self._road is not None
        if not self._road.feed(self, data):
            return False
        self._road = None
        return self._done(self.reusable)


def tokens(value: bytes) -> list[bytes]:
    """The members of a field that lists tokens, in small letters."""
    return [token.strip() for token in value.lower().split(b",")]

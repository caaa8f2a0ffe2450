"""Head guard: keeps from h11 the lines that it would take seconds over. Pure.

Two of h11's regular expressions are quadratic when what they read turns out to be wrong: that of a header or trailer
field in the blanks before its value (those of folded lines count), and that of a chunk's size in the blanks before a
bare line feed. 60 KB of them hold up the thread, or the event loop, for 12 s. So heads, chunk sizes and trailers are
looked at before h11 gets them, and bodies are not. A field with more than `MOST_BLANKS` before its value is refused,
whether it is right or wrong; a bare line feed in a chunk's size h11 itself refuses, too.

Where a head ends, and how its body is framed, follows h11's rules: what is looked at here is what h11 reads as a head,
a size or trailers. A response that breaks those rules h11 refuses, whatever is found here.
"""

from __future__ import annotations

import re
from typing import Final

from meshlib.wire.h1_errors import RemoteProtocolError

MOST_BLANKS: Final = 1024  # before a field's value: h11 takes 9 ms over as many, and 35 ms over twice as many

_IDLE, _HEAD, _SIZE, _CHUNK, _TRAILER = range(5)  # what comes next, of what is looked at

_blanks = re.compile(rb":(?:[ \t]|\r?\n[ \t]){%d}" % (MOST_BLANKS + 1)).search
_block_end = re.compile(rb"\n\r?\n").search
_status = re.compile(rb"HTTP/[0-9]\.[0-9] ([0-9]{3})").match
_plain_size = re.compile(rb"([0-9A-Fa-f]{1,20})\r\n").match
_size = re.compile(rb"([0-9A-Fa-f]{1,20})").match


class HeadGuard:
    """Watches one connection: `sent` what goes to the server, `received` what comes from it, before h11 gets it."""

    __slots__ = ("_asked", "_left", "_method", "_over", "_part", "_state")

    def __init__(self) -> None:
        self._state = _IDLE
        self._asked = False  # whether a request has begun, and no byte of its response has come
        self._over = False  # whether it is no longer HTTP/1.1 that is spoken
        self._method = b""
        self._left = 0  # bytes of the present chunk, with its CRLF, that have not come
        self._part: bytearray | None = None  # of a head, a size or trailers, as long as they are not whole

    @property
    def between(self) -> bool:
        """Whether something has come since the last request: what is sent next begins another."""
        return not (self._asked or self._over) and self._method != b""

    def sent(self, data: bytes) -> None:
        """The first bytes that are sent after a response, or before any, begin a request."""
        if self._asked or self._over:
            return
        method = data[: data.find(b" ", 0, 16)]
        if method == b"PRI":  # HTTP/2 begins so
            self._over = True
        else:
            self.expect(method)

    def expect(self, method: bytes) -> None:
        """The response to a request of `method`, as it is written in the request, comes next."""
        self._asked = True
        self._method = method
        self._state = _HEAD
        self._part = None

    def expect_chunks(self) -> None:
        """A chunked body comes next, or what is left of it."""
        self._state = _SIZE

    def received(self, data: bytes) -> None:
        """Look at what came. Raises RemoteProtocolError for what h11 must not get."""
        self._asked = False
        state = self._state
        if state == _IDLE:
            return
        part = self._part
        found: bytes | bytearray = data
        new = at = 0  # before `new` an end was looked for already
        if part is not None:
            new = max(0, len(part) - 2)
            part += data
            found = part
        size = len(found)
        while at < size and state != _IDLE:
            if state == _CHUNK:
                at += self._left
                self._left = at - size
                if at < size:
                    state = _SIZE
            elif state == _SIZE:
                plain = _plain_size(found, at)
                end = plain.end() if plain else self._size_end(found, at, max(at, new))
                if end < 0:
                    break
                digits = plain or _size(found, at)
                length = int(digits[1], 16) if digits else 0
                self._left = length + 2
                state = _CHUNK if length else _TRAILER
                at = end
            else:
                end = self._block_end(found, at, max(at, new))
                if end < 0:
                    break
                state = self._after_head(found, at, end) if state == _HEAD else _IDLE
                at = end
        self._state = state
        if at >= size or state == _IDLE:
            self._part = None
        elif at or part is None:
            self._part = bytearray(found[at:])

    def _block_end(self, data: bytes | bytearray, at: int, new: int) -> int:
        """Where the head or the trailers end that begin at `at`; -1 if that has not come."""
        if data[at] <= 13 and (data[at] == 10 or data[at : at + 2] == b"\r\n"):
            return at + 1  # no trailers; or no head, which h11 refuses
        match = _block_end(data, new)
        if match is None:
            return -1
        end = match.end()
        if end - at > MOST_BLANKS and _blanks(data, at, end):
            raise RemoteProtocolError(f"more than {MOST_BLANKS} blanks before the value of a header field")
        return end

    def _size_end(self, data: bytes | bytearray, at: int, new: int) -> int:
        """Where the size of a chunk ends, with its extension, that begins at `at`; -1 if that has not come."""
        end = data.find(b"\r\n", new) + 2
        if end < 2:
            return -1
        if data.find(b"\n", at, end - 1) >= 0:
            raise RemoteProtocolError("a bare line feed in the size of a chunk")
        return end

    def _after_head(self, data: bytes | bytearray, at: int, end: int) -> int:
        status = _status(data, at, end)
        code = int(status[1]) if status else 0
        method = self._method
        if code == 101 or (method == b"CONNECT" and 200 <= code < 300):
            self._over = True
            return _IDLE
        if 100 <= code < 200:
            return _HEAD
        if code == 204 or code == 304 or method == b"HEAD":
            return _IDLE
        if data.find(b"\nT", at, end) < 0 and data.find(b"\nt", at, end) < 0:
            return _IDLE
        return _SIZE if b"\ntransfer-encoding:" in data[at:end].lower() else _IDLE

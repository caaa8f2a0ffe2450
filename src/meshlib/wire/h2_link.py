"""HTTP/2 link: follows the frames of one connection, and knows which requests its server has not processed.

h2, beneath httpx, closes a connection at the first GOAWAY (python-hyper/h2#1181) and loses the responses that are still
to come. A link sees all frames on their way to and from h2 and keeps the GOAWAY from it: streams that the server has
taken on finish, streams beyond its `last_stream_id` end as refused (RFC 9113 §6.8), and later streams are held back.
Sans I/O; one thread may read while another one writes.
"""

from __future__ import annotations

from collections.abc import Iterator
from threading import Lock
from typing import Final, NamedTuple

PREFACE: Final = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _RST_STREAM, _GOAWAY, _WINDOW_UPDATE = 0, 1, 3, 7, 8  # types of frames
_END_STREAM: Final = 1
NO_ERROR: Final = 0
REFUSED_STREAM: Final = 7
_NAMES: Final = (
    "NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT", "STREAM_CLOSED",
    "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR", "CONNECT_ERROR", "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED",
)  # fmt: skip
_HEAD: Final = 9  # bytes before a frame's payload
_LARGEST: Final = 1 << 14  # of a payload: what h2 allows the server
NOTHING: Final = b"\0\0\x08\x06\x01" + bytes(12)  # the answer to a PING that was not sent, which h2 ignores


class GoAway(NamedTuple):
    """The server ends the connection: it has processed, or may have, the streams up to `last_stream_id`."""

    error_code: int
    last_stream_id: int
    debug: bytes = b""

    def __str__(self) -> str:
        code = self.error_code
        name = _NAMES[code] if code < len(_NAMES) else f"error {code}"
        debug = f", {self.debug.decode('ascii', 'replace')!r}" if self.debug else ""
        return f"the server ended the HTTP/2 connection: GOAWAY ({name}{debug}), last stream {self.last_stream_id}"


class Refusal(NamedTuple):
    """The server did not process the request of a stream. `progress`: it processed others of the same connection."""

    reason: str
    progress: bool = False

    def __str__(self) -> str:
        return f"the server did not process the request: {self.reason}"


class Link:
    """One connection. From the client's preface on (`http2`) it follows the frames; otherwise all bytes pass."""

    __slots__ = (
        "_answered", "_lock", "_open", "_partial", "_ready", "_refused", "_sent", "_turns", "_uploading",
        "closing", "ended", "goaway", "http2",
    )  # fmt: skip

    def __init__(self) -> None:
        self.http2: bool = False
        self.closing: bool = False  # no new streams: after a GOAWAY, a refused stream, or the server's end
        self.ended: bool = False  # nothing more will come of the server
        self.goaway: GoAway | None = None
        self._sent = 0  # the highest stream whose HEADERS were sent
        self._open: dict[int, bool] = {}  # streams that the server has not ended, and whether a response has begun
        self._uploading: set[int] = set()  # streams whose request is not all sent
        self._answered: set[int] = set()  # those of them that the server has answered, and reads no further
        self._refused: dict[int, Refusal] = {}  # until `forget`
        self._turns = 0  # reads that shall not wait, see `hurry`
        self._ready = bytearray()  # for h2
        self._partial = b""  # of a frame
        self._lock = Lock()

    @property
    def resting(self) -> bool:
        """Whether it was used and no stream is open, so that no request reads from it."""
        return self._sent > 0 and not self._open and not self.closing

    @property
    def hurrying(self) -> bool:
        """Whether refused requests still wait for their turn to read."""
        return bool(self._turns and self._refused)

    def hurry(self) -> bool:
        """Whether a read returns NOTHING at once.

        In httpcore one task or thread reads for all requests, and the others queue for it, even those whose events are
        there already. Reads that return at once move this queue on, so that a refused request is sent again without
        waiting for the responses of others. One round is enough where the queue is fair, two are allowed.
        """
        if self.hurrying:
            self._turns -= 1
            return True
        return False

    def refusal(self, stream: int) -> Refusal | None:
        """Why the server did not process the request of `stream`, which has begun; None: it has, or may have."""
        refusal = self._refused.get(stream)
        if refusal is None and stream > self._sent:
            refusal = Refusal("the connection ended before the request was sent", self._progress())
        return refusal

    def forget(self, stream: int) -> None:
        """The request of `stream` failed: it waits for nothing any more."""
        self._refused.pop(stream, None)
        self._open.pop(stream, None)
        self._uploading.discard(stream)
        self._answered.discard(stream)

    def sending(self, data: bytes) -> bytes:
        """What of `data`, which are whole frames, may go to the server."""
        start = 0
        if not self.http2:
            if not data.startswith(PREFACE):
                return data
            self.http2 = True
            start = len(PREFACE)
        kept = bytearray(data[:start])
        with self._lock:
            if self.ended:
                return b""
            for begin, end, kind, flags, stream in _frames(data, start, len(data)):
                if stream > self._sent:
                    if self.closing:
                        continue  # of a stream that is held back
                    if kind == _HEADERS:
                        self._sent = stream
                        self._open[stream] = False
                        self._uploading.add(stream)
                wanted = stream not in self._answered
                if wanted:
                    kept += data[begin:end]
                elif kind == _DATA and end - begin > _HEAD:  # h2 counts it as sent, and would wait for more room
                    for window in (stream, 0):
                        self._ready += _frame(_WINDOW_UPDATE, window, end - begin - _HEAD)
                if stream in self._uploading and kind in (_HEADERS, _DATA) and flags & _END_STREAM:
                    self._uploading.discard(stream)
                    self._answered.discard(stream)
        return bytes(kept)

    def received(self, data: bytes) -> None:
        """Bytes from the server; none: its end. `take` what h2 may have of them."""
        with self._lock:
            if not data:
                self.closing = self.ended = True
            if self.ended:
                return
            data = self._partial + data
            begun = done = 0
            for begin, end, kind, flags, stream in _frames(data, 0, _LARGEST):
                done = end
                if kind == _GOAWAY and end - begin >= _HEAD + 8:
                    self._ready += data[begun:begin]
                    begun = end
                    if self._leave(data[begin + _HEAD : end]):
                        return
                elif kind == _RST_STREAM and self._is_enough(stream, data[begin + _HEAD : end]):
                    self._ready += data[begun:begin]
                    begun = end
                elif stream in self._open:
                    self._heard(stream, kind, flags, data[begin + _HEAD : begin + _HEAD + 4])
            if len(data) - done >= _HEAD and int.from_bytes(data[done : done + 3]) > _LARGEST:
                done = len(data)  # h2 ends the connection for it
            self._ready += data[begun:done]
            self._partial = data[done:]

    def take(self) -> bytes:
        """What has come for h2 since the last time."""
        with self._lock:
            data = bytes(self._ready)
            self._ready.clear()
        return data

    def _heard(self, stream: int, kind: int, flags: int, payload: bytes) -> None:
        if kind == _RST_STREAM:
            if not self._open.pop(stream) and int.from_bytes(payload) == REFUSED_STREAM:
                self._refuse(stream, Refusal("RST_STREAM (REFUSED_STREAM)"))
                self.closing = True  # or the same request could be refused here again
        elif kind in (_HEADERS, _DATA):
            if flags & _END_STREAM:
                del self._open[stream]
            else:
                self._open[stream] = True

    def _is_enough(self, stream: int, payload: bytes) -> bool:
        """Whether a reset only says that the rest of an answered request is not needed (RFC 9113 §8.1).

        httpcore would raise an error for it and lose the response. So h2 does not get it, and what h2 still sends is
        dropped.
        """
        if stream not in self._uploading or stream in self._open or int.from_bytes(payload) != NO_ERROR:
            return False
        self._answered.add(stream)
        return True

    def _leave(self, payload: bytes) -> bool:
        """The server ends the connection. Whether it is over at once, for an error."""
        last = int.from_bytes(payload[:4]) & 0x7FFFFFFF
        if self.goaway is not None:
            last = min(last, self.goaway.last_stream_id)
        self.goaway = goaway = GoAway(int.from_bytes(payload[4:8]), last, payload[8:])
        self.closing = True
        refusal = Refusal(str(goaway), self._progress())
        # A stream that the server has begun to answer it has processed, whatever it says.
        for stream in [stream for stream, answered in self._open.items() if stream > last and not answered]:
            del self._open[stream]
            self._refuse(stream, refusal)
            self._ready += _frame(_RST_STREAM, stream, REFUSED_STREAM)
        self.ended = goaway.error_code != NO_ERROR
        return self.ended

    def _refuse(self, stream: int, refusal: Refusal) -> None:
        self._refused[stream] = refusal
        self._turns = 2 * (len(self._refused) + len(self._open))

    def _progress(self) -> bool:
        return self.goaway is not None and self.goaway.last_stream_id > 0


def _frame(kind: int, stream: int, value: int) -> bytes:
    return b"\0\0\x04" + kind.to_bytes() + b"\0" + stream.to_bytes(4) + value.to_bytes(4)


def _frames(data: bytes, start: int, largest: int) -> Iterator[tuple[int, int, int, int, int]]:
    """The whole frames in `data`, up to one with a payload above `largest`: begin and end, type, flags, stream."""
    size = len(data)
    while size - start >= _HEAD:
        length = int.from_bytes(data[start : start + 3])
        end = start + _HEAD + length
        if end > size or length > largest:
            return
        yield start, end, data[start + 3], data[start + 4], int.from_bytes(data[start + 5 : start + 9]) & 0x7FFFFFFF
        start = end

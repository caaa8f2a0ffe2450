"""h11 reader: reads what is not plain. `ResponseReader` hands such responses over to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import h11

from meshlib.wire.h1_errors import RemoteProtocolError
from meshlib.wire.head_guard import HeadGuard
from meshlib.wire.raw_response import RawResponse, ResponseHead
from meshlib.wire.response_reader import SLICE

if TYPE_CHECKING:
    from meshlib.wire.response_reader import ResponseReader

LONGEST_HEAD: Final = 100 * 1024  # bytes of an incomplete head or chunk line that httpcore lets h11 hold


class H11Road:
    """Reads what is left of one response.

    `request` is the head that was sent, with its `method` in capitals; `so_far` a head like that of the response, if
    it was read already.
    """

    __slots__ = ("_guard", "_h11")

    def __init__(self, request: bytes, method: bytes, so_far: bytes) -> None:
        self._h11 = parser = h11.Connection(h11.CLIENT, max_incomplete_event_size=LONGEST_HEAD)
        lines = [line.partition(b":") for line in request.split(b"\r\n")[1:]]
        telling = [(n, v.strip()) for n, _, v in lines if n.lower() in (b"connection", b"upgrade", b"expect")]
        target = b"host:80" if method == b"CONNECT" else b"/"
        parser.send(h11.Request(method=method or b"GET", target=target, headers=[(b"Host", b"host"), *telling]))
        parser.send(h11.EndOfMessage())
        self._guard = HeadGuard()
        self._guard.expect(method)
        if so_far:
            self._guard.expect_chunks()
            parser.receive_data(so_far)
            parser.next_event()

    def feed(self, reader: ResponseReader, data: bytes) -> bool:
        """Take bytes from the server, or b"" for its end, and give what they say to `reader`; True when the response is
        complete. Raises RemoteProtocolError."""
        for start in range(0, len(data) or 1, SLICE):
            piece = data[start : start + SLICE]
            self._guard.received(piece)
            self._h11.receive_data(piece)
            if self._pump(reader):
                if start + SLICE < len(data):
                    reader.reusable = False
                return True
        return False

    def _pump(self, reader: ResponseReader) -> bool:
        parser = self._h11
        while True:
            try:
                event = parser.next_event()
            except h11.RemoteProtocolError as error:
                raise RemoteProtocolError(str(error)) from error
            if event is h11.NEED_DATA:
                return False
            if isinstance(event, h11.Data):
                reader.keep(bytes(event.data))
            elif isinstance(event, h11.Response | h11.InformationalResponse):
                if event.status_code >= 200 or event.status_code == 101:
                    version = b"HTTP/" + event.http_version
                    head = ResponseHead(event.status_code, event.reason, version, event.headers.raw_items())
                    reader.answer = RawResponse(head, b"", None)
                    if {name for name, _ in event.headers} >= {b"content-length", b"transfer-encoding"}:
                        reader.reusable = False  # accepted, as h11 does, but no second request follows such an answer
            elif isinstance(event, h11.EndOfMessage) or event is h11.PAUSED:
                over = parser.our_state is h11.DONE and parser.their_state is h11.DONE
                reader.reusable = reader.reusable and over and parser.trailing_data == (b"", False)
                return True

"""What did a server say? One response over our own connections, and the part of it that servers keep repeating."""

from __future__ import annotations

from typing import Any


class ResponseHead:
    """What a response says before its body: `headers` in order and with the server's own spelling.

    Responses that say the same share one of these: look at it, and leave it as it is. `plain`: it is known to carry no
    cookie, no content coding and no `Location`.
    """

    __slots__ = ("headers", "http_version", "plain", "reason", "status")

    def __init__(
        self, status: int, reason: bytes, http_version: bytes, headers: list[tuple[bytes, bytes]], plain: bool = False
    ) -> None:
        self.status: int = status
        self.reason: bytes = reason
        self.http_version: bytes = http_version
        self.headers: list[tuple[bytes, bytes]] = headers
        self.plain: bool = plain


class RawResponse:
    """A response as it came; `body` is freed of its framing.

    `source` is the connection; with the reader from which the body is still to come, if it is streamed. `heard` is when
    (monotonic seconds) the head was there before the rest of the answer; 0.0 if all came at once.
    """

    __slots__ = ("body", "head", "heard", "source")

    def __init__(self, head: ResponseHead, body: bytes, source: Any) -> None:
        self.head: ResponseHead = head
        self.body: bytes = body
        self.heard: float = 0.0
        self.source: Any = source


class CachedHead:
    """The last plain head that a connection has seen, and what it means.

    Servers repeat themselves, byte for byte, within the second that `Date` names.
    """

    __slots__ = ("bytes", "head", "length", "reusable", "size")

    def __init__(self, data: bytes, head: ResponseHead, length: int, reusable: bool) -> None:
        self.bytes: bytes = data
        self.head: ResponseHead = head
        self.length: int = length  # of the body that it announces
        self.size: int = len(data) + length
        self.reusable: bool = reusable

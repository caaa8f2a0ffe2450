"""What does the fast lane answer with? A response of the client's own family whose dear parts are made when looked at.

It is what httpx's own response is once its body has been read, in every respect but its class: pickled or copied, it
becomes a plain one.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable
from typing import Any

from ..transports.network_stream import NetworkStream

LONGEST_TYPE = 1024  # characters of a `Content-Type` that is read: the standard library takes 6 s over 60,000 `;`


class LazyAttribute:
    """An attribute that is made at first sight and kept in the instance. Assigning replaces it, as for any other."""

    __slots__ = ("_make", "_name")

    def __init__(self, make: Callable[[Any], Any]) -> None:
        self._make = make

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name

    def __get__(self, response: Any, owner: type) -> Any:
        if response is None:
            return self
        made = response.__dict__[self._name] = self._make(response)
        return made


class EmptyStream:
    """A body that was read. Mixed with a family's `AsyncByteStream` in `family.py`."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        raise StopAsyncIteration

    async def aclose(self) -> None:
        pass


def lazy_response(lib: Any, EmptyStream: type) -> Any:
    """The class of lazy responses for one family, `lib`; `EmptyStream` is its byte stream of which nothing is left."""

    class LazyResponse(lib.Response):  # type: ignore[misc]
        # The body has been read, and the connection is at rest again.
        is_closed = True
        is_stream_consumed = True
        next_request = None
        _sets_cookies = False

        headers = LazyAttribute(lambda response: lib.Headers(response._answer.head.headers))
        history = LazyAttribute(lambda response: [])
        stream = LazyAttribute(lambda response: EmptyStream())
        extensions = LazyAttribute(
            lambda response: {
                "http_version": response._answer.head.http_version,
                "reason_phrase": response._answer.head.reason,
                "network_stream": NetworkStream(response._answer.source),
            }
        )
        _request = LazyAttribute(lambda response: response._exchange.request)
        _elapsed = LazyAttribute(lambda response: datetime.timedelta(seconds=response._exchange.took))
        default_encoding = LazyAttribute(lambda response: response._exchange.client._default_encoding)
        _num_bytes_downloaded = LazyAttribute(lambda response: len(response._answer.body))

        def __init__(self, answer: Any, exchange: Any) -> None:
            self._answer = answer
            self._exchange = exchange
            self.status_code = answer.head.status
            self._content = answer.body

        @property
        def charset_encoding(self) -> Any:
            """The charset that `Content-Type` says; None if it says none, or is longer than any that does."""
            too_long = len(self.headers.get("Content-Type", "")) > LONGEST_TYPE
            return None if too_long else super().charset_encoding

        def raise_for_status(self) -> Any:
            """Raise the `HTTPStatusError` if one occurred."""
            return self if 200 <= self.status_code < 300 else super().raise_for_status()

        def __getstate__(self) -> dict[str, Any]:
            # In the order in which httpx makes them.
            for name in (
                "headers",
                "_request",
                "next_request",
                "history",
                "is_stream_consumed",
                "default_encoding",
                "_num_bytes_downloaded",
            ):
                self.__dict__[name] = getattr(self, name)
            self.__dict__["_elapsed"] = self._elapsed
            state: dict[str, Any] = super().__getstate__()
            return {
                name: value for name, value in state.items() if name not in ("_answer", "_exchange", "_sets_cookies")
            }

        def __reduce__(self) -> Any:
            return lib.Response.__new__, (lib.Response,), self.__getstate__()

    LazyResponse.__name__ = LazyResponse.__qualname__ = "Response"
    return LazyResponse

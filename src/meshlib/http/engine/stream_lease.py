"""The body of a streamed response: the call that it belongs to is over when it is closed, not before.

Its verdict is that of the status, unless reading fails. A body that is dropped without being closed gives back what
its call held when it is collected, and says nothing about the server.
"""

from __future__ import annotations

import datetime
import sys
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from functools import partial
from types import FrameType
from typing import TYPE_CHECKING, Any
from weakref import ref

from ...call import IGNORED, Classifier, Verdict
from ...errors import DeadlineExceeded, MeshError
from ...parking import start_thread
from ...wire.h1_errors import Cut, WireError

if TYPE_CHECKING:
    from ...wire.response_stream import Stream
    from .exchange import Attempt


class StreamLease:
    """What a streamed call still holds; `settle` gives it back, once. No part of it refers to the response."""

    __slots__ = ("_attempt", "_classify", "_leave", "_now", "_response", "_verdict")

    def __init__(self, response: Any, attempt: Attempt, classify: Classifier, now: Callable[[], float]) -> None:
        self._response = ref(response)  # a response must not live for its stream's sake
        self._attempt = attempt
        self._classify = classify
        self._now = now
        self._verdict = classify(attempt, response, None)
        self._leave = [attempt.later or []]  # emptied by whoever settles: `pop` is atomic

    def then(self, told: Callable[[Verdict], None]) -> None:
        """Call `told` with the verdict as well, after all others."""
        if self._leave:
            self._leave[0].append(told)
        else:
            told(self._verdict)

    def settle(self, error: BaseException | None = None) -> None:
        exchange = self._attempt.what
        if error is not None:
            self._verdict = self._classify(self._attempt, None, error)
            if isinstance(error, exchange.family.errors.transport):
                self._attempt.mark(error)
                exchange.note(error)
        response = self._response()
        if response is not None:
            response.elapsed = datetime.timedelta(seconds=self._now() - exchange.start)
        self._tell(self._verdict)

    def broke(self, error: BaseException) -> BaseException:
        """Settle with what reading the body ended with. Returns what to raise: that we cut it ourselves, if we did."""
        exchange = self._attempt.what
        errors = exchange.family.errors
        if isinstance(error, errors.transport) and not isinstance(error, MeshError) and exchange.cut is not None:
            cut = exchange.cut(exchange)
            if cut is not None:
                error = errors.dress(cut, exchange.request)
        self.settle(error)
        return error

    def in_time(self) -> None:
        """The caller's own deadline binds the body too. Raises `DeadlineExceeded`, dressed."""
        exchange = self._attempt.what
        due = self._attempt.deadline if exchange.plain else exchange.deadline
        if self._now() >= due:
            raise exchange.family.errors.dress(DeadlineExceeded(exchange.service), exchange.request)

    def _tell(self, verdict: Verdict) -> None:
        try:
            leave = self._leave.pop()
        except IndexError:
            return
        for told in leave:
            told(verdict)

    def __del__(self) -> None:
        if not self._leave:
            return
        # The garbage collector may strike anywhere, also while a policy further up this very stack holds its lock.
        # Whoever interrupts our own code therefore leaves the telling to another thread, which can wait.
        frame: FrameType | None = sys._getframe().f_back  # None: beneath is the event loop, or a thread's end
        while frame is not None:
            if frame.f_globals.get("__name__", "").startswith("meshlib."):
                start_thread(partial(_lost, self._leave.pop()), "meshlib dropped response")
                return
            frame = frame.f_back
        self._tell(IGNORED)


def _lost(leave: Iterable[Callable[[Verdict], None]]) -> None:
    for told in leave:
        told(IGNORED)


class AsyncGuarded:
    """Mixed with a family's `AsyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, held: StreamLease) -> None:
        self._stream = stream
        self.held = held

    def __aiter__(self) -> AsyncIterator[bytes]:
        self._chunks = self._stream.__aiter__()
        return self

    async def __anext__(self) -> bytes:
        try:
            self.held.in_time()
            chunk: bytes = await self._chunks.__anext__()
        except StopAsyncIteration:
            raise
        except BaseException as error:
            told = self.held.broke(error)
            if told is error:
                raise
            raise told from error
        return chunk

    async def aclose(self) -> None:
        self.held.settle()
        await self._stream.aclose()


class SyncGuarded:
    """Mixed with a family's `SyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, held: StreamLease) -> None:
        self._stream = stream
        self.held = held

    def __iter__(self) -> Iterator[bytes]:
        self._chunks = iter(self._stream)
        return self

    def __next__(self) -> bytes:
        try:
            self.held.in_time()
            chunk: bytes = next(self._chunks)
        except StopIteration:
            raise
        except BaseException as error:
            told = self.held.broke(error)
            if told is error:
                raise
            raise told from error
        return chunk

    def close(self) -> None:
        self.held.settle()
        self._stream.close()


class SyncTimed:
    """A body that is read in time, or not at all. Mixed with a family's `SyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, now: Callable[[], float], deadline: float, late: Exception) -> None:
        self._stream = stream
        self._now = now
        self._deadline = deadline
        self._late = late

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._stream:
            if self._now() >= self._deadline:
                raise self._late
            yield chunk

    def close(self) -> None:
        self._stream.close()


class AsyncWire:
    """A body that comes over a connection of our own. Mixed with a family's `AsyncByteStream` in `family.py`.

    `timeout` is the wire request's own, by phase; its `read` may change while the body is read.
    """

    def __init__(self, stream: Stream, family: Any, request: Any, timeout: dict[str, float | None]) -> None:
        self._stream = stream
        self._family = family
        self._request = request
        self._timeout = timeout

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._stream.next(self._timeout.get("read"))
        except Cut as error:
            raise self._family.errors.dress(MeshError(str(error)), self._request) from error
        except WireError as error:
            raise error.told(self._family.lib, self._request) from error

    async def aclose(self) -> None:
        await self._stream.aclose()

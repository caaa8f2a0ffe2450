"""The body of a streamed response: the call that it belongs to is over when it is closed, not before.

Its verdict is that of the status, unless reading failed. A body that is dropped without being closed gives back what
its call held when it is collected, and says nothing about the server.
"""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from ..call import IGNORED, Call, Classifier


class Held:
    """What a streamed call still holds; `settle` gives it back, once."""

    __slots__ = ("_call", "_classify", "_leave", "_now", "_response", "_start", "failed")

    def __init__(self, response: Any, call: Call, classify: Classifier, now: Callable[[], float], start: float) -> None:
        self._response = response
        self._call = call
        self._classify = classify
        self._now = now
        self._start = start
        self._leave = call.later or []
        self.failed: BaseException | None = None

    def settle(self, *, lost: bool = False) -> None:
        leave, self._leave = self._leave, []
        if not leave:
            return
        verdict = IGNORED if lost else self._classify(self._call, self._response, self.failed)
        if not lost:
            self._response.elapsed = datetime.timedelta(seconds=self._now() - self._start)
        for told in leave:
            told(verdict)

    def __del__(self) -> None:
        self.settle(lost=True)


class AsyncGuarded:
    """Mixed with a family's `AsyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, held: Held) -> None:
        self._stream = stream
        self._held = held

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._stream:
                yield chunk
        except GeneratorExit:
            raise  # the caller stopped reading
        except BaseException as error:
            self._held.failed = error
            raise

    async def aclose(self) -> None:
        self._held.settle()
        await self._stream.aclose()


class SyncGuarded:
    """Mixed with a family's `SyncByteStream` in `family.py`."""

    def __init__(self, stream: Any, held: Held) -> None:
        self._stream = stream
        self._held = held

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._stream
        except GeneratorExit:
            raise
        except BaseException as error:
            self._held.failed = error
            raise

    def close(self) -> None:
        self._held.settle()
        self._stream.close()

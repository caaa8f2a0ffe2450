"""What travels with a call from hop to hop in Linkerd's headers, and how is it written?

`l5d-ctx-deadline` is two numbers of nanoseconds since 1970 (when it was written, and when the answer is due),
`l5d-ctx-trace` four or five 64-bit numbers in base64 (span, parent, trace, flags, and the upper half of a long trace
id), `l5d-sample` the share of traces that is wanted. What cannot be read counts as absent: a header from elsewhere must
never break a call.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Iterable
from struct import pack, unpack

from .dtab_override import CONTEXT_HEADER, USER_HEADER, Override, context_header

DEADLINE_HEADER = "l5d-ctx-deadline"
TRACE_HEADER = "l5d-ctx-trace"
SAMPLE_HEADER = "l5d-sample"
REQUEST_ID_HEADER = "l5d-reqid"

_NANO = 1_000_000_000
_LARGEST = 2**63 - 1
_CARRIED_PREFIX = "l5d-ctx-"
_CARRIED = frozenset((SAMPLE_HEADER, REQUEST_ID_HEADER))


class ContextDeadline:
    """When the call was last passed on, and when its answer is due; both in seconds since 1970."""

    __slots__ = ("deadline", "timestamp")

    def __init__(self, timestamp: float, deadline: float) -> None:
        self.timestamp = timestamp
        self.deadline = deadline

    @staticmethod
    def read(header: str | None) -> ContextDeadline | None:
        """The strictest of the deadlines in a header (several lines are joined by commas); None without a valid one."""
        strictest: ContextDeadline | None = None
        for line in (header or "").split(","):
            numbers = line.strip().split(" ")
            if len(numbers) != 2 or not all(_nanoseconds(number) for number in numbers):
                continue
            found = ContextDeadline(int(numbers[0]) / _NANO, int(numbers[1]) / _NANO)
            strictest = found if strictest is None else strictest.combined(found)
        return strictest

    def combined(self, other: ContextDeadline) -> ContextDeadline:
        """The later timestamp and the earlier deadline."""
        return ContextDeadline(max(self.timestamp, other.timestamp), min(self.deadline, other.deadline))

    def __str__(self) -> str:
        return f"{round(self.timestamp * _NANO)} {round(self.deadline * _NANO)}"

    def __repr__(self) -> str:
        return f"ContextDeadline({self.timestamp}, {self.deadline})"


class ContextTrace:
    """A trace as Finagle writes it. `trace_id` has up to 128 bits, the others 64."""

    __slots__ = ("flags", "parent_id", "span_id", "trace_id")

    def __init__(self, *, span_id: int, parent_id: int, trace_id: int, flags: int = 0) -> None:
        self.span_id = span_id
        self.parent_id = parent_id
        self.trace_id = trace_id
        self.flags = flags

    @staticmethod
    def read(header: str | None) -> ContextTrace | None:
        """The trace in a header; None without a valid one."""
        try:
            data = b64decode(header or "", validate=True)
        except ValueError:
            return None
        if len(data) not in (32, 40):
            return None
        span_id, parent_id, trace_id, flags = unpack(">4Q", data[:32])
        high = unpack(">Q", data[32:])[0] if len(data) == 40 else 0
        return ContextTrace(span_id=span_id, parent_id=parent_id, trace_id=high << 64 | trace_id, flags=flags)

    def __str__(self) -> str:
        low, high = self.trace_id & (2**64 - 1), self.trace_id >> 64
        data = pack(">4Q", self.span_id, self.parent_id, low, self.flags) + (pack(">Q", high) if high else b"")
        return b64encode(data).decode()

    def __repr__(self) -> str:
        return f"ContextTrace({self.trace_id:x}, span {self.span_id:x}, parent {self.parent_id:x}, flags {self.flags})"


def read_sample(header: str | None) -> float | None:
    """The wanted share of traces, brought into 0 to 1; None without a number."""
    try:
        share = float(header or "")
    except ValueError:
        return None
    return min(max(share, 0.0), 1.0) if share == share else None


def carried(headers: Iterable[tuple[str, str]], *, trusted: bool, user: bool = False) -> list[tuple[str, str]]:
    """The headers of an incoming request that belong on the requests made for it; none if it comes from a stranger.

    With `user` a user's `l5d-dtab` is heard: it goes on as the end of `l5d-ctx-dtab`. Raises ConfigError for entries
    that cannot be read, which deserves the answer 400.
    """
    if not trusted:
        return []
    found = [(name.lower(), value) for name, value in headers]
    kept = [
        (name, value)
        for name, value in found
        if name in _CARRIED or (name.startswith(_CARRIED_PREFIX) and name != CONTEXT_HEADER)
    ]
    heard = (CONTEXT_HEADER, USER_HEADER) if user else (CONTEXT_HEADER,)
    texts = tuple([value for wanted in heard for name, value in found if name == wanted])
    dtab = context_header(Override(context=True, user=user).read(texts))
    return kept if dtab is None else [dtab, *kept]


def _nanoseconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST

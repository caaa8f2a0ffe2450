"""Context headers: what travels with a call from hop to hop in Linkerd's headers, and how it is written.

`l5d-ctx-deadline` is two numbers of nanoseconds since 1970: when it was written, and when the response is due. A header
that cannot be read counts as absent: a header from elsewhere must never break a call.
"""

from __future__ import annotations

from collections.abc import Iterable

from .dtab_override import CONTEXT_HEADER, USER_HEADER, Override, context_header

DEADLINE_HEADER = "l5d-ctx-deadline"
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
        self.timestamp: float = timestamp
        self.deadline: float = deadline

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


def carried(headers: Iterable[tuple[str, str]], *, trusted: bool, user: bool = False) -> list[tuple[str, str]]:
    """The headers of an incoming request that belong on the requests made for it; none if the caller is not `trusted`.

    With `user` a user's `l5d-dtab` counts: it goes on as the end of `l5d-ctx-dtab`. Raises ConfigError for entries
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
    names = (CONTEXT_HEADER, USER_HEADER) if user else (CONTEXT_HEADER,)
    texts = tuple([value for wanted in names for name, value in found if name == wanted])
    dtab = context_header(Override(context=True, user=user).read(texts))
    return kept if dtab is None else [dtab, *kept]


def _nanoseconds(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _LARGEST

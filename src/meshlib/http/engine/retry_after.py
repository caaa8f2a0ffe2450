"""How long does a response ask us to stay away? RFC 9110 §10.2.3: seconds, or a date."""

from __future__ import annotations

import time
from email.utils import parsedate_to_datetime


def response_retry_after(outcome: object) -> float | None:
    """Seconds from a response's `Retry-After` header, or from an error's `retry_after`; None: neither."""
    headers = getattr(outcome, "headers", None)
    if headers is None:
        seconds = getattr(outcome, "retry_after", None)
        return seconds if isinstance(seconds, int | float) else None
    text: str | None = headers.get("retry-after")
    return None if text is None else parse_retry_after(text, time.time())


def parse_retry_after(text: str, wall: float) -> float | None:
    """Seconds from the header's value; `wall` is the time of day, which a date is measured against."""
    text = text.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - wall)
    except (TypeError, ValueError, OverflowError):
        return None

"""Does the deadline of a caller reach whatever is done for it on the other side?"""

from __future__ import annotations

import asyncio
from math import inf, nan
from typing import Any

import pytest

import meshlib
from meshlib.asgi import Deadlines
from meshlib.asgi.deadlines import told_seconds
from meshlib.routing.context import ContextDeadline


async def seen(headers: list[tuple[bytes, bytes]], *, kind: str = "http", **options: Any) -> float:
    """What an application finds left when it is asked with these headers."""
    found = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        found.append(meshlib.remaining())

    async def nothing(*message: Any) -> Any:
        return None

    await Deadlines(app, **options)({"type": kind, "headers": headers}, nothing, nothing)
    return found[0]


def line(*, seconds: float, at: float = 1_700_000_000.0) -> tuple[bytes, bytes]:
    return b"L5d-Ctx-Deadline", str(ContextDeadline(at, at + seconds)).encode()


def test_the_application_inherits_the_deadline_of_its_caller_and_its_own_caller_does_not() -> None:
    async def asked() -> tuple[float, float]:
        return await seen([line(seconds=2.0)]), meshlib.remaining()

    inside, outside = asyncio.run(asked())
    assert 0.0 < inside <= 2.0
    assert outside == inf


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ([], inf),
        ([(b"l5d-ctx-deadline", b"soon")], inf),
        ([line(seconds=2.0, at=5.0)], 2.0),  # the caller's clock may be anywhere
        ([line(seconds=2.0), line(seconds=1.0)], 1.0),
        ([line(seconds=-3.0)], 0.0),
    ],
)
def test_only_the_difference_of_the_callers_own_times_counts(
    headers: list[tuple[bytes, bytes]], seconds: float
) -> None:
    assert told_seconds(headers) == pytest.approx(seconds)


def test_the_longest_bounds_what_callers_ask_for_and_those_who_do_not_ask() -> None:
    assert 0.0 < asyncio.run(seen([line(seconds=60.0)], longest=5.0)) <= 5.0
    assert 0.0 < asyncio.run(seen([], longest=5.0)) <= 5.0


def test_what_is_no_request_is_left_alone() -> None:
    assert asyncio.run(seen([line(seconds=1.0)], kind="lifespan")) == inf


@pytest.mark.parametrize("longest", [-1.0, nan])
def test_nonsense_is_refused(longest: float) -> None:
    with pytest.raises(ValueError, match="seconds"):
        Deadlines(None, longest=longest)  # type: ignore[arg-type]

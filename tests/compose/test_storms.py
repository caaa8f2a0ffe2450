"""The short form of the storms: each policy, and all of them in one pipeline; see `storms` for the whole one."""

from __future__ import annotations

import pytest
from compose.storms import SUBJECTS, weather, weather_threads

CALLS = 1_000
_KINDS = {name: make().kinds for name, make in SUBJECTS.items()}


@pytest.mark.anyio
@pytest.mark.parametrize("name", [name for name, kinds in _KINDS.items() if "tasks" in kinds])
async def test_nothing_is_left_after_a_storm_of_tasks(name: str) -> None:
    await weather(name, CALLS)


@pytest.mark.parametrize("name", [name for name, kinds in _KINDS.items() if "threads" in kinds])
def test_nothing_is_left_after_a_storm_of_threads(name: str) -> None:
    weather_threads(name, CALLS * 4)

"""Linkerd's context headers: what is written can be read, and what cannot be read breaks nothing."""

from __future__ import annotations

import pytest

from meshlib.errors import ConfigError
from meshlib.routing.context import ContextDeadline, carried


def test_a_deadline_is_read_and_written_in_nanoseconds() -> None:
    deadline = ContextDeadline.read("1500000000000000000 1500000002500000000")
    assert (deadline.timestamp, deadline.deadline) == (1_500_000_000.0, 1_500_000_002.5)
    assert str(deadline) == "1500000000000000000 1500000002500000000"


def test_of_several_deadlines_the_strictest_counts() -> None:
    several = "1000000000 9000000000, nonsense,3000000000 7000000000"
    assert str(ContextDeadline.read(several)) == "3000000000 7000000000"


@pytest.mark.parametrize("header", [None, "", "1", "1 2 3", "a b", "-1 2", "1 99999999999999999999", "² 1"])
def test_a_deadline_that_cannot_be_read_is_absent(header: str | None) -> None:
    assert ContextDeadline.read(header) is None


def test_only_the_context_of_a_trusted_caller_travels_on() -> None:
    headers = [("L5d-Ctx-Dtab", "/a=>/b"), ("l5d-sample", "1"), ("l5d-dtab", "/x=>/y"), ("accept", "*")]
    assert carried(headers, trusted=True) == [("l5d-ctx-dtab", "/a=>/b"), ("l5d-sample", "1")]
    assert carried(headers, trusted=False) == []


def test_a_users_entries_go_on_behind_those_of_the_context() -> None:
    headers = [("l5d-dtab", "/x=>/y"), ("l5d-ctx-dtab", "/a=>/b;")]
    assert carried(headers, trusted=True, user=True) == [("l5d-ctx-dtab", "/a=>/b;/x=>/y")]
    with pytest.raises(ConfigError):
        carried([("l5d-dtab", "no")], trusted=True, user=True)

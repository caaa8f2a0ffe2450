"""Counters only grow; what happened between two looks is their difference."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlib import Verdict
from meshlib.events import AttemptFinished
from meshlib.telemetry.figures import Figures, between


def told(figures: Figures, verdict: Verdict, took: float, times: int = 1) -> None:
    for _ in range(times):
        figures(AttemptFinished("users-v2", "users", "h:1", 1, verdict, took))


def test_rates_and_quantiles_are_those_between_the_looks() -> None:
    figures = Figures()
    told(figures, Verdict.FAILURE, 5.0, 50)
    before = figures.counters()["users-v2"]
    told(figures, Verdict.SUCCESS, 0.010, 98)
    told(figures, Verdict.FATAL, 0.500, 2)
    told(figures, Verdict.IGNORED, 9.0, 7)
    now = between(before, figures.counters()["users-v2"], 10.0)
    assert (now["requests"], now["rps"], now["success_rate"]) == (100, 10.0, 0.98)
    assert now["p50"] == pytest.approx(0.010, rel=0.06)
    assert now["p99"] == pytest.approx(0.500, rel=0.06)


def test_without_requests_there_is_nothing_to_say() -> None:
    assert between({}, {}, 1.0) == {"requests": 0, "rps": 0.0}


def test_a_restarted_process_counts_from_zero() -> None:
    figures = Figures()
    told(figures, Verdict.SUCCESS, 0.01, 3)
    assert between({"requests": 100, "failures": 50}, figures.counters()["users-v2"], 1.0)["success_rate"] == 1.0


def test_what_is_published_is_what_was_counted(tmp_path: Path) -> None:
    figures = Figures()
    told(figures, Verdict.SUCCESS, 0.01)
    figures.publish(tmp_path / "figures.json")()
    assert json.loads((tmp_path / "figures.json").read_text()) == figures.counters()

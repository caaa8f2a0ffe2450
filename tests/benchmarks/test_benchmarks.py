"""Each benchmark runs once in its shortest form, so that none rots; ratios that cannot be noise are held to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
PARTS = {"guards", "report", "soak"}  # a table, what makes the page, and the long form of tests/http/test_soak.py
SHORT: dict[str, list[str]] = {
    "balancersim": ["--fast", "--only", "hedged"],
    "balancers": ["--fast"],
    "clients": ["--get", "--loop", "asyncio", "--concurrency", "8", "--seconds", "0.1", "--rounds", "1"],
    "crowd": ["--fast"],
    "hot_path": ["--fast", "--rounds", "4"],
    "import_time": ["--fast", "--rounds", "1"],
    "routing": ["--fast"],
    "scale": ["--fast"],
    "sidecar": ["--fast", "--seconds", "0.1", "--ways", "MeshClient,aiohttp → Envoy"],
    "storm": ["--fast"],
    "wire": ["--seconds", "0.02", "--rounds", "1", "--only", "rawproto+deadline,meshlib wire"],
}
# They keep less: no budget, no deadline, no verdicts. See "Where we lose" in docs/benchmarks.md.
LIGHTER = {("retry", "nopanic"), ("retry", "resilix")}


def run(name: str, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, str(BENCHMARKS / f"{name}.py"), *arguments], capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def result(name: str, folder: Path) -> dict[str, Any]:
    file = folder / f"{name}.json"
    run(name, *SHORT[name], "--json", str(file))
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def test_every_script_has_a_short_form_here() -> None:
    scripts = {file.stem for file in BENCHMARKS.glob("*.py") if not file.stem.startswith("_")}
    assert scripts - PARTS <= set(SHORT)


PLAIN = [
    name
    for name in ("balancersim", "balancers", "clients", "crowd", "routing", "wire")
    if (BENCHMARKS / f"{name}.py").exists()
]


@pytest.mark.parametrize("name", PLAIN)
def test_it_runs(name: str) -> None:
    assert run(name, *SHORT[name])


def test_no_policy_is_slower_than_a_peer_by_half(tmp_path: Path) -> None:
    table = result("hot_path", tmp_path)["table"]
    # The least of the rounds: what else the machine does can only add to it.
    cells = {(e["section"], e["row"], e["way"]): e["from_ns"] for e in table if "from_ns" in e}
    ours: dict[tuple[str, str], float] = {}
    for (section, row, way), added in cells.items():
        if row.startswith("meshlib"):
            ours.setdefault((section, way), added)
    assert {"breaker", "retry", "bulkhead"} <= {section for section, _ in ours}
    slower = {
        (section, row, way): (ours[section, way], added)
        for (section, row, way), added in cells.items()
        if not row.startswith("meshlib") and row != "closure" and (section, row) not in LIGHTER
        # Below 100 ns apart it may be noise, whatever the ratio.
        if (section, way) in ours and ours[section, way] > 1.5 * added and ours[section, way] - added > 100
    }
    assert not slower


def test_import_pulls_in_nothing_of_an_extra(tmp_path: Path) -> None:
    imports = result("import_time", tmp_path)["imports"]
    assert [name for name, row in imports.items() if row["of_extras"] and "aiohttp" not in name] == []
    assert imports["import meshlib"]["modules"] < imports["import httpx"]["modules"] / 2


def test_budget_and_breaker_end_the_storm_that_fixed_retries_keep_up(tmp_path: Path) -> None:
    storm = result("storm", tmp_path)["virtual"]
    assert storm["3 fixed retries"]["recovered_s"] is None
    assert storm["budget, breaker"]["recovered_s"] <= 10.0


def test_a_large_cluster_is_picked_from_as_quickly_as_a_small_one(tmp_path: Path) -> None:
    rows = {(row["services"], row["endpoints"]): row for row in result("scale", tmp_path)["rows"]}
    assert rows[1, 1_000]["pick_ns"]["median"] < 10 * rows[1, 10]["pick_ns"]["median"]


def test_the_sidecar_benchmark_loses_no_request(tmp_path: Path) -> None:
    (cell,) = result("sidecar", tmp_path)["cells"]
    assert cell["ways"]["MeshClient"]["failed"]["most"] == 0.0


def test_the_page_is_made_of_the_results(tmp_path: Path) -> None:
    run("report", "--docs", str(tmp_path))
    page = (tmp_path / "benchmarks.md").read_text()
    assert "## Where we lose" in page
    assert "## Where the sidecar wins" in page
    for name in {part.split(")")[0] for part in page.split("(img/")[1:]}:
        assert (tmp_path / "img" / name).read_text().startswith("<svg")


def test_the_committed_page_is_the_one_that_the_results_make(tmp_path: Path) -> None:
    run("report", "--docs", str(tmp_path))
    committed = BENCHMARKS.parent / "docs" / "benchmarks.md"
    assert committed.read_text() == (tmp_path / "benchmarks.md").read_text(), "run `make bench-docs`"

"""`meshlib rollout` ends at the last step or back where it began, and its exit status says which."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from meshlib.cli import main

TEXT = "services: {users: {split: {v1: 100}}}\nclusters: {v1: {endpoints: [h:1]}, v2: {endpoints: [h:2]}}\n"
QUICK = ("--every", "20ms", "--poll", "5ms")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(TEXT)
    return tmp_path / "mesh.yaml"


def split(store: Path) -> dict[str, float]:
    found: dict[str, float] = yaml.safe_load(store.read_text())["services"]["users"]["split"]
    return found


def counters(path: Path, requests: int, failures: int) -> None:
    buckets = {"50": requests}
    plain = {"requests": requests, "failures": failures, "seconds": 1.0, "buckets": buckets}
    path.write_text(json.dumps({"v2": plain}))


def test_without_figures_it_steps_by_time_alone(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "users", "--to", "v2", "--steps", "10,100", "--store", str(store), *QUICK]) == 0
    assert split(store) == {"v1": 0, "v2": 100}
    assert "users: done" in capsys.readouterr().out


def test_it_goes_back_when_the_condition_holds(
    store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = tmp_path / "figures.json"
    counters(figures, 10, 0)
    looks = iter(range(20, 1000, 10))
    read = Path.read_text

    def growing(path: Path, *args: str, **kwargs: str) -> str:
        if path == figures:
            number = next(looks)
            counters(figures, number, number // 2)
        return read(path, *args, **kwargs)

    monkeypatch.setattr(Path, "read_text", growing)
    where = ["--store", str(store), "--figures", str(figures)]
    status = main(["rollout", "users", "--to", "v2", *where, *QUICK, "--abort-if", "success_rate < 99%"])
    assert status == 1
    assert split(store) == {"v1": 100}
    assert "went back: success_rate < 99% holds at 1.00%" in capsys.readouterr().out


def test_a_condition_without_figures_is_refused(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["rollout", "users", "--to", "v2", "--store", str(store), "--abort-if", "p99 > 1s"]) == 2
    assert "--abort-if needs figures" in capsys.readouterr().err


def test_figures_beside_the_mesh_file_need_not_be_named(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    counters(store.with_name("figures.json"), 10, 0)
    where = ["--store", str(store), "--least", "0"]
    assert main(["rollout", "users", "--to", "v2", *where, *QUICK, "--abort-if", "success_rate < 0.5"]) == 0
    assert "users: done" in capsys.readouterr().out


def test_figures_nested_without_end_are_no_figures(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store.with_name("figures.json").write_text("[" * 100_000)
    where = ["--store", str(store), "--least", "0"]
    assert main(["rollout", "users", "--to", "v2", *where, *QUICK, "--abort-if", "success_rate < 0.5"]) == 0
    assert "users: done" in capsys.readouterr().out

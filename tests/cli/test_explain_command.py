"""`meshlib explain` says where a request would go and why; `check` and `status` judge files without running them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from meshlib.cli import main

MESH = """
services:
  users:
    timeout: 2s
    per_try_timeout: 500ms
    routes:
      - {name: testers, match: {headers: {x-group: testers}}, split: v2}
      - {name: seven, match: {path: /v1/*}, split: {v1: 50, v2: 50}, sticky: {header: x-user}, timeout: 9s}
    split: {v1: 90, v2: 10}
clusters:
  v1: {endpoints: [10.0.0.1:80, {address: 10.0.0.2:80, weight: 2, zone: a, labels: {version: v1}}]}
  v2: {endpoints: [10.0.0.3:80], bulkhead: {max_concurrent: 10}, limits: {max_retries: 3}}
egress: refuse
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "mesh.yaml").write_text(MESH)
    return tmp_path / "mesh.yaml"


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    main(["explain", *arguments])
    return capsys.readouterr().out


def test_the_rule_the_hash_the_policies_and_the_candidates_are_told(
    file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = told(capsys, "GET", "http://users/v1/me", "-H", "x-user: 7", "--mesh", str(file))
    for line in (
        "rule 1 'testers' does not match",
        "header 'x-group' is not exact 'testers'",
        "rule 2 'seven' matches",
        "by the hash of header x-user '7': 622455 of 1000000 (stable)",
        "=> cluster v2",
        "Timeout 9 s, 0.5 s for each try",  # the rule's own limit
        "Bulkhead 10 at a time",
        "limits of v2",
        "max_retries: 3",
        "10.0.0.3:80  weight 1  in flight 0",
    ):
        assert line in text
    assert text.index("Timeout") < text.index("Retry") < text.index("CircuitBreaker") < text.index("Bulkhead")


def test_a_draw_can_be_given(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "=> cluster v1" in told(capsys, "GET", "http://users/", "--mesh", str(file), "--draw", "0.89")
    assert "=> cluster v2" in told(capsys, "GET", "http://users/", "--mesh", str(file), "--draw", "0.9")


def test_a_refusal_is_told_and_is_the_exit_status(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "GET", "http://elsewhere/", "--mesh", str(file)]) == 1
    assert "refused: egress is refused" in capsys.readouterr().out


def test_the_same_as_data(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(told(capsys, "GET", "http://users/", "-H", "x-group: testers", "--mesh", str(file), "--json"))
    assert (found["cluster"], found["rule"]) == ("v2", "testers")


def test_nonsense_is_told_in_one_line(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["users"], ["http://users/", "-H", "no colon"], ["http://users/", "--mesh", "nowhere.yaml"]):
        assert main(["explain", "GET", *arguments, *([] if "--mesh" in arguments else ["--mesh", str(file)])]) == 1
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_manifests_are_checked_by_name_and_line_and_strictly_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "rule.yaml"
    file.write_text(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: a}\n"
        "spec:\n  host: a\n  trafficPolicy:\n    connectionPool:\n      tcp: {connectTimeout: 1s}\n"
    )
    assert main(["check", str(file)]) == 0
    assert f"{file}:8: warning: DestinationRule a: spec.trafficPolicy.connectionPool.tcp" in capsys.readouterr().out
    assert main(["check", "--strict", str(file)]) == 1


def test_status_tells_whether_the_store_and_its_copy_are_good(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["status", str(file), "--copy", str(tmp_path / "none.yaml")]) == 0
    text = capsys.readouterr().out
    assert "1 services, 2 clusters, 3 endpoints" in text and "there is no text in it" in text
    file.write_text("services: {a: {}}")
    assert main(["status", str(file)]) == 1
    assert "makes no sense" in capsys.readouterr().out
    assert main(["status", "etcd://127.0.0.1:1/none"]) == 1
    assert "away" in capsys.readouterr().out

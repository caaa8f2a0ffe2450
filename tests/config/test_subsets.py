"""A subset of another cluster, by labels: whose endpoints it has, and whose where nobody has the labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.errors import ConfigError

FILE = """
services: {{users: {{split: {{v2: 1}}}}}}
clusters:
  all:
    endpoints:
      - {{address: 'h:1', labels: {{version: v1, env: prod}}}}
      - {{address: 'h:2', labels: {{version: v2, env: prod}}, weight: 3, priority: 1}}
      - {{address: 'h:3', labels: {{version: v2, env: test}}}}
      - {{address: '[::1]:4', labels: {{version: v3}}, zone: a}}
  v2: {{endpoints_from: {{{origin}}}}}
"""


def members(folder: Path, origin: str) -> list[str]:
    (folder / "mesh.yaml").write_text(FILE.format(origin=origin))
    with Mesh.from_file(folder / "mesh.yaml", watch=False) as mesh:
        return [one.address for one in mesh.current.clusters["v2"].balancer.endpoints]


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("cluster: all, labels: {version: v2}", ["h:2", "h:3"]),
        ("cluster: all, labels: {version: v2, env: test}", ["h:3"]),
        ("cluster: all, labels: {zone: a}", ["[::1]:4"]),
        ("cluster: all, labels: {version: v9}", []),
        ("cluster: all, labels: {version: v9}, otherwise: none", []),
        ("cluster: all, labels: {version: v9}, otherwise: any", ["h:1", "h:2", "h:3", "[::1]:4"]),
        ("cluster: all, labels: {version: v9}, otherwise: {version: v1}", ["h:1"]),
        ("cluster: all, labels: {version: v2}, otherwise: any", ["h:2", "h:3"]),
    ],
)
def test_a_subset_has_those_with_the_labels_or_its_fallback(tmp_path: Path, origin: str, expected: list[str]) -> None:
    assert members(tmp_path, origin) == expected


def test_a_subset_knows_its_endpoints_by_its_own_calls(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text(FILE.format(origin="cluster: all, labels: {version: v2}"))
    with Mesh.from_file(tmp_path / "mesh.yaml", watch=False) as mesh:
        everybody, subset = (mesh.current.clusters[name].balancer for name in ("all", "v2"))
        assert subset.endpoints[0] is not everybody.endpoints[1]
        assert (subset.endpoints[0].weight, subset.endpoints[0].priority) == (3.0, 1)
        assert subset.endpoints[0].health is not everybody.endpoints[1].health


@pytest.mark.parametrize(
    ("origin", "message"),
    [
        ("cluster: nobody", "expected a cluster with endpoints of its own, found 'nobody'"),
        ("cluster: v2", "expected a cluster with endpoints of its own, found 'v2'"),
        ("cluster: all, file: x", "expected one of file and cluster"),
        ("labels: {a: b}", "expected one of file and cluster"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, origin: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        members(tmp_path, origin)

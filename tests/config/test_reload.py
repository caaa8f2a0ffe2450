"""An edit takes effect while the program runs; a bad one changes nothing; what did not change is the same object."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import pytest

from meshlib import Mesh
from meshlib.config.reader import MeshReader
from meshlib.events import ConfigRefused, Event, SnapshotPublished

ONE = "clusters:\n  a:\n    endpoints: [h:1, h:2]\n    breaker: {cooldown: 1s}\nservices: {a: {}}\n"


class Watched:
    """A mesh on a file without the thread: `edit` writes and reloads."""

    def __init__(self, file: Path, text: str) -> None:
        self.file = file
        file.write_text(text)
        self.mesh = Mesh(name="mesh")
        self.events: list[Event] = []
        self.mesh.subscribe(self.events.append)
        self.reader = MeshReader(self.mesh, file)
        self.reader.load()

    def edit(self, text: str) -> None:
        self.file.write_text(text)
        self.reader.reload()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "mesh.yaml", ONE)


def test_a_bad_edit_is_refused_and_told_and_the_last_good_picture_stays(watched: Watched) -> None:
    before = watched.mesh.current
    watched.edit("services: {a: {retries: 3}}")
    assert watched.mesh.current is before
    assert isinstance(watched.events[-1], ConfigRefused)
    assert "did you mean 'retry'" in str(watched.events[-1].error)
    watched.edit(ONE.replace("h:2", "h:3"))
    assert [e.address for e in watched.mesh.current.clusters["a"].balancer.endpoints] == ["h:1", "h:3"]


def test_a_change_of_members_keeps_the_endpoints_that_stay_and_the_breaker(watched: Watched) -> None:
    old = watched.mesh.current.clusters["a"]
    stays = old.balancer.endpoints[0]
    permit = stays.enter(0.0)
    watched.edit(ONE.replace("h:2", "h:3"))
    new = watched.mesh.current.clusters["a"]
    assert new.balancer.endpoints[0] is stays and stays.pending == 1
    assert new.breaker is old.breaker
    assert permit


def test_an_open_breaker_survives_a_reload_that_does_not_touch_it(watched: Watched) -> None:
    breaker = watched.mesh.current.clusters["a"].breaker
    assert breaker is not None
    breaker.open()
    watched.edit(ONE + "egress: refuse\n")
    assert watched.mesh.current.clusters["a"].breaker is breaker
    watched.edit(ONE.replace("balancer", "x").replace("endpoints:", "bulkhead: {max_concurrent: 3}\n    endpoints:"))
    assert watched.mesh.current.clusters["a"].breaker is breaker
    assert breaker.state == "open"


def test_limits_survive_a_reload_that_does_not_touch_them(watched: Watched) -> None:
    limited = ONE.replace("    breaker", "    limits: {max_retries: 1}\n    breaker")
    watched.edit(limited)
    limits = watched.mesh.current.clusters["a"].limits
    assert limits is not None and limits.take_retry()
    watched.edit(limited.replace("h:2", "h:3"))
    watched.edit(limited.replace("cooldown: 1s", "cooldown: 2s"))
    assert watched.mesh.current.clusters["a"].limits is limits
    watched.edit(limited.replace("max_retries: 1", "max_retries: 2"))
    assert watched.mesh.current.clusters["a"].limits.maxima() == {"max_retries": 2}  # type: ignore[union-attr]


def test_a_changed_breaker_is_a_new_one(watched: Watched) -> None:
    breaker = watched.mesh.current.clusters["a"].breaker
    watched.edit(ONE.replace("1s", "2s"))
    assert watched.mesh.current.clusters["a"].breaker is not breaker


def test_the_budget_stays_spent_when_only_the_timeout_changes(watched: Watched) -> None:
    budget = watched.mesh.current.services["a"].budget
    watched.edit(ONE.replace("{a: {}}", "{a: {timeout: 3s}}"))
    assert watched.mesh.current.services["a"].budget is budget


def next_picture(mesh: Mesh) -> threading.Event:
    seen = threading.Event()
    mesh.subscribe(lambda event: seen.set() if isinstance(event, SnapshotPublished) else None)
    return seen


@pytest.mark.parametrize("how", ["written in place", "renamed over", "by a turned link"])
def test_an_edit_of_the_file_takes_effect(tmp_path: Path, how: str) -> None:
    file = tmp_path / "mesh.yaml"
    if how == "by a turned link":  # as Kubernetes mounts a ConfigMap
        for version, text in (("one", ONE), ("two", ONE.replace("h:2", "h:9"))):
            (tmp_path / version).mkdir()
            (tmp_path / version / "mesh.yaml").write_text(text)
        (tmp_path / "current").symlink_to("one")
        file.symlink_to("current/mesh.yaml")
    else:
        file.write_text(ONE)
    with Mesh.from_file(file) as mesh:
        seen = next_picture(mesh)
        if how == "written in place":
            file.write_text(ONE.replace("h:2", "h:9"))
        elif how == "renamed over":
            (tmp_path / "new").write_text(ONE.replace("h:2", "h:9"))
            (tmp_path / "new").replace(file)
        else:
            (tmp_path / "next").symlink_to("two")
            (tmp_path / "next").replace(tmp_path / "current")
        assert seen.wait(20)
        assert [e.address for e in mesh.current.clusters["a"].balancer.endpoints] == ["h:1", "h:9"]


def test_an_edit_of_an_endpoints_file_takes_effect(tmp_path: Path) -> None:
    (tmp_path / "mesh.yaml").write_text("clusters: {a: {endpoints_from: {file: e.json}}}\nservices: {a: {}}\n")
    (tmp_path / "e.json").write_text('["h:1"]')
    with Mesh.from_file(tmp_path / "mesh.yaml") as mesh:
        seen = next_picture(mesh)
        (tmp_path / "e.json").write_text('["h:1", "h:2"]')
        assert seen.wait(20)
        assert len(mesh.current.clusters["a"].balancer.endpoints) == 2


def test_a_change_of_weight_alone_is_heard(watched: Watched) -> None:
    watched.edit(ONE.replace("h:2", "{address: 'h:2', weight: 0}"))
    cluster = watched.mesh.current.clusters["a"]
    dice = random.Random(1).random
    assert {cluster.balancer.pick(dice, 0.0).address for _ in range(50)} == {"h:1"}


TWO = """services:
  a: {routes: [{match: {path: /x}, split: a, policies: b}, {match: {path: /y}, split: a, per_try_timeout: 1s}]}
  b: {timeout: 2s}
clusters:
  a: {endpoints: [h:1, {address: h:2, weight: 2, labels: {v: one}}]}
  b: {endpoints: [h:3]}
"""


def test_what_is_written_as_it_was_is_not_made_again(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", TWO)
    old = watched.mesh.current
    watched.edit(TWO.replace("h:3", "h:4"))
    new = watched.mesh.current
    assert new.routes.services["a"] is old.routes.services["a"]
    assert new.services["a"] is old.services["a"] and new.clusters["a"] is old.clusters["a"]
    assert new.clusters["b"] is not old.clusters["b"]
    watched.edit("# only a comment\n" + TWO.replace("h:3", "h:4"))
    assert dict(watched.mesh.current.clusters) == dict(new.clusters)


def test_a_rule_hears_of_the_policies_that_it_names(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", TWO)
    watched.edit(TWO.replace("2s", "3s"))
    now = watched.mesh.current
    rules = now.routes.services["a"].routes
    assert rules[0].policies is now.services["b"]
    assert rules[1].policies.per_try_timeout == 1.0


def test_of_many_endpoints_those_that_stay_are_the_same_and_the_others_are_told(tmp_path: Path) -> None:
    watched = Watched(tmp_path / "mesh.yaml", TWO)
    one, two = watched.mesh.current.clusters["a"].balancer.endpoints
    watched.edit(TWO.replace("weight: 2", "weight: 5"))
    assert watched.mesh.current.clusters["a"].balancer.endpoints == (one, two)
    assert two.weight == 5
    watched.edit(TWO)
    assert two.weight == 2
    watched.edit(TWO.replace("v: one", "v: two"))
    assert watched.mesh.current.clusters["a"].balancer.endpoints[1].labels == {"v": "two"}


@pytest.mark.parametrize("kind", ["default", "ring_hash", "maglev", "round_robin", "prequal", "aperture"])
def test_the_picture_before_keeps_its_members(tmp_path: Path, kind: str) -> None:
    text = ONE.replace("    breaker", f"    balancer: {kind}\n    breaker")
    watched = Watched(tmp_path / "mesh.yaml", text)
    old = watched.mesh.current.clusters["a"]
    stays = old.balancer.endpoints[1]
    watched.edit(text.replace("h:1", "h:9"))
    new = watched.mesh.current.clusters["a"]
    assert [e.address for e in old.balancer.endpoints] == ["h:1", "h:2"]
    assert [e.address for e in new.balancer.endpoints] == ["h:9", "h:2"] and new.balancer.endpoints[1] is stays
    dice = random.Random(1).random
    assert {old.balancer.pick(dice, 0.0, key=n << 50).address for n in range(60)} <= {"h:1", "h:2"}
    assert {new.balancer.pick(dice, 0.0, key=n << 50).address for n in range(60)} <= {"h:9", "h:2"}


def test_the_picture_before_keeps_its_members_by_priority_too(tmp_path: Path) -> None:
    text = (
        "clusters:\n  a: {endpoints: [{address: h:1, priority: 0}, {address: h:2, priority: 1}]}\nservices: {a: {}}\n"
    )
    watched = Watched(tmp_path / "mesh.yaml", text)
    old = watched.mesh.current.clusters["a"]
    watched.edit(text.replace("h:1", "h:9"))
    dice = random.Random(1).random
    assert {old.balancer.pick(dice, 0.0).address for _ in range(20)} == {"h:1"}
    assert {watched.mesh.current.clusters["a"].balancer.pick(dice, 0.0).address for _ in range(20)} == {"h:9"}

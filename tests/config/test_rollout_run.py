"""A rollout writes its steps into the store, holds the service for itself, and goes back when it must."""

from __future__ import annotations

import pytest
import yaml

from meshlib.config.rollout_run import CLAIM, RolloutRefused, RolloutRun, rollout
from meshlib.discovery.store import MemoryStore
from meshlib.routing.rollout import Phase, Rollout
from meshlib.testing import ManualClock

TEXT = "# ours\nservices: {users: {split: {v1: 90, v3: 10}}}\nclusters: {v1: {}, v2: {}, v3: {}}\n"
GOOD = {"requests": 100.0, "success_rate": 1.0, "p99": 0.01}
BAD = {"requests": 100.0, "success_rate": 0.9, "p99": 0.01}


class Wall:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def run(store: MemoryStore, owner: str = "me", wall: Wall | None = None) -> RolloutRun:
    plan = Rollout(steps=[0.1, 1.0], every=10.0, abort_if="success_rate < 0.99")
    return RolloutRun(store, "users", "v2", plan, wall=wall or Wall(), owner=owner)


def split(store: MemoryStore) -> dict[str, float]:
    entry = store.get()
    assert entry is not None
    found: dict[str, float] = yaml.safe_load(entry.text)["services"]["users"]["split"]
    return found


def text(store: MemoryStore) -> str:
    entry = store.get()
    assert entry is not None
    return entry.text


def test_each_step_is_written_and_the_others_keep_their_proportions() -> None:
    store = MemoryStore(TEXT)
    it = run(store)
    it.begin()
    it.tick({}, 0.0)
    assert split(store) == {"v1": 81, "v3": 9, "v2": 10}
    it.tick(GOOD, 10.0)
    assert split(store) == {"v1": 0, "v3": 0, "v2": 100}
    it.tick(GOOD, 20.0)
    assert it.rollout.phase is Phase.DONE
    assert "rollouts" not in text(store) and text(store).startswith("# ours\n")


def test_bad_figures_put_back_what_was_there_and_end_it() -> None:
    store = MemoryStore(TEXT)
    it = run(store)
    it.begin()
    it.tick({}, 0.0)
    move = it.tick(BAD, 1.0)
    assert move is not None and "success_rate is 0.9" in move.reason
    assert it.rollout.phase is Phase.ABORTED
    assert split(store) == {"v1": 90, "v3": 10}
    assert "rollouts" not in text(store)


def test_two_rollouts_of_one_service_cannot_both_run() -> None:
    store, wall = MemoryStore(TEXT), Wall()
    run(store, wall=wall).begin()
    with pytest.raises(RolloutRefused, match="a rollout to v2 by me is running; its claim ends in 120 s"):
        run(store, "other", wall).begin()


def test_the_claim_of_a_process_that_died_ends_by_itself() -> None:
    store, wall = MemoryStore(TEXT), Wall()
    dead = run(store, wall=wall)
    dead.begin()
    wall.now += CLAIM + 1
    run(store, "other", wall).begin()
    with pytest.raises(RolloutRefused, match="another rollout has taken over"):
        dead.tick({}, 0.0)


def test_a_claim_is_prolonged_while_the_rollout_holds_a_step() -> None:
    store, wall = MemoryStore(TEXT), Wall()
    it = run(store, wall=wall)
    it.begin()
    it.tick({}, 0.0)
    for now in range(1, 9):
        wall.now += CLAIM / 2
        it.tick(GOOD, now / 10)
    with pytest.raises(RolloutRefused, match="is running"):
        run(store, "other", wall).begin()


def test_somebody_elses_edit_of_another_part_survives() -> None:
    store = MemoryStore(TEXT)
    it = run(store)
    it.begin()
    store.put(text(store).replace("v3: {}}", "v3: {}, v4: {}}"))
    it.tick({}, 0.0)
    assert "v4" in yaml.safe_load(text(store))["clusters"]


@pytest.mark.parametrize(("service", "to"), [("nobody", "v2"), ("users", "v9")])
def test_a_service_or_cluster_that_is_not_there_is_refused(service: str, to: str) -> None:
    plan = Rollout(steps=[1.0], every=1.0)
    with pytest.raises(RolloutRefused):
        RolloutRun(MemoryStore(TEXT), service, to, plan, wall=Wall()).begin()


def test_the_library_call_drives_itself_to_the_end() -> None:
    store, clock = MemoryStore(TEXT), ManualClock()
    seen = [
        move.share
        for _, move, _ in rollout(
            store,
            "users",
            to="v2",
            steps=[0.25, 1.0],
            every=30.0,
            figures=lambda now: GOOD,
            wall=Wall(),
            runtime=clock,
        )
        if move is not None
    ]
    assert seen == [0.25, 1.0]
    assert clock.now() == 60.0
    assert split(store)["v2"] == 100

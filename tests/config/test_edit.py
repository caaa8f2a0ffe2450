"""One value changes; comments, order and layout of the rest stay as people wrote them."""

from __future__ import annotations

import pytest
import yaml

from meshlib import ConfigError
from meshlib.config.edit import with_value

FLOW = "services:\n  users:  # ours\n    split: {v1: 90, v2: 10}  # canary\n    timeout: 2s\n# end\n"
BLOCK = "services:\n  users:\n    split:\n      v1: 90  # old\n      v2: 10\n\n    # times\n    timeout: 2s\n"
PLACE = ("services", "users", "split")


def test_a_value_on_one_line_is_replaced_where_it_stands() -> None:
    assert with_value(FLOW, PLACE, {"v1": 50.0, "v2": 50.0}) == FLOW.replace("{v1: 90, v2: 10}", "{v1: 50, v2: 50}")


def test_a_block_becomes_one_line_and_what_follows_stays() -> None:
    assert with_value(BLOCK, PLACE, {"v1": 1}) == (
        "services:\n  users:\n    split: {v1: 1}\n\n    # times\n    timeout: 2s\n"
    )


@pytest.mark.parametrize("text", [FLOW, BLOCK, "services: {users: {split: v1, timeout: 2s}}", BLOCK.rstrip("\n")])
def test_only_that_value_has_changed(text: str) -> None:
    expected = yaml.safe_load(text)
    expected["services"]["users"]["split"] = {"v1": 33.3, "v2": 66.7}
    assert yaml.safe_load(with_value(text, PLACE, {"v1": 33.3, "v2": 66.7})) == expected


def test_a_key_of_the_top_level_is_added_and_taken_away_again() -> None:
    added = with_value(FLOW, ("rollouts",), {"users": {"to": "v2", "by": "me:1", "until": 1.5}})
    assert yaml.safe_load(added)["rollouts"] == {"users": {"to": "v2", "by": "me:1", "until": 1.5}}
    assert added.startswith(FLOW)
    assert with_value(added, ("rollouts",), None) == FLOW


def test_a_place_that_is_not_written_out_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"services\.users\.split"):
        with_value("services: {users: {}}", PLACE, {"v1": 1})

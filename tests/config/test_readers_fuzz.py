"""Whatever stands in a text, reading it ends in a result or in a `ConfigError` that says where; see fuzz_readers."""

from __future__ import annotations

import random

import fuzz_readers
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st


@pytest.mark.parametrize("name", list(fuzz_readers.TARGETS))
def test_the_seeds_are_read(name: str) -> None:
    read, seeds = fuzz_readers.TARGETS[name]
    for seed in seeds:
        read(seed)


@pytest.mark.parametrize("name", list(fuzz_readers.TARGETS))
@settings(max_examples=40, deadline=None)
@given(chance=st.randoms(use_true_random=False), which=st.integers(0, 9))
def test_a_damaged_text_is_read_or_refused_with_a_place(name: str, chance: random.Random, which: int) -> None:
    seeds = fuzz_readers.TARGETS[name][1]
    fuzz_readers.check(name, fuzz_readers.damaged(seeds[which % len(seeds)], chance))

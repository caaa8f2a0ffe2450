"""Trees of names: how they evaluate and simplify, as in Finagle's NameTreeTest."""

from __future__ import annotations

import pytest
from routing.name_strategies import evaluated

from meshlib.routing.dtab_reader import read_path, read_tree
from meshlib.routing.nametree import EMPTY, FAIL, NEG, Alt, NameTree, Union, Weighted, simplified
from meshlib.routing.path import Path


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("~", None),
        ("/ok", {"/ok"}),
        ("/ok & /ok1", {"/ok", "/ok1"}),
        ("/ok & ~ & /blah & $", {"/ok", "/blah"}),
        ("$ & $ & $", set()),
        ("~ & ~ & (~ | ~)", None),
        ("~ | /foo | /bar", {"/foo"}),
        ("~ | $ | /blah", set()),
        ("~ | (~ | $) | /blah", set()),
        ("(~|$|/foo) & (/bar|/blah) & ~ & /FOO", {"/bar", "/FOO"}),
        ("! | /ok", None),
        ("/ok & !", {"/ok"}),
        ("! & ! & !", None),
        ("~ | /ok | !", {"/ok"}),
    ],
)
def test_a_tree_and_its_simplified_form_evaluate_alike(text: str, values: set[str] | None) -> None:
    expected = None if values is None else {read_path(value) for value in values}
    assert evaluated(read_tree(text)) == expected
    assert evaluated(simplified(read_tree(text))) == expected


@pytest.mark.parametrize(
    ("text", "simple"),
    [
        ("~ | /a", "/a"),
        ("/a | ! | /b", "/a | !"),
        ("~ | !", "!"),
        ("~ | ~", "~"),
        ("/a & ~ & !", "/a"),
        ("3 * /a & 2 * ~ & 1 * /b", "3 * /a & /b"),
        ("$ | /a", "$ | /a"),
        ("(~ | /a) & (! | /b)", "/a"),
    ],
)
def test_what_says_nothing_is_left_out(text: str, simple: str) -> None:
    assert simplified(read_tree(text)) == read_tree(simple)


@pytest.mark.parametrize("tree", [Alt(()), Union(()), Alt((NEG,)), Union((Weighted(2.0, NEG),))])
def test_trees_without_branches_know_nothing(tree: NameTree[Path]) -> None:
    assert simplified(tree) is NEG
    assert evaluated(tree) is None


def test_the_three_special_trees_are_not_each_other() -> None:
    assert len({FAIL, NEG, EMPTY}) == 3

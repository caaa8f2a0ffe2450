"""Delegation: which entries apply, in which order, and to what (Finagle's DtabTest)."""

from __future__ import annotations

import pytest

from meshlib.routing.dtab import Dentry, Dtab, Prefix
from meshlib.routing.dtab_reader import read_dtab, read_path, read_tree
from meshlib.routing.nametree import NEG
from meshlib.routing.path import Path


@pytest.mark.parametrize(
    ("dtab", "path", "tree"),
    [
        ("/a/*/c => /d", "/a/b/c/e/f", "/d/e/f"),
        ("/foo => /bar", "/foo/x", "/bar/x"),
        ("/foo => /bar", "/food", "~"),
        ("/foo => /1; /foo => /2", "/foo/x", "/2/x | /1/x"),
        ("/foo => /1; /foo/x => /2; / => /3", "/foo/x/y", "/3/foo/x/y | /2/y | /1/x/y"),
        ("/foo => 3 * /a & /b | ~", "/foo/x", "3 * /a/x & /b/x | ~"),
        ("/foo => !", "/foo/x", "!"),
        ("/* => /x", "/", "~"),
        ("/foo/* => /x", "/foo", "~"),
    ],
)
def test_the_rest_of_the_path_goes_to_every_leaf_and_later_entries_come_first(dtab: str, path: str, tree: str) -> None:
    assert read_dtab(dtab).lookup(read_path(path)) == read_tree(tree)


def test_tables_are_appended() -> None:
    one, two = read_dtab("/foo => /bar"), read_dtab("/foo=>/biz;/biz=>/$/inet/8080;/bar=>/$/inet/9090")
    assert one + two == read_dtab("/foo=>/bar; /foo=>/biz; /biz=>/$/inet/8080; /bar=>/$/inet/9090")
    assert one + Dtab() is one


def test_a_table_prints_as_finagle_prints_it() -> None:
    assert str(read_dtab(" /a/*/c => /d ; /e => /f | /g & 2 * /h ")) == "/a/*/c=>/d;/e=>/f | /g & 2.00*/h"


def test_tables_and_entries_are_values() -> None:
    assert read_dtab("/a=>/b") == Dtab([Dentry(Prefix("a"), read_tree("/b"))])
    assert hash(read_dtab("/a=>/b")) == hash(read_dtab(" /a => /b ; "))
    assert Dtab().lookup(Path("a")) is NEG
    assert [str(entry) for entry in read_dtab("/a=>/b;/c=>~")] == ["/a=>/b", "/c=>~"]

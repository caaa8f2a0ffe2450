"""The grammar of paths, name trees and dtabs: what Finagle reads, prints and refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from name_strategies import dtabs, trees

from meshlib.errors import ConfigError
from meshlib.routing.dtab import ANY, Dentry, Dtab, Prefix
from meshlib.routing.dtab_reader import read_dentry, read_dtab, read_path, read_tree
from meshlib.routing.nametree import EMPTY, FAIL, NEG, Alt, Leaf, NameTree, Union, Weighted, show_tree
from meshlib.routing.path import Path


def leaf(*elements: str) -> Leaf[Path]:
    return Leaf(Path(*elements))


def union(*arms: tuple[float, NameTree[Path]]) -> Union[Path]:
    return Union(tuple(Weighted(weight, tree) for weight, tree in arms))


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/", Path()),
        ("  /foo/bar  ", Path("foo", "bar")),
        (r"/\x66\x6f\x6F", Path("foo")),
        (r"/\xc3\xa4", Path("ä")),
        ("/#/io.l5d.fs/users", Path("#", "io.l5d.fs", "users")),
        ("/a#b # a comment", Path("a#b")),
        ("/$/inet/127.1/80:http_%-", Path("$", "inet", "127.1", "80:http_%-")),
    ],
)
def test_paths_are_read(text: str, path: Path) -> None:
    assert read_path(text) == path


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "'/' expected but end of input found at '[]'"),
        ("/foo/bar/", "label char expected but end of input found at '/foo/bar/[]'"),
        ("/{}", "end of input expected but '{' found at '/[{]}'"),
        ("/foo^bar", "end of input expected but '^' found at '/foo[^]bar'"),
        ("/\\?", "'x' expected but '?' found at '/\\[?]'"),
        ("/\\x?", "hex char expected but '?' found at '/\\x[?]'"),
        ("/\\x0?", "hex char expected but '?' found at '/\\x0[?]'"),
        ("foo", "'/' expected but 'f' found at '[f]oo'"),
        ("/a//b", "label char expected but '/' found at '/a/[/]b'"),
        ("/ä", "end of input expected but 'ä' found at '/[ä]'"),
    ],
)
def test_bad_paths_are_refused_with_their_place(text: str, complaint: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_path(text)
    assert str(refusal.value) == f"path: {complaint}"


@pytest.mark.parametrize(
    ("path", "text"),
    [
        (Path("foo", "bar"), "/foo/bar"),
        (Path(), "/"),
        (Path("a b", "c"), r"/\x61\x20\x62/c"),
        (Path("ä"), r"/\xc3\xa4"),
        (Path("*"), r"/\x2a"),
    ],
)
def test_an_element_that_cannot_be_shown_is_escaped_whole(path: Path, text: str) -> None:
    assert str(path) == text
    assert read_path(text) == path


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("! | ~ | $", Alt((FAIL, NEG, EMPTY))),
        ("/foo/bar", leaf("foo", "bar")),
        ("  /foo & /bar  ", union((1, leaf("foo")), (1, leaf("bar")))),
        ("  /foo | /bar  ", Alt((leaf("foo"), leaf("bar")))),
        (
            "/foo & /bar | /bar & /baz",
            Alt((union((1, leaf("foo")), (1, leaf("bar"))), union((1, leaf("bar")), (1, leaf("baz"))))),
        ),
        (
            "1 * /foo & 2 * /bar | .5 * /bar & .5 * /baz",
            Alt((union((1, leaf("foo")), (2, leaf("bar"))), union((0.5, leaf("bar")), (0.5, leaf("baz"))))),
        ),
        ("/a & (/b | /c)", union((1, leaf("a")), (1, Alt((leaf("b"), leaf("c")))))),
        ("((/a))", leaf("a")),
        ("5 * /a", leaf("a")),
        ("5.*/a & 0*~", union((5, leaf("a")), (0, NEG))),
        ("/a # first\n | # second\n /b", Alt((leaf("a"), leaf("b")))),
    ],
)
def test_trees_are_read(text: str, tree: NameTree[Path]) -> None:
    assert read_tree(text) == tree


@pytest.mark.parametrize(
    ("text", "mark"),
    [
        ("", "'[]'"),
        ("#", "'#[]'"),
        ("/foo &", "'/foo &[]'"),
        ("/foo & 0.1.2 * /bar", "'/foo & 0.1[.]2 * /bar'"),
        ("/foo & . * /bar", "'/foo & [.] * /bar'"),
        ("(/a", "'(/a[]'"),
        ("/a)", "'/a[)]'"),
        ("2 /a", "'2 [/]a'"),
        ("| /a", "'[|] /a'"),
        ("²*/a", "'[²]*/a'"),
        ("9" * 400 + "*/a", "weight expected"),
        ("(" * 10_000, "at most 30 parentheses"),
    ],
)
def test_bad_trees_are_refused_with_their_place(text: str, mark: str) -> None:
    with pytest.raises(ConfigError) as refusal:
        read_tree(text)
    assert mark in str(refusal.value)
    assert len(str(refusal.value)) < 600


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("1*/a & 2*/b", "/a & 2.00*/b"),
        ("(/a|/b)&/c", "(/a | /b) & /c"),
        ("/a & /b | /c", "/a & /b | /c"),
        ("(/a | /b) | ~", "(/a | /b) | ~"),
        (".5*/a & 0.333*/b", "0.50*/a & 0.333*/b"),
        ("(/a & /b) & !", "(/a & /b) & !"),
    ],
)
def test_trees_are_printed_with_the_parentheses_they_need(text: str, printed: str) -> None:
    assert show_tree(read_tree(text)) == printed


@pytest.mark.parametrize(
    ("text", "dentry"),
    [
        ("/=>!", Dentry(Path(), FAIL)),
        ("/ => !", Dentry(Path(), FAIL)),
        ("/foo/*/bar => !", Dentry(Prefix("foo", ANY, "bar"), FAIL)),
        ("/foo/bar/baz => !", Dentry(Prefix("foo", "bar", "baz"), FAIL)),
        ("/* => /$/nil", Dentry(Prefix(ANY), leaf("$", "nil"))),
    ],
)
def test_entries_are_read(text: str, dentry: Dentry) -> None:
    assert read_dentry(text) == dentry


@pytest.mark.parametrize("text", ["/foo/*bar/baz => !", "/&!", "/a = > /b", "/a => ", "/a", "/a/*/ => ~", ";"])
def test_bad_entries_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected but"):
        read_dentry(text)


@pytest.mark.parametrize(
    ("text", "entries"),
    [
        ("", []),
        ("  /=>!  ", [Dentry(Path(), FAIL)]),
        ("/=>!;", [Dentry(Path(), FAIL)]),
        ("/=>!;/foo=>/bar", [Dentry(Path(), FAIL), Dentry(Path("foo"), leaf("bar"))]),
        (
            """
            # a comment
            /#foo => /biz  # another
                | ( /bliz & # a third
                    /bluth ) # a fourth
                ; #a last
            #/ignore=>/me;
            """,
            [Dentry(Path("#foo"), Alt((leaf("biz"), union((1, leaf("bliz")), (1, leaf("bluth"))))))],
        ),
    ],
)
def test_dtabs_are_read(text: str, entries: list[Dentry]) -> None:
    assert read_dtab(text) == Dtab(entries)


def test_a_mistake_in_a_long_dtab_is_told_with_its_line() -> None:
    text = "".join(f"/svc/{n} => /#/io.l5d.fs/{n};\n" for n in range(100)) + "/svc => ^;"
    with pytest.raises(ConfigError, match=r"(?s)dtab, line 101: simple expected .*/svc => \[\^\];'"):
        read_dtab(text)


@given(tree=trees)
def test_reading_a_printed_tree_gives_the_same_tree(tree: NameTree[Path]) -> None:
    assert read_tree(show_tree(tree)) == tree


@given(dtab=dtabs)
def test_reading_a_printed_dtab_gives_the_same_dtab(dtab: Dtab) -> None:
    assert read_dtab(str(dtab)) == dtab


@given(text=st.one_of(st.text(), st.text("/ab*|&!~$()=>;#\\x0. \n1", max_size=60)))
def test_any_text_is_a_dtab_or_a_config_error(text: str) -> None:
    try:
        dtab = read_dtab(text)
    except ConfigError:
        return
    assert read_dtab(str(dtab)) == dtab

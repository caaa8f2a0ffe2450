"""The tree that explains a name: Linkerd's DelegatorTest and DelegateTreeTest, and what people read."""

from __future__ import annotations

from hypothesis import given, settings
from name_strategies import dtabs, path_values

from meshlib.routing.binding import Interpreter
from meshlib.routing.delegation import Delegation, delegate
from meshlib.routing.dtab import Dtab
from meshlib.routing.dtab_reader import read_dentry, read_path
from meshlib.routing.namer import PENDING, Bound, NamingError, SourceNamer
from meshlib.routing.path import Path


class Failing:
    def lookup(self, path: Path) -> object:
        raise NamingError("the namer is on fire")


class Waiting:
    def lookup(self, path: Path) -> object:
        return PENDING


NAMER = read_path("/#/namer")
INTERPRETER = Interpreter(
    """
    /bah/humbug => /$/inet/127.1/8080 ;
    /beh => /#/error ;
    /foo => /bah | /$/fail ;
    /foo => /bar ;
    /boo => /foo ;
    /meh => /heh ;
    /nah => /#/namer ;
    """,
    namers=[
        (NAMER, SourceNamer(NAMER, {"bro": "brothers"})),
        (read_path("/#/error"), Failing()),
        (read_path("/#/wait"), Waiting()),
    ],
)


def step(kind: str, path: str, dentry: str | None = None, *children: Delegation, **more: object) -> Delegation:
    return Delegation(kind, read_path(path), dentry and read_dentry(dentry), children, **more)


def shown(path: str) -> Delegation:
    return delegate(INTERPRETER, read_path(path))


def test_a_namer_binds() -> None:
    bound = Bound(read_path("/#/namer/bro"), Path("x"), cluster="brothers")
    leaf = step("leaf", "/#/namer/bro/x", "/nah=>/#/namer", bound=bound)
    assert shown("/nah/bro/x") == step("delegate", "/nah/bro/x", None, leaf)


def test_an_unknown_name_is_negative() -> None:
    assert shown("/nope") == step("neg", "/nope")
    assert shown("/meh/hey") == step("delegate", "/meh/hey", None, step("neg", "/heh/hey", "/meh=>/heh"))


def test_all_alternatives_are_shown() -> None:
    assert shown("/boo/lol") == step(
        "delegate",
        "/boo/lol",
        None,
        step(
            "alt",
            "/foo/lol",
            "/boo=>/foo",
            step("neg", "/bar/lol", "/foo=>/bar"),
            step("neg", "/bah/lol", "/foo=>/bah|/$/fail"),
            step("fail", "/$/fail/lol", "/foo=>/bah|/$/fail"),
        ),
    )


def test_a_bound_alternative_is_shown_between_the_others() -> None:
    bound = Bound(read_path("/$/inet/127.1/8080"), Path("ya"))
    assert shown("/boo/humbug/ya") == step(
        "delegate",
        "/boo/humbug/ya",
        None,
        step(
            "alt",
            "/foo/humbug/ya",
            "/boo=>/foo",
            step("neg", "/bar/humbug/ya", "/foo=>/bar"),
            step(
                "delegate",
                "/bah/humbug/ya",
                "/foo=>/bah | /$/fail",
                step("leaf", "/$/inet/127.1/8080/ya", "/bah/humbug=>/$/inet/127.1/8080", bound=bound),
            ),
            step("fail", "/$/fail/humbug/ya", "/foo=>/bah | /$/fail"),
        ),
    )


def test_a_failure_is_a_step_of_its_own() -> None:
    error = step("exception", "/#/error/humbug", "/beh=>/#/error", error="the namer is on fire")
    assert shown("/beh/humbug") == step("delegate", "/beh/humbug", None, error)
    assert shown("/#/wait/x").error == "not known yet: the namer has not answered"
    assert shown("/$/no.such/x").error == "Unknown namer: no.such for path: /$/no.such/x"


def test_steps_with_the_same_path_are_one() -> None:
    inner = [step("leaf", "/c", "/b => /c|/d"), step("leaf", "/d", "/b => /c|/d")]
    long = step("delegate", "/a", None, step("delegate", "/b", "/a => /b", step("alt", "/b", "/b => /c|/d", *inner)))
    assert long.simplified() == step("delegate", "/a", None, step("alt", "/b", "/a => /b", *inner))


def test_single_branches_become_delegations_and_none_become_negative() -> None:
    for kind, weights in (("alt", ()), ("union", (1.0,))):
        leaf = step("leaf", "/c", "/b => /c")
        long = step("delegate", "/b", "/a => /b", step(kind, "/b", "/b => /c", leaf, weights=weights))
        assert long.simplified() == step("delegate", "/b", "/a => /b", leaf)
        empty = step("delegate", "/b", "/a => /b", step(kind, "/b", "/b => ~"))
        assert empty.simplified() == step("delegate", "/b", "/a => /b", step("neg", "/b", "/b => ~"))


def test_the_way_to_a_leaf_can_be_found() -> None:
    assert [(str(path), entry) for path, entry in shown("/boo/humbug").route_to(read_path("/$/inet/127.1/8080"))] == [
        ("/boo/humbug", ""),
        ("/foo/humbug", "/boo=>/foo"),
        ("/bah/humbug", "/foo=>/bah | /$/fail"),
        ("/$/inet/127.1/8080", "/bah/humbug=>/$/inet/127.1/8080"),
    ]
    assert shown("/boo/humbug").route_to(Path("elsewhere")) is None


def test_the_tree_is_told_as_namerd_tells_it() -> None:
    tree = delegate(Interpreter("/a => 3 * /$/inet/80 & ~ & /b; /b => ! | $"), Path("a"))
    entry = {"prefix": "/a", "dst": "3.00*/$/inet/80 & ~ & /b"}
    assert tree.to_json() == {
        "type": "union",
        "path": "/a",
        "union": [
            {
                "weight": 3.0,
                "tree": {
                    "type": "leaf",
                    "path": "/$/inet/80",
                    "dentry": entry,
                    "bound": {"id": "/$/inet/80", "path": "/"},
                },
            },
            {"weight": 1.0, "tree": {"type": "neg", "path": "~", "dentry": entry}},
            {
                "weight": 1.0,
                "tree": {
                    "type": "alt",
                    "path": "/b",
                    "dentry": entry,
                    "alt": [
                        {"type": "fail", "path": "!", "dentry": {"prefix": "/b", "dst": "! | $"}},
                        {"type": "empty", "path": "/b", "dentry": {"prefix": "/b", "dst": "! | $"}},
                    ],
                },
            },
        ],
    }


def test_the_tree_can_be_read_by_people() -> None:
    assert list(shown("/nah/bro/x").lines()) == [
        "/nah/bro/x",
        "  /#/namer/bro/x -> bound to brothers, with /x left over   (/nah=>/#/namer)",
    ]


@settings(max_examples=50, deadline=None)
@given(dtab=dtabs, path=path_values)
def test_any_table_can_be_explained(dtab: Dtab, path: Path) -> None:
    tree = delegate(Interpreter(dtab), path)
    tree.to_json()
    assert list(tree.lines())


def test_a_table_that_would_take_forever_is_cut_short() -> None:
    for dtab in ("/a => /a/x & /a/y", "/a => /a | /a", "/a => (((/a | /a) & /b) | /c)"):
        assert "Max recursion level reached." in repr(delegate(Interpreter(dtab), Path("a")))

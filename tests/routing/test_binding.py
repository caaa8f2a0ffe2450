"""Binding a name through dtab and namers: Finagle's NamerTest and DefaultInterpreterTest, Linkerd's namer tests."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from name_strategies import dtabs, evaluated, path_values

from meshlib.routing.binding import Interpreter, bind, shares
from meshlib.routing.dtab import Dtab
from meshlib.routing.dtab_reader import read_dtab, read_path, read_tree
from meshlib.routing.namer import PENDING, Bound, FunctionNamer, NamingError, RewritingNamer, SourceNamer
from meshlib.routing.nametree import EMPTY, FAIL, NEG, Leaf, NameTree, mapped, show_tree
from meshlib.routing.path import Path
from meshlib.routing.path_pattern import PathPattern

TEST_NAMER = FunctionNamer(lambda path: Path("rewritten", "by", "test", "namer"))


def ports(interpreter: Interpreter, name: str) -> set[tuple[int, float | None]] | None:
    found = evaluated(interpreter.bind(read_path(name)))
    return None if found is None else {(bound.address[1], bound.weight) for bound in found}


def test_a_name_is_delegated_until_it_is_bound() -> None:
    assert ports(Interpreter("/foo=>/$/inet/8080"), "/foo") == {(8080, None)}
    assert ports(Interpreter("/foo=>/bar;/bar=>/$/inet/8080"), "/foo") == {(8080, None)}


def test_the_last_entry_wins() -> None:
    one, two = read_dtab("/foo=>/bar"), read_dtab("/foo=>/biz;/biz=>/$/inet/8080;/bar=>/$/inet/9090")
    assert ports(Interpreter(one + two), "/foo") == {(8080, None)}
    assert ports(Interpreter(two + one), "/foo") == {(9090, None)}


def test_a_namer_may_lead_back_to_the_dtab() -> None:
    dtab = "/foo=>/$/testnamer;/rewritten/by/test/namer=>/$/inet/7070"
    assert ports(Interpreter(dtab, extra={"testnamer": TEST_NAMER}), "/foo") == {(7070, None)}


def test_weights_are_those_of_the_innermost_union() -> None:
    dtab = """
        /foo => /bar;
        /foo => 3 * /baz & 2 * /booz & /$/testnamer;
        /rewritten/by/test/namer => /$/inet/7070;
        /baz => 3 * /$/inet/8080 & 2 * /$/inet/9090;
        /booz => ~
    """
    interpreter = Interpreter(dtab, extra={"testnamer": TEST_NAMER})
    assert ports(interpreter, "/foo") == {(8080, 3.0), (9090, 2.0), (7070, 1.0)}
    assert [(bound.address[1], share) for bound, share in shares(interpreter.bind(Path("foo")))] == [
        (8080, pytest.approx(0.45)),
        (9090, pytest.approx(0.3)),
        (7070, pytest.approx(0.25)),
    ]


class Scripted:
    """A namer that knows what the test says; what it was not told is pending."""

    def __init__(self) -> None:
        self.known: dict[str, str | Exception] = {}

    def lookup(self, path: Path) -> object:
        if path.elements[:1] == ("$",):
            return Interpreter().lookup(path)
        known = self.known.get(str(path), PENDING)
        if isinstance(known, Exception):
            raise known
        return known if known is PENDING else read_tree(known)


def test_a_union_is_as_good_as_what_is_bound_in_it() -> None:
    namer = Scripted()

    def state() -> object:
        try:
            tree = bind(namer.lookup, read_tree("/test/0 & /test/1"))
        except NamingError as error:
            return error
        if tree is PENDING:
            return PENDING
        values = evaluated(tree)
        return None if values is None else {(bound.address[1], bound.weight) for bound in values}

    failure = NamingError("away")
    assert state() is PENDING
    namer.known["/test/0"] = "/test/2"
    assert state() is PENDING
    namer.known["/test/1"] = "/$/inet/1"
    assert state() == {(1, 1.0)}
    namer.known["/test/1"] = failure
    assert state() is failure
    namer.known |= {"/test/1": "/$/inet/1", "/test/2": "/$/inet/2"}
    assert state() == {(1, 1.0), (2, 1.0)}
    namer.known["/test/2"] = "~"
    assert state() == {(1, 1.0)}
    namer.known["/test/2"] = failure
    assert state() == {(1, 1.0)}
    namer.known["/test/1"] = failure
    assert state() is failure
    namer.known |= {"/test/1": "~", "/test/2": "~"}
    assert state() is None
    namer.known["/test/1"] = "$"
    assert state() == set()


def test_fail_over_takes_the_first_that_is_known() -> None:
    namer = Scripted()

    def state() -> object:
        tree = bind(namer.lookup, read_tree("/test/0 | /test/1 & /test/2"))
        return PENDING if tree is PENDING else evaluated(mapped(tree, lambda bound: (bound.address[1], bound.weight)))

    assert state() is PENDING
    namer.known |= {"/test/0": "$", "/test/1": "~", "/test/2": "~"}
    assert state() == set()
    namer.known["/test/0"] = "/$/inet/1"
    assert state() == {(1, None)}
    namer.known["/test/0"] = "~"
    assert state() is None
    namer.known["/test/2"] = "/$/inet/2"
    assert state() == {(2, 1.0)}
    namer.known["/test/0"] = "/$/inet/3"
    assert state() == {(3, None)}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("(! | /test/1 | /test/2)", FAIL),
        ("(~ | /$/fail | /test/1)", FAIL),
        ("(/$/nil | /$/fail | /test/1)", EMPTY),
    ],
)
def test_fail_and_empty_end_a_fail_over(text: str, result: object) -> None:
    assert bind(Scripted().lookup, read_tree(text)) is result


@pytest.mark.parametrize(
    ("path", "id", "residual", "address"),
    [
        ("/$/inet/1234", "/$/inet/1234", "/", ("localhost", 1234)),
        ("/$/inet/127.0.0.1/1234", "/$/inet/127.0.0.1/1234", "/", ("127.0.0.1", 1234)),
        ("/$/inet/1234/foobar", "/$/inet/1234", "/foobar", ("localhost", 1234)),
        ("/$/inet/127.1/8080/ya", "/$/inet/127.1/8080", "/ya", ("127.1", 8080)),
        ("/$/fixedinet/1234", "/$/fixedinet/1234", "/", ("localhost", 1234)),
        ("/$/fixedinet/1234/foobar", "/$/fixedinet/1234", "/foobar", ("localhost", 1234)),
        ("/$/fixedinet/127.0.0.1/1234", "/$/fixedinet/127.0.0.1/1234", "/", ("127.0.0.1", 1234)),
        (
            "/$/io.buoyant.rinet/12345/localhost/residual",
            "/$/io.buoyant.rinet/12345/localhost",
            "/residual",
            ("localhost", 12345),
        ),
    ],
)
def test_addresses_are_bound_with_their_residual(path: str, id: str, residual: str, address: tuple[str, int]) -> None:
    tree = Interpreter().lookup(read_path(path))
    assert isinstance(tree, Leaf)
    assert (str(tree.value.id), str(tree.value.residual), tree.value.address) == (id, residual, address)


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("/$/fail", FAIL),
        ("/$/fail/foo/bar", FAIL),
        ("/$/nil", EMPTY),
        ("/$/nil/foo/bar", EMPTY),
        ("/foo/bar/bah/blah", NEG),
        ("/foo/bar", NEG),
        ("/", NEG),
        ("/$", NEG),
        ("/$/io.buoyant.rinet/80", NEG),
    ],
)
def test_what_is_built_in(path: str, result: object) -> None:
    assert Interpreter().lookup(read_path(path)) is result


@pytest.mark.parametrize("path", ["/$/inet", "/$/fixedinet", "/$/inet/host", "/$/no.such.Namer/foo"])
def test_an_unknown_namer_is_an_error(path: str) -> None:
    with pytest.raises(NamingError, match="Unknown namer: "):
        Interpreter().lookup(read_path(path))


@pytest.mark.parametrize("path", ["/$/inet/127.1/99999", "/$/inet/-1", "/$/io.buoyant.rinet/http/localhost"])
def test_a_port_that_is_none_is_an_error(path: str) -> None:
    with pytest.raises(NamingError, match="expected 0 to 65535"):
        Interpreter().lookup(read_path(path))


BUOYANT = "/$/io.buoyant."


@pytest.mark.parametrize(
    ("path", "result"),
    [
        ("hostportPfx/ia/127.1:8080/etc", "/ia/127.1/8080/etc"),
        ("hostportPfx/ia/google.com:8180/etc", "/ia/google.com/8180/etc"),
        ("hostportPfx/ia/google.com:8180:abcdef/etc", "~"),
        ("porthostPfx/ia/127.1:8080/etc", "/ia/8080/127.1/etc"),
        ("hostportPfx/ia/google.com:http/etc", "/ia/google.com/http/etc"),
        ("hostportPfx/ia/127.1:http/etc", "/ia/127.1/http/etc"),
        ("hostportPfx/ia/google.com:http:abcdef/etc", "~"),
        ("porthostPfx/ia/127.1:http/etc", "/ia/http/127.1/etc"),
        ("http.anyMethod/GET/foo/bar/bah", "/foo/bar/bah"),
        ("http.anyMethod/A.B/foo/bar/bah", "~"),
        ("http.anyMethodPfx/foo/GET/bar/bah", "/foo/bar/bah"),
        ("http.anyMethodPfx/foo/A.B/bar/bah", "~"),
        ("http.anyHost/a.b/foo/bar/bah", "/foo/bar/bah"),
        ("http.anyHost/a%b/foo/bar/bah", "~"),
        ("http.anyHostPfx/foo/a.b/bar/bah", "/foo/bar/bah"),
        ("http.anyHostPfx/foo/a%b/bar/bah", "~"),
        ("http.subdomainOf/a.b/foo.a.b/bar/bah", "/foo/bar/bah"),
        ("http.subdomainOfPfx/a.b/foo/bar.a.b/bah", "/foo/bar/bah"),
        ("http.subdomainOfPfx/a.b/foo/bar_suffix.a.b/bah", "/foo/bar_suffix/bah"),
        ("http.subdomainOfPfx/a.b/foo/bar-suffix.a.b/bah", "/foo/bar-suffix/bah"),
        ("http.subdomainOfPfx/a.b/foo/bar.a.b:9090/bah", "/foo/bar/bah"),
        ("http.subdomainOfPfx/a.b/foo/a.b/bah", "~"),
        ("http.domainToPath/foo.buoyant.io", "/io/buoyant/foo"),
        ("http.domainToPathPfx/pfx/foo.buoyant.io", "/pfx/io/buoyant/foo"),
        ("http.domainToPathPfx/pfx", "~"),
        ("http.anyHost", "~"),
    ],
)
def test_the_rewriting_helpers(path: str, result: str) -> None:
    assert Interpreter().lookup(read_path(BUOYANT + path)) == read_tree(result)


def test_going_round_in_circles_is_an_error() -> None:
    with pytest.raises(NamingError, match="Max recursion level: 100 reached in Namer lookup"):
        Interpreter("/foo/bar => /bar/foo; /bar/foo => /foo/bar").bind(read_path("/foo/bar"))
    with pytest.raises(NamingError, match="Max recursion level: 2 reached in Namer lookup"):
        Interpreter("/s => /s/srv", max_depth=2).bind(read_path("/s/foo/bar"))


@pytest.mark.parametrize("dtab", ["/a => /a/x & /a/y", "/a => /a & /a | /a", "/ => /b & /c;" * 50])
def test_a_table_that_would_take_forever_is_an_error(dtab: str) -> None:
    with pytest.raises(NamingError):
        Interpreter(dtab).bind(read_path("/a"))


FS = read_path("/#/io.l5d.fs")


def test_discovery_sources_are_namers() -> None:
    fs = SourceNamer(FS, {"users": "fs/users"})
    interpreter = Interpreter("/svc => /#/io.l5d.fs", namers=[(FS, fs)])
    tree = interpreter.bind(read_path("/svc/users/me"))
    assert tree == Leaf(Bound(read_path("/#/io.l5d.fs/users"), Path("me")))
    assert tree.value.cluster == "fs/users"
    assert interpreter.bind(read_path("/svc/orders")) is NEG
    assert interpreter.bind(read_path("/svc")) is NEG
    pending = Interpreter("/svc => /#/io.l5d.fs", namers=[(FS, SourceNamer(FS, None))])
    assert pending.bind(read_path("/svc/users")) is PENDING


def test_a_name_of_a_source_may_have_several_elements() -> None:
    k8s = read_path("/#/io.l5d.k8s")
    namer = SourceNamer(k8s, {"prod/http/users": "users"}, segments=3)
    tree = Interpreter(namers=[(k8s, namer)]).bind(read_path("/#/io.l5d.k8s/prod/http/users/x"))
    assert (tree.value.cluster, tree.value.residual) == ("users", Path("x"))


def test_namers_hand_on_what_they_do_not_know() -> None:
    first, second = SourceNamer(FS, {"a": "1"}), SourceNamer(FS, {"a": "2", "b": "2"})
    interpreter = Interpreter(namers=[(FS, first), (FS, second)])
    assert interpreter.bind(FS + Path("a")).value.cluster == "1"
    assert interpreter.bind(FS + Path("b")).value.cluster == "2"


def test_an_entry_that_says_nothing_hands_on_to_the_namers() -> None:
    interpreter = Interpreter("/#/io.l5d.fs/a => ~", namers=[(FS, SourceNamer(FS, {"a": "1"}))])
    assert interpreter.bind(FS + Path("a")).value.cluster == "1"


@pytest.mark.parametrize(
    ("pattern", "name", "path", "result"),
    [
        ("/one/two", "/success", "/one/two/three", "/success"),
        ("/one/*/three", "/success", "/one/two/three", "/success"),
        ("/one/*/four", "/success", "/one/two/three", "~"),
        ("/{foo}/*/three", "/success/{foo}", "/one/two/three", "/success/one"),
        ("/{foo}/*/four", "/success/{foo}", "/one/two/three", "~"),
        ("/{service}/api", "/srv/{service}", "/foo/api", "/srv/foo"),
    ],
)
def test_the_rewriting_namer(pattern: str, name: str, path: str, result: str) -> None:
    assert RewritingNamer(pattern, name).lookup(read_path(path)) == read_tree(result)


@pytest.mark.parametrize(
    ("pattern", "path", "found"),
    [
        ("/foo/bar", "/foo/bar", {}),
        ("/foo/bar", "/foo/bar/bas", {}),
        ("/foo/bar", "/foo/goo", None),
        ("/foo/bar", "/foo", None),
        ("/foo/*/*", "/foo/hi/there", {}),
        ("/foo/*/*", "/foo/hi", None),
        ("/foo/{A}", "/foo/bar/bas", {"A": "bar"}),
        ("/foo/{A_B_C}", "/foo/bar/bas", {"A_B_C": "bar"}),
        ("/foo/bar/{A}:http", "/foo/bar/bas:http", {"A": "bas"}),
        ("/foo/{A}/*/{B}", "/foo/boo/bar/bas", {"A": "boo", "B": "bas"}),
        ("/foo/bar/{A}.com/{B}", "/foo/bar/foo.com/80", {"A": "foo", "B": "80"}),
        ("/foo/bar/{A}-{B}/{C}", "/foo/bar/foo-com/80", {"A": "foo", "B": "com", "C": "80"}),
        ("/foo/bar/{A}.{B}/{C}", "/foo/bar/foo.com/80", {"A": "foo", "B": "com", "C": "80"}),
        ("/foo/bar/{A}.{B}.{C}/{D}", "/foo/bar/www.foo.com/80", {"A": "www", "B": "foo", "C": "com", "D": "80"}),
        ("/foo/{A}/*/{B}:http", "/foo/boo/bar/bas:http", {"A": "boo", "B": "bas"}),
        ("/foo/bar/{A}-{B}", "/foo/bar/foo-bar-baz", {"A": "foo-bar", "B": "baz"}),
        ("/foo/{A}/bar", "/foo/bar/bad", None),
        ("/foo/{A}:http", "/foo/bar/bas:http", None),
        ("/x{A}{B}y", "/xaby", {"A": "ab", "B": ""}),
        ("/", "/anything", {}),
    ],
)
def test_path_patterns(pattern: str, path: str, found: dict[str, str] | None) -> None:
    assert PathPattern(pattern).extracted(read_path(path)) == found


def test_path_patterns_fill_in_what_they_took() -> None:
    pattern = PathPattern("/foo/{A}/*/{B}")
    assert pattern.substituted(read_path("/foo/boo/bar/bas"), "/{A}/and/{B}") == "/boo/and/bas"
    assert pattern.substituted(read_path("/goo/boo/bar/bas"), "/{A}/and/{B}") is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8 * (7 * /a & 1 * /p) & 2 * /s", {"a": 0.7, "p": 0.1, "s": 0.2}),
        ("0 * ~ & 0 * ! & 0 * $ & 0 * /foo", {"foo": 1.0}),
        ("0 * ~ & 0 * ! & 0 * $", {}),
        ("0 * ~ & 0 * ! & 0 * $ & 0 * (0 * ~ & 0 * /foo)", {"foo": 1.0}),
        ("0 * $ & (0 * ~ & 0 * /foo)", {"foo": 1.0}),
        ("100 * $ & 0 * /foo", {None: 1.0, "foo": 0.0}),
        (".5 * $ & .5 * /foo", {None: 0.5, "foo": 0.5}),
        ("$", {}),
        ("/a", {"a": 1.0}),
        ("99999999999999999999999999999 * /a & 1 * /b", {"a": 1.0, "b": 1e-29}),
    ],
)
def test_shares_multiply_through_nested_unions(text: str, expected: dict[str | None, float]) -> None:
    found = shares(mapped(read_tree(text), lambda path: Bound(path)))
    assert {None if bound is None else bound.id.elements[0]: share for bound, share in found} == pytest.approx(expected)


@settings(max_examples=80, deadline=None)
@given(dtab=dtabs, path=path_values)
def test_any_table_binds_any_name_or_says_why_not(dtab: Dtab, path: Path) -> None:
    try:
        tree: NameTree[Bound] = Interpreter(dtab).bind(path)
    except NamingError:
        return
    show_tree(tree)
    assert sum(share for _, share in shares(tree)) == pytest.approx(1.0 if shares(tree) else 0.0)

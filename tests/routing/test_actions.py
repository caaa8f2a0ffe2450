"""What a rule does to a request, as pure functions of the request and the draw."""

from __future__ import annotations

import pytest

from meshlib.routing.actions import DirectResponse, Fault, HeaderEdit, Mirror, Redirect, Rewrite
from meshlib.routing.match import ExactPath, Match, PrefixPath, RegexPath, TemplatePath
from meshlib.routing.request import RouteRequest
from meshlib.routing.route import Route
from meshlib.routing.split import Destination, Split
from meshlib.routing.table import RouteTable, ServiceRoutes


@pytest.mark.parametrize(
    ("prefix", "replacement", "path", "result"),
    # The table in the Gateway API's reference of ReplacePrefixMatch.
    [
        ("/foo", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz", "/foo/bar", "/xyz/bar"),
        ("/foo/", "/xyz/", "/foo/bar", "/xyz/bar"),
        ("/foo", "/xyz", "/foo", "/xyz"),
        ("/foo", "/xyz/", "/foo/", "/xyz/"),
        ("/foo", "", "/foo/bar", "/bar"),
        ("/foo", "", "/foo/", "/"),
        ("/foo", "", "/foo", "/"),
        ("/foo", "/", "/foo/bar", "/bar"),
        ("/foo", "/", "/foo/", "/"),
        ("/foo", "/", "/foo", "/"),
    ],
)
def test_a_prefix_is_replaced_as_the_gateway_api_says(prefix: str, replacement: str, path: str, result: str) -> None:
    assert Rewrite(prefix=replacement).rewritten(path, Match(path=PrefixPath(prefix))) == result


def test_a_rewrite_goes_by_what_matched() -> None:
    assert Rewrite(prefix="/b").rewritten("/a/x", Match(path=PrefixPath("/a", segments=False))) == "/b/x"
    assert Rewrite(prefix="/b").rewritten("/a", Match(path=ExactPath("/a"))) == "/b"
    assert Rewrite(path="/b").rewritten("/a/x", Match(path=PrefixPath("/a"))) == "/b"
    assert Rewrite(path="/b").rewritten("/a/x", None) == "/b"
    template = Match(path=TemplatePath("/users/{id}/{rest=**}"))
    assert Rewrite(path="/v2/{rest}?u={id}").rewritten("/users/7/a/b", template) == "/v2/a/b?u=7"
    regex = Match(path=RegexPath("/service/([^/]+)(/.*)"))
    assert Rewrite(path=r"\2/\1").rewritten("/service/foo/v1", regex) == "/v1/foo"
    assert Rewrite(regex="^/v1/(.*)$", path=r"/\1/v1").rewritten("/v1/x", None) == "/x/v1"
    assert Rewrite(host="users.internal").rewritten("/a", None) == "/a"


def test_what_a_path_captured_is_not_filled_twice() -> None:
    template = Match(path=TemplatePath("/{a}/{b}"))
    assert Rewrite(path="/{a}-{b}").rewritten("/{b}/x", template) == "/{b}-x"


def test_a_redirect_changes_what_it_names_and_keeps_the_rest() -> None:
    request = RouteRequest("users:8080", path="/old/x", query="q=1")
    matched = Match(path=PrefixPath("/old"))
    assert Redirect(prefix="/new").location(request, matched) == "http://users:8080/new/x?q=1"
    assert Redirect(scheme="https").location(request, matched) == "https://users/old/x?q=1"
    assert Redirect(scheme="https", port=443).location(request, None) == "https://users/old/x?q=1"
    assert Redirect(host="other", path="/", strip_query=True).location(request, None) == "http://other/"
    assert Redirect(port=9000).location(request, None) == "http://users:9000/old/x?q=1"
    assert Redirect(path="/").location(RouteRequest("[::1]:81"), None) == "http://[::1]:81/"
    assert Redirect(path="/").location(RouteRequest("a:99999999"), None) == "http://a:99999999/"
    assert Redirect(host="b", port=8443).location(RouteRequest("a:1"), None) == "http://b:8443/"


def test_header_edits_remove_then_set_then_add() -> None:
    edit = HeaderEdit(set={"X-A": "1"}, add={"x-b": "2"}, remove=["X-C"])
    before = [("x-a", "0"), ("X-B", "1"), ("x-c", "9"), ("x-d", "4")]
    assert edit.applied(before) == [("X-B", "1"), ("x-d", "4"), ("X-A", "1"), ("x-b", "2")]


def test_a_mirror_takes_its_share() -> None:
    assert Mirror("shadow").wanted(lambda: 0.999)
    assert Mirror("shadow", ratio=0.1).wanted(lambda: 0.09)
    assert not Mirror("shadow", ratio=0.1).wanted(lambda: 0.1)
    assert not Mirror("shadow", ratio=0.0).wanted(lambda: 0.0)


def test_delay_and_abort_are_drawn_independently() -> None:
    fault = Fault(delay=2.0, delay_ratio=0.5, abort_status=503, abort_ratio=0.1)
    request = RouteRequest("users")

    def drawn(*draws: float) -> tuple[float, int | None] | None:
        left = iter(draws)
        injected = fault.draw(request, lambda: next(left))
        return None if injected is None else (injected.delay, injected.status)

    assert drawn(0.4, 0.5) == (2.0, None)
    assert drawn(0.6, 0.05) == (0.0, 503)
    assert drawn(0.4, 0.05) == (2.0, 503)
    assert drawn(0.6, 0.5) is None


def test_a_request_may_ask_for_its_own_fault() -> None:
    fault = Fault(delay_header="X-Delay", abort_header="X-Abort")
    asking = RouteRequest("users", header={"x-delay": "250", "x-abort": "418"}.get)
    injected = fault.draw(asking, lambda: 0.5)
    assert (injected.delay, injected.status) == (0.25, 418)
    for nonsense in ("-1", "1e9", "999", "", "²"):
        assert fault.draw(RouteRequest("users", header={"x-abort": nonsense}.get), lambda: 0.5) is None


def test_grpc_status_zero_is_an_abort_too() -> None:
    assert Fault(abort_grpc=0).draw(RouteRequest("users"), lambda: 0.0).grpc_status == 0


def test_a_decision_says_whether_there_is_something_to_do() -> None:
    def decide(**what: object) -> object:
        service = ServiceRoutes("users", routes=[Route(**{"to": Split("v1"), **what})])
        return RouteTable([service]).resolve(RouteRequest("users"), lambda: 0.0)

    assert decide().plain
    assert not decide(rewrite=Rewrite(host="x")).plain
    assert not decide(mirrors=[Mirror("shadow")]).plain
    assert not decide(fault=Fault(delay=1.0)).plain
    assert not decide(headers=HeaderEdit(remove=["x"])).plain
    assert not decide(to=Split([Destination("v1", headers=HeaderEdit(remove=["x"]))])).plain
    answered = decide(to=None, direct=DirectResponse(204))
    assert (answered.cluster, answered.route.direct.status, answered.plain) == (None, 204, False)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Rewrite(), "host"),
        (lambda: Rewrite(path="/a", prefix="/b"), "prefix"),
        (lambda: Rewrite(path="a"), "path"),
        (lambda: Rewrite(host="a", regex="b"), "path"),
        (lambda: Rewrite(path="/a", regex="("), "regex"),
        (lambda: Redirect(status=200), "status"),
        (lambda: Redirect(port=0), "port"),
        (lambda: DirectResponse(99), "status"),
        (lambda: Mirror("a", ratio=2), "ratio"),
        (lambda: Mirror("a", ratio=float("nan")), "ratio"),
        (lambda: Fault(), "delay"),
        (lambda: Fault(delay=-1), "delay"),
        (lambda: Fault(delay=1, delay_ratio=50), "delay_ratio"),
        (lambda: Fault(abort_status=99), "abort_status"),
        (lambda: Fault(abort_grpc=17), "abort_grpc"),
        (lambda: Fault(abort_status=503, abort_grpc=14), "abort_grpc"),
    ],
)
def test_nonsense_is_refused_by_field(make: object, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        make()

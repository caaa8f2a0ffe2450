"""The names of requests: Linkerd's identifier tests."""

from __future__ import annotations

import pytest

from meshlib.routing.identifiers import (
    HeaderIdentifier,
    HeaderTokenIdentifier,
    Identified,
    Identifier,
    MethodAndHostIdentifier,
    PathIdentifier,
    StaticIdentifier,
)
from meshlib.routing.path import EMPTY_PATH, Path
from meshlib.routing.request import RouteRequest


def name(identifier: Identifier, host: str = "", path: str = "/", method: str = "GET", **more: str) -> str | None:
    headers = {key.replace("_", "-"): value for key, value in more.items() if key != "version"}
    request = RouteRequest(host, method, path, header=headers.get, version=more.get("version", "1.1"))
    found = identifier.identify(request)
    return str(found.name) if isinstance(found, Identified) else None


def test_a_header_as_one_element() -> None:
    assert name(HeaderTokenIdentifier(), host="Users:80") == "/svc/Users:80"
    assert name(HeaderTokenIdentifier(prefix=EMPTY_PATH, header="my-header"), my_header="foo") == "/foo"
    assert (
        name(HeaderTokenIdentifier(prefix=Path("http"), header="My-Header"), my_header="a/b") == r"/http/\x61\x2f\x62"
    )
    assert name(HeaderTokenIdentifier()) is None
    assert name(HeaderTokenIdentifier(header="my-header"), my_header="") is None


def test_a_header_that_holds_a_path() -> None:
    assert name(HeaderIdentifier(prefix=EMPTY_PATH), l5d_name="/one/two/three") == "/one/two/three"
    assert name(HeaderIdentifier(prefix=Path("http"), header="my-header"), my_header="/a/b/c") == "/http/a/b/c"
    assert name(HeaderIdentifier(), my_header="/a") is None
    assert name(HeaderIdentifier(), l5d_name="") is None
    assert name(HeaderIdentifier(), l5d_name="no path") is None


def test_method_and_host() -> None:
    plain, uris = MethodAndHostIdentifier(prefix=Path("https")), MethodAndHostIdentifier(prefix=Path("p"), uris=True)
    assert name(plain, path="/some/path") is None
    assert name(plain, host="DoMaiN", path="/some/path") == "/https/1.1/GET/domain"
    assert name(uris, host="domain", path="/some/path") == "/p/1.1/GET/domain/some/path"
    assert name(plain, path="/drum/bass", method="POST", version="1.0") == "/https/1.0/POST"
    assert name(uris, path="/drum/bass", method="POST", version="1.0") == "/p/1.0/POST/drum/bass"
    assert name(plain, host="domain", version="3") is None
    assert name(uris, host="domain", path="/a b") is None


def test_the_begin_of_the_urls_path() -> None:
    two = PathIdentifier(prefix=Path("http"), segments=2)
    assert name(two, path="/mysvc/subsvc") == "/http/mysvc/subsvc"
    assert name(two, path="/mysvc/subsvc/some/path") == "/http/mysvc/subsvc"
    assert name(two, path="/mysvc/subsvc/!") == "/http/mysvc/subsvc"
    assert name(two, path="/mysvc") is None
    assert name(PathIdentifier(), path="/") is None


@pytest.mark.parametrize(
    ("segments", "path", "rest"),
    [
        (2, "/mysvc/subsvc/some/path", "/some/path"),
        (2, "/mysvc/subsvc", "/"),
        (2, "/mysvc/subsvc/", "/"),
        (2, "/mysvc/subsvc/path1/", "/path1/"),
        (2, "/mysvc/subsvc/path1/path2/", "/path1/path2/"),
        (1, "/mysvc", "/"),
        (1, "/mysvc/", "/"),
    ],
)
def test_what_was_used_up_of_the_path_is_gone(segments: int, path: str, rest: str) -> None:
    taking = PathIdentifier(segments=segments, consume=True).identify(RouteRequest("", path=path))
    keeping = PathIdentifier(segments=segments).identify(RouteRequest("", path=path))
    assert taking.url_path(path) == rest
    assert keeping.url_path(path) == path
    assert taking.name == keeping.name


def test_a_static_name() -> None:
    assert name(StaticIdentifier(Path("foo"), prefix=Path("svc"))) == "/svc/foo"

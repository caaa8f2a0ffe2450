"""Match: one alternative of a rule's conditions, compiled into one closure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from .request import RouteRequest
from .text_match import Text
from .url_path import ExactPath, PrefixPath, RegexPath, TemplatePath, UrlPath

Test: TypeAlias = Callable[[RouteRequest], bool]
Condition: TypeAlias = tuple[str, str, Test]  # what is looked at, what it should be, the test


class Match:
    """A condition on a request: everything given must hold. An empty one holds always.

    `path` is an `ExactPath`, `PrefixPath`, `RegexPath` or `TemplatePath`, or a text: `/a/*` for a prefix, anything
    with `{` for a template, else an exact path. `methods`, `hosts`, `schemes` and `ports` are lists of which one must
    hold; the port is that of the URL, or the scheme's own.
    `headers`, `query`, `cookies` and the caller's `labels` are mappings from name to a `Text` or to the exact text;
    `env` is short for the label of that name.
    """

    __slots__ = (
        "conditions",
        "cookies",
        "headers",
        "hosts",
        "labels",
        "matches",
        "methods",
        "path",
        "ports",
        "query",
        "rest",
        "schemes",
    )

    def __init__(
        self,
        *,
        path: UrlPath | str | None = None,
        methods: Iterable[str] = (),
        headers: Mapping[str, Text | str] | None = None,
        query: Mapping[str, Text | str] | None = None,
        cookies: Mapping[str, Text | str] | None = None,
        labels: Mapping[str, Text | str] | None = None,
        env: str | None = None,
        hosts: Iterable[Text] = (),
        schemes: Iterable[str] = (),
        ports: Iterable[int] = (),
    ) -> None:
        self.path: UrlPath | None = path_matcher(path) if isinstance(path, str) else path
        self.methods: tuple[str, ...] = tuple(method.upper() for method in methods)
        self.schemes: tuple[str, ...] = tuple(scheme.lower() for scheme in schemes)
        self.ports: tuple[int, ...] = tuple(ports)
        self.hosts: tuple[Text, ...] = tuple(hosts)
        self.headers: dict[str, Text] = {name.lower(): text for name, text in _texts(headers).items()}
        self.query: dict[str, Text] = _texts(query)
        self.cookies: dict[str, Text] = _texts(cookies)
        self.labels: dict[str, Text] = _texts(labels) | ({} if env is None else {"env": Text(exact=env)})
        # In the order of their price: the cheapest test that can fail comes first.
        self.conditions: tuple[Condition, ...] = (
            *_one_of("method", self.methods, lambda request: request.method),
            *_one_of("scheme", self.schemes, lambda request: request.scheme),
            *_each("label", self.labels, _label),
            *_each("header", self.headers, _header),
            *_one_of("port", tuple(map(str, self.ports)), lambda request: request.port()),
            *_each("query parameter", self.query, _parameter),
            *_each("cookie", self.cookies, _cookie),
            *_any_host(self.hosts),
        )
        tests = [test for _, _, test in self.conditions]
        self.rest: Test | None = _all(tests) if tests else None
        if self.path is not None:
            on_path = self.path.test
            tests.insert(0, lambda request: on_path(request.path))
        self.matches: Test = _all(tests) if tests else _always

    def why_not(self, request: RouteRequest) -> str | None:
        """The first thing that does not hold, as a sentence; None if the request matches."""
        if self.path is not None and not self.path.test(request.path):
            return f"path {request.path!r} is not {self.path!r}"
        return next((f"{what} is not {wanted}" for what, wanted, test in self.conditions if not test(request)), None)

    def __repr__(self) -> str:
        path = [] if self.path is None else [repr(self.path)]
        return f"Match({', '.join([*path, *[f'{what} is {wanted}' for what, wanted, _ in self.conditions]])})"


def path_matcher(text: str) -> UrlPath:
    """The short way to write a path: `/a/*` is a prefix, one with `{` or another `*` a template, else it is exact."""
    if text.endswith("/*") and not set(text[:-2]) & set("{*"):
        return PrefixPath(text[:-1])
    return TemplatePath(text) if set(text) & set("{*") else ExactPath(text)


def _texts(wanted: Mapping[str, Text | str] | None) -> dict[str, Text]:
    return {name: Text(exact=text) if isinstance(text, str) else text for name, text in (wanted or {}).items()}


def _each(kind: str, wanted: Mapping[str, Text], read: Callable[[RouteRequest, str], str | None]) -> list[Condition]:
    return [(f"{kind} {name!r}", repr(text), _field_test(name, text.test, read)) for name, text in wanted.items()]


def _field_test(name: str, test: Callable[[str | None], bool], read: Callable[[RouteRequest, str], str | None]) -> Test:
    if read is _header:
        return lambda request: test(request.header(name))
    return lambda request: test(read(request, name))


def _one_of(kind: str, wanted: tuple[str, ...], read: Callable[[RouteRequest], str]) -> list[Condition]:
    if not wanted:
        return []
    values = frozenset(wanted)
    return [(kind, " or ".join(wanted), lambda request: read(request) in values)]


def _any_host(wanted: tuple[Text, ...]) -> list[Condition]:
    tests = [text.test for text in wanted]
    if not tests:
        return []
    says = " or ".join(text.says for text in wanted)
    return [("host", says, lambda request: any(test(request.host) for test in tests))]


def _all(tests: list[Test]) -> Test:
    if len(tests) == 1:
        return tests[0]
    if len(tests) == 2:
        first, second = tests
        return lambda request: first(request) and second(request)
    fixed = tuple(tests)

    def every(request: RouteRequest) -> bool:
        for test in fixed:  # noqa: SIM110 — a generator would cost more than the tests
            if not test(request):
                return False
        return True

    return every


def _header(request: RouteRequest, name: str) -> str | None:
    return request.header(name)


def _parameter(request: RouteRequest, name: str) -> str | None:
    return request.parameter(name)


def _cookie(request: RouteRequest, name: str) -> str | None:
    return request.cookie(name)


def _label(request: RouteRequest, name: str) -> str | None:
    return request.labels.get(name)


def _always(request: RouteRequest) -> bool:
    return True


__all__ = ["ExactPath", "Match", "PrefixPath", "RegexPath", "TemplatePath", "Text", "UrlPath", "path_matcher"]

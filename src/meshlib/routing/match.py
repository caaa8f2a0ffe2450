"""Does this request satisfy this condition? One alternative of a rule, compiled into one closure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from .regex import Regex
from .request import RouteRequest
from .url_path import ExactPath, PrefixPath, RegexPath, TemplatePath, UrlPath

Test: TypeAlias = Callable[[RouteRequest], bool]
Condition: TypeAlias = tuple[str, str, Test]  # what is looked at, what it should be, the test


class Text:
    """What a header, query parameter, cookie or label must look like.

    Exactly one of `exact`, `prefix`, `suffix`, `contains`, `regex` (the whole value) and `present` (True: there, False:
    absent). `invert` turns the answer round; an absent value satisfies no condition but `present=False`, and
    every inverted one.
    """

    __slots__ = ("invert", "says", "test")

    def __init__(
        self,
        *,
        exact: str | None = None,
        prefix: str | None = None,
        suffix: str | None = None,
        contains: str | None = None,
        regex: str | None = None,
        present: bool | None = None,
        ignore_case: bool = False,
        invert: bool = False,
    ) -> None:
        given = {"exact": exact, "prefix": prefix, "suffix": suffix, "contains": contains, "regex": regex}
        wanted: list[tuple[str, str]] = [(kind, value) for kind, value in given.items() if value is not None]
        if len(wanted) + (present is not None) != 1:
            found = " and ".join(kind for kind, _ in wanted) or "nothing"
            raise ValueError(f"exact: {found} found, expected one of {', '.join(given)} and present")
        if present is not None:
            self.says = "present" if present is not invert else "absent"
            self.test: Callable[[str | None], bool] = _present if present is not invert else _absent
        else:
            kind, value = wanted[0]
            self.says = f"{'not ' if invert else ''}{kind} {value!r}{' in any case' if ignore_case else ''}"
            self.test = _text_test(kind, value, ignore_case, invert)
        self.invert = invert

    def __repr__(self) -> str:
        return self.says


class Match:
    """A condition on a request: everything given must hold. An empty one holds always.

    `path` is an `ExactPath`, `PrefixPath`, `RegexPath` or `TemplatePath`, or a text: `/a/*` for a prefix, anything
    with `{` for a template, else an exact path. `methods`, `hosts` and `schemes` are lists of which one must hold.
    `headers`, `query`, `cookies` and the caller's `labels` are mappings from name to a `Text` or to the exact text;
    `env` is short for the label of that name.
    """

    __slots__ = ("conditions", "matches", "path", "rest")

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
    ) -> None:
        self.path: UrlPath | None = path_matcher(path) if isinstance(path, str) else path
        # In the order of their price: the cheapest test that can fail comes first.
        self.conditions: tuple[Condition, ...] = (
            *_one_of("method", [method.upper() for method in methods], lambda request: request.method),
            *_one_of("scheme", list(schemes), lambda request: request.scheme),
            *_each("label", {**(labels or {}), **({} if env is None else {"env": env})}, _label),
            *_each("header", {name.lower(): text for name, text in (headers or {}).items()}, _header),
            *_each("query parameter", query or {}, _parameter),
            *_each("cookie", cookies or {}, _cookie),
            *_any_host(list(hosts)),
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


def _text_test(kind: str, value: str, ignore_case: bool, invert: bool) -> Callable[[str | None], bool]:
    if kind == "regex":
        compare: Callable[[str], bool] = Regex(value, ignore_case=ignore_case).matches
    else:
        value = value.lower() if ignore_case else value
        compare = {
            "exact": lambda found: found == value,
            "prefix": lambda found: found.startswith(value),
            "suffix": lambda found: found.endswith(value),
            "contains": lambda found: value in found,
        }[kind]
    if ignore_case and kind != "regex":
        plain = compare
        compare = lambda found: plain(found.lower())  # noqa: E731
    if invert:
        return lambda found: found is None or not compare(found)
    if kind == "exact" and not ignore_case:
        return lambda found: found == value
    return lambda found: found is not None and compare(found)


def _each(
    kind: str, wanted: Mapping[str, Text | str], read: Callable[[RouteRequest, str], str | None]
) -> list[Condition]:
    conditions: list[Condition] = []
    for name, value in wanted.items():
        text = Text(exact=value) if isinstance(value, str) else value
        conditions.append((f"{kind} {name!r}", repr(text), _field_test(name, text.test, read)))
    return conditions


def _field_test(name: str, test: Callable[[str | None], bool], read: Callable[[RouteRequest, str], str | None]) -> Test:
    if read is _header:
        return lambda request: test(request.header(name))
    return lambda request: test(read(request, name))


def _one_of(kind: str, wanted: list[str], read: Callable[[RouteRequest], str]) -> list[Condition]:
    if not wanted:
        return []
    values = frozenset(wanted)
    return [(kind, " or ".join(wanted), lambda request: read(request) in values)]


def _any_host(wanted: list[Text]) -> list[Condition]:
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


def _present(value: str | None) -> bool:
    return value is not None


def _absent(value: str | None) -> bool:
    return value is None


def _always(request: RouteRequest) -> bool:
    return True


__all__ = ["ExactPath", "Match", "PrefixPath", "RegexPath", "TemplatePath", "Text", "UrlPath", "path_matcher"]

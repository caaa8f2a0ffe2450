"""URL path: four kinds of condition on the path as it was sent; nothing is decoded or normalised.

Each has `literal`, the whole segments that every matching path begins with, by which the rules are indexed, and
`certain`, which says that a path found under that literal needs no further test.
"""

from __future__ import annotations

from typing import Protocol


class UrlPath(Protocol):
    """What a rule wants of the path."""

    exact: bool  # only this very path: `literal` is all of it
    certain: bool
    literal: str  # "" or "/a/b", never with a slash at its end, unless `exact`

    def test(self, path: str) -> bool: ...
    def rewritten(self, path: str, replacement: str) -> str: ...
    def filled(self, path: str, replacement: str) -> str: ...


class ExactPath:
    """This path and no other. A rewrite replaces all of it."""

    __slots__ = ("certain", "exact", "ignore_case", "literal", "value")

    def __init__(self, value: str, *, ignore_case: bool = False) -> None:
        self.value: str = _rooted(value)
        self.ignore_case: bool = ignore_case
        self.exact: bool = not ignore_case
        self.certain: bool = not ignore_case
        self.literal: str = "" if ignore_case else value

    def test(self, path: str) -> bool:
        return path.lower() == self.value.lower() if self.ignore_case else path == self.value

    def rewritten(self, path: str, replacement: str) -> str:
        return replacement or "/"

    def filled(self, path: str, replacement: str) -> str:
        return replacement

    def __repr__(self) -> str:
        return f"path {self.value!r}"


class PrefixPath:
    """Paths that begin so. By whole segments (`/a` takes `/a` and `/a/b`, not `/ab`) unless `segments` is False."""

    __slots__ = ("certain", "exact", "ignore_case", "literal", "segments", "value")

    def __init__(self, value: str, *, segments: bool = True, ignore_case: bool = False) -> None:
        self.value: str = _rooted(value).rstrip("/") if segments else _rooted(value)
        self.segments: bool = segments
        self.ignore_case: bool = ignore_case
        self.exact: bool = False
        self.certain: bool = segments and not ignore_case
        self.literal: str = "" if ignore_case else self.value if segments else self.value.rpartition("/")[0]

    def test(self, path: str) -> bool:
        value = self.value
        if self.ignore_case:
            path, value = path.lower(), value.lower()
        if not path.startswith(value):
            return False
        return not self.segments or len(path) == len(value) or path[len(value)] == "/"

    def rewritten(self, path: str, replacement: str) -> str:
        """The path with this prefix replaced; by segments, no slash is doubled or lost at the seam."""
        rest = path[len(self.value) :]
        if not self.segments:
            return replacement + rest
        return replacement.rstrip("/") + rest if rest else replacement or "/"

    def filled(self, path: str, replacement: str) -> str:
        return replacement

    def __repr__(self) -> str:
        return f"path prefix {self.value or '/'!r}"


class RegexPath:
    r"""Paths that match as a whole. In a rewrite `\1` stands for the first group."""

    __slots__ = ("certain", "exact", "literal", "regex")

    def __init__(self, pattern: str, *, ignore_case: bool = False) -> None:
        from .regex import Regex  # most tables have none, and need not load the reader of patterns

        self.regex: Regex = Regex(pattern, ignore_case=ignore_case)
        self.exact: bool = False
        self.certain: bool = False
        self.literal: str = "" if ignore_case else _literal_segments(pattern)

    def test(self, path: str) -> bool:
        return self.regex.matches(path)

    def rewritten(self, path: str, replacement: str) -> str:
        return replacement or "/"

    def filled(self, path: str, replacement: str) -> str:
        return self.regex.substitute(path, replacement)

    def __repr__(self) -> str:
        return f"path regex {self.regex.pattern!r}"


class TemplatePath:
    """`/users/{id}/files/{rest=**}`: `{name}` or `*` is one segment that is not empty, `**` at the end is any rest.

    A segment may have text around its one variable (`{id}.json`). In a rewrite `{name}` stands for what was found.
    """

    __slots__ = ("_parts", "_rest", "certain", "exact", "literal", "template")

    def __init__(self, template: str) -> None:
        self.template: str = _rooted(template)
        segments = template[1:].split("/")
        self._rest: str | None = None
        if segments[-1] == "**" or (segments[-1].startswith("{") and segments[-1].endswith("=**}")):
            self._rest = segments.pop().strip("{}").removesuffix("=**").strip("*")
        self._parts = [_part(segment, template) for segment in segments]
        names = [name for _, name, _ in self._parts if name] + [self._rest or ""] * bool(self._rest)
        if len(set(names)) < len(names):
            raise ValueError(f"template: {template!r} found, expected each name once")
        fixed = next((n for n, (_, name, _) in enumerate(self._parts) if name is not None), len(self._parts))
        self.literal: str = "".join(f"/{text}" for text, _, _ in self._parts[:fixed]).rstrip("/")
        self.exact: bool = False
        self.certain: bool = False

    def captures(self, path: str) -> dict[str, str] | None:
        """What the names stand for in this path; None if it does not match."""
        count = len(self._parts)
        segments = path[1:].split("/", count if self._rest is not None else -1)
        if len(segments) < count or (self._rest is None and len(segments) != count):
            return None
        found: dict[str, str] = {}
        for (before, name, after), segment in zip(self._parts, segments, strict=False):
            if name is None:
                if segment != before:
                    return None
                continue
            middle = segment[len(before) : len(segment) - len(after)]
            if not (middle and segment.startswith(before) and segment.endswith(after)):
                return None
            if name:
                found[name] = middle
        if self._rest:
            found[self._rest] = "".join(segments[count:])
        return found

    def test(self, path: str) -> bool:
        return self.captures(path) is not None

    def rewritten(self, path: str, replacement: str) -> str:
        return self.filled(path, replacement) or "/"

    def filled(self, path: str, replacement: str) -> str:
        found = self.captures(path) or {}
        pieces: list[str] = []
        for piece in replacement.split("{"):  # in one go: what a request put in must not be read as a name
            name, close, rest = piece.partition("}")
            known = pieces and close and name in found
            pieces.append(found[name] + rest if known else "{" * bool(pieces) + piece)
        return "".join(pieces)

    def __repr__(self) -> str:
        return f"path template {self.template!r}"


def _part(segment: str, template: str) -> tuple[str, str | None, str]:
    """A segment as (text before, name of the variable, text after); the name is None without one, "" for a `*`."""
    if segment == "*":
        return "", "", ""
    before, brace, rest = segment.partition("{")
    name, close, after = rest.partition("}")
    name = name.removesuffix("=*")
    if not brace and not set(segment) & set("}*"):
        return segment, None, ""
    if not close or not name.isidentifier() or set(before + after) & set("{}*"):
        raise ValueError(f"template: {segment!r} found in {template!r}, expected text, *, {{name}}, or ** at the end")
    return before, name, after


def _literal_segments(pattern: str) -> str:
    """The whole segments at the begin of a pattern that can only stand for themselves."""
    if "|" in pattern:
        return ""
    pattern = pattern.removeprefix("^")
    plain = next((n for n, char in enumerate(pattern) if not (char.isalnum() or char in "/-_~%:@!&=,;")), len(pattern))
    if plain < len(pattern) and pattern[plain] in "*+?{":
        plain -= 1  # the character before may be absent
    return pattern[: max(plain, 0)].rpartition("/")[0].rstrip("/")


def _rooted(path: str) -> str:
    if not path.startswith("/"):
        raise ValueError(f"path: {path!r} found, expected a path that begins with /")
    return path

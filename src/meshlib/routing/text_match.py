"""Text match: one condition on a header, a parameter, a cookie, a label or a host."""

from __future__ import annotations

from collections.abc import Callable


class Text:
    """What a header, query parameter, cookie or label must look like.

    Exactly one of `exact`, `prefix`, `suffix`, `contains`, `regex` (the whole value) and `present` (True: there, False:
    absent). `invert` turns the answer round; an absent value satisfies no condition but `present=False`, and
    every inverted one. What was given can be read back as `kind` and `value`.
    """

    __slots__ = ("ignore_case", "invert", "kind", "says", "test", "value")

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
        self.ignore_case: bool = ignore_case
        self.invert: bool = invert
        self.kind: str
        self.value: str
        self.kind, self.value = wanted[0] if wanted else ("present", "")
        if present is not None:
            self.invert = present is invert  # an inverted "present" is "absent"
            self.says = "present" if present is not invert else "absent"
            self.test: Callable[[str | None], bool] = _present if present is not invert else _absent
        else:
            self.says = f"{'not ' if invert else ''}{self.kind} {self.value!r}{' in any case' if ignore_case else ''}"
            self.test = _text_test(self.kind, self.value, ignore_case, invert)

    def __repr__(self) -> str:
        return self.says


def _text_test(kind: str, value: str, ignore_case: bool, invert: bool) -> Callable[[str | None], bool]:
    if kind == "regex":
        from .regex import Regex  # most tables have none, and need not load the reader of patterns

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


def _present(value: str | None) -> bool:
    return value is not None


def _absent(value: str | None) -> bool:
    return value is None

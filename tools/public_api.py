"""The public API as text: one line for each public class, function and method, with its signature.

    python tools/public_api.py            # prints it
    python tools/public_api.py --write    # writes tests/api/public_api.txt

A test compares the file with the code, so that a change of the API is a change of that file in review.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path

FILE = Path(__file__).parents[1] / "tests" / "api" / "public_api.txt"

# What is public: these modules, by their `__all__`. All other modules are ours to change.
MODULES = (
    "meshlib",
    "meshlib.asgi",
    "meshlib.backoff",
    "meshlib.balancing",
    "meshlib.discovery",
    "meshlib.events",
    "meshlib.httpx2",
    "meshlib.sim",
    "meshlib.testing",
)


def names(module: object) -> list[str]:
    """The public names of a module; without `__all__`, what its file defines."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return sorted(listed)
    home = getattr(module, "__name__", "")
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == home
    )


def signature(value: object) -> str:
    """The parameters and the result as they are written; "(…)" where Python cannot tell."""
    try:
        found = inspect.signature(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return "(…)"
    parameters = [parameter.replace(default=shown(parameter.default)) for parameter in found.parameters.values()]
    return str(found.replace(parameters=parameters))


class Shown:
    """A default that reads the same on each run: no addresses."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def shown(default: object) -> object:
    if isinstance(default, Enum):
        return Shown(f"{type(default).__name__}.{default.name}")
    if default is inspect.Parameter.empty or isinstance(default, int | float | str | bool | type(None)):
        return default
    if default is ...:
        return Shown("...")
    name = getattr(default, "__qualname__", None) or f"<{type(default).__name__}>"
    return Shown(name)


def own(value: type) -> Iterator[str]:
    """The public methods and properties that this library adds: not those of httpx, which a client only passes on."""
    for name in sorted(dir(value)):
        if name.startswith("_"):
            continue
        home = next((base for base in value.__mro__ if name in vars(base)), object)
        of_httpx = any(name in vars(base) for base in value.__mro__ if base.__module__.startswith("httpx"))
        if home.__module__.startswith("meshlib") and not of_httpx:
            yield name


def lines(module: str) -> Iterator[str]:
    found = importlib.import_module(module)
    for name in names(found):
        value = getattr(found, name)
        where = f"{module}.{name}"
        if inspect.ismodule(value):
            yield f"{where}: module"
        elif isinstance(value, type):
            yield f"{where}{constructor(value)}"
            for member in own(value):
                thing = inspect.getattr_static(value, member)
                if isinstance(thing, property):
                    yield f"{where}.{member}: property"
                elif isinstance(thing, staticmethod | classmethod) or callable(thing):
                    yield f"{where}.{member}{signature(getattr(value, member))}"
        elif callable(value):
            yield f"{where}{signature(value)}"
        else:
            yield f"{where}: {type(value).__name__}"


def constructor(value: type) -> str:
    """Its signature, if this library wrote it: not a protocol's, and of a client only what httpx's lacks."""
    home = next((base for base in value.__mro__ if "__init__" in vars(base)), object)
    if not home.__module__.startswith("meshlib") or getattr(value, "_is_protocol", False):
        return ""
    if any(base.__module__.startswith("httpx") for base in value.__mro__):
        written = inspect.signature(vars(home)["__init__"], follow_wrapped=False)
        added = [name for name in ("mesh", "fast") if name in written.parameters]
        return f"(*, {', '.join(added)}, …)"
    return signature(value.__init__)


def text() -> str:
    return "".join(f"{line}\n" for module in MODULES for line in lines(module))


if __name__ == "__main__":
    if "--write" in sys.argv[1:]:
        FILE.write_text(text(), encoding="utf-8")
    else:
        sys.stdout.write(text())

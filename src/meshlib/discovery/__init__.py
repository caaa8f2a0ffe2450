"""Discovery: where endpoints and routes come from. Each source yields full states, never deltas.

The stores are public, and load with the first look at them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .etcd_store import EtcdStore
    from .file_store import FileStore
    from .store import Conflict, Entry, MemoryStore, RouteStore, StoreAway

__all__ = ["Conflict", "Entry", "EtcdStore", "FileStore", "MemoryStore", "RouteStore", "StoreAway"]

_HOME = {"EtcdStore": "etcd_store", "FileStore": "file_store"}


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_HOME.get(name, 'store')}", __name__), name)
    return value

"""Forked children: what must start anew in a process that was forked off.

A child has a copy of everything, and one thread: the one that forked. The calls of the other threads never come back,
their locks are never released, and what they watched is watched no more. Whatever has calls, locks or threads of its
own therefore registers here once. In a child all of them are walked twice:

1. `_after_fork`: new locks; places are free and counts are 0; what another thread was just writing is repaired.
2. `_resume`, of those that have it: threads are started again, over what is whole by then.

What was learnt about servers stays: latencies, health, the states of breakers, the newest configuration.

gunicorn's preload, Celery's prefork pool and multiprocessing's "fork" come through here. uWSGI does, if it is told to
call Python's own hooks (`py-call-uwsgi-fork-hooks = true`); else its workers start anew with their first request
(`catch_up`).
"""

from __future__ import annotations

import logging
import os
from typing import Any, Final, Protocol
from weakref import ref

_log: Final = logging.getLogger("meshlib")


class Owner(Protocol):
    """Something that registers. It may have a `_resume()`, too."""

    def _after_fork(self) -> None:
        """No other thread runs, and none of the parent's will ever come back. Must not wait."""


_owners: Final[dict[int, ref[Owner]]] = {}  # by the id of the reference: owners may be equal, or have no hash
_process = os.getpid()
_met: Final[dict[int, object]] = {}  # while a child walks them: what it has met


def register(owner: Owner) -> None:
    """Have `owner` start anew in each child, for as long as it lives."""
    kept = ref(owner, _drop)
    _owners[id(kept)] = kept


def held(lock: Any) -> bool:
    """In `_after_fork`: whether another thread had the lock, so that what it guards may be half-written."""
    if lock.acquire(blocking=False):
        lock.release()
        return False
    return True


def renew(lock: Any) -> None:
    """In `_after_fork`: free an RLock in its place, because compiled functions keep it. This thread's own it keeps."""
    if not lock._is_owned():
        lock._at_fork_reinit()


def disconnect(socket: Any) -> None:
    """In `_after_fork`: exchange this process's end of a socket of the parent's for one that leads nowhere.

    The parent's stays open, and nothing can be sent over it from here: no goodbye of TLS, no end. Nor can an event loop
    stop the parent's from listening to it: a forked loop shares what it waits with, and so what it is told.
    """
    try:
        number = -1 if socket is None else socket.fileno()
        if number >= 0:
            nowhere = os.open(os.devnull, os.O_RDWR)
            os.dup2(nowhere, number, inheritable=False)
            os.close(nowhere)
    except (OSError, ValueError):
        pass  # it was closed already, or there is no other end to be had


def first(thing: object) -> bool:
    """In `_after_fork`: whether `thing`, which several owners share, comes up for the first time in this child."""
    if id(thing) in _met:
        return False
    _met[id(thing)] = thing
    return True


def catch_up() -> None:
    """Start anew, if this process was forked off by something that calls none of Python's hooks."""
    if _process != os.getpid():
        _in_child()


def _drop(kept: ref[Owner], owners: dict[int, ref[Owner]] = _owners) -> None:
    owners.pop(id(kept), None)


def _in_child() -> None:
    global _process
    _process = os.getpid()
    owners = [owner for kept in list(_owners.values()) if (owner := kept()) is not None]
    try:
        for step in ("_after_fork", "_resume"):
            for owner in owners:
                try:
                    getattr(owner, step, _nothing)()
                except Exception:  # one that cannot must not keep the others from it
                    _log.exception("%r could not be reset in this forked process", owner)
    finally:
        _met.clear()


def _nothing() -> None:
    """Of owners without threads."""


if hasattr(os, "register_at_fork"):  # not where there are no forks
    os.register_at_fork(after_in_child=_in_child)

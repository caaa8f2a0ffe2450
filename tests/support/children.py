"""Forked children for tests: run some work in one, and hear what came of it."""

from __future__ import annotations

import os
import pickle
import select
import signal
import threading
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

R = TypeVar("R")
PATIENCE = 20.0  # seconds: a child that takes longer waits for something that will never come


def in_child(work: Callable[[], R]) -> R:
    """What `work` returns in a forked child. AssertionError if it raises there, or never ends."""
    read, write = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that a process with threads should not fork: it is what is tested
        child = os.fork()
    if child == 0:
        _report(write, work)
    os.close(write)
    try:
        if not select.select([read], [], [], PATIENCE)[0]:
            os.kill(child, signal.SIGKILL)
            raise AssertionError(f"the child has not ended after {PATIENCE:g} s")
        with os.fdopen(read, "rb", closefd=False) as pipe:
            told = pipe.read()
    finally:
        os.close(read)
        os.waitpid(child, 0)
    assert told, "the child has said nothing"
    good, result = pickle.loads(told)
    assert good, f"in the child:\n{result}"
    answer: R = result
    return answer


def _report(pipe: int, work: Callable[[], Any]) -> None:
    """In the child: end here, whatever the parent's stack would do next."""
    try:
        try:
            told = pickle.dumps((True, work()))
        except BaseException:
            told = pickle.dumps((False, traceback.format_exc()))
        os.write(pipe, told)
    finally:
        os._exit(0)


@contextmanager
def elsewhere(*work: Callable[[Callable[[], None]], object]) -> Iterator[None]:
    """Each `work` in a thread of its own, up to the point where it calls what it is given; it goes on when the block
    ends."""
    go_on, errors = threading.Event(), []
    threads = []

    def run(one: Callable[[Callable[[], None]], object], there: threading.Event) -> None:
        def pause() -> None:
            there.set()
            go_on.wait(2 * PATIENCE)

        try:
            one(pause)
        except BaseException as error:
            errors.append(error)
        finally:
            there.set()

    for one in work:
        there = threading.Event()
        threads.append(threading.Thread(target=run, args=(one, there)))
        threads[-1].start()
        there.wait(PATIENCE)
    try:
        yield
    finally:
        go_on.set()
        for thread in threads:
            thread.join(PATIENCE)
    assert not errors, errors

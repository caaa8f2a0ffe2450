"""Socket poll: asks the kernel whether something waits in a socket that the event loop has not read yet."""

from __future__ import annotations

import select
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeAlias

Poll: TypeAlias = Callable[[int], Sequence[Any]]
"""`poll(0)` is empty if nothing waits in the socket: no data and no end. It takes half a microsecond."""


def poller(fd: int) -> Poll:
    """`poll` for the socket `fd`. Drop it when the socket closes: the number may belong to another socket then."""
    if not hasattr(select, "poll"):  # on Windows
        return lambda _: select.select([fd], [], [], 0)[0]
    asked = select.poll()
    asked.register(fd, select.POLLIN)
    return asked.poll


def at_end(_: int) -> Sequence[Any]:
    """`poll` for a closed socket."""
    return _END


_END: Final = ((-1, 0),)

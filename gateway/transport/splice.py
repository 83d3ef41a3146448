"""From socket to socket by splice: the bytes go through a pipe in the kernel and never into this process."""

from __future__ import annotations

import asyncio
import fcntl
import os
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.transport.outlet import Outlet

_PIPE_SIZE = 1 << 20
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_MOST_IDLE = 32
"""Pipes kept for later: an unprivileged user may have 64 of this size before the kernel makes them small."""


class Source(Protocol):
    """A socket from which the rest of a content is to come."""

    @property
    def descriptor(self) -> int:
        """The socket, which never blocks."""
        ...

    @property
    def left(self) -> int:
        """Number of bytes that are still to be taken out of the socket."""
        ...

    def took(self, count: int) -> None:
        """Account for bytes that were taken out of the socket; raise when the count is 0, which is a cut."""
        ...

    async def readable(self) -> None:
        """Wait a moment for more bytes; raise when the other side has been silent for too long."""
        ...


class Pipe(NamedTuple):
    """A pipe, by its two ends."""

    out: int
    into: int

    def close(self) -> None:
        """Close both ends."""
        os.close(self.out)
        os.close(self.into)


_idle: list[Pipe] = []


async def splice_range(outlet: Outlet, source: Source) -> None:
    """Send all that is left of a source."""
    since_others = 0
    with _lent_pipe() as pipe:
        while source.left:
            try:
                count = os.splice(source.descriptor, pipe.into, min(source.left, _PIPE_SIZE), flags=_FLAGS)
            except BlockingIOError:
                await source.readable()
                outlet.check()
                since_others = 0
                continue
            except OSError:
                # Broken like an end that comes too early; took() has the words for it.
                count = 0
            source.took(count)
            await _empty(pipe, outlet, count)
            since_others += count
            if since_others >= _PIPE_SIZE:
                # Two sides as fast as we are would never make us wait.
                since_others = 0
                await asyncio.sleep(0)


async def _empty(pipe: Pipe, outlet: Outlet, count: int) -> None:
    """Move what is in a pipe to the client."""
    while count:
        try:
            moved = os.splice(pipe.out, outlet.descriptor, count, flags=_FLAGS)
        except BlockingIOError:
            await outlet.writable()
            continue
        outlet.sent(moved)
        count -= moved


@contextmanager
def _lent_pipe() -> Iterator[Pipe]:
    """Lend a pipe; one that may still hold bytes of a transfer that failed is never used again."""
    pipe = _idle.pop() if _idle else _new_pipe()
    try:
        yield pipe
    except BaseException:
        pipe.close()
        raise
    if len(_idle) < _MOST_IDLE:
        _idle.append(pipe)
    else:
        pipe.close()


def _new_pipe() -> Pipe:
    pipe = Pipe(*os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC))
    try:
        fcntl.fcntl(pipe.into, fcntl.F_SETPIPE_SZ, _PIPE_SIZE)
    except OSError:
        # Over the user's limit: a pipe of the usual size works as well, with more calls.
        return pipe
    return pipe


def close_idle_pipes() -> None:
    """Close the pipes that are kept for later."""
    while _idle:
        _idle.pop().close()

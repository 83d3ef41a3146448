"""Child processes: forked with clean signals, each on a leash that tells either side when the other is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

import uvloop

from gateway.errors import SlipwayError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable

    class Closable(Protocol):
        """What a child inherits and must not keep."""

        def close(self) -> None:
            """Close this process's copy."""


T = TypeVar("T")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

_log = logging.getLogger(__name__)
_READY = b"+"
_RETIRE = b"-"


def in_new_loop(work: Coroutine[None, None, T]) -> T:
    """Do work in an event loop of its own; never before a fork."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)


class Leash:
    """A child's end of the leash."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._released = asyncio.Event()
        self.hurried = asyncio.Event()
        """Set when the whole service ends, not only this child."""

    def tell(self, message: bytes) -> None:
        """Send something to the parent; it may be gone."""
        with suppress(OSError):
            self._end.sendall(message)

    def ready(self) -> None:
        """Tell the parent that this child does its work now."""
        self.tell(_READY)

    def watch(self) -> None:
        """Begin to notice the parent's wish, its end, SIGTERM and SIGINT; to be called within the loop."""
        loop = asyncio.get_running_loop()
        self._end.setblocking(False)
        loop.add_reader(self._end, self._hear)
        # Service managers may signal all processes at once; terminals do so on Ctrl-C.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._hurry)

    def _hear(self) -> None:
        told = b""
        with suppress(ConnectionResetError):  # the parent has ended without having read everything
            told = self._end.recv(1)
        if told == _RETIRE:
            self._released.set()
        else:
            asyncio.get_running_loop().remove_reader(self._end)
            self._hurry()

    def _hurry(self) -> None:
        self.hurried.set()
        self._released.set()

    async def released(self) -> None:
        """Wait until this child is to end."""
        await self._released.wait()


@dataclass(eq=False, slots=True)
class Child:
    """A forked process and the parent's end of its leash, which is at its end when the process is."""

    pid: int
    leash: socket.socket

    @classmethod
    def fork(cls, work: Callable[[Leash], None], foreign: Iterable[Closable]) -> Child:
        """Run ``work`` in a child, without ``foreign`` descriptors; SIGTERM ends it, SIGINT and SIGHUP do nothing.

        Raises OSError when the system grants no further process.
        """
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        sys.stdout.flush()
        # The child must not run the parent's handlers, not for a moment: they write into the parent's pipe.
        mask = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            pid = os.fork()
            if pid == 0:
                _run(work, theirs, [ours, *foreign], mask)
        except OSError:
            ours.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            theirs.close()
        return cls(pid, ours)

    def read(self) -> bytes | None:
        """Return what the child has told since the last call; empty when it has ended, None when there is nothing."""
        try:
            return self.leash.recv(4096)
        except BlockingIOError:
            return None
        except ConnectionResetError:
            return b""

    def retire(self) -> None:
        """Ask the child to end when its work is done; it has ended once it can be read to the end."""
        with suppress(OSError):
            self.leash.send(_RETIRE)

    def release(self) -> None:
        """Ask the child to end soon, as the end of the parent itself does."""
        with suppress(OSError):
            self.leash.shutdown(socket.SHUT_WR)

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Send a signal to the child, which was not waited for yet."""
        os.kill(self.pid, number)

    def wait(self) -> int:
        """Collect the exit code (negative: a signal's number) of a child whose leash is at its end."""
        self.leash.close()
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _run(work: Callable[[Leash], None], end: socket.socket, foreign: Iterable[Closable], mask: set[int]) -> NoReturn:
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        for number in (signal.SIGINT, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        for each in foreign:
            each.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        work(Leash(end))
        code = 0
    except SlipwayError as error:
        _log.error("%s", error)
    except BaseException:  # noqa: BLE001  (nothing is above)
        _log.exception("process %d failed", os.getpid())
    finally:
        # Not by an exception: the parent's stack is below, with its clean-up of what is not ours.
        os._exit(code)

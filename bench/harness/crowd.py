"""Clients in processes of their own, all let loose at once; and what the server used meanwhile."""

from __future__ import annotations

import multiprocessing
import signal
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from bench.harness.content import GIB, MIB
from bench.harness.processes import MemoryWatch

if TYPE_CHECKING:
    from collections.abc import Callable
    from multiprocessing.connection import Connection as Pipe
    from multiprocessing.synchronize import Barrier

    from bench.harness.processes import ProcessTree

T = TypeVar("T")

_LONGEST_PREPARATION = 300.0
_forking = multiprocessing.get_context("fork")


@dataclass(frozen=True, slots=True)
class Observed(Generic[T]):
    """What happened: the time from the first client's start to the last one's end, and what the server used."""

    seconds: float
    cpu_seconds: float | None
    peak_rss: int
    peak_pss: int
    durations: list[float]
    results: list[T]

    def figures(self, size: int) -> dict[str, float]:
        """Return the usual figures for ``size`` bytes that were moved."""
        figures = {"mib_per_second": size / MIB / self.seconds}
        if self.cpu_seconds is not None:
            figures["cpu_seconds_per_gib"] = self.cpu_seconds * GIB / size
            figures["peak_rss_mib"] = self.peak_rss / MIB
        return figures


@dataclass(frozen=True, slots=True)
class _Told(Generic[T]):
    begin: float
    end: float
    result: T


def observe(tree: ProcessTree | None, count: int, prepare: Callable[[int], Callable[[], T]]) -> Observed[T]:
    """Run ``count`` clients: each prepares, waits for all others, and then does what its preparation returned."""
    barrier = _forking.Barrier(count + 1)
    clients = [_Process(barrier, prepare, index) for index in range(count)]
    try:
        with MemoryWatch(tree) as memory:
            before = tree.cpu_seconds() if tree else 0.0
            _wait(barrier, clients)
            told = [client.result() for client in clients]
            used = tree.cpu_seconds() - before if tree else None
    finally:
        for client in clients:
            client.end()
    seconds = max(each.end for each in told) - min(each.begin for each in told)
    durations = sorted(each.end - each.begin for each in told)
    return Observed(seconds, used, memory.peak_rss, memory.peak_pss, durations, [each.result for each in told])


def _wait(barrier: Barrier, clients: list[_Process[T]]) -> None:
    try:
        barrier.wait(_LONGEST_PREPARATION)
    except threading.BrokenBarrierError:
        for client in clients:
            client.result()  # raises what went wrong
        raise


class _Process(Generic[T]):
    """A forked client."""

    def __init__(self, barrier: Barrier, prepare: Callable[[int], Callable[[], T]], index: int) -> None:
        self._pipe, theirs = _forking.Pipe(duplex=False)
        self._process = _forking.Process(target=_run, args=(theirs, barrier, prepare, index), daemon=True)
        self._process.start()
        theirs.close()

    def result(self) -> _Told[T]:
        """Wait for the end; raise RuntimeError with the client's own words when it failed."""
        try:
            told = self._pipe.recv()
        except EOFError:
            raise RuntimeError("a client died") from None
        if not isinstance(told, _Told):
            raise RuntimeError(f"a client failed:\n{told}")  # noqa: TRY004  (it is no matter of types)
        return told

    def end(self) -> None:
        """Make sure that nothing is left."""
        self._process.kill()
        self._process.join()
        self._pipe.close()


def _run(pipe: Pipe, barrier: Barrier, prepare: Callable[[int], Callable[[], T]], index: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    try:
        work = prepare(index)
        barrier.wait(_LONGEST_PREPARATION)
        begin = time.monotonic()
        result = work()
        pipe.send(_Told(begin, time.monotonic(), result))
    except threading.BrokenBarrierError:
        pipe.send("another client failed")
    except BaseException:  # noqa: BLE001  (whatever it is, the parent has to be told)
        barrier.abort()
        pipe.send(traceback.format_exc())

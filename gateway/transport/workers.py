"""The supervisor of worker processes: it forks, watches, replaces and rolls them, and does nothing else.

It has no event loop, no thread and no connection, so that nothing can break in a fork. Each turn of its loop looks at
which workers live and takes the next step towards as many as wanted, all of the current crew.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from gateway.errors import ConfigurationError, SlipwayError
from gateway.transport.children import SIGNALS, Child, Leash

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_log = logging.getLogger(__name__)

_SECONDS_TO_STAY_UP = 30.0
_SHORTEST_REST = 0.2
_LONGEST_REST = 30.0
_STANDARD_INPUT = 0


@dataclass(frozen=True, slots=True)
class Crew:
    """What all workers of one configuration have in common."""

    size: int
    """How many workers; for moments there is one more."""
    prepare: Callable[[], str]
    """Runs in a child before any worker of this crew; raises ConfigurationError; its result goes to the workers."""
    work: Callable[[int, str, Leash], None]
    """Runs in a worker: its slot, which no living worker shares, what was prepared, and the leash."""
    seconds_to_end: float
    """Workers that take longer, once the whole service is to end, are killed."""


@dataclass(eq=False, slots=True)
class _Worker:
    child: Child
    slot: int
    crew: Crew
    started: float
    is_ready: bool = False
    kill_at: float | None = None
    """When a worker that was asked to end is killed; None as long as it is not to end."""


@dataclass(eq=False, slots=True)
class _Preparation:
    child: Child
    crew: Crew
    told: bytearray = field(default_factory=bytearray)


@dataclass(slots=True)
class _Rest:
    """A slot whose worker died: who comes next there, and when."""

    failures: int
    until: float


class Supervisor:
    """Keeps a crew of workers at work on the listening sockets."""

    def __init__(
        self,
        listeners: Sequence[socket.socket],
        *,
        read_crew: Callable[[], Crew],
        greet: Callable[[], None],
        seconds_to_retire: float,
    ) -> None:
        """Take the sockets; ``read_crew`` is called again on SIGHUP, ``greet`` once when all workers are ready.

        Workers are killed that take longer to retire, while others go on, than they may.
        """
        self._listeners = listeners
        self._read_crew = read_crew
        self._greet = greet
        self._seconds_to_retire = seconds_to_retire
        self._selector = selectors.DefaultSelector()
        self._wakeup, self._waker = socket.socketpair()
        self._workers: list[_Worker] = []
        self._rests: dict[int, _Rest] = {}
        self._preparation: _Preparation | None = None
        self._crew: Crew | None = None
        self._prepared = ""
        self._wants_crew = True
        self._has_greeted = False
        self._is_stopping = False
        self._has_terminal = os.isatty(_STANDARD_INPUT)

    def run(self) -> None:
        """Work until SIGINT, SIGTERM or the end of the terminal.

        Raises ConfigurationError when the first crew cannot be prepared.
        """
        with self._signals():
            while not self._is_stopping or self._workers or self._preparation:
                self._steer()
                for key, _ in self._selector.select(self._seconds_to_wait()):
                    if isinstance(key.data, _Worker):
                        self._hear_worker(key.data)
                    elif isinstance(key.data, _Preparation):
                        self._hear_preparation(key.data)
                    else:
                        self._hear_signals()

    # --- steps -----------------------------------------------------------------------------------

    def _steer(self) -> None:
        """Take the steps that can be taken now."""
        now = time.monotonic()
        for worker in self._workers:
            if worker.kill_at is not None and worker.kill_at <= now:
                _log.error("worker %d does not end and is killed", worker.child.pid)
                worker.child.kill()
                worker.kill_at = now + worker.crew.seconds_to_end
        if self._is_stopping:
            return
        if self._wants_crew and self._preparation is None:
            self._prepare()
        if self._crew is not None:
            self._approach(self._crew)

    def _approach(self, crew: Crew) -> None:
        """Start what is missing; else take one old or spare worker out, once all others are ready."""
        staying = [worker for worker in self._workers if worker.kill_at is None]
        if len(staying) < crew.size:
            for _ in range(crew.size - len(staying)):
                self._start(crew)
            return
        if len(staying) < len(self._workers) or not all(worker.is_ready for worker in staying):
            return
        if not self._has_greeted:
            self._has_greeted = True
            self._greet()
        old = [worker for worker in staying if worker.crew is not crew]
        if len(staying) > crew.size:
            self._retire((old or staying)[0])
        elif old:
            self._start(crew)

    def _prepare(self) -> None:
        self._wants_crew = False
        try:
            crew = self._read_crew()
        except SlipwayError as error:
            self._refuse(str(error))
            return

        def work(leash: Leash) -> None:
            try:
                leash.tell(b"+" + crew.prepare().encode())
            except SlipwayError as error:
                leash.tell(b"-" + str(error).encode())

        try:
            child = Child.fork(work, [*self._listeners, *self._foreign()])
        except OSError as error:
            self._refuse(f"no process can be started: {error.strerror}")
            return
        self._preparation = _Preparation(child, crew)
        self._selector.register(child.leash, selectors.EVENT_READ, self._preparation)

    def _refuse(self, reason: str) -> None:
        if self._crew is None:
            raise ConfigurationError(reason)
        _log.error("the new configuration is not taken, the old one stays: %s", reason)

    def _start(self, crew: Crew) -> None:
        slot = self._next_slot()
        if slot is None:
            return

        def work(leash: Leash) -> None:
            crew.work(slot, self._prepared, leash)

        try:
            child = Child.fork(work, self._foreign())
        except OSError as error:
            pause = self._rest(slot, stayed_up=False, at_least=_SHORTEST_REST)
            _log.error("no worker can be started, tried again in %.1f s: %s", pause, error.strerror)
            return
        worker = _Worker(child, slot, crew, time.monotonic())
        self._workers.append(worker)
        self._selector.register(child.leash, selectors.EVENT_READ, worker)

    def _next_slot(self) -> int | None:
        """Choose the slot of a dead worker, who left leases under its name, else the first one that is free."""
        taken = {worker.slot for worker in self._workers}
        vacant = sorted((rest.until, slot) for slot, rest in self._rests.items() if slot not in taken and rest.until)
        if vacant:
            until, slot = vacant[0]
            return slot if until <= time.monotonic() else None
        return next(slot for slot in range(len(taken) + 1) if slot not in taken)

    def _retire(self, worker: _Worker) -> None:
        worker.kill_at = time.monotonic() + max(self._seconds_to_retire, worker.crew.seconds_to_end)
        worker.child.retire()

    def _stop(self) -> None:
        """Give the sockets up and let all workers end, who then are the last to accept from them."""
        self._is_stopping = True
        _log.info("asked to end: requests that run are finished first")
        for listener in self._listeners:
            listener.close()
        for worker in self._workers:
            worker.kill_at = time.monotonic() + worker.crew.seconds_to_end
            worker.child.release()
        if self._preparation is not None:
            self._preparation.child.kill(signal.SIGTERM)

    # --- events ----------------------------------------------------------------------------------

    def _hear_signals(self) -> None:
        for number in self._wakeup.recv(256):
            # The same signal tells that the terminal was closed; nobody wants a registry without it then.
            hung_up = self._has_terminal and not os.isatty(_STANDARD_INPUT)
            if number == signal.SIGHUP and not hung_up:
                self._wants_crew = True
            elif not self._is_stopping:
                self._stop()

    def _hear_worker(self, worker: _Worker) -> None:
        told = worker.child.read()
        if told:
            worker.is_ready = True
            if not self._is_stopping and worker.kill_at is None:
                rest = self._rests.get(worker.slot)
                if rest is not None:
                    rest.until = 0
        elif told is not None:
            self._bury(worker)

    def _bury(self, worker: _Worker) -> None:
        self._selector.unregister(worker.child.leash)
        self._workers.remove(worker)
        code = worker.child.wait()
        if worker.kill_at is not None and code == 0:
            self._rests.pop(worker.slot, None)
            return
        stayed_up = worker.is_ready and time.monotonic() - worker.started >= _SECONDS_TO_STAY_UP
        pause = self._rest(worker.slot, stayed_up=stayed_up)
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        _log.error("worker %d ended by %s; the next one starts in %.1f s", worker.child.pid, how, pause)

    def _rest(self, slot: int, *, stayed_up: bool, at_least: float = 0.0) -> float:
        """Return after how many seconds a slot may be used again: at once, unless that failed a moment ago."""
        last = self._rests.get(slot)
        failures = 1 if last is None or stayed_up else last.failures + 1
        growing = _SHORTEST_REST * 2.0 ** min(failures - 2, 10)
        pause = max(at_least, 0.0 if failures == 1 else min(growing, _LONGEST_REST))
        self._rests[slot] = _Rest(failures, time.monotonic() + pause)
        return pause

    def _hear_preparation(self, preparation: _Preparation) -> None:
        told = preparation.child.read()
        if told is None:
            return
        preparation.told += told
        if told:
            return
        self._selector.unregister(preparation.child.leash)
        self._preparation = None
        code = preparation.child.wait()
        verdict, text = preparation.told[:1], preparation.told[1:].decode()
        if self._is_stopping:
            return
        if verdict == b"+":
            if self._crew is not None:
                _log.info("the configuration was read again, workers are replaced one by one")
            self._crew, self._prepared = preparation.crew, text
        else:
            self._refuse(text or f"the set-up ended with {code}")

    # --- plumbing --------------------------------------------------------------------------------

    def _seconds_to_wait(self) -> float | None:
        times = [worker.kill_at for worker in self._workers if worker.kill_at is not None]
        if not self._is_stopping:
            # What is due was started already, or is not needed any more.
            times += [rest.until for rest in self._rests.values() if rest.until > time.monotonic()]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _foreign(self) -> list[socket.socket | selectors.BaseSelector]:
        """List what no child may keep; a leash held by a sibling would never end."""
        leashes = [worker.child.leash for worker in self._workers]
        if self._preparation is not None:
            leashes.append(self._preparation.child.leash)
        return [self._selector, self._wakeup, self._waker, *leashes]

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Turn signals into bytes that the loop reads."""
        self._wakeup.setblocking(False)
        self._waker.setblocking(False)
        self._selector.register(self._wakeup, selectors.EVENT_READ, None)
        signal.set_wakeup_fd(self._waker.fileno())
        for number in SIGNALS:
            signal.signal(number, lambda *_: None)
        try:
            yield
        finally:
            signal.set_wakeup_fd(-1)
            for each in (self._selector, self._wakeup, self._waker):
                each.close()

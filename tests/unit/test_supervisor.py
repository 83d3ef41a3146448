"""The supervisor when the system grants it nothing."""

from __future__ import annotations

import errno
import os
import signal
import socket
from typing import TYPE_CHECKING

import pytest

from gateway.errors import ConfigurationError
from gateway.transport.workers import Crew, Supervisor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gateway.transport.children import Leash


@pytest.fixture(autouse=True)
def _signals() -> Iterator[None]:
    """Put back what the supervisor changes."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    handlers = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, handlers, strict=True):
        signal.signal(number, handler)


def supervise(greet: Callable[[], None]) -> None:
    """Keep one worker that waits until it is released."""

    def work(_slot: int, _prepared: str, leash: Leash) -> None:
        leash.ready()
        leash._end.recv(1)

    crew = Crew(1, lambda: "", work, seconds_to_end=10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        Supervisor([listener], read_crew=lambda: crew, greet=greet, seconds_to_retire=10).run()


def refusing(monkeypatch: pytest.MonkeyPatch, *calls: int) -> list[int]:
    """Refuse some calls of fork, counted from 1; return the list of all calls to be."""
    fork, made = os.fork, list[int]()

    def sometimes() -> int:
        made.append(len(made) + 1)
        if made[-1] in calls:
            raise OSError(errno.EAGAIN, "Resource temporarily unavailable")
        return fork()

    monkeypatch.setattr(os, "fork", sometimes)
    return made


def test_a_start_without_processes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where not even the set-up can run, the start fails with a sentence."""
    refusing(monkeypatch, 1)

    with pytest.raises(ConfigurationError, match="no process can be started"):
        supervise(lambda: None)


def test_workers_are_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that is short of processes for a moment does not end the service, and is not asked without a pause."""
    made = refusing(monkeypatch, 2, 3)

    supervise(lambda: os.kill(os.getpid(), signal.SIGTERM))

    assert made == [1, 2, 3, 4]

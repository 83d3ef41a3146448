"""A registry that kills itself at a chosen moment: the program of a child process, and how tests hold it.

Moments are found, not listed. Every named statement, every commit and every call of the storage is two of them, one
before and one after it; the registry tells each that it comes to, and a test can have it die at any of them.
"""

from __future__ import annotations

import asyncio
import inspect
import multiprocessing
import os
import signal
import sys
import threading
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from functools import cache, partial, wraps
from multiprocessing import forkserver
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import asyncpg
import pytest
from aiobotocore.client import AioBaseClient

from e2e.wire import Wire
from gateway.app import assembly
from gateway.app.service import running
from gateway.db.statements import all_statements
from gateway.services.catalogue import CatalogueWriter
from gateway.services.collection import Collector
from gateway.services.removal import Remover
from gateway.services.sweeping import Sweeper
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.files import Folders, LocalFile
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.reading import ObjectReader
from gateway.storage.s3 import S3Settings
from gateway.transport.children import in_new_loop
from support.botocore_files import read_once

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from contextlib import AbstractAsyncContextManager
    from multiprocessing.connection import Connection

    from gateway.config import Settings

# Before anything is forked from here.
read_once()

PART = 5 << 20
"""The smallest part that S3 takes."""
COMMIT = "commit of "
"""What the commits of transactions begin with; their statements follow."""
UNCOMMITTED = ", uncommitted"
"""What moments inside of a transaction end with."""
_SECONDS = 60.0

# Forked from a process that has imported everything: a start takes a tenth of a second instead of two.
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload([__name__])


@cache
def _ready_to_fork() -> None:
    """Start the process that is forked from; what it imports is looked for where this process finds its modules."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(path for path in sys.path if path))
        forkserver.ensure_running()


# A process that starts looks after all others that its parent has started.
_STARTING = threading.Lock()


@dataclass(frozen=True)
class Fatal:
    """A moment at which a registry dies."""

    moment: str
    number: int = 1
    """The how manyth time that it comes to it."""


class Moments:
    """Tells the test of each moment, once it has asked for them, and ends this process at the fatal one."""

    def __init__(self, line: Connection, fatal: Fatal | None, *, is_armed: bool) -> None:
        self._line = line
        self._fatal = fatal
        self._left = fatal.number if fatal else 0
        self._lock = threading.Lock()
        self._is_armed = is_armed
        self._rounds: dict[str, Callable[[], Awaitable[object]]] = {}
        self._running: asyncio.Future[None] | None = None

    def tell(self, moment: str) -> None:
        """Say something to the test; what was said is heard even after a SIGKILL."""
        with self._lock:
            self._line.send(moment)

    def hear(self, stop: asyncio.Event) -> None:
        """Do what the test says: begin to tell, or stop it, or do a round of something, or end."""
        word = ""
        with suppress(EOFError):  # the test has given up
            word = self._line.recv()
        if word in {"arm", "disarm"}:
            self._is_armed = word == "arm"
            self.tell(f"{word} done")
        elif word in self._rounds:
            self._running = asyncio.ensure_future(self._do_round(word))
        else:
            stop.set()

    async def _do_round(self, name: str) -> None:
        try:
            await self._rounds[name]()
            self.tell(f"{name} done")
        except BaseException as error:
            self.tell(f"{name} failed: {error!r}")
            raise

    def take_rounds(self, kind: type, name: str, method: str, *, also_alone: bool = False) -> None:
        """Have a round of work in the background done when the test says so, and by itself only if it must."""
        running = kind.running  # type: ignore[attr-defined]

        def taken(worker: Any) -> AbstractAsyncContextManager[None]:
            self._rounds[name] = getattr(worker, method)
            return running(worker) if also_alone else nullcontext()

        kind.running = taken  # type: ignore[attr-defined]

    def come_to(self, moment: str) -> None:
        """Be at a moment, or die there."""
        if not self._is_armed:
            return
        with self._lock:
            self._line.send(moment)
            if self._fatal is not None and moment == self._fatal.moment:
                self._left -= 1
                if self._left == 0:
                    os.kill(os.getpid(), signal.SIGKILL)

    def watch(self, kind: type, name: str, label: Callable[..., str | None]) -> None:
        """Make moments of the calls of a method; ``label`` names a call by its arguments, None is no moment."""
        method: Callable[..., Any] = getattr(kind, name)

        @wraps(method)
        def watched(*arguments: Any, **named: Any) -> Any:
            step = label(*arguments, **named)
            if step is None:
                return method(*arguments, **named)
            self.come_to(f"before {step}")
            result = method(*arguments, **named)
            if inspect.isawaitable(result):
                return self._afterwards(step, result)
            self.come_to(f"after {step}")
            return result

        setattr(kind, name, watched)

    async def _afterwards(self, step: str, result: Awaitable[Any]) -> Any:
        found = await result
        self.come_to(f"after {step}")
        return found


def watch_statements(moments: Moments) -> None:
    """Make moments of named statements, and of the commits of transactions that hold some."""
    names = {text: name for name, text in all_statements().items()}
    uncommitted: WeakKeyDictionary[asyncpg.Connection[Any], dict[str, None]] = WeakKeyDictionary()

    def statement(connection: asyncpg.Connection[Any], query: str, *_: Any, **__: Any) -> str | None:
        name = names.get(query)
        if name is None or not connection.is_in_transaction():
            return name
        uncommitted.setdefault(connection, {})[name] = None
        return name + UNCOMMITTED

    def commit(connection: asyncpg.Connection[Any], query: str, *_: Any, **__: Any) -> str | None:
        if query not in {"COMMIT;", "ROLLBACK;"}:
            return None
        names = uncommitted.pop(connection, {})
        return f"{COMMIT}{', '.join(names)}" if names and query == "COMMIT;" else None

    moments.watch(asyncpg.Connection, "_execute", statement)
    moments.watch(asyncpg.Connection, "execute", commit)


def watch_storage(moments: Moments) -> None:
    """Make moments of all calls of S3, and of what is done to files and folders."""
    moments.watch(AioBaseClient, "_make_api_call", lambda _, operation, *__: operation)
    moments.watch(ObjectReader, "_ask", lambda *_: "GetObject")
    for kind in (LocalFile, Folders, FilesystemStorage, FileBuckets):
        for name, method in inspect.getmembers(kind, inspect.isfunction):
            if not name.startswith("_") and not hasattr(method, "__wrapped__"):
                moments.watch(kind, name, lambda *_, step=f"{kind.__name__}.{name}", **__: step)


def take_rounds(moments: Moments) -> None:
    """Let the test say when what goes on beside the requests is done."""
    moments.take_rounds(CatalogueWriter, "catalogue", "write_all")
    moments.take_rounds(Sweeper, "sweep", "sweep")
    moments.take_rounds(Collector, "collect", "collect")
    # Requests wake it.
    moments.take_rounds(Remover, "remove", "remove_all", also_alone=True)


def serve(settings: Settings, line: Connection, fatal: Fatal | None, is_armed: bool, s3: Mapping[str, Any]) -> None:
    """Run a registry until the test ends it, or it comes to the fatal moment; ``s3`` are limits of the storage."""
    moments = Moments(line, fatal, is_armed=is_armed)
    watch_statements(moments)
    watch_storage(moments)
    take_rounds(moments)
    setattr(assembly, "S3Settings", partial(S3Settings, part_size=PART, **s3))  # noqa: B010  (mypy sees a class)

    async def work() -> None:
        stop = asyncio.Event()
        async with running(settings):
            asyncio.get_running_loop().add_reader(line.fileno(), moments.hear, stop)
            moments.tell("ready")
            await stop.wait()

    in_new_loop(work())


class Died(Exception):
    """The registry has ended."""


class Mortal:
    """A running registry, as the test holds it."""

    def __init__(self, settings: Settings, fatal: Fatal | None = None, *, is_armed: bool = False, **s3: float) -> None:
        """Start it, and return once it answers; ``s3`` are limits of the storage (storage/s3.py)."""
        self._line, theirs = _CONTEXT.Pipe()
        self._process = _CONTEXT.Process(target=serve, args=(settings, theirs, fatal, is_armed, s3))
        self.wire = Wire(str(settings.listen))
        self.database_url = settings.database_url or ""
        self.moments: list[str] = []
        with _STARTING:
            _ready_to_fork()
            self._process.start()
        theirs.close()
        self._hear_until("ready")

    def arm(self) -> None:
        """Have it tell its moments from now on, and die at the fatal one."""
        self.order("arm")
        self.moments.clear()

    def order(self, what: str) -> None:
        """Have it do something that is not asked for by requests, and return when it is done; raises Died."""
        self._line.send(what)
        self._hear_until(f"{what} done")
        self.moments.pop()

    def await_death(self) -> None:
        """Return when it has killed itself, with all its moments heard."""
        while self._hear():
            pass
        assert self._end() == -signal.SIGKILL

    def end(self) -> None:
        """End it, unless it has killed itself; what has happened several times need not happen so often again."""
        with suppress(OSError, Died):
            self.order("remove")
            self._line.send("stop")
        while self._hear():
            pass
        assert self._end() in {0, -signal.SIGKILL}

    def stop(self) -> None:
        """End it in an orderly way, with all its moments heard."""
        with suppress(OSError):
            self._line.send("stop")
        while self._hear():
            pass
        assert self._end() == 0

    def kill(self) -> None:
        """End it at once, if it is still there."""
        self._process.kill()
        self._end()

    def _end(self) -> int | None:
        self._line.close()
        with _STARTING:
            self._process.join(_SECONDS)
            return self._process.exitcode

    def _hear_until(self, wanted: str) -> None:
        while not self.moments or self.moments[-1] != wanted:
            if not self._hear():
                raise Died(f"the registry has ended before this: {wanted}")

    def _hear(self) -> bool:
        """Hear one more moment; False when the registry has ended."""
        assert self._line.poll(_SECONDS), f"the registry does not come to its end; last: {self.moments[-5:]}"
        try:
            self.moments.append(self._line.recv())
        except (EOFError, ConnectionResetError):
            return False
        return True


@contextmanager
def mortal(settings: Settings, fatal: Fatal | None = None, *, is_armed: bool = False, **s3: float) -> Iterator[Mortal]:
    """Run a registry, and end it if it still runs when something goes wrong."""
    registry = Mortal(settings, fatal, is_armed=is_armed, **s3)
    try:
        yield registry
    except BaseException:
        registry.kill()
        raise

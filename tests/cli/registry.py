"""A registry as people start it, with its processes laid open."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import TYPE_CHECKING

from cli.prepared import run_prepared

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("SLIPWAY_")}
LONGEST = 60


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return run_prepared(arguments, ENVIRONMENT | environment, LONGEST)


def eventually(condition: Callable[[], bool], what: str, seconds: float = LONGEST) -> None:
    """Look until a condition holds; fails with ``what`` was waited for."""
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"waited {seconds:.0f} s in vain for {what}"
        pause.wait(0.02)


def has_ended(pid: int) -> bool:
    """Tell whether a process is gone, or only waits to be collected."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def children(pid: int) -> set[int]:
    """Return the living children of a process."""
    try:
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except (FileNotFoundError, ProcessLookupError):
        return set()
    return {int(child) for child in found if not has_ended(int(child))}


def postgres_processes(data_dir: Path) -> list[Path]:
    """Return all processes that work in the database's folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == data_dir / "postgres":
                found.append(process)
        except OSError:
            continue  # it has ended, or is none of our business
    return found


@dataclass(slots=True)
class Registry:
    """A running ``slipway serve``."""

    process: subprocess.Popen[str]
    port: int
    log: Path

    def workers(self) -> set[int]:
        """Return the process ids of the workers."""
        return children(self.process.pid)

    def connect(self) -> HTTPConnection:
        """Connect anew."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=LONGEST)
        connection.connect()
        return connection

    def connect_to(self, is_wanted: Callable[[int], bool]) -> HTTPConnection:
        """Connect anew until a wanted worker accepts."""
        others: deque[HTTPConnection] = deque(maxlen=50)  # kept open, so that idle workers get some
        try:
            for _ in range(10_000):
                connection = self.connect()
                if is_wanted(self.worker_of(connection)):
                    return connection
                if len(others) == others.maxlen:
                    others[0].close()
                others.append(connection)
        finally:
            for connection in others:
                connection.close()
        raise AssertionError("no connection was accepted by the right worker")

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send one request on a connection of its own."""
        with closing(self.connect()) as connection:
            return reply(self, connection, method, path, body, **headers)

    def by_another_than(self, worker: int, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        """Send a request on the first new connection that another worker accepts."""
        with closing(self.connect_to(lambda pid: pid != worker)) as connection:
            return reply(self, connection, method, path, body, **headers)

    def worker_of(self, connection: HTTPConnection) -> int:
        """Return which worker has accepted a connection, waiting until one has."""
        assert connection.sock is not None
        client = connection.sock.getsockname()[1]
        found: list[int] = []

        def accepted() -> bool:
            # Until it is accepted, a connection has no inode.
            socket_name = f"socket:[{_inode(self.port, client)}]"
            found[:] = [pid for pid in self.workers() if socket_name in _descriptors(pid)]
            return bool(found)

        eventually(accepted, "a worker to accept the connection")
        return found[0]

    def roll(self) -> None:
        """Have all workers replaced by as many others."""
        before = self.workers()
        self.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(self.workers() - before) == len(self.workers()) == len(before), "other workers")

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(number)
        return self.process.wait(LONGEST)


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and which worker gave it."""

    status: int
    headers: dict[str, str]
    body: bytes
    worker: int

    @property
    def location(self) -> str:
        """Where to go on."""
        return self.headers["Location"]


def reply(
    registry: Registry, connection: HTTPConnection, method: str, path: str, body: bytes | None = None, **headers: str
) -> Reply:
    """Send a request on a connection and read its answer."""
    worker = registry.worker_of(connection)
    connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return Reply(answer.status, dict(answer.headers.items()), answer.read(), worker)


def command(data_dir: Path, *options: str, port: int = 0) -> list[str]:
    """Return the command that serves a data directory."""
    program = [sys.executable, "-m", "gateway", "serve"]
    return [*program, "--listen", f"127.0.0.1:{port}", "--data-dir", str(data_dir), *options]


def end(process: subprocess.Popen[str]) -> None:
    """Kill the supervisor and return when its workers have ended too, who hold the other ends of its pipes."""
    process.kill()
    assert process.stdout is not None
    process.stdout.read()


@contextmanager
def serving(data_dir: Path, *options: str, scheme: str = "http", **environment: str) -> Iterator[Registry]:
    """Start a registry that is open to everybody on a free port, which greets at once."""
    with started(data_dir, "--open", *options, scheme=scheme, **environment) as (registry, said):
        assert said.startswith("Slipway serves at"), said
        yield registry


@contextmanager
def started(data_dir: Path, *options: str, scheme: str = "http", **environment: str) -> Iterator[tuple[Registry, str]]:
    """Start a registry and give it with what it said up to its greeting; in the end all its processes have ended."""
    log = data_dir.parent / f"{data_dir.name}-{time.monotonic_ns()}.log"
    with (
        log.open("w") as errors,
        subprocess.Popen(
            command(data_dir, *options),
            env=ENVIRONMENT | environment,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            assert select.select([process.stdout], [], [], LONGEST)[0], f"no greeting: {log.read_text()}"
            said = ""
            while f"Slipway serves at {scheme}://" not in said:
                line = process.stdout.readline()
                assert line, said + log.read_text()
                said += line
            yield Registry(process, int(said.split("://")[1].split()[0].rpartition(":")[2]), log), said
        finally:
            end(process)


def _inode(server: int, client: int) -> str:
    """Return the inode of the server's side of a connection."""
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        columns = line.split()
        if columns[1].endswith(f":{server:04X}") and columns[2].endswith(f":{client:04X}"):
            return columns[9]
    return ""


def _descriptors(pid: int) -> set[str]:
    found = set()
    with suppress(OSError):  # the process is gone
        for link in Path(f"/proc/{pid}/fd").iterdir():
            with suppress(OSError):  # the descriptor is
                found.add(str(link.readlink()))
    return found

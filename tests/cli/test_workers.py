"""Worker processes: they share the work, are replaced when they die, and end without losing anything."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import itertools
import os
import pty
import signal
import socket
import subprocess
import termios
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

from cli.hammer import Hammer
from cli.registry import ENVIRONMENT, LONGEST, command, eventually, has_ended, postgres_processes, run, serving
from gateway.db.embedded import EmbeddedPostgres
from support.folders import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cli.registry import Registry

HALF = os.urandom(300_000)
CONTENT = HALF + os.urandom(300_000)
DIGEST = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
UPLOADS = "/v2/some/repository/blobs/uploads/"
BLOB = f"/v2/some/repository/blobs/{DIGEST}"


class Upload:
    """A PATCH of which the server has half: it can be seen to be running, and be finished."""

    def __init__(self, registry: Registry, worker: int | None = None) -> None:
        self.session = registry.request("POST", UPLOADS, Content_Length="0").location
        self.connection = registry.connect_to(lambda pid: worker in {None, pid})
        self.worker = registry.worker_of(self.connection)
        self.connection.putrequest("PATCH", self.session)
        # An interim answer shows that the request is being worked on.
        self.connection.putheader("Expect", "100-continue")
        self.connection.putheader("Content-Length", str(len(CONTENT)))
        self.connection.endheaders()
        assert self.connection.sock is not None
        assert self.connection.sock.recv(4096).startswith(b"HTTP/1.1 100 ")
        self.connection.send(HALF)

    def finish(self) -> None:
        """Send the other half, and expect it to be acknowledged."""
        self.connection.send(CONTENT[len(HALF) :])
        with closing(self.connection):
            assert self.connection.sock is not None
            assert self.connection.sock.recv(4096).startswith(b"HTTP/1.1 202 ")


def test_as_many_as_asked_for_answer(data_dir: Path) -> None:
    """Each worker accepts connections; the supervisor has no thread beside its own, and no connection of its own."""
    with serving(data_dir, "--workers", "3") as registry:
        workers = registry.workers()
        assert len(workers) == 3
        for worker in workers:
            assert registry.by_another_than(worker, "GET", "/v2/").status == 200
        assert len(list(Path(f"/proc/{registry.process.pid}/task").iterdir())) == 1
        assert postgres_processes(data_dir)

        assert registry.stop() == 0

        assert all(has_ended(worker) for worker in workers)
    assert postgres_processes(data_dir) == []


def test_their_number_comes_from_the_environment(data_dir: Path) -> None:
    """SLIPWAY_WORKERS is the option's other name."""
    with serving(data_dir, SLIPWAY_WORKERS="2") as registry:
        assert len(registry.workers()) == 2


def test_each_step_of_an_upload_may_land_on_another_worker(data_dir: Path) -> None:
    """Nothing of an upload is kept in the process that answered last."""
    with serving(data_dir, "--workers", "2") as registry:
        steps = [registry.request("POST", UPLOADS, Content_Length="0")]
        for chunk in (HALF, CONTENT[len(HALF) :]):
            steps.append(registry.by_another_than(steps[-1].worker, "PATCH", steps[-1].location, chunk))
            assert steps[-1].status == 202
        separator = "&" if "?" in steps[-1].location else "?"
        target = f"{steps[-1].location}{separator}digest={DIGEST}"
        steps.append(registry.by_another_than(steps[-1].worker, "PUT", target, Content_Length="0"))
        steps.append(registry.by_another_than(steps[-1].worker, "GET", BLOB))

    assert steps[-2].status == 201
    assert steps[-1].body == CONTENT
    assert all(one.worker != next_one.worker for one, next_one in itertools.pairwise(steps))


def test_a_killed_worker_is_replaced(data_dir: Path) -> None:
    """The others go on, no connection is refused, and soon there are as many as before."""
    with serving(data_dir, "--workers", "2") as registry:
        before = registry.workers()
        victim = min(before)

        os.kill(victim, signal.SIGKILL)

        eventually(lambda: len(registry.workers()) == 2 and victim not in registry.workers(), "a successor")
        successor = next(iter(registry.workers() - before))
        # The living one is older; whoever else answers is the successor.
        assert registry.by_another_than(max(before), "GET", "/v2/").worker == successor
        assert registry.stop() == 0
        assert f"worker {victim} ended by signal 9" in registry.log.read_text()


def test_connections_wait_while_no_worker_lives(data_dir: Path) -> None:
    """The socket is the supervisor's: a client that comes between two workers is answered by the second."""
    with serving(data_dir, "--workers", "1") as registry:
        for _ in range(3):
            (worker,) = registry.workers()
            os.kill(worker, signal.SIGKILL)
            assert registry.request("GET", "/v2/").status == 200
            assert worker not in registry.workers()


def test_a_worker_that_keeps_dying_is_restarted_ever_more_slowly(data_dir: Path) -> None:
    """The first successor comes at once; after that there are pauses, which grow."""
    with serving(data_dir, "--workers", "1") as registry:
        for _ in range(4):
            eventually(lambda: len(registry.workers()) == 1, "a worker")
            (worker,) = registry.workers()
            os.kill(worker, signal.SIGKILL)
            eventually(lambda pid=worker: has_ended(pid), "its end")  # type: ignore[misc]
        eventually(lambda: "0.8 s" in registry.log.read_text(), "pauses of growing length")
        pauses = [line.split()[-2] for line in registry.log.read_text().splitlines() if "the next one starts" in line]
        assert pauses == ["0.0", "0.2", "0.4", "0.8"]
        assert registry.request("GET", "/v2/").status == 200


@pytest.mark.parametrize(("workers", "rolled"), [(2, False), (1, True)])
def test_leases_of_a_killed_worker_are_free_at_once(data_dir: Path, workers: int, *, rolled: bool) -> None:
    """Whoever continues an upload of a dead worker does not wait until its lease has run out (15 s)."""
    with serving(data_dir, "--workers", str(workers)) as registry:
        if rolled:  # into another slot, so that the first free one is not the dead worker's
            registry.roll()
        upload = Upload(registry)
        with closing(upload.connection):
            os.kill(upload.worker, signal.SIGKILL)
            eventually(lambda: f"worker {upload.worker} ended" in registry.log.read_text(), "the end to be noticed")
            started = time.monotonic()
            answer = registry.request("PATCH", upload.session, CONTENT)
            assert answer.status == 202
            assert time.monotonic() - started < 10


def test_a_retiring_worker_keeps_its_leases(data_dir: Path) -> None:
    """Its successor is not taken for the successor of a dead one."""
    with serving(data_dir, "--workers", "1") as registry:
        upload = Upload(registry)
        registry.process.send_signal(signal.SIGHUP)
        eventually(lambda: len(registry.workers()) == 2, "another worker")
        assert registry.by_another_than(upload.worker, "GET", "/v2/").status == 200
        with EmbeddedPostgres.acquire(data_dir) as postgres:
            assert asyncio.run(_owners(postgres.dsn)) != [None]
        upload.finish()


@pytest.mark.parametrize("choose", [min, max])
def test_workers_end_with_their_supervisor(data_dir: Path, choose: Callable[[set[int]], int]) -> None:
    """After SIGKILL of the supervisor running requests are finished, then all workers and Postgres are gone."""
    with serving(data_dir, "--workers", "2") as registry:
        workers = registry.workers()
        upload = Upload(registry, choose(workers))

        registry.process.kill()
        registry.process.wait()
        # Whichever was forked first: neither keeps the other one's leash.
        (idle,) = workers - {upload.worker}
        eventually(lambda: has_ended(idle), "the idle worker to end", seconds=30)
        assert not has_ended(upload.worker)
        assert postgres_processes(data_dir)
        upload.finish()

        eventually(lambda: has_ended(upload.worker), "the busy worker to end")
        eventually(lambda: postgres_processes(data_dir) == [], "Postgres to end")


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_running_upload_is_finished_before_the_end(data_dir: Path, stop: signal.Signals) -> None:
    """Asked to end, the registry takes no new connection, but finishes what it has begun, and ends with 0."""
    with serving(data_dir, "--workers", "2") as registry:
        upload = Upload(registry)
        registry.process.send_signal(stop)
        eventually(lambda: _refuses(registry.port), "the port to be given up")
        assert not has_ended(upload.worker)

        upload.finish()

        assert registry.process.wait(60) == 0
    assert postgres_processes(data_dir) == []


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_may_reach_all_processes_at_once(data_dir: Path, stop: signal.Signals) -> None:
    """Workers that get it too, by Ctrl-C or from a service manager, finish what they do just the same."""
    with serving(data_dir, "--workers", "2") as registry:
        upload = Upload(registry)
        for pid in (*registry.workers(), registry.process.pid):
            os.kill(pid, stop)
        eventually(lambda: _refuses(registry.port), "the port to be given up")
        upload.finish()
        assert registry.process.wait(60) == 0


def test_closing_the_terminal_ends_it(data_dir: Path) -> None:
    """SIGHUP from a terminal that is closed means the end, not another configuration."""
    terminal, inside = pty.openpty()
    with subprocess.Popen(
        command(data_dir, "--open", "--workers", "1"),
        env=ENVIRONMENT,
        stdin=inside,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),  # noqa: PLW1509  (no thread runs here)
    ) as process:
        os.close(inside)
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Slipway serves")

        os.close(terminal)

        assert process.wait(LONGEST) == 0
    assert postgres_processes(data_dir) == []


def test_connections_that_wait_are_answered_before_the_end(data_dir: Path) -> None:
    """Clients whose connection was complete before the signal get their answer, though nobody had accepted it."""
    with serving(data_dir, "--workers", "2") as registry:
        workers = registry.workers()
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        connections = [registry.connect() for _ in range(40)]
        for connection in connections:
            connection.request("GET", "/v2/")
        registry.process.terminate()
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        for connection in connections:
            with closing(connection):
                assert connection.getresponse().status == 200
        assert registry.process.wait(60) == 0


def test_a_client_that_was_just_accepted_is_answered(data_dir: Path) -> None:
    """A request that is on its way when the end is decided is answered, and the client told to go."""
    with serving(data_dir, "--workers", "2") as registry, closing(registry.connect()) as connection:
        registry.worker_of(connection)
        registry.process.terminate()
        eventually(lambda: _refuses(registry.port), "the port to be given up")
        connection.request("GET", "/v2/")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Connection"]) == (200, "close")


def test_sighup_replaces_all_workers_and_loses_nothing(data_dir: Path) -> None:
    """A client that hammers sees no failure, a running upload is finished, and the number of workers may change."""
    config = data_dir.parent / "slipway.toml"
    config.write_text('workers = "2"')
    with serving(data_dir, "--config", str(config)) as registry:
        before = registry.workers()
        assert len(before) == 2
        upload = Upload(registry)
        with Hammer(registry.connect).at_work():
            config.write_text('workers = "3"')
            registry.process.send_signal(signal.SIGHUP)
            eventually(lambda: len(registry.workers() - before) >= 2, "new workers")
            upload.finish()
            eventually(lambda: len(registry.workers()) == 3 and not registry.workers() & before, "only new workers")
        assert registry.stop() == 0


def test_rolling_again_and_again_loses_nothing(data_dir: Path) -> None:
    """Slots are used again, and every connection finds a worker."""
    with serving(data_dir, "--workers", "1") as registry, Hammer(registry.connect).at_work():
        for _ in range(3):
            registry.roll()


@pytest.fixture(scope="module")
def configured() -> Iterator[tuple[Registry, Path]]:
    """A registry that no test changes, and the file that its configuration is in."""
    environment = {"SLIPWAY_S3_ACCESS_KEY_ID": "id", "SLIPWAY_S3_SECRET_ACCESS_KEY": "secret"}
    with open_folder() as folder:
        config = folder / "slipway.toml"
        config.write_text('blob_delivery = "proxy"')
        with serving(folder / "data", "--config", str(config), **environment) as registry:
            yield registry, config


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ('workers = "none"', "whole number"),
        ('worker = "1"', "unknown setting worker"),
        ('storage = "s3"\ns3_bucket = "b"\ns3_endpoint_url = "http://127.0.0.1:1"', "cannot move to"),
        ('database_url = "postgresql://user:secret@127.0.0.1:1/none"', "database_url"),
        ('workers = "1000"', "connections"),
    ],
)
def test_a_wrong_configuration_changes_nothing(configured: tuple[Registry, Path], text: str, sentence: str) -> None:
    """On SIGHUP, what is wrong is logged in one line, and the old workers stay."""
    registry, config = configured
    before, start = registry.workers(), len(registry.log.read_text())
    config.write_text(text)
    registry.process.send_signal(signal.SIGHUP)

    eventually(lambda: "the new configuration is not taken" in registry.log.read_text()[start:], "the refusal")

    (line,) = [line for line in registry.log.read_text()[start:].splitlines() if "not taken" in line]
    assert sentence in line
    assert "secret" not in line
    assert registry.request("GET", "/v2/").status == 200
    assert registry.workers() == before


def test_a_database_that_allows_too_few_connections_is_one_line(data_dir: Path) -> None:
    """The start fails at once, not under load."""
    ended = run("serve", "--open", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), "--workers", "1000")

    assert ended.returncode == 2
    assert "lower SLIPWAY_WORKERS" in ended.stderr
    assert ended.stderr.count("\n") == 1
    assert postgres_processes(data_dir) == []


async def _owners(dsn: str) -> list[str | None]:
    """Return who holds the leases of all upload sessions."""
    connection = await asyncpg.connect(dsn)
    try:
        return [row["owner"] for row in await connection.fetch("SELECT owner FROM upload_sessions")]
    finally:
        await connection.close()


def _refuses(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) != 0

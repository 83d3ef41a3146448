"""The embedded Postgres against real servers: users come, go and die, and so does the server."""

from __future__ import annotations

import asyncio
import fcntl
import os
import pty
import select
import signal
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from gateway.db.embedded import EmbeddedPostgres
from gateway.db.server_account import SERVICE_ID
from gateway.errors import ConfigurationError, DatabaseUnavailable
from support.folders import open_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server under another account")

# A user of the server in a process of its own: says its address, and leaves when its input ends. An interrupt ends it
# at once: Python would see one that comes just before it reads only when there is something to read.
USER = """
import signal, sys
from pathlib import Path
from gateway.db.embedded import EmbeddedPostgres
signal.signal(signal.SIGINT, signal.SIG_DFL)
with EmbeddedPostgres.acquire(Path(sys.argv[1])) as server:
    print(server.dsn, flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """Yield the path of a data directory yet to be made."""
    with open_folder(Path("/dev/shm")) as folder:
        path = folder / "data"
        yield path
        if (path / "postgres" / "postmaster.pid").exists():
            EmbeddedPostgres.acquire(path).release()


@pytest.fixture
def start_user(data_dir: Path) -> Iterator[Callable[[], subprocess.Popen[str]]]:
    """Yield a starter of user processes, which are killed at the end."""
    processes: list[subprocess.Popen[str]] = []

    def start() -> subprocess.Popen[str]:
        command = (sys.executable, "-c", USER, str(data_dir))
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


class Postmaster:
    """A handle of the server's first process, which no later process with its number can be taken for."""

    def __init__(self, data_dir: Path) -> None:
        self.pid = int((data_dir / "postgres" / "postmaster.pid").read_text().split()[0])
        self._descriptor = os.pidfd_open(self.pid)

    def has_ended(self, timeout: float = 0) -> bool:
        return bool(select.select([self._descriptor], [], [], timeout)[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def socket_folder(dsn: str) -> Path:
    return Path(parse_qs(urlsplit(dsn).query)["host"][0])


def first_line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def query(dsn: str, statement: str) -> object:
    return asyncio.run(fetch(dsn, statement))


async def fetch(dsn: str, statement: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


def test_server_answers_as_configured_and_ends(data_dir: Path) -> None:
    with EmbeddedPostgres.acquire(data_dir) as server, Postmaster(data_dir) as postmaster:
        settings = {
            "server_encoding": "UTF8",
            "lc_messages": "C",
            "data_checksums": "on",
            "fsync": "on",
            "synchronous_commit": "on",
            "listen_addresses": "",
            "shared_buffers": "64MB",
        }
        for name, value in settings.items():
            assert query(server.dsn, f"SELECT current_setting('{name}')") == value
        server.release()
        assert postmaster.has_ended(10)
        server.release()
    with pytest.raises(FileNotFoundError):
        query(server.dsn, "SELECT 1")


def test_last_user_stops_the_server(data_dir: Path) -> None:
    first = EmbeddedPostgres.acquire(data_dir)
    second = EmbeddedPostgres.acquire(data_dir)
    with Postmaster(data_dir) as postmaster:
        first.release()
        assert query(second.dsn, "SELECT 1") == 1
        assert not postmaster.has_ended()
        second.release()
        assert postmaster.has_ended(10)


def test_forked_worker_keeps_the_server(data_dir: Path) -> None:
    server = EmbeddedPostgres.acquire(data_dir)
    reader, writer = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(writer)
        os.read(reader, 1)
        server.release()
        os._exit(0)
    os.close(reader)
    with Postmaster(data_dir) as postmaster:
        server.release()
        assert query(server.dsn, "SELECT 1") == 1
        os.close(writer)
        assert os.waitpid(worker, 0)[1] == 0
        assert postmaster.has_ended(10)


def test_killed_user_leaves_a_server_that_the_next_one_stops(
    data_dir: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    user = start_user()
    dsn = first_line(user)
    with Postmaster(data_dir) as postmaster:
        user.kill()
        user.wait()
        assert query(dsn, "SELECT 1") == 1
        server = EmbeddedPostgres.acquire(data_dir)
        assert server.dsn == dsn
        assert not postmaster.has_ended()
        server.release()
        assert postmaster.has_ended(10)


async def test_killed_postmaster_is_replaced_and_data_survives(
    data_dir: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    first = EmbeddedPostgres.acquire(data_dir)
    connection = await asyncpg.connect(first.dsn)
    await connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    orphan = connection.get_server_pid()
    os.kill(orphan, signal.SIGSTOP)
    with Postmaster(data_dir) as postmaster:
        os.kill(postmaster.pid, signal.SIGKILL)
        assert postmaster.has_ended(10)
    user = start_user()
    assert user.stdout is not None
    assert not select.select([user.stdout], [], [], 0.5)[0], "a server is taken for alive whose postmaster is dead"
    os.kill(orphan, signal.SIGCONT)
    assert first_line(user) == first.dsn
    assert await fetch(first.dsn, "SELECT answer FROM kept") == 42
    assert "not properly shut down" in (data_dir / "postgres.log").read_text()
    connection.terminate()
    first.release()


def test_number_of_a_dead_postmaster_given_to_another_process(data_dir: Path) -> None:
    EmbeddedPostgres.acquire(data_dir).release()
    pid_file = data_dir / "postgres" / "postmaster.pid"
    socket_lock = data_dir / "socket" / ".s.PGSQL.5432.lock"
    bystander = subprocess.Popen(["cat"], stdin=subprocess.PIPE, user=account_id())
    state = f"{bystander.pid}\n{data_dir}/postgres\n1\n5432\n{data_dir}/socket\n\n0 0\nready\n"
    pid_file.write_text(state)
    socket_lock.write_text(state)
    try:
        with EmbeddedPostgres.acquire(data_dir) as server:
            assert query(server.dsn, "SELECT 1") == 1
        assert bystander.poll() is None
    finally:
        bystander.communicate()


def test_users_at_the_same_time_share_one_fresh_server(
    data_dir: Path, start_user: Callable[[], subprocess.Popen[str]]
) -> None:
    users = [start_user() for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        addresses = set(threads.map(first_line, users))
    assert len(addresses) == 1
    with Postmaster(data_dir) as postmaster:
        for user in users:
            assert not postmaster.has_ended()
            user.communicate()
            assert user.returncode == 0
        assert postmaster.has_ended(10)


def test_users_who_come_while_others_leave_find_a_server(data_dir: Path) -> None:
    def come_and_go(times: int) -> list[object]:
        answers = []
        for _ in range(times):
            with EmbeddedPostgres.acquire(data_dir) as server:
                answers.append(query(server.dsn, "SELECT 1"))
        return answers

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(come_and_go, [8] * 4)) == [[1] * 8] * 4


def test_terminal_neither_asks_for_a_password_nor_ends_the_server(data_dir: Path) -> None:
    user, terminal = pty.fork()
    if user == 0:
        os.execv(sys.executable, (sys.executable, "-c", USER, str(data_dir)))
    assert os.read(terminal, 1000).startswith(b"postgresql://")
    with EmbeddedPostgres.acquire(data_dir) as server:
        os.write(terminal, b"\x03")
        assert os.WTERMSIG(os.waitpid(user, 0)[1]) == signal.SIGINT
        assert query(server.dsn, "SELECT 1") == 1
    os.close(terminal)


def test_killed_creation_is_begun_anew(data_dir: Path) -> None:
    (data_dir / "postgres.new" / "data").mkdir(parents=True)
    (data_dir / "postgres.new" / "data" / "PG_VERSION").write_text("18\n")
    (data_dir / "postgres.password").write_text("of the cluster that never was")
    data_dir.chmod(0o711)
    with EmbeddedPostgres.acquire(data_dir) as server:
        assert query(server.dsn, "SELECT 1") == 1
    assert not (data_dir / "postgres.new").exists()


def test_password_is_needed_and_private(data_dir: Path) -> None:
    with EmbeddedPostgres.acquire(data_dir) as server:
        password = (data_dir / "postgres.password").read_text()
        assert len(password) == 64
        for wrong in ("", "postgres", password[:-1]):
            with pytest.raises(asyncpg.InvalidPasswordError):
                query(server.dsn.replace(password, wrong), "SELECT 1")
        stored = "SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'slipway'"
        assert query(server.dsn, stored) is True
        methods = "SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules"
        assert query(server.dsn, methods) == ["scram-sha-256"]


def test_files_and_socket_are_private(data_dir: Path) -> None:
    with EmbeddedPostgres.acquire(data_dir) as server:
        folder = socket_folder(server.dsn).lstat()
        assert (stat.S_IMODE(folder.st_mode), folder.st_uid) == (0o700, account_id())
        assert stat.S_IMODE((data_dir / "postgres").stat().st_mode) == 0o700
        for name in ("postgres.password", "postgres.log", "lifecycle.lock", "users.lock", "server.lock"):
            assert stat.S_IMODE((data_dir / name).stat().st_mode) == 0o600, name
        owners = {path.lstat().st_uid for path in (data_dir / "postgres").rglob("*")}
        assert owners == {account_id()}


def test_long_data_directory_gets_a_short_private_socket_folder(data_dir: Path) -> None:
    long_dir = data_dir.parent / ("long " * 24 + 'with "quotes", $HOME and `commas`')
    for _ in range(2):
        with EmbeddedPostgres.acquire(long_dir) as server, EmbeddedPostgres.acquire(long_dir) as other:
            assert other.dsn == server.dsn
            folder = socket_folder(server.dsn)
            assert len(str(folder / ".s.PGSQL.5432")) < 107
            assert (stat.S_IMODE(folder.lstat().st_mode), folder.lstat().st_uid) == (0o700, account_id())
            assert query(server.dsn, "SELECT 1") == 1
        assert not folder.exists()


@pytest.mark.parametrize("name", ["data", "long " * 24])
def test_a_server_that_has_ended_is_revived_at_its_address(data_dir: Path, name: str) -> None:
    """Its users know it by that; one that runs is left alone, and so is one that nobody here uses any more."""
    data_dir = data_dir.parent / name
    with EmbeddedPostgres.acquire(data_dir) as server:
        with Postmaster(data_dir) as postmaster:
            server.revive()
            assert not postmaster.has_ended()
            os.kill(postmaster.pid, signal.SIGKILL)
            assert postmaster.has_ended(timeout=30)
        # The processes that the dead one has left behind end a moment later.
        with (data_dir / "server.lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
        server.revive()
        assert query(server.dsn, "SELECT 1") == 1
    server.revive()
    assert not (data_dir / "postgres" / "postmaster.pid").exists()


@pytest.mark.parametrize("trick", ["open to others", "behind a link", pytest.param("of another user", marks=as_root)])
def test_false_server_is_not_joined(data_dir: Path, trick: str) -> None:
    with EmbeddedPostgres.acquire(data_dir), socket.socket(socket.AF_UNIX) as false_server:
        place, trap, link = data_dir / "socket", data_dir.parent / "trap", data_dir.parent / "link"
        place.rename(data_dir / "away")
        trap.mkdir()
        trap.chmod(0o755 if trick == "open to others" else 0o700)
        os.chown(trap, account_id() + (trick == "of another user"), -1)
        link.symlink_to(trap)
        place.symlink_to(link if trick == "behind a link" else trap)
        false_server.bind(str(trap / ".s.PGSQL.5432"))
        false_server.listen()
        try:
            with pytest.raises(ConfigurationError, match=r"is gone: end process [0-9]+"):
                EmbeddedPostgres.acquire(data_dir).release()
        finally:
            place.unlink()
            (data_dir / "away").rename(place)


def test_other_major_version_is_refused(data_dir: Path) -> None:
    EmbeddedPostgres.acquire(data_dir).release()
    (data_dir / "postgres" / "PG_VERSION").write_text("17\n")
    with pytest.raises(ConfigurationError, match=r"format of Postgres 17, .* brings 18: save it with pg_dump"):
        EmbeddedPostgres.acquire(data_dir)


def test_reason_of_a_failed_start_is_told(data_dir: Path) -> None:
    EmbeddedPostgres.acquire(data_dir).release()
    with (data_dir / "postgres" / "postgresql.conf").open("a") as settings:
        settings.write("shared_preload_libraries = 'no_such_library'\n")
    with pytest.raises(DatabaseUnavailable, match=r'FATAL: .*"no_such_library"'):
        EmbeddedPostgres.acquire(data_dir)


@as_root
def test_folder_closed_to_the_account_is_named(data_dir: Path) -> None:
    data_dir.parent.chmod(0o700)
    with pytest.raises(ConfigurationError, match=f"cannot enter {data_dir.parent}: run `chmod o.x {data_dir.parent}`"):
        EmbeddedPostgres.acquire(data_dir)
    data_dir.parent.chmod(0o711)
    EmbeddedPostgres.acquire(data_dir).release()


@as_root
def test_cluster_of_another_user_is_refused(data_dir: Path) -> None:
    (data_dir / "postgres" / "base").mkdir(parents=True)
    with pytest.raises(ConfigurationError, match="belongs to user id 0: start Slipway as the user who made it"):
        EmbeddedPostgres.acquire(data_dir)


def test_path_that_cannot_be_a_folder_is_one_sentence(data_dir: Path) -> None:
    data_dir.write_text("a file")
    with pytest.raises(ConfigurationError, match=f"^the embedded Postgres cannot use {data_dir}"):
        EmbeddedPostgres.acquire(data_dir)


def test_server_is_beyond_our_session_and_locks(data_dir: Path) -> None:
    with EmbeddedPostgres.acquire(data_dir), Postmaster(data_dir) as postmaster:
        assert os.getsid(postmaster.pid) != os.getsid(0)
        assert os.getpgid(postmaster.pid) != os.getpgid(0)
        files = open_files(postmaster.pid)
        ours = {path for path in files.values() if path.is_relative_to(data_dir)}
        assert ours == {data_dir / "server.lock", data_dir / "postgres.log"}
        assert files["0"] == Path("/dev/null")
        assert f"PPid:\t{os.getpid()}\n" not in Path(f"/proc/{postmaster.pid}/status").read_text()


def open_files(pid: int) -> dict[str, Path]:
    """List a process's descriptors as its own user, since root may not look in every container."""
    command = ("find", f"/proc/{pid}/fd", "-type", "l", "-printf", r"%f %l\n")
    account: dict[str, Any] = (
        {"user": account_id(), "group": account_id(), "extra_groups": ()} if os.geteuid() == 0 else {}
    )
    listing = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False, **account)
    lines = (line.split(" ", 1) for line in listing.stdout.splitlines())
    return {number: Path(target) for number, target in lines}


def account_id() -> int:
    return SERVICE_ID if os.geteuid() == 0 else os.geteuid()

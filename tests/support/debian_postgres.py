"""Debian's Postgres, the oldest version that is supported, in a database whose locale is not C."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

# Postgres refuses to run as root; the package has made this user for it.
_USER = "postgres"
# ICU's locale needs nothing installed, and sorts as en_US does: not by bytes.
_INITIAL = (
    "--username=slipway",
    "--auth=scram-sha-256",
    "--encoding=UTF8",
    "--locale=C.UTF-8",
    "--locale-provider=icu",
    "--icu-locale=en-US",
    "--no-sync",
)


@dataclass(frozen=True)
class DebianPostgres:
    """A running server."""

    dsn: str
    """Address of its first database."""
    data: Path
    control: tuple[str | Path, ...]
    options: str

    def restart(self, mode: str = "immediate") -> None:
        """Break all connections, in an orderly way or at once, and come back."""
        _run(*self.control, f"--mode={mode}", "restart")

    def kill(self) -> None:
        """End all its processes at once (SIGKILL)."""
        while processes := self._processes():
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
        # Until somebody has collected the process whose number stands in them, a start would take that for alive.
        for lock in (self.data / "postmaster.pid", self.data.parent / ".s.PGSQL.5432.lock"):
            lock.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it."""
        _run(*self.control, f"--options={self.options}", "start")

    def promote(self) -> None:
        """Follow nobody any more, and be written to."""
        _run(*self.control, "promote")

    def _processes(self) -> list[int]:
        """Return all processes that work in its folder."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):  # it has ended, or is none of our business
                if (process / "cwd").readlink() == self.data:
                    found.append(int(process.name))
        return found


@contextmanager
def running_debian_postgres() -> Iterator[DebianPostgres]:
    """Run a server as long as the context lasts."""
    with _folder() as folder:
        password = folder / "password"
        password.write_text(secrets.token_hex(16))
        if os.geteuid() == 0:
            shutil.chown(password, _USER, _USER)
        _run(_programs() / "initdb", f"--pgdata={folder / 'data'}", f"--pwfile={password}", *_INITIAL)
        with _running(folder, password.read_text()) as server:
            yield server


@contextmanager
def running_standby(primary: DebianPostgres) -> Iterator[DebianPostgres]:
    """Run a server that follows another one, which acknowledges nothing from then on that this one does not have."""
    with _folder() as folder:
        copy = (f"--pgdata={folder / 'data'}", f"--dbname={primary.dsn}", "--write-recovery-conf", "--checkpoint=fast")
        _run(_programs() / "pg_basebackup", *copy)
        password = urlsplit(primary.dsn).password
        assert password is not None
        with _running(folder, password) as server:
            with (primary.data / "postgresql.auto.conf").open("a") as settings:
                settings.write("synchronous_standby_names = '*'\n")
            _run(*primary.control, "reload")
            yield server


@contextmanager
def _folder() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="slipway-debian-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    if os.geteuid() == 0:
        shutil.chown(folder, _USER, _USER)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextmanager
def _running(folder: Path, password: str) -> Iterator[DebianPostgres]:
    data = folder / "data"
    options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
    control = _programs() / "pg_ctl", f"--pgdata={data}", "--wait", f"--log={folder / 'log'}"
    address = f"postgresql://slipway:{password}@/postgres?host={quote(str(folder))}"
    server = DebianPostgres(address, data, control, options)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def _programs() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        raise RuntimeError("Debian's Postgres is missing: install the package postgresql")
    return found[0].parent


def _run(program: str | Path, *arguments: str | Path) -> None:
    # pg_ctl leaves a server behind that has inherited its output: a pipe would never end.
    with tempfile.TemporaryFile("w+") as output:
        user = _USER if os.geteuid() == 0 else None
        done = subprocess.run(
            [program, *arguments],
            stdout=output,
            stderr=output,
            check=False,
            cwd="/",
            start_new_session=True,
            user=user,
            group=user,
            extra_groups=() if user else None,
        )
        output.seek(0)
        if done.returncode:
            raise RuntimeError(f"{program} failed: {output.read()}")

"""Debian's Postgres, the oldest version that is supported, in a database whose locale is not C."""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

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
    control: tuple[str | Path, ...]

    def restart(self) -> None:
        """Break all connections, and come back."""
        _run(*self.control, "--mode=immediate", "restart")


@contextmanager
def running_debian_postgres() -> Iterator[DebianPostgres]:
    """Run a server as long as the context lasts."""
    programs = _programs()
    folder = Path(tempfile.mkdtemp(prefix="slipway-debian-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    data = folder / "data"
    password = folder / "password"
    password.write_text(secrets.token_hex(16))
    if os.geteuid() == 0:
        for path in (folder, password):
            shutil.chown(path, _USER, _USER)
    try:
        _run(programs / "initdb", f"--pgdata={data}", f"--pwfile={password}", *_INITIAL)
        options = f"-c listen_addresses= -c unix_socket_directories={folder} -c fsync=off"
        control = programs / "pg_ctl", f"--pgdata={data}", "--wait", f"--log={folder / 'log'}"
        _run(*control, f"--options={options}", "start")
        try:
            address = f"postgresql://slipway:{password.read_text()}@/postgres?host={quote(str(folder))}"
            yield DebianPostgres(address, control)
        finally:
            _run(*control, "--mode=immediate", "stop")
    finally:
        shutil.rmtree(folder)


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

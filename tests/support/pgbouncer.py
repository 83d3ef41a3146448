"""pgbouncer, a pool in front of Postgres that lends its connections for a session or for a transaction."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator

_USER = "postgres"
"""pgbouncer refuses to run as root, and this user may enter the server's folder."""


@contextmanager
def running_pgbouncer(dsn: str, mode: str) -> Iterator[str]:
    """Run a pool in front of a server, and give the address of its first database through it."""
    parts = urlsplit(dsn)
    (socket,) = parse_qs(parts.query)["host"]
    port = free_port()
    configuration = Path(socket) / f"{mode}.ini"
    target = f"host={socket} user={parts.username} password={unquote(parts.password or '')}"
    configuration.write_text(
        f"[databases]\n* = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\npool_mode = {mode}\nserver_login_retry = 1\n"
    )
    configuration.chmod(0o644)
    as_user = ["-u", _USER] if os.geteuid() == 0 else []
    log = configuration.with_suffix(".log")
    # Into a file: in a pipe that nobody reads, what it says of each refused client would bring it to a halt.
    with log.open("wb") as output:
        process = subprocess.Popen(["pgbouncer", *as_user, str(configuration)], stdout=output, stderr=output)
    try:
        _wait_until_it_is_up(process, log)
        yield f"postgresql://anybody@127.0.0.1:{port}{parts.path}"
    finally:
        process.terminate()
        process.wait()


def _wait_until_it_is_up(process: subprocess.Popen[bytes], log: Path) -> None:
    while "process up" not in (said := log.read_text()):
        with suppress(subprocess.TimeoutExpired):
            process.wait(0.02)
            raise RuntimeError(f"pgbouncer ended with {process.returncode}: {said}")

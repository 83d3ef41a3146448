"""What a check of the database finds, on real servers and behind a real pool."""

from __future__ import annotations

import os
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import pytest

from gateway.db.examination import examine_database
from gateway.db.pool import Database
from gateway.model.findings import Severity
from support.ports import free_port
from support.postgres import create_database

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.databases import Server

_USER = "postgres"
"""pgbouncer refuses to run as root, and this user may enter the server's folder."""


async def test_a_fit_database_has_no_findings(database: Database) -> None:
    """Migrated, and reached directly."""
    assert await examine_database(database) == []


async def test_an_empty_database(server: Server) -> None:
    """Nothing is wrong: nobody has started yet."""
    url = await create_database(server.dsn, "empty_for_doctor")
    async with Database.connected(url, connections=2) as database:
        (only,) = await examine_database(database)

    assert (only.severity, only.what) == (Severity.WARNING, "schema")


async def test_another_encoding(server: Server) -> None:
    """Names and manifests are UTF-8."""
    connection = await asyncpg.connect(server.dsn)
    try:
        await connection.execute(
            "CREATE DATABASE latin ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0"
        )
    finally:
        await connection.close()
    url = urlsplit(server.dsn)._replace(path="/latin").geturl()
    async with Database.connected(url, connections=2) as database:
        found = await examine_database(database)

    assert [(each.severity, each.what) for each in found if each.what != "schema"] == [(Severity.ERROR, "encoding")]


@pytest.mark.parametrize(("mode", "errors"), [("session", []), ("transaction", ["connection"])])
async def test_pools(debian_server: Server, mode: str, errors: list[str]) -> None:
    """One that lends sessions for a transaction only is found out; one that lends them for longer does."""
    with pgbouncer(debian_server.dsn, mode) as url:
        async with Database.connected(url, connections=2) as database:
            found = await examine_database(database)

    assert [each.what for each in found if each.severity is Severity.ERROR] == errors


@contextmanager
def pgbouncer(dsn: str, mode: str) -> Iterator[str]:
    """Run a pool in front of a server, and give the address of its first database through it."""
    parts = urlsplit(dsn)
    (socket,) = parse_qs(parts.query)["host"]
    port = free_port()
    configuration = Path(socket) / f"{mode}.ini"
    target = f"host={socket} user={parts.username} password={unquote(parts.password or '')}"
    configuration.write_text(
        f"[databases]\n{parts.path[1:]} = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"unix_socket_dir =\nauth_type = any\npool_mode = {mode}\n"
        "ignore_startup_parameters = extra_float_digits\n"
    )
    configuration.chmod(0o644)
    as_user = ["-u", _USER] if os.geteuid() == 0 else []
    process = subprocess.Popen(
        ["pgbouncer", *as_user, str(configuration)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        said: list[str] = []
        while "process up" not in (line := process.stderr.readline()):
            assert line, f"pgbouncer did not start: {said}"
            said.append(line)
        yield f"postgresql://anybody@127.0.0.1:{port}{parts.path}"
    finally:
        process.terminate()
        process.communicate()

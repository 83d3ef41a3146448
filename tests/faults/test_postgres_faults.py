"""Postgres fails under a registry that is used: whoever asks is told in time, nothing is lost, and it comes back."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import asyncpg
import pytest

from e2e.processes import eventually
from e2e.wire import ACCEPT, Wire, sha256
from faults.clients import Clients
from faults.installations import Installation, new_installation, rows
from faults.slow import slow_line
from support.databases import Server
from support.debian_postgres import DebianPostgres, running_debian_postgres, running_standby
from support.pgbouncer import running_pgbouncer
from support.serving import in_the_background

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_KILLS = 40
_KILL = """
SELECT count(pg_terminate_backend(pid)) FILTER (WHERE state LIKE 'idle in transaction%') AS in_transaction
FROM (
    SELECT pid, state
    FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'slipway'
    ORDER BY state LIKE 'idle in transaction%' DESC, random()
    LIMIT 1
) AS victim
"""


@pytest.fixture(scope="module")
def postgres() -> Iterator[DebianPostgres]:
    """A server that may be killed."""
    with running_debian_postgres() as server:
        yield server


@pytest.fixture(scope="module")
def server(postgres: DebianPostgres) -> Server:
    """The same server, as a place for databases."""
    return Server(postgres.dsn)


@pytest.fixture
def installation(server: Server, tmp_path: Path) -> Iterator[Installation]:
    """An installation on it."""
    with new_installation(server, tmp_path / "installation", None) as made:
        yield made


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything that is waited for is given up after a second or two, so that the tests need not wait for it."""
    for name, seconds in (("PER_STATEMENT", 2.0), ("TO_CONNECT", 1.0), ("FOR_A_TURN", 1.0)):
        monkeypatch.setattr(f"gateway.db.pool._SECONDS_{name}", seconds)
    monkeypatch.setattr("gateway.db.coalesce._SECONDS_FOR_AN_ANSWER", 1.0)


@contextmanager
def used(installation: Installation, seed: int) -> Iterator[Clients]:
    """Run a registry that clients use; in the end all is there that was acknowledged."""
    with in_the_background(installation.settings):
        clients = Clients(str(installation.settings.listen), seed)
        with clients.busy():
            more(clients)
            yield clients
            eventually(clients.works, "a push to go through")
            more(clients)
        clients.check()


def more(clients: Clients) -> None:
    """Return when more was acknowledged."""
    enough = len(clients.kept) + 10
    eventually(lambda: len(clients.kept) >= enough or not clients.are_well, "more pushes to go through")


@pytest.mark.parametrize("how", ["immediate", "fast", "kill"])
def test_the_server_is_restarted(
    postgres: DebianPostgres, installation: Installation, soak: float, seed: int, how: str
) -> None:
    """Killed, crashed or restarted in order: clients hear 503 meanwhile, and go on afterwards."""
    with used(installation, seed) as clients:
        for _ in range(50 if soak else 3):
            if how == "kill":
                postgres.kill()
                refused = clients.refused
                eventually(lambda: clients.refused >= refused + 20, "clients to be refused")  # noqa: B023
                postgres.start()
            else:
                postgres.restart(how)
            more(clients)


def test_connections_are_killed_in_the_middle_of_transactions(installation: Installation, seed: int) -> None:
    """Each kill costs one request at most, and none of what was acknowledged."""
    with used(installation, seed):
        hit = 0
        for _ in range(1000):
            (row,) = installation.rows(_KILL)
            hit += row["in_transaction"]
            if hit == _KILLS:
                break
        assert hit == _KILLS


@pytest.mark.usefixtures("impatient")
def test_a_database_that_does_not_answer(installation: Installation) -> None:
    """Whoever asks, and whoever finds all connections taken by those who ask, is told after a bounded time."""
    with used(installation, seed=3) as clients, locked(installation, "upload_sessions", "repositories"):
        expect_refusals(clients)


@pytest.mark.usefixtures("impatient")
def test_a_slow_line_and_a_dead_one(installation: Installation) -> None:
    """A slow database makes a slow registry; one that is silent counts as away until it speaks again."""
    assert installation.settings.database_url is not None
    with slow_line(installation.settings.database_url) as line:
        line.delay = 0.01
        slow = replace(installation, settings=replace(installation.settings, database_url=line.url))
        with used(slow, seed=4) as clients:
            assert not clients.refused
            line.flowing.clear()
            expect_refusals(clients)
            line.flowing.set()


def test_a_standby_takes_over(tmp_path: Path, seed: int) -> None:
    """Until it is promoted, clients are told to come again; then they find all that was acknowledged."""
    with running_debian_postgres() as primary, running_standby(primary) as standby:
        (folder,) = parse_qs(urlsplit(standby.dsn).query)["host"]
        both = Server(f"{primary.dsn},{folder}")
        with new_installation(both, tmp_path / "installation", None) as made, used(made, seed) as clients:
            primary.kill()
            refused = clients.refused
            eventually(lambda: clients.refused >= refused + 50, "clients to be refused")
            expect_refusals(clients)
            standby.promote()


def test_a_database_that_can_only_be_read(installation: Installation, server: Server) -> None:
    """Pulls go on, pushes are told to come again, and do so as soon as it can be written to."""
    with used(installation, seed=5) as clients:
        let_write(server, installation, allowed=False)
        refused = clients.refused
        eventually(lambda: clients.refused >= refused + 20, "clients to be refused")
        address, content = next(iter(clients.kept.items()))
        wire = Wire(clients.address)
        pushed = wire.request("POST", "/v2/load/a/blobs/uploads/", b"")
        pulled = wire.request("GET", address, headers={"Accept": ACCEPT})
        let_write(server, installation, allowed=True)

    assert (pushed.status, pushed.headers["Retry-After"] is not None) == (503, True)
    assert (pulled.status, pulled.body) == (200, content)


def test_a_pool_in_session_mode(postgres: DebianPostgres, installation: Installation, seed: int) -> None:
    """Behind pgbouncer all is as without it, also when the server behind that is restarted."""
    (row,) = installation.rows("SELECT current_database() AS name")
    with running_pgbouncer(postgres.dsn, "session") as pool:
        url = urlsplit(pool)._replace(path=f"/{row['name']}").geturl()
        pooled = replace(installation, settings=replace(installation.settings, database_url=url))
        with used(pooled, seed):
            postgres.restart("fast")


def let_write(server: Server, installation: Installation, *, allowed: bool) -> None:
    """Say what new connections may do; when they may not write, end the old ones."""
    (row,) = installation.rows("SELECT current_database() AS name")
    rows(server.dsn, f"ALTER DATABASE {row['name']} SET default_transaction_read_only = {not allowed}")
    if not allowed:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'slipway'"
        rows(server.dsn, ended)


@contextmanager
def locked(installation: Installation, *tables: str) -> Iterator[None]:
    """Hold tables, named in the order in which pushes lock them, so that no statement gets at them."""
    with asyncio.Runner() as runner:
        connection = runner.run(asyncpg.connect(installation.settings.database_url))
        try:
            runner.run(connection.execute(f"BEGIN; LOCK TABLE {', '.join(tables)} IN ACCESS EXCLUSIVE MODE"))
            yield
        finally:
            runner.run(connection.close())


def expect_refusals(clients: Clients) -> None:
    """Send more requests than there are connections, and see each of them told to come again."""
    digest = sha256(b"")
    requests = [
        ("GET", "/v2/load/a/manifests/latest"),
        ("HEAD", f"/v2/load/a/blobs/{digest}"),
        ("POST", "/v2/load/a/blobs/uploads/"),
        ("POST", f"/v2/load/a/blobs/uploads/?mount={digest}&from=load/b"),
        ("GET", "/v2/load/a/tags/list"),
        ("GET", "/v2/_catalog"),
    ] * 5

    def told(request: tuple[str, str]) -> tuple[int, bool]:
        answer = Wire(clients.address).request(*request, b"")
        return answer.status, answer.headers["Retry-After"] is not None

    with ThreadPoolExecutor(len(requests)) as threads:
        assert set(threads.map(told, requests)) == {(503, True)}

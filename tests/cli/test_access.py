"""Accounts as operators meet them: the first start, keys that are chosen, keys that change, several workers."""

from __future__ import annotations

import asyncio
import base64
import re
from datetime import datetime
from typing import TYPE_CHECKING

import asyncpg
import orjson

from cli.registry import Registry, eventually, run, started
from gateway.db.embedded import EmbeddedPostgres
from support.accounts import basic

if TYPE_CHECKING:
    from pathlib import Path

CHOSEN = {"SLIPWAY_ROOT_ACCESS_KEY_ID": "admin", "SLIPWAY_ROOT_SECRET_KEY": "chosen-" + "s" * 32}
LOGIN = basic("admin", CHOSEN["SLIPWAY_ROOT_SECRET_KEY"])
SCOPE = "/token?scope=repository:a/b:pull,push"


def token(registry: Registry, login: str = LOGIN) -> str:
    """Get a token for a/b, as a header."""
    answer = registry.request("GET", SCOPE, Authorization=login)
    assert answer.status == 200
    return f"Bearer {orjson.loads(answer.body)['token']}"


def kid(header: str) -> str:
    """Return the id of the key that has signed a token."""
    return str(orjson.loads(base64.urlsafe_b64decode(header.removeprefix("Bearer ").split(".")[0] + "=="))["kid"])


def change(data_dir: Path, statement: str) -> None:
    """Change something in the database of a running registry, as another process would, and announce it."""

    async def work(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        try:
            await connection.execute(f"{statement}; SELECT pg_notify('slipway_changes', '')")
        finally:
            await connection.close()

    with EmbeddedPostgres.acquire(data_dir) as postgres:
        asyncio.run(work(postgres.dsn))


def test_the_first_start_shows_a_key_once(data_dir: Path) -> None:
    """It works as it is printed; the next start says nothing secret, and the log never does."""
    with started(data_dir) as (registry, said):
        found = re.search(
            r"access key id  (SW[A-Z0-9]{18})\n  secret key     (slw_\w{40})\n.*docker login -u (\S+) -p (\S+) (\S+)\n",
            said,
            re.DOTALL,
        )
        assert found, said
        assert found[1] == found[3]
        assert found[2] == found[4]
        assert found[5] == f"127.0.0.1:{registry.port}"
        login = basic(found[1], found[2])
        assert registry.request("GET", "/v2/").status == 401
        assert registry.request("GET", "/v2/", Authorization=token(registry, login)).status == 200
        assert registry.request("GET", "/v2/", Authorization=basic(found[1], "x")).status == 401
    with started(data_dir) as (registry, said):
        assert "slw_" not in said
        assert said.startswith("Slipway serves at")
        assert registry.request("GET", "/v2/", Authorization=login).status == 200
    log = "".join(each.read_text() for each in data_dir.parent.glob("*.log"))
    assert found[2] not in log
    assert base64.b64encode(f"{found[1]}:{found[2]}".encode()).decode() not in log


def test_a_chosen_key_is_not_printed(data_dir: Path) -> None:
    """Whoever has chosen it knows it; later starts neither need nor change it."""
    with started(data_dir, **CHOSEN) as (registry, said):
        assert "docker login -u admin 127.0.0.1:" in said
        assert CHOSEN["SLIPWAY_ROOT_SECRET_KEY"] not in said
        assert registry.request("GET", "/v2/", Authorization=LOGIN).status == 200
    with started(data_dir, **CHOSEN | {"SLIPWAY_ROOT_SECRET_KEY": "t" * 32}) as (registry, _):
        assert registry.request("GET", "/v2/", Authorization=LOGIN).status == 200


def test_an_open_start_makes_no_account(data_dir: Path) -> None:
    """The first start that is not open does."""
    with started(data_dir, "--open") as (registry, said):
        assert "access key" not in said
        assert registry.request("GET", "/v2/").status == 200
    with started(data_dir) as (registry, said):
        assert "slw_" in said
        assert registry.request("GET", "/v2/").status == 401


def test_the_encryption_key_is_needed_from_then_on(data_dir: Path) -> None:
    """What was stored in clear is sealed; without the key, or with another, the start ends with one sentence."""
    key = {"SLIPWAY_ENCRYPTION_KEY": "k" * 32}
    with started(data_dir, **CHOSEN):
        pass
    with started(data_dir, **key) as (registry, _):
        assert registry.request("GET", "/v2/", Authorization=LOGIN).status == 200
    for wrong in ({}, {"SLIPWAY_ENCRYPTION_KEY": "x" * 32}):
        ended = run("serve", "--listen", "127.0.0.1:0", "--data-dir", str(data_dir), **wrong)
        assert ended.returncode == 2
        assert "SLIPWAY_ENCRYPTION_KEY" in ended.stderr
        assert "Traceback" not in ended.stderr
        assert "k" * 32 not in ended.stderr


def test_every_worker_knows_of_a_change(data_dir: Path) -> None:
    """Tokens of one are good for all; a key that is disabled is so for all, within a second or so."""
    with started(data_dir, "--workers", "2", **CHOSEN) as (registry, _):
        workers = registry.workers()
        header = token(registry)

        def answers() -> set[int]:
            return {registry.by_another_than(worker, "GET", "/v2/", Authorization=header).status for worker in workers}

        assert answers() == {200}
        change(data_dir, "UPDATE access_keys SET disabled_at = now()")
        eventually(lambda: answers() == {401}, "both workers to refuse the key", seconds=5)
        change(data_dir, "UPDATE access_keys SET disabled_at = NULL")
        eventually(lambda: answers() == {200}, "both workers to accept the key", seconds=5)


def test_a_new_signing_key_is_taken_up_by_all(data_dir: Path) -> None:
    """It signs after its minute; tokens of the one before are good with every worker, before and after."""
    with started(data_dir, "--workers", "2", **CHOSEN) as (registry, _):
        old = token(registry)
        ended = run("signing-key", "rotate", "--json", "--data-dir", str(data_dir))
        assert ended.returncode == 0, ended.stderr
        before, after = orjson.loads(ended.stdout)
        assert kid(old) == before["id"] != after["id"]
        assert after["verifies_until"] is None
        assert after["signs_from"].endswith("Z")
        lasts = datetime.fromisoformat(before["verifies_until"]) - datetime.fromisoformat(after["signs_from"])
        assert lasts.total_seconds() >= 600 + 60

        change(data_dir, "UPDATE signing_keys SET signs_from = now() WHERE verifies_until IS NULL")
        eventually(lambda: kid(token(registry)) == after["id"], "a worker to sign with the new key")

        for worker in registry.workers():
            for header in (old, token(registry)):
                answer = registry.by_another_than(worker, "GET", "/v2/", Authorization=header)
                assert answer.status == 200
        listed = run("signing-key", "list", "--data-dir", str(data_dir))
        assert listed.stdout.count("\n") == 2
        assert f"{before['id']}  signs from" in listed.stdout

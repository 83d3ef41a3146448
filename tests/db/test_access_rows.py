"""Rows of access: what an installation begins with, keys as logins need them, and signing keys."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from gateway.db.installation import Installation
from gateway.db.keys import Keys
from gateway.db.sealed import SealedValues
from gateway.errors import ConfigurationError
from gateway.model.access import Action, Grant, Role
from gateway.services.bootstrap import Bootstrap, RootKey
from gateway.services.keyring import Keyring
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets

if TYPE_CHECKING:
    from gateway.db.pool import Database

KEY = "k" * 32
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def bootstrap(database: Database, key: str | None = None) -> Bootstrap:
    return Bootstrap(Installation(database), SealedValues(database), Sealer(key))


async def test_many_first_starts_agree(database: Database) -> None:
    """One installation, one pepper, one signing key, one root: the winner alone gets a secret, and it works."""

    async def start() -> tuple[str, RootKey | None]:
        public_id = await bootstrap(database).begin()
        return public_id, await bootstrap(database).create_root(None)

    starts = await asyncio.gather(*(start() for _ in range(6)))

    (root,) = [root for _, root in starts if root is not None]
    assert len({public_id for public_id, _ in starts}) == 1
    counted = await database.fetch("SELECT count(*) AS n FROM peppers UNION ALL SELECT count(*) FROM signing_keys")
    assert [row["n"] for row in counted] == [1, 1]
    key = await Keys(database).fetch_key(root.access_key_id)
    assert key is not None
    assert key.account.is_root
    secrets = Secrets(SealedValues(database), Sealer(None))
    await secrets.load()
    assert await secrets.matches(root.secret_key, key.secrets[0])


async def test_a_root_key_can_be_chosen(database: Database) -> None:
    """Once; later starts do not touch it."""
    await bootstrap(database).begin()

    chosen = RootKey("admin", "s" * 32)

    assert await bootstrap(database).create_root(chosen) == chosen
    assert await bootstrap(database).create_root(RootKey("other", "t" * 32)) is None
    assert await Keys(database).fetch_key("other") is None


async def test_a_key_that_comes_later_seals_what_is_there(database: Database) -> None:
    """From then on nothing opens without it, and nothing was lost."""
    await bootstrap(database).begin()
    root = await bootstrap(database).create_root(None)
    assert root is not None
    clear = [row["value"] for row in await database.fetch("SELECT value FROM peppers")]

    await bootstrap(database, KEY).begin()

    rows = await database.fetch(
        "SELECT value AS v, is_sealed FROM peppers UNION ALL SELECT private_key, is_sealed FROM signing_keys"
    )
    assert [row["is_sealed"] for row in rows] == [True, True]
    assert not {row["v"] for row in rows} & set(clear)
    secrets = Secrets(SealedValues(database), Sealer(KEY))
    await secrets.load()
    key = await Keys(database).fetch_key(root.access_key_id)
    assert key is not None
    assert await secrets.matches(root.secret_key, key.secrets[0])


@pytest.mark.parametrize(("key", "reason"), [(None, "are encrypted"), ("x" * 32, "is not the key")])
async def test_a_start_without_the_key_is_refused(database: Database, key: str | None, reason: str) -> None:
    """In one sentence, and nothing has changed."""
    await bootstrap(database, KEY).begin()

    with pytest.raises(ConfigurationError, match=reason):
        await bootstrap(database, key).begin()

    await bootstrap(database, KEY).begin()


async def test_a_key_comes_with_everything_that_decides_what_it_may_do(database: Database) -> None:
    """Policies in one registry and in all, both secrets of a changeover, and what it is narrowed to."""
    await database.execute(
        "INSERT INTO registries (public_id, name, storage, bucket) VALUES (repeat('0', 32), 'abc', 'b', 'c');"
        "INSERT INTO accounts (name) VALUES ('robots');"
        "INSERT INTO policies (account_id, role, registry_id) VALUES (1, 'manager', 1), (1, 'viewer', NULL);"
        "INSERT INTO peppers (value, is_sealed) VALUES ('p', false);"
        "INSERT INTO access_keys (access_key_id, account_id, actions, repositories, disabled_at, expires_at)"
        " VALUES ('robot', 1, '{pull,push}', '{ci/**}', now(), '2026-01-01Z'), ('plain', 1, NULL, NULL, NULL, NULL);"
        "INSERT INTO key_secrets (key_id, scheme, pepper_id, hash, expires_at)"
        " VALUES (1, 'hmac-sha256', 1, 'old', '2026-01-01Z'), (1, 'hmac-sha256', 1, 'new', NULL)"
    )

    robot, plain = [await Keys(database).fetch_key(each) for each in ("robot", "plain")]

    assert robot is not None
    assert robot.account.name == "robots"
    assert set(robot.account.grants) == {Grant(Role.MANAGER, 1), Grant(Role.VIEWER, None)}
    assert (robot.actions, robot.repositories) == (frozenset({Action.PULL, Action.PUSH}), ("ci/**",))
    assert (robot.disabled, robot.expires_at) == (True, NOW)
    assert [(each.hash, each.expires_at) for each in robot.secrets] == [(b"new", None), (b"old", NOW)]
    assert plain is not None
    assert (plain.actions, plain.repositories, plain.disabled, plain.expires_at) == (None, None, False, None)
    assert plain.secrets == ()


@pytest.mark.parametrize("table", ["access_keys", "accounts"])
async def test_what_was_deleted_is_no_key(database: Database, table: str) -> None:
    """Neither a key, nor one of an account that was deleted."""
    await bootstrap(database).begin()
    await bootstrap(database).create_root(RootKey("admin", "s" * 32))

    await database.execute(f"UPDATE {table} SET deleted_at = now()")

    assert await Keys(database).fetch_key("admin") is None


async def test_the_latest_use_stands(database: Database) -> None:
    """Whichever process writes last."""
    await bootstrap(database).begin()
    await bootstrap(database).create_root(RootKey("admin", "s" * 32))
    keys = Keys(database)

    await keys.record_uses([(1, NOW, "10.0.0.1"), (99, NOW, "10.0.0.9")])
    await keys.record_uses([(1, NOW - timedelta(seconds=1), "10.0.0.2")])

    (row,) = await database.fetch("SELECT last_used_at, last_used_from FROM access_keys")
    assert tuple(row) == (NOW, "10.0.0.1")


async def keyring(database: Database) -> Keyring:
    ring = Keyring(SealedValues(database), Sealer(None), token_seconds=600)
    await ring.load()
    return ring


async def test_a_new_key_waits_and_an_old_one_lingers(database: Database) -> None:
    """It signs after everybody could load it; tokens of the old one are good until the last has expired."""
    await bootstrap(database).begin()
    ring = await keyring(database)
    now = datetime.now(UTC)
    old = ring.signing(now)

    await ring.rotate(now)

    assert ring.signing(now + timedelta(seconds=59)).id == old.id
    new = ring.signing(now + timedelta(seconds=61))
    assert new.id != old.id
    for seconds, verifies in ((0, True), (60 + 600 + 60, True), (60 + 600 + 121, False)):
        assert (await ring.verifying(old.id, now + timedelta(seconds=seconds)) is not None) == verifies
    assert await ring.verifying(new.id, now) is not None
    assert await ring.verifying("unknown", now) is None


async def test_processes_that_find_a_key_too_old_make_one_new_key(database: Database) -> None:
    """All of them at the same time."""
    await bootstrap(database).begin()
    rings = [await keyring(database) for _ in range(6)]
    later = datetime.now(UTC) + timedelta(days=31)

    await asyncio.gather(*(ring.rotate_if_due(later) for ring in rings))
    await asyncio.gather(*(ring.rotate_if_due(later + timedelta(seconds=1)) for ring in rings))

    for ring in rings:
        await ring.load()
    assert len({ring.signing(later + timedelta(minutes=2)).id for ring in rings}) == 1
    assert (await database.fetch("SELECT count(*) AS n FROM signing_keys"))[0]["n"] == 2


async def test_a_young_key_stays(database: Database) -> None:
    """Nothing is due for thirty days."""
    await bootstrap(database).begin()
    ring = await keyring(database)

    await ring.rotate_if_due(datetime.now(UTC) + timedelta(days=29))

    assert (await database.fetch("SELECT count(*) AS n FROM signing_keys"))[0]["n"] == 1


async def test_a_key_that_ended_is_deleted_at_the_next_change(database: Database) -> None:
    """It signs and verifies nothing any more."""
    await bootstrap(database).begin()
    ring = await keyring(database)
    old = ring.signing(datetime.now(UTC))
    await ring.rotate(datetime.now(UTC))
    await database.execute("UPDATE signing_keys SET verifies_until = now() WHERE verifies_until IS NOT NULL")

    await ring.rotate(datetime.now(UTC))

    assert old.id not in [row["id"] for row in await database.fetch("SELECT id FROM signing_keys")]

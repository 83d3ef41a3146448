"""Accounts and keys for tests, put into the database as they would stand there."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway.db.pool import Database
from gateway.db.sealed import SealedValues
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets, new_access_key_id, new_secret_key

if TYPE_CHECKING:
    from collections.abc import Sequence

EVERYWHERE = -1
"""Instead of a registry's id: a policy in all registries."""


@dataclass(frozen=True, slots=True)
class Key:
    """An access key and its secret."""

    id: str
    secret: str

    @property
    def basic(self) -> str:
        """The header of HTTP Basic."""
        return basic(self.id, self.secret)


def basic(user: str, password: str) -> str:
    """Write credentials as HTTP Basic does."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


async def add_key(
    url: str,
    account: str,
    role: str | None,
    *,
    registry_id: int = 1,
    actions: Sequence[str] | None = None,
    repositories: Sequence[str] | None = None,
    secret: str | None = None,
) -> Key:
    """Make an account with a policy, and a key of it."""
    key = Key(new_access_key_id(), secret or new_secret_key())
    async with Database.connected(url, connections=1) as database:
        secrets = Secrets(SealedValues(database), Sealer(None))
        await secrets.load()
        kept = secrets.hash(key.secret)
        async with database.connection() as connection, connection.transaction():
            account_id = await connection.fetchval("INSERT INTO accounts (name) VALUES ($1) RETURNING id", account)
            if role is not None:
                await connection.execute(
                    "INSERT INTO policies (account_id, role, registry_id) VALUES ($1, $2, $3)",
                    account_id,
                    role,
                    None if registry_id == EVERYWHERE else registry_id,
                )
            key_id = await connection.fetchval(
                "INSERT INTO access_keys (access_key_id, account_id, actions, repositories) VALUES ($1, $2, $3, $4)"
                " RETURNING id",
                key.id,
                account_id,
                actions,
                repositories,
            )
            await connection.execute(
                "INSERT INTO key_secrets (key_id, scheme, pepper_id, hash) VALUES ($1, $2, $3, $4)",
                key_id,
                kept.scheme,
                kept.pepper_id,
                kept.hash,
            )
    return key


async def execute(url: str, statement: str, *arguments: object) -> None:
    """Change something in the database, and tell the processes as every change does."""
    async with (
        Database.connected(url, connections=1) as database,
        database.connection() as connection,
        connection.transaction(),
    ):
        await connection.execute(statement, *arguments)
        await connection.execute("SELECT pg_notify('slipway_changes', '')")

"""Registries: here only the default one, which serves addresses that name none."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from gateway.db.installation import lock_bootstrap
from gateway.db.statements import statement
from gateway.errors import ConfigurationError
from gateway.ports.directory import RegistrySettings
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from gateway.db.pool import Connection, Database

_FETCH_DEFAULT_REGISTRY = statement("fetch_default_registry")
_INSERT_DEFAULT_REGISTRY = statement("insert_default_registry")


async def ensure_default_registry(database: Database, storage: str, bucket: str) -> Registry:
    """Return the default registry, creating it on its bucket when the installation is new.

    A registry keeps its bucket: raises ConfigurationError when the configuration names another one.
    """

    async def work(connection: Connection) -> Registry:
        await lock_bootstrap(connection)
        row = await connection.fetchrow(_FETCH_DEFAULT_REGISTRY)
        if row is None:
            row = await connection.fetchrow(_INSERT_DEFAULT_REGISTRY, secrets.token_hex(16), storage, bucket)
        elif (row["storage"], row["bucket"]) != (storage, bucket):
            raise ConfigurationError(
                f"the default registry lies in bucket {row['bucket']} of {row['storage']} and cannot move to "
                f"{bucket} of {storage}: set the storage and bucket back, or begin with another database",
            )
        assert row is not None
        return Registry(row["id"], row["public_id"], row["bucket"])

    return await database.transact(work)


async def fetch_default_settings(database: Database) -> RegistrySettings:
    """Return the default registry, which was made at the start."""
    row = await database.fetchrow(_FETCH_DEFAULT_REGISTRY)
    assert row is not None
    return RegistrySettings(
        Registry(row["id"], row["public_id"], row["bucket"]),
        row["name"],
        private_label="",
        is_default=True,
        public_pull=row["public_pull"],
    )

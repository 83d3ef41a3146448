"""What is secret at rest: peppers and signing keys."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.statements import statement
from gateway.ports.access import Sealed, SigningKeyRecord

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.db.pool import Connection, Database

_FETCH_PEPPERS = statement("fetch_peppers")
_INSERT_FIRST_PEPPER = statement("insert_first_pepper")
_SEAL_PEPPER = statement("seal_pepper")
_FETCH_SIGNING_KEYS = statement("fetch_signing_keys")
_INSERT_SIGNING_KEY = statement("insert_signing_key")
_SEAL_SIGNING_KEY = statement("seal_signing_key")
_END_SIGNING_KEYS = statement("end_signing_keys")
_DELETE_ENDED_SIGNING_KEYS = statement("delete_ended_signing_keys")


class SealedValues:
    """Implements ports.access.PepperIndex and SigningKeyIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_peppers(self) -> list[Sealed]:
        """See the port."""
        rows = await self._database.fetch(_FETCH_PEPPERS)
        return [Sealed(str(row["id"]), row["value"], row["is_sealed"]) for row in rows]

    async def fetch_signing_keys(self) -> list[SigningKeyRecord]:
        """See the port."""
        rows = await self._database.fetch(_FETCH_SIGNING_KEYS)
        return [
            SigningKeyRecord(
                Sealed(row["id"], row["private_key"], row["is_sealed"]),
                row["algorithm"],
                row["signs_from"],
                row["verifies_until"],
            )
            for row in rows
        ]

    async def add_signing_key(
        self, key: SigningKeyRecord, *, older_until: datetime, unless_newer_than: datetime | None
    ) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            # Read and written by one process at a time, so that two do not both find the newest key too old.
            await connection.execute("LOCK TABLE signing_keys IN EXCLUSIVE MODE")
            if await insert_signing_key(connection, key, unless_newer_than=unless_newer_than):
                await connection.execute(_END_SIGNING_KEYS, key.sealed.id, older_until)
                await connection.execute(_DELETE_ENDED_SIGNING_KEYS)

        await self._database.transact(work)


async def insert_signing_key(
    connection: Connection, key: SigningKeyRecord, *, unless_newer_than: datetime | None
) -> bool:
    """Add a signing key within the caller's transaction; False if there is a newer one than that."""
    sealed = key.sealed
    row = await connection.fetchrow(
        _INSERT_SIGNING_KEY, sealed.id, key.algorithm, sealed.value, sealed.is_sealed, key.signs_from, unless_newer_than
    )
    return row is not None


async def insert_first_pepper(connection: Connection, pepper: Sealed) -> None:
    """Add a pepper within the caller's transaction, if there is none."""
    await connection.execute(_INSERT_FIRST_PEPPER, pepper.value, pepper.is_sealed)


async def seal_values(connection: Connection, peppers: Sequence[Sealed], signing_keys: Sequence[Sealed]) -> None:
    """Replace values that were stored in clear, within the caller's transaction."""
    for pepper in peppers:
        await connection.execute(_SEAL_PEPPER, int(pepper.id), pepper.value)
    for key in signing_keys:
        await connection.execute(_SEAL_SIGNING_KEY, key.id, key.value)

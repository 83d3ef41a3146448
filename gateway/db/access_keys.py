"""Access keys, as they are managed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gateway.db.accounts import delete_secrets, lock_account
from gateway.db.audit import as_json, note_change
from gateway.db.statements import statement
from gateway.errors import ChangedMeanwhile, NothingKnown, ValueRefused
from gateway.model.access import Action
from gateway.ports.access import AuditEntry
from gateway.ports.accounts import KeyRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Account, Actor, SecretHash
    from gateway.ports.accounts import Guard, KeyChange, KeyRequest

_LIST_ACCESS_KEYS = statement("list_access_keys")
_INSERT_ACCESS_KEY = statement("insert_access_key")
_UPDATE_ACCESS_KEY = statement("update_access_key")
_DELETE_ACCESS_KEY = statement("delete_access_key")
_INSERT_SECRET = statement("insert_secret")
_KEEP_NEWEST_SECRET = statement("keep_newest_secret")
_DELETE_ENDED_SECRETS = statement("delete_ended_secrets")
_HAS_LASTING_KEY = statement("has_lasting_key")


class AccessKeys:
    """Implements ports.accounts.KeyManagement."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_keys(self, account: str | None) -> Sequence[KeyRecord]:
        """See the port."""
        return [_record(row) for row in await self._database.fetch(_LIST_ACCESS_KEYS, account, None)]

    async def fetch_key_record(self, access_key_id: str) -> KeyRecord:
        """See the port."""
        async with self._database.connection() as connection:
            return await _fetch(connection, access_key_id)

    async def add_key(
        self, actor: Actor, account: str, access_key_id: str, secret: SecretHash, request: KeyRequest, guard: Guard
    ) -> KeyRecord:
        """See the port."""

        async def work(connection: Connection) -> KeyRecord:
            found = await lock_account(connection, account)
            guard(found)
            key_id = await connection.fetchval(
                _INSERT_ACCESS_KEY,
                access_key_id,
                found.id,
                request.note,
                _actions(request.actions),
                request.repositories,
                request.expires_at,
            )
            await _add_secret(connection, key_id, secret)
            made = await _fetch(connection, access_key_id)
            entry = AuditEntry("key.create", access_key_id, after=as_json(_shown(made)))
            await note_change(connection, actor, entry)
            return made

        return await self._database.transact(work)

    async def change_key(
        self, actor: Actor, access_key_id: str, change: KeyChange, expected_version: int | None, guard: Guard
    ) -> KeyRecord:
        """See the port."""

        async def work(connection: Connection) -> KeyRecord:
            account, before = await _lock_key(connection, access_key_id, guard)
            if expected_version not in {None, before.version}:
                raise ChangedMeanwhile(f"key {access_key_id} was changed since it was read: read it again")
            wanted = replace(before, **change)
            if wanted == before:
                return before
            await _update(connection, wanted)
            await _check_root_keeps_a_key(connection, account)
            entry = AuditEntry(
                "key.update", access_key_id, before=as_json(_shown(before)), after=as_json(_shown(wanted))
            )
            await note_change(connection, actor, entry)
            return await _fetch(connection, access_key_id)

        return await self._database.transact(work)

    async def replace_secret(
        self, actor: Actor, access_key_id: str, secret: SecretHash, keep_old_seconds: int, guard: Guard
    ) -> KeyRecord:
        """See the port."""

        async def work(connection: Connection) -> KeyRecord:
            _, before = await _lock_key(connection, access_key_id, guard)
            await connection.execute(_KEEP_NEWEST_SECRET, before.id, float(keep_old_seconds))
            await connection.execute(_DELETE_ENDED_SECRETS, before.id)
            await _add_secret(connection, before.id, secret)
            await _update(connection, before)
            after = as_json({"account": before.account, "keep_old_seconds": keep_old_seconds})
            await note_change(connection, actor, AuditEntry("key.rotate", access_key_id, after=after))
            return await _fetch(connection, access_key_id)

        return await self._database.transact(work)

    async def delete_key(self, actor: Actor, access_key_id: str, guard: Guard) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            account, before = await _lock_key(connection, access_key_id, guard)
            await connection.execute(_DELETE_ACCESS_KEY, before.id)
            await delete_secrets(connection, [before.id])
            await _check_root_keeps_a_key(connection, account)
            entry = AuditEntry("key.delete", access_key_id, before=as_json(_shown(before)))
            await note_change(connection, actor, entry)

        await self._database.transact(work)


async def _fetch(connection: Connection, access_key_id: str) -> KeyRecord:
    row = await connection.fetchrow(_LIST_ACCESS_KEYS, None, access_key_id)
    if row is None:
        raise NothingKnown(f"there is no key {access_key_id}")
    return _record(row)


async def _lock_key(connection: Connection, access_key_id: str, guard: Guard) -> tuple[Account, KeyRecord]:
    """Return a key with its account; nobody else changes either of them in this transaction."""
    found = await _fetch(connection, access_key_id)
    account = await lock_account(connection, found.account)
    guard(account)
    # Once more: only now nobody changes it. Keys never change their account.
    return account, await _fetch(connection, access_key_id)


async def _update(connection: Connection, key: KeyRecord) -> None:
    await connection.execute(
        _UPDATE_ACCESS_KEY,
        key.id,
        key.note,
        _actions(key.actions),
        key.repositories,
        key.disabled,
        key.expires_at,
    )


async def add_first_key(connection: Connection, account_id: int, access_key_id: str, secret: SecretHash) -> None:
    """Add the key that the root account begins with."""
    key_id = await connection.fetchval(
        _INSERT_ACCESS_KEY, access_key_id, account_id, "made at the first start", None, None, None
    )
    await _add_secret(connection, key_id, secret)


async def _add_secret(connection: Connection, key_id: int, secret: SecretHash) -> None:
    await connection.execute(_INSERT_SECRET, key_id, secret.scheme, secret.pepper_id, secret.hash)


async def _check_root_keeps_a_key(connection: Connection, account: Account) -> None:
    if account.is_root and not await connection.fetchval(_HAS_LASTING_KEY, account.id):
        raise ValueRefused(
            "this is the root account's last key that works for everything and for ever: make another one first"
        )


def _record(row: asyncpg.Record) -> KeyRecord:
    actions, repositories = row["actions"], row["repositories"]
    values = dict(row) | {
        "actions": None if actions is None else frozenset(map(Action, actions)),
        "repositories": None if repositories is None else tuple(repositories),
    }
    return KeyRecord(**values)


def _actions(actions: frozenset[Action] | None) -> list[str] | None:
    return None if actions is None else sorted(actions)


def _shown(key: KeyRecord) -> dict[str, Any]:
    """Return what the audit log keeps of a key."""
    return {
        "account": key.account,
        "note": key.note,
        "actions": _actions(key.actions),
        "repositories": key.repositories,
        "disabled": key.disabled,
        "expires_at": key.expires_at,
    }

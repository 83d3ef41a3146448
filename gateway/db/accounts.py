"""Accounts and their policies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.db.audit import as_json, note_change
from gateway.db.statements import statement
from gateway.errors import AlreadyTaken, NothingKnown
from gateway.model.access import Account, Grant, Role
from gateway.ports.access import AuditEntry
from gateway.ports.accounts import AccountRecord, PolicyRecord

if TYPE_CHECKING:
    from collections.abc import Sequence

    import asyncpg

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.ports.accounts import Guard

_LIST_ACCOUNTS = statement("list_accounts")
_FETCH_ACCOUNT = statement("fetch_account")
_INSERT_ACCOUNT = statement("insert_account")
_LOCK_ACCOUNT = statement("lock_account")
_FETCH_GRANTS_OF_ACCOUNT = statement("fetch_grants_of_account")
_DELETE_ACCOUNT = statement("delete_account")
_DELETE_POLICIES_OF_ACCOUNT = statement("delete_policies_of_account")
_DELETE_KEYS_OF_ACCOUNT = statement("delete_keys_of_account")
_DELETE_SECRETS = statement("delete_secrets")
_LIST_POLICIES = statement("list_policies")
_LOCK_REGISTRY_OF_POLICY = statement("lock_registry_of_policy")
_INSERT_POLICY = statement("insert_policy")
_FETCH_POLICY_DATE = statement("fetch_policy_date")
_DELETE_POLICY = statement("delete_policy")


class Accounts:
    """Implements ports.accounts.AccountIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_accounts(self) -> list[AccountRecord]:
        """See the port."""
        return [AccountRecord(**row) for row in await self._database.fetch(_LIST_ACCOUNTS)]

    async def fetch_account(self, name: str) -> AccountRecord:
        """See the port."""
        row = await self._database.fetchrow(_FETCH_ACCOUNT, name)
        if row is None:
            raise _unknown(name)
        return AccountRecord(**row)

    async def add_account(self, actor: Actor, name: str, note: str) -> AccountRecord:
        """See the port."""

        async def work(connection: Connection) -> AccountRecord:
            row = await connection.fetchrow(_INSERT_ACCOUNT, name, note)
            if row is None:
                raise AlreadyTaken(f"there is an account {name} already")
            await note_change(connection, actor, AuditEntry("account.create", name, after=as_json({"note": note})))
            return AccountRecord(**row)

        return await self._database.transact(work)

    async def delete_account(self, actor: Actor, name: str, guard: Guard) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            account = await lock_account(connection, name)
            guard(account)
            policies = await connection.fetch(_FETCH_GRANTS_OF_ACCOUNT, account.id)
            await connection.execute(_DELETE_POLICIES_OF_ACCOUNT, account.id)
            keys = await connection.fetch(_DELETE_KEYS_OF_ACCOUNT, account.id)
            await delete_secrets(connection, [key["id"] for key in keys])
            await connection.execute(_DELETE_ACCOUNT, account.id)
            before = as_json(
                {
                    "policies": [{"role": each["role"], "registry": each["registry"]} for each in policies],
                    "access_key_ids": sorted(key["access_key_id"] for key in keys),
                }
            )
            await note_change(connection, actor, AuditEntry("account.delete", name, before=before))

        await self._database.transact(work)

    async def list_policies(self, account: str | None, registry: str | None) -> list[PolicyRecord]:
        """See the port."""
        return [_policy(row) for row in await self._database.fetch(_LIST_POLICIES, account, registry)]

    async def grant(self, actor: Actor, account: str, role: Role, registry: str | None, guard: Guard) -> PolicyRecord:
        """See the port."""

        async def work(connection: Connection) -> PolicyRecord:
            found, registry_id = await _lock_both(connection, account, registry, guard)
            granted_at = await connection.fetchval(_INSERT_POLICY, found.id, role, registry_id)
            if granted_at is None:
                granted_at = await connection.fetchval(_FETCH_POLICY_DATE, found.id, role, registry_id)
            else:
                after = as_json({"role": role, "registry": registry})
                await note_change(connection, actor, AuditEntry("policy.grant", account, registry_id, after=after))
            return PolicyRecord(found.id, account, role, registry, granted_at)

        return await self._database.transact(work)

    async def revoke(self, actor: Actor, account: str, role: Role, registry: str | None, guard: Guard) -> None:
        """See the port."""

        async def work(connection: Connection) -> None:
            found, registry_id = await _lock_both(connection, account, registry, guard)
            if await connection.fetchval(_DELETE_POLICY, found.id, role, registry_id) is None:
                where = "all registries" if registry is None else f"registry {registry}"
                raise NothingKnown(f"account {account} is not {role} of {where}")
            before = as_json({"role": role, "registry": registry})
            await note_change(connection, actor, AuditEntry("policy.revoke", account, registry_id, before=before))

        await self._database.transact(work)


async def lock_account(connection: Connection, name: str) -> Account:
    """Return a living account with its policies; nobody else changes them or its keys in this transaction."""
    row = await connection.fetchrow(_LOCK_ACCOUNT, name)
    if row is None:
        raise _unknown(name)
    grants = await connection.fetch(_FETCH_GRANTS_OF_ACCOUNT, row["id"])
    return Account(
        row["id"],
        row["name"],
        row["is_root"],
        tuple(Grant(Role(each["role"]), each["registry_id"]) for each in grants),
    )


async def delete_secrets(connection: Connection, key_ids: Sequence[int]) -> None:
    """Forget all secrets of keys that end."""
    await connection.execute(_DELETE_SECRETS, key_ids)


async def _lock_both(
    connection: Connection, account: str, registry: str | None, guard: Guard
) -> tuple[Account, int | None]:
    found = await lock_account(connection, account)
    guard(found)
    if registry is None:
        return found, None
    registry_id = await connection.fetchval(_LOCK_REGISTRY_OF_POLICY, registry)
    if registry_id is None:
        raise NothingKnown(f"there is no registry {registry}")
    return found, registry_id


def _policy(row: asyncpg.Record) -> PolicyRecord:
    return PolicyRecord(row["account_id"], row["account"], Role(row["role"]), row["registry"], row["created_at"])


def _unknown(name: str) -> NothingKnown:
    return NothingKnown(f"there is no account {name}")

"""Accounts, their policies and their keys: who may manage what.

Each method takes the acting key, None where everything is allowed: the command line on the server itself, and
everybody under ``--open``. What it may not do raises Forbidden, and what it may not see NothingKnown, as for what does
not exist. Rights that depend on the account concerned are judged inside of the transaction that changes it.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.errors import Forbidden, NothingKnown, ValueRefused
from gateway.model import rights
from gateway.model.access import Role, check_account_name, is_access_key_id, is_account_name
from gateway.model.endpoints import check_registry_name
from gateway.model.patterns import check_pattern
from gateway.services.secrets import new_access_key_id, new_secret_key

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import AccessKey, Account, Actor
    from gateway.ports.accounts import (
        AccountIndex,
        AccountRecord,
        Guard,
        KeyChange,
        KeyManagement,
        KeyRecord,
        KeyRequest,
        PolicyRecord,
    )
    from gateway.services.secrets import Secrets

# Names that the audit log gives to those who have no account, and the one of the first account.
_RESERVED_NAMES = frozenset({"anonymous", "local", "open", "root"})
_LONGEST_NOTE = 1_000
_MOST_PATTERNS = 100
_LONGEST_CHANGEOVER = 30 * 24 * 3600


class Accounts:
    """Manages accounts, policies and keys."""

    def __init__(self, accounts: AccountIndex, keys: KeyManagement, secrets: Secrets) -> None:
        self._accounts = accounts
        self._keys = keys
        self._secrets = secrets

    async def create_account(self, actor: Actor, key: AccessKey | None, name: str, note: str = "") -> AccountRecord:
        """Make an account without policies and keys; raises AlreadyTaken, ValueRefused."""
        _require_administration(key)
        try:
            check_account_name(name)
        except ValueError as error:
            raise ValueRefused(str(error), "name") from error
        if name in _RESERVED_NAMES:
            raise ValueRefused(f"the name {name} is reserved", "name")
        return await self._accounts.add_account(actor, name, _checked_note(note))

    async def list_accounts(self, key: AccessKey | None) -> list[AccountRecord]:
        """Return the accounts that a key may see, by name."""
        _require_whole(key)
        return [each for each in await self._accounts.list_accounts() if _may_view(key, each.id)]

    async def get_account(self, key: AccessKey | None, name: str) -> AccountRecord:
        """Return an account."""
        _require_whole(key)
        account = await self._accounts.fetch_account(_known_account(name))
        if not _may_view(key, account.id):
            raise _unknown_account(name)
        return account

    async def delete_account(self, actor: Actor, key: AccessKey | None, name: str) -> None:
        """Delete an account with its policies and keys; the root account stays."""
        _require_administration(key)

        def guard(account: Account) -> None:
            if account.is_root:
                raise Forbidden("the root account cannot be deleted")
            if rights.is_manager_of_all(account):
                _require_root(key, "deletes a manager of all registries")

        await self._accounts.delete_account(actor, _known_account(name), guard)

    async def grant(
        self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None
    ) -> PolicyRecord:
        """Give an account a role in one registry or (None) in all; it may have it already."""
        guard = _guard_of_policies(key, role, registry)
        return await self._accounts.grant(actor, _known_account(account), role, _known_registry(registry), guard)

    async def revoke(self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None) -> None:
        """Take a role from an account; raises NothingKnown when it does not have it."""
        guard = _guard_of_policies(key, role, registry)
        await self._accounts.revoke(actor, _known_account(account), role, _known_registry(registry), guard)

    async def list_policies(
        self, key: AccessKey | None, account: str | None = None, registry: str | None = None
    ) -> list[PolicyRecord]:
        """Return the policies that a key may see: of one account or all, for one registry alone or for any."""
        _require_whole(key)
        of_account = None if account is None else _known_account(account)
        found = await self._accounts.list_policies(of_account, _known_registry(registry))
        return [each for each in found if _may_view(key, each.account_id)]

    async def create_key(
        self, actor: Actor, key: AccessKey | None, account: str, request: KeyRequest
    ) -> tuple[KeyRecord, str]:
        """Make a key, and return it with its secret, which nobody can show again; raises ValueRefused."""
        _require_whole(key)
        _check_narrowing(request.actions, request.repositories)
        _check_expiry(request.expires_at)
        _checked_note(request.note)
        secret = new_secret_key()
        made = await self._keys.add_key(
            actor,
            _known_account(account),
            new_access_key_id(),
            self._secrets.hash(secret),
            request,
            _guard_of_keys(key, _unknown_account(account)),
        )
        return made, secret

    async def list_keys(self, key: AccessKey | None, account: str | None = None) -> list[KeyRecord]:
        """Return the keys that a key may see, of one account or all."""
        _require_whole(key)
        found = await self._keys.list_keys(None if account is None else _known_account(account))
        return [each for each in found if _may_view(key, each.account_id)]

    async def get_key(self, key: AccessKey | None, access_key_id: str) -> KeyRecord:
        """Return a key."""
        _require_whole(key)
        found = await self._keys.fetch_key_record(_known_key(access_key_id))
        if not _may_view(key, found.account_id):
            raise _unknown_key(access_key_id)
        return found

    async def update_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, change: KeyChange, expected_version: int | None
    ) -> KeyRecord:
        """Change a key; raises ChangedMeanwhile unless it has the expected version (None is any), ValueRefused."""
        _require_whole(key)
        _check_narrowing(change.get("actions"), change.get("repositories"))
        _check_expiry(change.get("expires_at"))
        _checked_note(change.get("note", ""))
        guard = _guard_of_keys(key, _unknown_key(access_key_id))
        return await self._keys.change_key(actor, _known_key(access_key_id), change, expected_version, guard)

    async def rotate_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, keep_old_seconds: int = 0
    ) -> tuple[KeyRecord, str]:
        """Give a key a new secret and return both; the one before works on for some seconds, older ones end."""
        _require_whole(key)
        if not 0 <= keep_old_seconds <= _LONGEST_CHANGEOVER:
            raise ValueRefused("a changeover takes at most 30 days", "keep_old_seconds")
        secret = new_secret_key()
        guard = _guard_of_keys(key, _unknown_key(access_key_id))
        rotated = await self._keys.replace_secret(
            actor, _known_key(access_key_id), self._secrets.hash(secret), keep_old_seconds, guard
        )
        return rotated, secret

    async def delete_key(self, actor: Actor, key: AccessKey | None, access_key_id: str) -> None:
        """Delete a key; the root account keeps one that always works."""
        _require_whole(key)
        guard = _guard_of_keys(key, _unknown_key(access_key_id))
        await self._keys.delete_key(actor, _known_key(access_key_id), guard)


def _may_view(key: AccessKey | None, account_id: int) -> bool:
    return key is None or rights.may_view_account(key, account_id)


def _require_whole(key: AccessKey | None) -> None:
    if key is not None and key.is_narrowed:
        raise Forbidden("this access key is narrowed to pulling and pushing: it manages nothing")


def _require_administration(key: AccessKey | None) -> None:
    _require_whole(key)
    if key is not None and not rights.may_administer(key):
        raise Forbidden("this takes a manager of all registries")


def _require_root(key: AccessKey | None, what: str) -> None:
    if key is not None and not rights.may_make_managers_of_all(key):
        raise Forbidden(f"only the root account {what}")


def _guard_of_policies(key: AccessKey | None, role: Role, registry: str | None) -> Guard:
    _require_administration(key)
    if role is Role.MANAGER and registry is None:
        _require_root(key, "makes and unmakes managers of all registries")

    def guard(account: Account) -> None:
        if account.is_root:
            raise ValueRefused("the root account may do everything, without policies", "account")

    return guard


def _guard_of_keys(key: AccessKey | None, unknown: NothingKnown) -> Guard:
    def guard(account: Account) -> None:
        if key is None or rights.may_manage_keys_of(key, account):
            return
        if rights.may_view_account(key, account.id):
            raise Forbidden("only the root account manages its keys")
        raise unknown

    return guard


def _check_narrowing(actions: frozenset[object] | None, repositories: Sequence[str] | None) -> None:
    if actions is not None and not actions:
        raise ValueRefused("a key that may do nothing is of no use: name actions, or disable it", "actions")
    if repositories is None:
        return
    if not 1 <= len(repositories) <= _MOST_PATTERNS:
        raise ValueRefused(f"a key is narrowed to 1 to {_MOST_PATTERNS} patterns of repositories", "repositories")
    try:
        for pattern in repositories:
            check_pattern(pattern)
    except ValueError as error:
        raise ValueRefused(str(error), "repositories") from error


def _check_expiry(expires_at: datetime | None) -> None:
    if expires_at is not None and expires_at <= datetime.now(UTC):
        raise ValueRefused("the time at which the key expires is over: disable or delete it", "expires_at")


def _checked_note(note: str) -> str:
    if len(note) > _LONGEST_NOTE or "\0" in note:
        raise ValueRefused(f"a note has at most {_LONGEST_NOTE} characters, and no NUL among them", "note")
    return note


def _known_account(name: str) -> str:
    """Return a name that an account can have: what else somebody asks for does not exist."""
    if not is_account_name(name):
        raise _unknown_account(name)
    return name


def _known_key(access_key_id: str) -> str:
    if not is_access_key_id(access_key_id):
        raise _unknown_key(access_key_id)
    return access_key_id


def _known_registry(name: str | None) -> str | None:
    try:
        return None if name is None else check_registry_name(name)
    except ValueError as error:
        raise NothingKnown(f"there is no registry {name}") from error


def _unknown_account(name: str) -> NothingKnown:
    return NothingKnown(f"there is no account {name}")


def _unknown_key(access_key_id: str) -> NothingKnown:
    return NothingKnown(f"there is no key {access_key_id}")

"""What an access key may do: the one table of rights (docs/access.md), as pure functions.

The effective right is what the key is narrowed to, what the account's policies allow, and what the registry's
switches allow, at the moment of use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gateway.model.access import ALL_ACTIONS, Action, Role
from gateway.model.patterns import matches_any

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.model.access import AccessKey, Account

_NOTHING: frozenset[Action] = frozenset()
_PULL = frozenset({Action.PULL})


def is_usable(key: AccessKey, now: datetime) -> bool:
    """Whether a key may be used at all at this time."""
    return not key.disabled and (key.expires_at is None or now < key.expires_at)


def repository_actions(
    key: AccessKey | None, registry_id: int, repository: str, *, public_pull: bool
) -> frozenset[Action]:
    """Return what a key (None: anonymous) may do to a repository's content."""
    public = _PULL if public_pull else _NOTHING
    if key is None:
        return public
    if key.repositories is not None and not matches_any(key.repositories, repository):
        # What anybody may do without a key, nobody loses by having one.
        return public
    allowed = _account_actions(key.account, registry_id)
    if key.actions is not None:
        allowed &= key.actions
    return allowed | public


def may_view_registry(key: AccessKey, registry_id: int) -> bool:
    """Whether a key may see a registry in console and management API."""
    return not key.is_narrowed and bool(_account_actions(key.account, registry_id))


def may_manage_registry(key: AccessKey, registry_id: int) -> bool:
    """Whether a key may change a registry's settings and images, and read its audit."""
    return not key.is_narrowed and _account_actions(key.account, registry_id) == ALL_ACTIONS


def may_administer(key: AccessKey) -> bool:
    """Whether a key may create and delete registries, accounts, policies and other accounts' keys."""
    return not key.is_narrowed and is_manager_of_all(key.account)


def may_make_managers_of_all(key: AccessKey) -> bool:
    """Whether a key may grant or revoke *manager of all*, which deleting such an account does too."""
    return not key.is_narrowed and key.account.is_root


def may_view_account(key: AccessKey, account_id: int) -> bool:
    """Whether a key may see an account with its policies and keys: everybody the own one."""
    return not key.is_narrowed and (key.account.id == account_id or is_manager_of_all(key.account))


def may_manage_keys_of(key: AccessKey, account: Account) -> bool:
    """Whether a key may make, change and delete keys of an account: the root account's only its own."""
    if key.account.id == account.id:
        return not key.is_narrowed
    return may_administer(key) and not account.is_root


def is_manager_of_all(account: Account) -> bool:
    """Whether an account manages all registries."""
    return account.is_root or any(grant.role is Role.MANAGER and grant.registry_id is None for grant in account.grants)


def _account_actions(account: Account, registry_id: int) -> frozenset[Action]:
    if account.is_root:
        return ALL_ACTIONS
    roles = {grant.role for grant in account.grants if grant.registry_id in {None, registry_id}}
    if Role.MANAGER in roles:
        return ALL_ACTIONS
    return _PULL if Role.VIEWER in roles else _NOTHING

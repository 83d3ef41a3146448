"""Services that keep everything in memory, so that tests of the management API are about the management API."""

# ruff: noqa: ARG002 - who acts matters to the real ones only

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from gateway.admin.needs import Domains, Services
from gateway.errors import (
    AlreadyTaken,
    CatalogueUnwritten,
    ChangedMeanwhile,
    CredentialsWrong,
    DatabaseUnavailable,
    Forbidden,
    NothingKnown,
    RepositoryUnknown,
)
from gateway.model import rights
from gateway.model.access import AccessKey, Account, Action, Actor, Grant, Role
from gateway.model.findings import Finding, Severity
from gateway.ports.accounts import AccountRecord, KeyChange, KeyRecord, KeyRequest, PolicyRecord
from gateway.ports.audit import AuditFilter, AuditRecord
from gateway.ports.buckets import BucketUse
from gateway.ports.catalogue import Brought
from gateway.ports.directory import RegistryChange, RegistrySettings
from gateway.ports.metadata import Registry
from gateway.ports.pulls import Day, RepositoryPulls, TagPulls, Traffic

from .memory_images import NOW, MemoryImages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from gateway.model.names import RepositoryName, Tag
    from gateway.model.networks import IpAddress
    from gateway.services.accounts import Accounts
    from gateway.services.audit import Audit
    from gateway.services.images import Images
    from gateway.services.registries import Registries

SECRET = "slw_" + "s" * 40
ROOT, MANAGER, VIEWER, ROBOT, STRANGER = "SWROOT", "SWMANAGER", "SWVIEWER", "SWROBOT", "SWSTRANGER"
TEAM, OTHER = 1, 2


class MemoryPulls:
    """One image, pulled a few times."""

    async def top_repositories(
        self, registry: Registry, limit: int, after: RepositoryPulls | None = None
    ) -> list[RepositoryPulls]:
        return [] if after else [RepositoryPulls(1, "app/web", 3, NOW)][:limit]

    async def repository(self, registry: Registry, repository: RepositoryName) -> RepositoryPulls:
        if str(repository) != "app/web":
            raise RepositoryUnknown("there is no such repository")
        return RepositoryPulls(1, "app/web", 3, NOW)

    async def tags(self, repository: RepositoryPulls, last: str, limit: int) -> list[TagPulls]:
        return [TagPulls("v1", 3, 5, NOW)]

    async def history(self, repository: RepositoryPulls, since: datetime) -> list[Day]:
        return [Day(NOW, 3)]

    async def tag_history(self, repository: RepositoryPulls, tag: Tag, since: datetime) -> list[Day]:
        return [Day(NOW, 5)]

    async def traffic(self, registry: Registry, since: datetime) -> list[Traffic]:
        return [Traffic(NOW, 100, 200)]


@dataclass
class MemoryRegistries:
    """Two registries to begin with: team and other."""

    kept: dict[str, RegistrySettings] = field(default_factory=dict)
    actors: list[Actor] = field(default_factory=list)
    is_down: bool = False
    is_broken: bool = False
    cannot_write: str | None = None
    """Name of a registry whose bucket cannot be written."""
    numbers: count[int] = field(default_factory=lambda: count(1))

    def add(self, name: str, bucket: str) -> RegistrySettings:
        number = next(self.numbers)
        registry = Registry(number, f"{number:032x}", bucket)
        self.kept[name] = RegistrySettings(registry, name, private_label=f"r{number:025d}")
        return self.kept[name]

    async def create(
        self, actor: Actor, name: str, bucket: str, *, adopt: bool = False, lost: str | None = None
    ) -> RegistrySettings:
        self.actors.append(actor)
        if name in self.kept:
            raise AlreadyTaken(f"there is a registry {name} already")
        if adopt and bucket != "left-behind":
            raise NothingKnown(f"no registry has left anything in {bucket}")
        return self.add(name, bucket)

    async def list(self) -> list[RegistrySettings]:
        if self.is_down:
            raise DatabaseUnavailable("the database at secret-host does not answer")
        if self.is_broken:
            raise RuntimeError("a bug with a secret in it")
        return list(self.kept.values())

    async def get(self, name: str) -> RegistrySettings:
        if name not in self.kept:
            raise NothingKnown(f"no {name} here")
        return self.kept[name]

    async def update(
        self, actor: Actor, name: str, change: RegistryChange, expected_version: int | None
    ) -> RegistrySettings:
        self.actors.append(actor)
        found = await self.get(name)
        if expected_version not in {None, found.version}:
            raise ChangedMeanwhile(f"the registry {name} has changed since it was read")
        self.kept[name] = replace(found, version=found.version + 1, **change)
        return self.kept[name]

    async def delete(self, actor: Actor, name: str, *, without_catalogue: bool = False) -> None:
        self.actors.append(actor)
        await self.get(name)
        if name == self.cannot_write and not without_catalogue:
            raise CatalogueUnwritten("its bucket cannot be written: delete it later, or without its catalogue")
        del self.kept[name]

    async def reconcile(self, actor: Actor, name: str) -> Brought:
        self.actors.append(actor)
        await self.get(name)
        return Brought(repositories=1, tags=2, manifests=3, blobs=4)

    async def check_bucket(self, bucket: str) -> Sequence[Finding]:
        return [Finding(Severity.ERROR, f"object lock on {bucket}", "nothing could be deleted", "take another bucket")]

    async def buckets(self) -> Sequence[BucketUse]:
        taken = {each.registry.bucket: each.name for each in self.kept.values()}
        return [BucketUse(bucket, taken.get(bucket)) for bucket in ("team-bucket", "other-bucket", "free-bucket")]


@dataclass
class MemoryAccounts:
    """Accounts and keys; who administers may do everything with them, others see their own keys."""

    accounts: dict[str, AccountRecord] = field(default_factory=dict)
    policies: dict[tuple[str, Role, str | None], PolicyRecord] = field(default_factory=dict)
    keys: dict[str, KeyRecord] = field(default_factory=dict)

    def _administer(self, key: AccessKey | None) -> None:
        if key is not None and not rights.may_administer(key):
            raise Forbidden("this takes a manager of all registries")

    async def create_account(self, actor: Actor, key: AccessKey | None, name: str, note: str) -> AccountRecord:
        self._administer(key)
        if name in self.accounts:
            raise AlreadyTaken(f"there is an account {name} already")
        self.accounts[name] = AccountRecord(
            len(self.accounts), name, is_root=False, note=note, version=1, created_at=NOW
        )
        return self.accounts[name]

    async def list_accounts(self, key: AccessKey | None) -> list[AccountRecord]:
        self._administer(key)
        return list(self.accounts.values())

    async def get_account(self, key: AccessKey | None, name: str) -> AccountRecord:
        self._administer(key)
        if name not in self.accounts:
            raise NothingKnown(f"there is no account {name}")
        return self.accounts[name]

    async def delete_account(self, actor: Actor, key: AccessKey | None, name: str) -> None:
        await self.get_account(key, name)
        del self.accounts[name]

    async def grant(
        self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None
    ) -> PolicyRecord:
        await self.get_account(key, account)
        return self.policies.setdefault((account, role, registry), PolicyRecord(0, account, role, registry, NOW))

    async def revoke(self, actor: Actor, key: AccessKey | None, account: str, role: Role, registry: str | None) -> None:
        await self.get_account(key, account)
        if self.policies.pop((account, role, registry), None) is None:
            raise NothingKnown(f"{account} is no {role} there")

    async def list_policies(
        self, key: AccessKey | None, account: str | None, registry: str | None
    ) -> list[PolicyRecord]:
        return [
            each
            for each in self.policies.values()
            if account in {None, each.account} and registry in {None, each.registry}
        ]

    async def create_key(
        self, actor: Actor, key: AccessKey | None, account: str, request: KeyRequest
    ) -> tuple[KeyRecord, str]:
        await self.get_account(key, account)
        record = KeyRecord(
            id=len(self.keys),
            account_id=0,
            access_key_id=f"SWNEW{len(self.keys)}",
            account=account,
            note=request.note,
            actions=request.actions,
            repositories=request.repositories,
            disabled=False,
            expires_at=request.expires_at,
            last_used_at=None,
            last_used_from=None,
            created_at=NOW,
            version=1,
        )
        self.keys[record.access_key_id] = record
        return record, SECRET

    async def list_keys(self, key: AccessKey | None, account: str | None) -> list[KeyRecord]:
        return [each for each in self.keys.values() if account in {None, each.account}]

    async def get_key(self, key: AccessKey | None, access_key_id: str) -> KeyRecord:
        if access_key_id not in self.keys:
            raise NothingKnown(f"there is no access key {access_key_id}")
        return self.keys[access_key_id]

    async def update_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, change: KeyChange, expected_version: int | None
    ) -> KeyRecord:
        found = await self.get_key(key, access_key_id)
        if expected_version not in {None, found.version}:
            raise ChangedMeanwhile(f"the key {access_key_id} has changed since it was read")
        self.keys[access_key_id] = replace(found, version=found.version + 1, **change)
        return self.keys[access_key_id]

    async def rotate_key(
        self, actor: Actor, key: AccessKey | None, access_key_id: str, keep_old_seconds: int
    ) -> tuple[KeyRecord, str]:
        return await self.get_key(key, access_key_id), f"{SECRET}{keep_old_seconds}"

    async def delete_key(self, actor: Actor, key: AccessKey | None, access_key_id: str) -> None:
        await self.get_key(key, access_key_id)
        del self.keys[access_key_id]


@dataclass
class MemoryAudit:
    """Lines, as many as are wanted."""

    lines: list[AuditRecord] = field(default_factory=list)
    wanted: list[AuditFilter] = field(default_factory=list)

    def add(self, **given: Any) -> None:
        line = AuditRecord(
            id=len(self.lines) + 1,
            happened_at=NOW,
            account="root",
            access_key_id=ROOT,
            address="192.0.2.1",
            action="registry.update",
            registry="team",
            object="team",
            before='{"public_pull":false,"public_endpoint":true}',
            after='{"public_pull":true,"public_endpoint":true}',
            result="done",
            count=1,
        )
        self.lines.append(replace(line, **given))

    async def list(self, wanted: AuditFilter, before: int | None, limit: int) -> list[AuditRecord]:
        self.wanted.append(wanted)
        fitting = [each for each in reversed(self.lines) if before is None or each.id < before]
        return [each for each in fitting if wanted.account in {None, each.account}][:limit]


class MemoryKeys:
    """Knows five keys with one secret."""

    def __init__(self) -> None:
        account = {
            ROOT: Account(1, "root", is_root=True),
            MANAGER: Account(2, "manager", is_root=False, grants=(Grant(Role.MANAGER, TEAM),)),
            VIEWER: Account(3, "viewer", is_root=False, grants=(Grant(Role.VIEWER, TEAM),)),
            ROBOT: Account(4, "robot", is_root=False, grants=(Grant(Role.MANAGER, None),)),
            STRANGER: Account(5, "stranger", is_root=False),
        }
        narrowed = {ROBOT: frozenset({Action.PULL})}
        self._keys = {
            name: AccessKey(each.id, name, each, actions=narrowed.get(name)) for name, each in account.items()
        }

    async def authenticate(self, access_key_id: str, secret: str, address: IpAddress) -> AccessKey:
        if access_key_id not in self._keys or secret != SECRET:
            raise CredentialsWrong("the access key id or its secret is wrong")
        return self._keys[access_key_id]


@dataclass
class Memory:
    """All services, and what they hold."""

    registries: MemoryRegistries = field(default_factory=MemoryRegistries)
    accounts: MemoryAccounts = field(default_factory=MemoryAccounts)
    audit: MemoryAudit = field(default_factory=MemoryAudit)
    images: MemoryImages = field(default_factory=MemoryImages)

    def __post_init__(self) -> None:
        self.registries.add("team", "team-bucket")
        self.registries.add("other", "other-bucket")
        self.accounts.accounts["root"] = AccountRecord(0, "root", is_root=True, note="", version=1, created_at=NOW)

    @property
    def services(self) -> Services:
        domains = Domains("registry.example", "internal.example")
        return Services(
            cast("Registries", self.registries),
            cast("Accounts", self.accounts),
            cast("Audit", self.audit),
            MemoryPulls(),
            cast("Images", self.images),
            domains,
        )

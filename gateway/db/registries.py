"""Registries: how they are found, made, set and deleted."""

from __future__ import annotations

import secrets
import string
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import asyncpg

from gateway.db.audit import as_json, note_change
from gateway.db.installation import lock_bootstrap
from gateway.db.statements import statement
from gateway.errors import AlreadyTaken, ChangedMeanwhile, ConfigurationError, NothingKnown
from gateway.model.endpoints import Delivery, DeliveryRule
from gateway.model.networks import Networks
from gateway.ports.access import AuditEntry
from gateway.ports.directory import NewRegistry, RegistrySettings
from gateway.ports.metadata import Registry

if TYPE_CHECKING:
    from collections.abc import Iterator

    from gateway.db.pool import Connection, Database
    from gateway.model.access import Actor
    from gateway.ports.directory import RegistryChange

_FETCH_DEFAULT_REGISTRY = statement("fetch_default_registry")
_FETCH_REGISTRY_BY_NAME = statement("fetch_registry_by_name")
_FETCH_REGISTRY_BY_PRIVATE_LABEL = statement("fetch_registry_by_private_label")
_LIST_REGISTRIES = statement("list_registries")
_LOCK_REGISTRY = statement("lock_registry")
_INSERT_REGISTRY = statement("insert_registry")
_REVIVE_REGISTRY = statement("revive_registry")
_INSERT_UNBORN_REGISTRY = statement("insert_unborn_registry")
_OPEN_REGISTRY = statement("open_registry")
_UPDATE_REGISTRY = statement("update_registry")
_DELETE_REGISTRY = statement("delete_registry")
_DELETE_POLICIES_OF_REGISTRY = statement("delete_policies_of_registry")
_ASK_FOR_UPLOADS_OF_REGISTRY = statement("ask_for_uploads_of_registry")
_DELETE_UPLOADS_OF_REGISTRY = statement("delete_uploads_of_registry")
_DELETE_TOMBSTONES_OF_REGISTRY = statement("delete_tombstones_of_registry")
_RETIRE_UNFINISHED_OBJECTS_OF_REGISTRY = statement("retire_unfinished_objects_of_registry")
_CLEAR_DEFAULT_REGISTRY = statement("clear_default_registry")
_SET_DEFAULT_REGISTRY = statement("set_default_registry")
_FETCH_REGISTRIES_WITHOUT_LABEL = statement("fetch_registries_without_label")
_SET_PRIVATE_LABEL = statement("set_private_label")

_LABEL_LETTERS = string.ascii_lowercase + string.digits
_LABEL_LENGTH = 26
"""Of 36 letters and digits: more than 128 bits that nobody guesses."""


class RegistryRows:
    """Implements ports.directory.RegistryIndex."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def fetch_by_name(self, name: str) -> RegistrySettings | None:
        """See the port."""
        return _found(await self._database.fetchrow(_FETCH_REGISTRY_BY_NAME, name))

    async def fetch_by_private_label(self, label: str) -> RegistrySettings | None:
        """See the port."""
        return _found(await self._database.fetchrow(_FETCH_REGISTRY_BY_PRIVATE_LABEL, label))

    async def fetch_default(self) -> RegistrySettings | None:
        """See the port."""
        return _found(await self._database.fetchrow(_FETCH_DEFAULT_REGISTRY))

    async def list_registries(self) -> list[RegistrySettings]:
        """See the port."""
        return [_settings(row) for row in await self._database.fetch(_LIST_REGISTRIES)]

    async def insert_registry(self, actor: Actor, new: NewRegistry) -> RegistrySettings:
        """See the port."""

        async def work(connection: Connection) -> RegistrySettings:
            made = await _insert(connection, new)
            await note_change(connection, actor, _entry("registry.create", made, None, _described(made)))
            return made

        return await self._database.transact(work)

    async def revive_registry(self, actor: Actor, former: Registry, new: NewRegistry) -> RegistrySettings:
        """See the port."""

        async def work(connection: Connection) -> RegistrySettings:
            with _taken(new):
                row = await connection.fetchrow(
                    _REVIVE_REGISTRY, former.id, new.generation, new.name, _new_label(), new.delivery
                )
            if row is None:
                raise AlreadyTaken(f"somebody else has just taken over what lies in the bucket {new.bucket}")
            made = _settings(row)
            await note_change(connection, actor, _entry("registry.create", made, None, _described(made)))
            return made

        return await self._database.transact(work)

    async def begin_adoption(self, new: NewRegistry) -> Registry:
        """See the port."""
        values = new.public_id, new.generation, new.name, new.storage, new.bucket, _new_label()
        row = await self._database.fetchrow(_INSERT_UNBORN_REGISTRY, *values)
        if row is None:
            raise AlreadyTaken(_belongs_to_another(new.bucket))
        return Registry(row["id"], new.public_id, new.bucket, row["generation"])

    async def finish_adoption(
        self, actor: Actor, registry: Registry, name: str, settings: RegistryChange
    ) -> RegistrySettings:
        """See the port."""

        async def work(connection: Connection) -> RegistrySettings:
            with _taken(NewRegistry(registry.public_id, registry.generation, name, "", registry.bucket)):
                row = await connection.fetchrow(_OPEN_REGISTRY, registry.id)
            assert row is not None
            wanted = replace(_settings(row), **settings)
            row = await connection.fetchrow(_UPDATE_REGISTRY, registry.id, *_columns(wanted))
            assert row is not None
            made = _settings(row)
            await note_change(connection, actor, _entry("registry.create", made, None, _described(made)))
            return made

        return await self._database.transact(work)

    async def update_registry(
        self, actor: Actor, name: str, change: RegistryChange, expected_version: int | None
    ) -> RegistrySettings:
        """See the port."""

        async def work(connection: Connection) -> RegistrySettings:
            before = await _lock(connection, name)
            if expected_version not in {None, before.version}:
                raise ChangedMeanwhile(f"the registry {name} has changed since it was read")
            wanted = replace(before, **change)
            row = await connection.fetchrow(_UPDATE_REGISTRY, before.registry.id, *_columns(wanted))
            assert row is not None
            old, new = _described(before), _described(wanted)
            changed = [key for key in new if old[key] != new[key]]
            was, became = ({key: values[key] for key in changed} for values in (old, new))
            await note_change(connection, actor, _entry("registry.update", wanted, was, became))
            return _settings(row)

        return await self._database.transact(work)

    async def delete_registry(self, actor: Actor, name: str) -> RegistrySettings:
        """See the port."""

        async def work(connection: Connection) -> RegistrySettings:
            found = await _lock(connection, name)
            registry_id = found.registry.id
            await connection.execute(_DELETE_REGISTRY, registry_id)
            await connection.execute(_DELETE_POLICIES_OF_REGISTRY, registry_id)
            await connection.execute(_ASK_FOR_UPLOADS_OF_REGISTRY, registry_id)
            await connection.execute(_DELETE_UPLOADS_OF_REGISTRY, registry_id)
            await connection.execute(_DELETE_TOMBSTONES_OF_REGISTRY, registry_id)
            await connection.execute(_RETIRE_UNFINISHED_OBJECTS_OF_REGISTRY, registry_id)
            await note_change(connection, actor, _entry("registry.delete", found, _described(found), None))
            return found

        return await self._database.transact(work)


async def ensure_default_registry(
    database: Database, storage: str, bucket: str, name: str = "default", delivery: Delivery | None = None
) -> Registry:
    """Return the registry for hosts that name none, making it on its bucket when it is missing.

    A registry keeps its bucket: raises ConfigurationError when the configuration names another one, and AlreadyTaken
    when another registry has it.
    """

    async def work(connection: Connection) -> Registry:
        await lock_bootstrap(connection)
        found = _found(await connection.fetchrow(_FETCH_REGISTRY_BY_NAME, name))
        if found is None:
            new = NewRegistry(secrets.token_hex(16), 1, name, storage, bucket, delivery)
            found = await _insert(connection, new)
        elif (found.storage, found.registry.bucket) != (storage, bucket):
            raise ConfigurationError(
                f"the default registry lies in bucket {found.registry.bucket} of {found.storage} and cannot move to "
                f"{bucket} of {storage}: set the storage and bucket back, or begin with another database",
            )
        await connection.execute(_CLEAR_DEFAULT_REGISTRY, name)
        await connection.execute(_SET_DEFAULT_REGISTRY, name)
        return found.registry

    return await database.transact(work)


async def prepare_registries(database: Database, storage: str, *, has_default: bool) -> None:
    """Give hosts to registries that have none yet, and see that all of them can be served.

    Raises ConfigurationError when one lies in another storage than the configured one.
    """

    async def work(connection: Connection) -> None:
        await lock_bootstrap(connection)
        for row in await connection.fetch(_FETCH_REGISTRIES_WITHOUT_LABEL):
            await connection.execute(_SET_PRIVATE_LABEL, row["id"], _new_label())
        if not has_default:
            await connection.execute(_CLEAR_DEFAULT_REGISTRY, None)
        for found in map(_settings, await connection.fetch(_LIST_REGISTRIES)):
            if found.storage != storage:
                raise ConfigurationError(
                    f"the registry {found.name} lies in bucket {found.registry.bucket} of {found.storage} and cannot "
                    f"move to {storage}: set the storage back, or begin with another database"
                )

    await database.transact(work)


async def _insert(connection: Connection, new: NewRegistry) -> RegistrySettings:
    values = new.public_id, new.generation, new.name, new.storage, new.bucket, _new_label(), new.delivery
    with _taken(new):
        row = await connection.fetchrow(_INSERT_REGISTRY, *values)
    assert row is not None
    return _settings(row)


@contextmanager
def _taken(new: NewRegistry) -> Iterator[None]:
    try:
        yield
    except asyncpg.UniqueViolationError as error:
        if error.constraint_name == "registries_bucket_unique":
            raise AlreadyTaken(
                f"the bucket {new.bucket} belongs to another registry; each has one of its own"
            ) from error
        if error.constraint_name == "registries_public_id_unique":
            raise AlreadyTaken(_belongs_to_another(new.bucket)) from error
        raise AlreadyTaken(f"there is a registry {new.name} already") from error


def _belongs_to_another(bucket: str) -> str:
    return f"what lies in the bucket {bucket} belongs to another registry"


async def _lock(connection: Connection, name: str) -> RegistrySettings:
    row = await connection.fetchrow(_LOCK_REGISTRY, name)
    if row is None:
        raise NothingKnown(f"there is no registry {name}")
    return _settings(row)


def _new_label() -> str:
    first = secrets.choice(string.ascii_lowercase)
    return first + "".join(secrets.choice(_LABEL_LETTERS) for _ in range(_LABEL_LENGTH - 1))


# --- rows ----------------------------------------------------------------------------------------


def _found(row: asyncpg.Record | None) -> RegistrySettings | None:
    return None if row is None else _settings(row)


def _settings(row: asyncpg.Record) -> RegistrySettings:
    return RegistrySettings(
        registry=Registry(row["id"], row["public_id"], row["bucket"], row["generation"]),
        name=row["name"],
        # Only a program of the version before makes one without, while it runs beside this one.
        private_label=row["private_label"] or "",
        is_default=row["is_default"],
        public_endpoint=row["public_endpoint"],
        public_pull=row["public_pull"],
        public_networks=Networks.parse(row["public_networks"]),
        private_networks=Networks.parse(row["private_networks"]),
        public_delivery=_delivery(row["public_delivery"]),
        private_delivery=_delivery(row["private_delivery"]),
        delivery_rules=tuple(map(DeliveryRule.parse, row["delivery_rules"])),
        version=row["version"],
        storage=row["storage"],
    )


def _delivery(text: str | None) -> Delivery | None:
    return None if text is None else Delivery(text)


def _columns(settings: RegistrySettings) -> tuple[Any, ...]:
    """Return what can be set, in the order of update_registry."""
    return (
        settings.public_endpoint,
        settings.public_pull,
        settings.public_networks.texts(),
        settings.private_networks.texts(),
        settings.public_delivery,
        settings.private_delivery,
        [rule.text for rule in settings.delivery_rules],
    )


# --- the audit log -------------------------------------------------------------------------------


def _described(settings: RegistrySettings) -> dict[str, Any]:
    names = (
        "public_endpoint",
        "public_pull",
        "public_networks",
        "private_networks",
        "public_delivery",
        "private_delivery",
        "delivery_rules",
    )
    return {
        "bucket": settings.registry.bucket,
        "id": settings.registry.public_id,
        **dict(zip(names, _columns(settings), strict=True)),
    }


def _entry(
    action: str, settings: RegistrySettings, before: dict[str, Any] | None, after: dict[str, Any] | None
) -> AuditEntry:
    return AuditEntry(
        action=action,
        object=settings.name,
        registry_id=settings.registry.id,
        registry=settings.name,
        before=None if before is None else as_json(before),
        after=None if after is None else as_json(after),
    )

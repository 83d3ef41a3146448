"""Larger pieces put together from their parts, in the same way for the server and for commands."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Self
from uuid import UUID

from gateway.admin.needs import Domains
from gateway.admin.needs import Services as ManagementServices
from gateway.db.access_keys import AccessKeys
from gateway.db.accounts import Accounts as AccountRows
from gateway.db.adoptions import Adoptions
from gateway.db.audit import AuditLog
from gateway.db.blobs import Blobs
from gateway.db.catalogue import Catalogue
from gateway.db.catalogue_replay import CatalogueReplays
from gateway.db.deletions import Deletions
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.images import Images as ImageRows
from gateway.db.installation import Installation
from gateway.db.keys import Keys
from gateway.db.manifests import Manifests as ManifestRows
from gateway.db.migrations import all_migrations, check_migrated
from gateway.db.pull_reports import PullReports
from gateway.db.pulls import PullTotals
from gateway.db.registries import RegistryRows, ensure_default_registry, prepare_registries
from gateway.db.sealed import SealedValues
from gateway.db.surveys import Surveys
from gateway.errors import AlreadyTaken, BackendError, ClientError, ConfigurationError, ValueRefused
from gateway.model.endpoints import Delivery
from gateway.model.pulls import Exclusions
from gateway.ports.catalogue import say_nothing
from gateway.ports.observing import unmeasured
from gateway.services.access import Access
from gateway.services.accounts import Accounts
from gateway.services.adoption import Adoption, refuse_to_hide
from gateway.services.audit import Audit
from gateway.services.bootstrap import Bootstrap, RootKey
from gateway.services.catalogue import CatalogueGuard, CatalogueWriter
from gateway.services.catalogue_reading import CatalogueReader
from gateway.services.counters import Counters
from gateway.services.defence import Defence
from gateway.services.images import Images
from gateway.services.keyring import Keyring
from gateway.services.losses import Losses
from gateway.services.manifests import Manifests
from gateway.services.readiness import Readiness
from gateway.services.reconciliation import Reconciliation
from gateway.services.registries import Registries, check_unclaimed, refuse_unfit
from gateway.services.sealing import Sealer
from gateway.services.secrets import Secrets
from gateway.services.tokens import Tokens
from gateway.services.uses import Uses
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.filesystem import FilesystemStorage
from gateway.storage.s3 import S3Settings, S3Storage
from gateway.storage.s3_buckets import S3Buckets
from gateway.storage.shelf import FileShelf

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from contextlib import AsyncExitStack

    from gateway.config import Settings
    from gateway.db.pool import Database
    from gateway.model.access import AccessKey
    from gateway.ports.buckets import BucketKeeper
    from gateway.ports.catalogue import Report
    from gateway.ports.observing import Measure
    from gateway.ports.storage import BlobStorage
    from gateway.services.fresh import Fresh
    from gateway.services.markers import Markers
    from gateway.storage.buffers import BufferPool

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Storage:
    """The configured storage: its blobs, and its buckets as such."""

    blobs: BlobStorage
    buckets: BucketKeeper
    buffers: tuple[BufferPool, ...]
    """The memory of uploads."""


@asynccontextmanager
async def opened_storage(settings: Settings, measure: Measure = unmeasured) -> AsyncIterator[Storage]:
    """Open the configured storage, and measure calls to a service; raises ConfigurationError."""
    if settings.storage == "filesystem":
        root = settings.data_dir / "buckets"
        files = FilesystemStorage(root)
        yield Storage(files, FileBuckets(root, files), files.buffers)
        return
    s3 = S3Settings(
        endpoint_url=settings.s3_endpoint_url,
        public_endpoint_url=settings.s3_public_endpoint_url,
        private_endpoint_url=settings.s3_private_endpoint_url,
        region=settings.s3_region,
        access_key_id=settings.s3_access_key_id,
        secret_access_key=settings.s3_secret_access_key,
    )
    async with S3Storage(s3, measure) as service:
        yield Storage(service, S3Buckets(service), service.buffers)


def registries_of(
    settings: Settings,
    database: Database,
    storage: Storage,
    markers: Markers,
    catalogue: CatalogueWriter,
    report: Report = say_nothing,
) -> Registries:
    """Make what manages registries; ``catalogue`` is the process's own, ``report`` is told how far long work is."""
    rows = RegistryRows(database)
    reader, replays = CatalogueReader(storage.blobs), CatalogueReplays(database)
    index, losses = Catalogue(database, storage.buckets.name), Losses(Surveys(database), storage.blobs)
    return Registries(
        rows,
        storage.buckets,
        markers,
        catalogue,
        Adoption(rows, Adoptions(database), replays, reader, catalogue, losses, report),
        Reconciliation(rows, index, replays, reader, catalogue, markers, losses, report),
        delivery=Delivery(settings.blob_delivery),
        reserved=settings.reserved_names,
    )


def catalogue_of(database: Database, storage: Storage, markers: Markers) -> CatalogueWriter:
    """Make what writes catalogues to buckets, once for a process: its guard remembers what it has seen of them."""
    index = Catalogue(database, storage.buckets.name)
    return CatalogueWriter(index, storage.blobs, markers, CatalogueGuard(index, storage.blobs))


async def begin_registries(settings: Settings, database: Database, storage: Storage, markers: Markers) -> None:
    """Make the default registry if it is missing, and mark the buckets of all as ours.

    Raises ConfigurationError when the default registry, or a registry of another storage, cannot be served.
    """
    rows = RegistryRows(database)
    name = settings.default_name
    await prepare_registries(database, storage.buckets.name, has_default=name is not None)
    if name is not None:
        await _begin_default(settings, database, storage, markers, name)
    guard = catalogue_of(database, storage, markers).guard
    for each in await rows.list_registries():
        try:
            await markers.claim(each.registry)
            if reason := await guard.objection(each.registry):
                _log.error("the registry %s: %s", each.name, reason)
        except (ClientError, BackendError) as error:
            # The others can be served all the same.
            _log.warning("the bucket of the registry %s is not marked as ours: %s", each.name, error)


async def _begin_default(settings: Settings, database: Database, storage: Storage, markers: Markers, name: str) -> None:
    found = await RegistryRows(database).fetch_by_name(name)
    bucket = settings.s3_bucket or (found.registry.bucket if found else name)
    restricted = False
    try:
        if found is None:
            refuse_unfit(bucket, await storage.buckets.inspect(bucket))
            marker = await check_unclaimed(markers, bucket)
            await refuse_to_hide(CatalogueReader(storage.blobs), bucket, marker)
            restricted = await storage.buckets.is_restricted(bucket)
        delivery = Delivery.PROXY if restricted else None
        registry = await ensure_default_registry(database, storage.buckets.name, bucket, name, delivery)
        await storage.blobs.check_bucket(bucket, make=False)
        await markers.claim(registry)
    except (AlreadyTaken, ValueRefused) as error:
        raise ConfigurationError(f"the default registry {name} cannot be served: {error}") from error


def bootstrap_of(settings: Settings, database: Database) -> Bootstrap:
    """Make what begins an installation."""
    return Bootstrap(Installation(database), SealedValues(database), Sealer(settings.encryption_key))


def chosen_root(settings: Settings) -> RootKey | None:
    """Return the root account's key if the configuration names it."""
    if settings.root_access_key_id is None or settings.root_secret_key is None:
        return None
    return RootKey(settings.root_access_key_id, settings.root_secret_key)


async def embedded_database(stack: AsyncExitStack, settings: Settings) -> str:
    """Start or join the Postgres in the data directory, and leave it in the end."""
    postgres = await asyncio.to_thread(EmbeddedPostgres.acquire, settings.data_dir)
    stack.push_async_callback(asyncio.to_thread, postgres.release)
    return postgres.dsn


async def secrets_of(settings: Settings, database: Database) -> Secrets:
    """Make what hashes secrets."""
    secrets = Secrets(SealedValues(database), Sealer(settings.encryption_key))
    await secrets.load()
    return secrets


async def access_of(
    stack: AsyncExitStack,
    settings: Settings,
    database: Database,
    keys: Fresh[str, AccessKey | None],
    installation: str,
    secrets: Secrets,
) -> Access:
    """Make what judges credentials, with its work in the background."""
    keyring = Keyring(SealedValues(database), Sealer(settings.encryption_key), settings.token_seconds)
    await keyring.load()
    await stack.enter_async_context(keyring.running())
    defence = Defence(AuditLog(database))
    await stack.enter_async_context(defence.reporting())
    uses = Uses(Keys(database))
    await stack.enter_async_context(uses.writing())
    return Access(keys, secrets, Tokens(keyring, installation, settings.token_seconds), defence, uses)


@dataclass(frozen=True, slots=True)
class Contents:
    """What is known of blobs and manifests, with what of it is kept in memory."""

    blobs: Blobs
    manifests: Manifests

    @classmethod
    def of(cls, database: Database) -> Self:
        """Make it once for a process: its memory is worth having once."""
        return cls(Blobs(database), Manifests(ManifestRows(database)))


def readiness_of(database: Database, storage: Storage, draining: asyncio.Event) -> Readiness:
    """Make what says whether the process may be sent requests."""
    known = all_migrations()
    checks: dict[str, Callable[[], Awaitable[None]]] = {
        "database": partial(database.execute, "SELECT"),
        "schema": partial(check_migrated, database, known),
        "storage": storage.buckets.check_reachable,
    }
    return Readiness(checks, draining.is_set)


def counters_of(settings: Settings, database: Database, installation: str) -> Counters:
    """Make what counts pulls."""
    return Counters(
        FileShelf(settings.runtime_dir or settings.data_dir / "run", UUID(installation)),
        PullTotals(database),
        Exclusions.of(settings.uncounted_keys, settings.uncounted_agents),
        hourly_days=settings.hourly_days,
    )


def management_of(
    settings: Settings,
    database: Database,
    storage: Storage,
    registries: Registries,
    secrets: Secrets,
    contents: Contents,
) -> ManagementServices:
    """Make what the management API, the console and the commands work with."""
    return ManagementServices(
        registries=registries,
        accounts=Accounts(AccountRows(database), AccessKeys(database), secrets),
        audit=Audit(AuditLog(database), days=settings.audit_days),
        pulls=PullReports(database),
        images=Images(
            ImageRows(database),
            Deletions(database),
            contents.manifests,
            contents.blobs,
            storage.blobs,
            restore_days=settings.restore_days,
        ),
        domains=Domains(settings.public_domain, settings.private_domain),
    )

"""What commands do with an installation, whether it is being served or not."""

from __future__ import annotations

from collections import Counter
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.admin.dispatch import Management
from gateway.app.assembly import (
    Contents,
    bootstrap_of,
    catalogue_of,
    embedded_database,
    management_of,
    opened_storage,
    registries_of,
    secrets_of,
)
from gateway.app.cleaning import Cleaner, cleaning_of, keeping_of
from gateway.app.examination import examine_all, examine_certificates, examine_settings
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.explaining import Explaining
from gateway.db.installation import fetch_installation
from gateway.db.migrations import check_migrated, migrate
from gateway.db.pool import Database
from gateway.db.registries import RegistryRows
from gateway.db.sealed import SealedValues
from gateway.db.surveys import Surveys
from gateway.errors import BackendError, ConfigurationError, NothingKnown, ValueRefused
from gateway.model.access import Actor
from gateway.model.collection import Event, Keeping
from gateway.model.surveys import Survey
from gateway.ports.catalogue import say_nothing
from gateway.services.keyring import Keyring
from gateway.services.markers import Markers
from gateway.services.repairs import Repairs
from gateway.services.sealing import Sealer
from gateway.services.surveys import Surveyor

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from datetime import timedelta

    from gateway.app.assembly import Storage
    from gateway.app.examination import Examined
    from gateway.config import Settings
    from gateway.ports.catalogue import Report
    from gateway.ports.directory import RegistrySettings
    from gateway.ports.surveys import Progress
    from gateway.services.catalogue import CatalogueWriter

_CONNECTIONS = 4
_LOCAL = Actor(None, "local")


@dataclass(frozen=True, slots=True)
class SurveyOrder:
    """What a survey is to do beside comparing."""

    verify: bool = False
    repair: bool = False
    orphans: bool = False
    """Whether repairing removes orphans."""


@asynccontextmanager
async def managing(
    settings: Settings, report: Report = say_nothing, *, begins: bool = False
) -> AsyncIterator[Management]:
    """Open the management of the installation here; raise ConfigurationError where there is none.

    With ``begins`` it is made then: whoever takes a bucket over may have nothing else left. ``report`` is told how far
    long work is.
    """
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, settings, begins=begins)
        database, storage = opened.database, opened.storage
        registries = registries_of(settings, database, storage, opened.markers, opened.catalogue, report)
        secrets, contents = await secrets_of(settings, database), Contents.of(database)
        yield Management(management_of(settings, database, storage, registries, secrets, contents))


async def examine(settings: Settings) -> list[Examined]:
    """Look at everything that could keep the installation from working; raises ConfigurationError if that fails."""
    async with AsyncExitStack() as stack:
        database = await _existing_database(stack, settings)
        storage = await stack.enter_async_context(opened_storage(settings))
        installation = await fetch_installation(database)
        markers = Markers(storage.buckets, installation) if installation else None
        found = await examine_all(settings, database, storage, markers)
        return [examine_settings(settings), *examine_certificates(settings), *found]


async def survey(settings: Settings, names: Collection[str], order: SurveyOrder, progress: Progress) -> list[Survey]:
    """Compare the buckets of named registries, or of all, with the database; raises NothingKnown for a name.

    One that cannot be compared does not keep the others: its survey says why.
    """
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, settings)
        index, blobs = Surveys(opened.database), opened.storage.blobs
        surveyor = Surveyor(index, blobs, progress)
        repairs = Repairs(index, blobs, surveyor, opened.markers, (opened.catalogue.guard,))
        surveys = []
        for each in _chosen(await RegistryRows(opened.database).list_registries(), names):
            found = Survey(each.name, each.registry.bucket)
            surveys.append(found)
            try:
                await surveyor.survey(each.registry, found, verify=order.verify)
                if order.repair:
                    await repairs.repair(_LOCAL, each.registry, found, orphans=order.orphans)
            except (BackendError, ValueRefused) as error:
                # The others are still to be compared, and what was done is to be told.
                found.failure = str(error)
        return surveys


@asynccontextmanager
async def cleaning(settings: Settings, grace: timedelta | None = None) -> AsyncIterator[Cleaner]:
    """Open what cleans the installation here up; ``grace`` is for how long things are kept, instead of the settings."""
    async with AsyncExitStack() as stack:
        opened = await _opened(stack, settings)
        keeping = keeping_of(settings) if grace is None else Keeping(grace, grace)
        counted: Counter[Event] = Counter()

        def tally(event: Event, number: int = 1, /) -> None:
            counted[event] += number

        guard = opened.catalogue.guard
        made = cleaning_of(opened.database, opened.storage, opened.markers, guard, keeping, tally)
        yield Cleaner(made, Explaining(opened.database, keeping), counted)


def _chosen(registries: list[RegistrySettings], names: Collection[str]) -> list[RegistrySettings]:
    if unknown := sorted(set(names) - {each.name for each in registries}):
        raise NothingKnown(f"there is no registry {', '.join(unknown)}")
    return [each for each in registries if not names or each.name in names]


async def signing_keys(settings: Settings, *, rotate: bool = False) -> list[tuple[str, datetime, datetime | None]]:
    """Return id, begin and end of the keys that sign tokens, after having made a new one if that is wanted."""
    async with AsyncExitStack() as stack:
        database = await _migrated_database(stack, settings)
        await bootstrap_of(settings, database).begin()
        keyring = Keyring(SealedValues(database), Sealer(settings.encryption_key), settings.token_seconds)
        await keyring.load()
        if rotate:
            await keyring.rotate(datetime.now(UTC))
        return [(key.id, key.signs_from, key.verifies_until) for key in keyring.all()]


@dataclass(frozen=True, slots=True)
class _Opened:
    """An installation that is open until the stack is left."""

    database: Database
    storage: Storage
    markers: Markers
    catalogue: CatalogueWriter


async def _opened(stack: AsyncExitStack, settings: Settings, *, begins: bool = False) -> _Opened:
    """Open the installation here, or make it with ``begins``."""
    if begins:
        database = await _database(stack, settings)
        await migrate(database)
    else:
        database = await _migrated_database(stack, settings)
    storage = await stack.enter_async_context(opened_storage(settings))
    markers = Markers(storage.buckets, await bootstrap_of(settings, database).begin())
    return _Opened(database, storage, markers, catalogue_of(database, storage, markers))


async def _migrated_database(stack: AsyncExitStack, settings: Settings) -> Database:
    database = await _existing_database(stack, settings)
    await check_migrated(database)
    return database


async def _existing_database(stack: AsyncExitStack, settings: Settings) -> Database:
    if settings.database_url is None and not EmbeddedPostgres.exists(settings.data_dir):
        raise ConfigurationError(
            f"there is no installation in {settings.data_dir}: start it once with `slipway serve`, or say where it "
            "is with --data-dir, --config or --url"
        )
    return await _database(stack, settings)


async def _database(stack: AsyncExitStack, settings: Settings) -> Database:
    url = settings.database_url or await embedded_database(stack, settings)
    return await stack.enter_async_context(Database.connected(url, connections=_CONNECTIONS))

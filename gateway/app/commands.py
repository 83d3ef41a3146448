"""What commands do with an installation, whether it is being served or not."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.admin.dispatch import Management
from gateway.app.assembly import Contents, bootstrap_of, embedded_database, management_of, opened_storage, secrets_of
from gateway.app.examination import examine_all, examine_settings
from gateway.db.embedded import EmbeddedPostgres
from gateway.db.installation import fetch_installation
from gateway.db.migrations import check_migrated
from gateway.db.pool import Database
from gateway.db.sealed import SealedValues
from gateway.errors import ConfigurationError
from gateway.services.keyring import Keyring
from gateway.services.markers import Markers
from gateway.services.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.app.examination import Examined
    from gateway.config import Settings

_CONNECTIONS = 4


@asynccontextmanager
async def managing(settings: Settings) -> AsyncIterator[Management]:
    """Open the management of the installation here; raise ConfigurationError where there is none."""
    async with AsyncExitStack() as stack:
        database = await _existing_database(stack, settings)
        await check_migrated(database)
        storage = await stack.enter_async_context(opened_storage(settings))
        installation = await bootstrap_of(settings, database).begin()
        markers = Markers(storage.buckets, installation)
        secrets = await secrets_of(settings, database)
        yield Management(management_of(settings, database, storage, markers, secrets, Contents.of(database)))


async def examine(settings: Settings) -> list[Examined]:
    """Look at everything that could keep the installation from working; raises ConfigurationError if that fails."""
    async with AsyncExitStack() as stack:
        database = await _existing_database(stack, settings)
        storage = await stack.enter_async_context(opened_storage(settings))
        installation = await fetch_installation(database)
        markers = Markers(storage.buckets, installation) if installation else None
        return [examine_settings(settings), *await examine_all(settings, database, storage, markers)]


async def signing_keys(settings: Settings, *, rotate: bool = False) -> list[tuple[str, datetime, datetime | None]]:
    """Return id, begin and end of the keys that sign tokens, after having made a new one if that is wanted."""
    async with AsyncExitStack() as stack:
        database = await _existing_database(stack, settings)
        await check_migrated(database)
        await bootstrap_of(settings, database).begin()
        keyring = Keyring(SealedValues(database), Sealer(settings.encryption_key), settings.token_seconds)
        await keyring.load()
        if rotate:
            await keyring.rotate(datetime.now(UTC))
        return [(key.id, key.signs_from, key.verifies_until) for key in keyring.all()]


async def _existing_database(stack: AsyncExitStack, settings: Settings) -> Database:
    if settings.database_url is None and not EmbeddedPostgres.exists(settings.data_dir):
        raise ConfigurationError(
            f"there is no installation in {settings.data_dir}: start it once with `slipway serve`, or say where it "
            "is with --data-dir, --config or --url"
        )
    url = settings.database_url or await embedded_database(stack, settings)
    return await stack.enter_async_context(Database.connected(url, connections=_CONNECTIONS))

"""Registries of a running installation, managed from outside of it, as commands do."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from gateway.app.assembly import catalogue_of, opened_storage, registries_of
from gateway.db.installation import fetch_installation
from gateway.db.pool import Database
from gateway.model.access import Actor
from gateway.services.markers import Markers

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.config import Settings
    from gateway.services.registries import Registries

LOCAL = Actor(None, "local")


@asynccontextmanager
async def managing(settings: Settings) -> AsyncIterator[Registries]:
    """Open the management of an installation that was started before."""
    assert settings.database_url is not None
    async with (
        Database.connected(settings.database_url, connections=2) as database,
        opened_storage(settings) as storage,
    ):
        installation = await fetch_installation(database)
        assert installation is not None
        markers = Markers(storage.buckets, installation)
        yield registries_of(settings, database, storage, markers, catalogue_of(database, storage, markers))

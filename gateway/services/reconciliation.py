"""Bringing a database from a backup up to what the bucket knows.

The catalogue in the bucket went on after the backup was made. What its later segments say becomes rows again; what has
changed here since the backup was restored stays as it is, being later still.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from gateway.errors import ValueRefused
from gateway.ports.catalogue import Brought
from gateway.services.adoption import read_settings
from gateway.services.catalogue_reading import damaged

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.catalogue import Header, SegmentKey
    from gateway.ports.catalogue import CatalogueIndex, CatalogueReplay, Report
    from gateway.ports.directory import RegistryIndex, RegistrySettings
    from gateway.ports.metadata import Registry
    from gateway.services.catalogue import CatalogueWriter
    from gateway.services.catalogue_reading import CatalogueReader
    from gateway.services.losses import Losses
    from gateway.services.markers import Markers


class Reconciliation:
    """Replays what a bucket knows and the database does not."""

    def __init__(
        self,
        registries: RegistryIndex,
        index: CatalogueIndex,
        replay: CatalogueReplay,
        reader: CatalogueReader,
        writer: CatalogueWriter,
        markers: Markers,
        losses: Losses,
        report: Report,
    ) -> None:
        """Reconcile registries; ``report`` is told how far it is."""
        self._registries = registries
        self._index = index
        self._replay = replay
        self._reader = reader
        self._writer = writer
        self._markers = markers
        self._losses = losses
        self._report = report

    async def reconcile(self, actor: Actor, settings: RegistrySettings) -> Brought:
        """Bring a registry up to its bucket's catalogue, and return what came back; may be repeated when it has failed.

        Raises ValueRefused for a catalogue that cannot be read, or when somebody else has taken the registry over,
        AlreadyTaken while somebody is at it.
        """
        registry = settings.registry
        if not await self._markers.may_remove(registry):
            raise ValueRefused(
                f"somebody else has taken over what lies in the bucket {registry.bucket}: its catalogue is not ours"
            )
        async with self._replay.alone(registry.public_id):
            return await self._reconcile(actor, settings)

    async def _reconcile(self, actor: Actor, settings: RegistrySettings) -> Brought:
        registry = settings.registry
        listed = await self._reader.list(registry.bucket, registry.public_id)
        kept = [each for each in listed if each.generation <= registry.generation]
        unknown = set(await self._index.fetch_unknown([each.key for each in kept]))
        # Those of before it was taken over are not the database's: they wait to be removed, or were forgotten.
        found = [each for each in kept if each.key in unknown and each.generation == registry.generation]
        if not found:
            return Brought()
        await self._check_lineage(registry, found[-1])
        if not await self._index.begin_replay(registry):
            await self._replay.clear(registry)
        last = await self._gather(registry, kept, found)
        since = datetime.fromisoformat(last.written_at)
        brought = await self._replay.replay(registry, since, self._report)
        await self._losses.withdraw(actor, registry)
        change = read_settings(await self._replay.fetch_settings(registry, since))
        if any(getattr(settings, name) != value for name, value in change.items()):
            await self._registries.update_registry(actor, settings.name, change, None)
        await self._index.finish_replay(registry, [(each.key, each.seq, 0) for each in found], last.base)
        await self._replay.clear(registry)
        self._writer.guard.forget(registry)
        await self._writer.flush(registry)
        return brought

    async def _check_lineage(self, registry: Registry, last: SegmentKey) -> None:
        """Raise ValueRefused when another backup was reconciled since then: ids mean something else now."""
        segment = await self._reader.read(registry.bucket, last)
        if segment.header.lineage != await self._index.fetch_lineage(registry):
            raise ValueRefused(
                f"the catalogue in the bucket {registry.bucket} was written anew since this backup of the database was "
                "made, after another one was reconciled: delete the registry (`slipway registry delete NAME "
                f"--without-catalogue`) and take its bucket over (`slipway registry create NAME --bucket "
                f"{registry.bucket} --adopt`)"
            )

    async def _gather(self, registry: Registry, kept: Sequence[SegmentKey], found: Sequence[SegmentKey]) -> Header:
        """Gather what the segments that were found say; return the header of the last one."""
        bucket = registry.bucket
        first = (await self._reader.read(bucket, found[0])).header
        last = (await self._reader.read(bucket, found[-1])).header
        follows = first.previous is None or not await self._index.fetch_unknown([first.previous])
        # Else what was between was removed, because everything was written anew since: nothing else is there then.
        wanted = found if follows else [each for each in kept if each.key in _behind(bucket, kept, last)]
        done = 0
        async for segment in self._reader.chain(bucket, wanted):
            await self._replay.gather(registry, segment.records)
            done += 1
            self._report("Reading the catalogue", done, len(wanted))
        if not follows:
            await self._replay.gather_absent(registry, datetime.fromisoformat(last.written_at))
        return last


def _behind(bucket: str, kept: Sequence[SegmentKey], last: Header) -> set[str]:
    """Return the keys from the last whole series on."""
    keys = [each.key for each in kept]
    if last.base not in keys:
        raise damaged(bucket, f"its segment {last.base} is missing")
    return set(keys[keys.index(last.base) :])

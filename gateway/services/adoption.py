"""Taking over what a registry has left in its bucket.

Where this installation itself has deleted it, and nobody has had the bucket since, its rows are still here. Else
everything is brought back from the catalogue in the bucket: into rows of a registry that nobody sees until all of them
are there and were written to the bucket once more, as a catalogue of the new generation.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from gateway.errors import AlreadyTaken, NothingKnown, ValueRefused
from gateway.model.endpoints import Delivery, DeliveryRule
from gateway.model.networks import Networks
from gateway.ports.directory import RegistryChange
from gateway.services.catalogue import Standing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.catalogue import SegmentKey
    from gateway.ports.catalogue import AdoptionIndex, CatalogueReplay, Report
    from gateway.ports.directory import NewRegistry, RegistryIndex, RegistrySettings
    from gateway.ports.metadata import Registry
    from gateway.services.catalogue import CatalogueWriter
    from gateway.services.catalogue_reading import CatalogueReader
    from gateway.services.losses import Losses
    from gateway.services.markers import Marker

_log = logging.getLogger(__name__)


class Adoption:
    """Takes registries over."""

    def __init__(
        self,
        index: RegistryIndex,
        formers: AdoptionIndex,
        replay: CatalogueReplay,
        reader: CatalogueReader,
        writer: CatalogueWriter,
        losses: Losses,
        report: Report,
    ) -> None:
        """Take over registries; ``report`` is told how far it is."""
        self._index = index
        self._formers = formers
        self._replay = replay
        self._reader = reader
        self._writer = writer
        self._losses = losses
        self._report = report

    async def take_over(self, actor: Actor, new: NewRegistry, marker: Marker, *, is_ours: bool) -> RegistrySettings:
        """Make a living registry of what a marker tells of; ``is_ours`` says that this installation has written it.

        Raises AlreadyTaken, NothingKnown where there is no catalogue, ValueRefused for one that cannot be read.
        """
        async with self._replay.alone(new.public_id):
            return await self._take_over(actor, new, marker, is_ours=is_ours)

    async def _take_over(self, actor: Actor, new: NewRegistry, marker: Marker, *, is_ours: bool) -> RegistrySettings:
        listed = await self._reader.list(new.bucket, new.public_id)
        new = replace(new, generation=1 + max(marker.generation, *(each.generation for each in listed), 0))
        former = None
        if is_ours:
            former = await self._formers.find_former(new.public_id, new.storage, new.bucket, marker.generation)
        if former is not None and await self._writer.guard.look(former) is not Standing.AHEAD:
            return await self._index.revive_registry(actor, former, new)
        # Segments of later generations are of somebody who has failed before it was written in the marker.
        kept = [each for each in listed if each.generation <= marker.generation]
        if not kept:
            raise NothingKnown(
                f"the bucket {new.bucket} holds no catalogue of its images, and this installation does not know them: "
                "make a registry without adopting"
            )
        return await self._bring_back(actor, new, kept)

    async def check_nothing_left(self, bucket: str, marker: Marker | None) -> None:
        """Raise AlreadyTaken when a registry without what was left there would hide it; see ``refuse_to_hide``."""
        await refuse_to_hide(self._reader, bucket, marker)

    async def finish(self, registry: Registry) -> None:
        """Have older segments removed, and what was to be, once the marker says whose the bucket is now."""
        await self._formers.inherit(registry)
        listed = await self._reader.list(registry.bucket, registry.public_id)
        await self._formers.retire(registry, [each.key for each in listed if each.generation < registry.generation])

    async def _bring_back(self, actor: Actor, new: NewRegistry, keys: Sequence[SegmentKey]) -> RegistrySettings:
        registry = await self._index.begin_adoption(new)
        await self._formers.forget_former(registry)
        done = 0
        async for segment in self._reader.series(new.bucket, keys):
            await self._replay.gather(registry, segment.records)
            done += 1
            self._report("Reading the catalogue", done, len(keys))
        brought = await self._replay.replay(registry, None, self._report)
        settings = read_settings(await self._replay.fetch_settings(registry, None))
        await self._replay.clear(registry)
        await self._losses.withdraw(actor, registry)
        await self._writer.flush(registry)
        if new.delivery is not None:
            settings |= RegistryChange(public_delivery=new.delivery, private_delivery=new.delivery, delivery_rules=())
        made = await self._index.finish_adoption(actor, registry, new.name, settings)
        _log.info(
            "%d images with %d manifests, %d tags and %d blobs were brought back from the bucket %s",
            *(brought.repositories, brought.manifests, brought.tags, brought.blobs, new.bucket),
        )
        return made


async def refuse_to_hide(reader: CatalogueReader, bucket: str, marker: Marker | None) -> None:
    """Raise AlreadyTaken when a registry that is gone has left its catalogue: a new marker would hide its images."""
    if marker is not None and await reader.list(bucket, marker.registry):
        raise AlreadyTaken(
            f"the bucket {bucket} has the images of a registry that was deleted, which nobody could take over after "
            "this: take them over (--adopt), or begin with an empty bucket"
        )


def read_settings(text: str | None) -> RegistryChange:
    """Read what a catalogue says of the registry itself; raises ValueRefused."""
    if text is None:
        return RegistryChange()
    found: dict[str, Any] = orjson.loads(text)
    try:
        return RegistryChange(
            public_endpoint=bool(found["public_endpoint"]),
            public_pull=bool(found["public_pull"]),
            public_networks=Networks.parse(found["public_networks"]),
            private_networks=Networks.parse(found["private_networks"]),
            public_delivery=_delivery(found["public_delivery"]),
            private_delivery=_delivery(found["private_delivery"]),
            delivery_rules=tuple(map(DeliveryRule.parse, found["delivery_rules"])),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueRefused(f"the catalogue holds settings that cannot be: {error}") from error


def _delivery(text: str | None) -> Delivery | None:
    return None if text is None else Delivery(text)

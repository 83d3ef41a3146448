"""Repairs after a survey: only what loses nothing, and only where nobody objects.

A blob whose object is missing or damaged is *withdrawn*: it is answered for as if it were not there, so that clients
push it again, which gives its digest another object wherever it is held. Manifests and tags stay as they are, and so
does what lies in the bucket. Orphans are removed on request alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from gateway.model.keys import is_draft_of, is_object_of
from gateway.ports.storage import ListedUpload, Location
from gateway.services.guards import objection
from gateway.services.markers import taken_by_another
from gateway.services.surveys import SETTLED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.surveys import Broken, Orphan, Survey
    from gateway.ports.collection import Guard
    from gateway.ports.metadata import Registry
    from gateway.ports.storage import BlobStorage
    from gateway.ports.surveys import SurveyIndex
    from gateway.services.markers import Markers
    from gateway.services.surveys import Surveyor


class Repairs:
    """Repairs the registries of one storage."""

    def __init__(
        self,
        index: SurveyIndex,
        storage: BlobStorage,
        surveyor: Surveyor,
        markers: Markers,
        guards: Sequence[Guard],
    ) -> None:
        self._index = index
        self._storage = storage
        self._surveyor = surveyor
        self._markers = markers
        self._guards = guards

    async def repair(self, actor: Actor, registry: Registry, found: Survey, *, orphans: bool) -> None:
        """Do what is safe about what was found, and note it there; raises ValueRefused for what is no marker."""
        marker = await self._markers.look(registry.bucket)
        if self._markers.is_foreign(marker):
            found.notes.append(f"nothing was repaired: {taken_by_another(registry.bucket, marker)}")
            return
        if not self._markers.is_of(marker, registry):
            found.notes.append(
                "nothing was repaired: the bucket is not marked as that of this registry; is it the right one, and is "
                "the disk mounted? Starting `slipway serve` marks it"
            )
            return
        if reason := await objection(self._guards, registry):
            found.notes.append(f"nothing was repaired: {reason}")
            return
        for broken in (*found.missing, *found.damaged):
            broken.done = await self._mend(actor, registry, broken)
        for orphan in found.orphans if orphans else ():
            orphan.done = await self._remove(registry, orphan)

    async def _mend(self, actor: Actor, registry: Registry, broken: Broken) -> str:
        row = (await self._index.fetch_object_rows([broken.key])).get(broken.key)
        if row is None or row.digest is None:
            return "gone meanwhile"
        size = await self._storage.stat(Location(registry.bucket, broken.key))
        if size == row.size and await self._surveyor.is_damaged(registry, row) is False:
            await self._index.record_verified(row.key, is_damaged=False)
            await self._index.readmit_blob(actor, row.key)
            return "served again: the object is whole"
        if row.is_withdrawn:
            return "withdrawn before: it has not been pushed again"
        if await self._index.withdraw_blob(actor, row.key):
            return "withdrawn: it is unknown until it is pushed again"
        return "gone meanwhile"

    async def _remove(self, registry: Registry, orphan: Orphan) -> str:
        """Remove one orphan, after having made sure once more that it is one."""
        if not (is_object_of(registry.public_id, orphan.key) or is_draft_of(registry.public_id, orphan.key)):
            return "left: Slipway gives no such names, so look what it is and remove it yourself"
        if orphan.since > datetime.now(UTC) - SETTLED:
            return f"left: it is younger than {SETTLED.seconds // 60} minutes"
        if await objection((self._markers, *self._guards), registry):
            return "left: meanwhile somebody else has changed what is in the bucket"
        location = Location(registry.bucket, orphan.key)
        if orphan.multipart_id is not None:
            upload = ListedUpload(orphan.key, orphan.multipart_id, orphan.since)
            if not await self._surveyor.unexplained([upload]):
                return "gone meanwhile"
            await self._storage.abort(location, orphan.multipart_id)
        elif await self._index.fetch_object_rows([orphan.key]):
            return "gone meanwhile"
        else:
            await self._storage.remove(location, None)
        return "removed"

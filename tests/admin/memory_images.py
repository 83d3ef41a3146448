"""Images in memory, for tests of the management API: one image with one tag of one index and its image."""

# ruff: noqa: ARG002 - who acts matters to the real ones only

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import orjson

from gateway.errors import (
    CannotRestore,
    ChangedMeanwhile,
    ManifestUnknown,
    NothingKnown,
    RepositoryUnknown,
    StillReferenced,
)
from gateway.model.digest import Digest
from gateway.model.image_config import ImageConfig
from gateway.model.images import DeletedKind, RestoreOutcome
from gateway.model.manifest import OCI_MANIFEST, Manifest
from gateway.model.names import Tag
from gateway.ports.images import Deletion, ImageDetail, ImageRecord, ManifestFigures, Place, Restored, TagRecord
from gateway.ports.metadata import Referrer
from gateway.services.images import ManifestDetail, Restorable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gateway.model.access import Actor
    from gateway.model.images import ImageOrder, TagOrder
    from gateway.model.names import Reference, RepositoryName
    from gateway.ports.images import ImageChange
    from gateway.ports.metadata import Registry

NOW = datetime(2030, 1, 31, 12, tzinfo=UTC)
CONFIG = orjson.dumps(
    {
        "os": "linux",
        "architecture": "arm64",
        "created": "2029-01-01T00:00:00Z",
        "config": {"Cmd": ["/bin/app"], "Env": ["A=1"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"l": "v"}},
        "history": [{"created_by": "COPY", "empty_layer": True}],
    }
)
RAW = orjson.dumps(
    {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": str(Digest.of(CONFIG)),
            "size": len(CONFIG),
        },
        "layers": [{"mediaType": "x/y", "digest": str(Digest.of(b"layer")), "size": 5}],
        "annotations": {"a": "b"},
    }
)
DIGEST = Digest.of(RAW)
CHILD = Digest.of(b"listed by an index")


@dataclass
class MemoryImages:
    """Three images; each has a tag and its manifest."""

    kept: dict[str, ImageDetail] = field(default_factory=dict)
    gone: list[Deletion] = field(default_factory=list)

    def __post_init__(self) -> None:
        for number, name in enumerate(("app/api", "app/web", "base"), 1):
            record = ImageRecord(number, name, f"The {name}.", 1, NOW, pulls=7 - number, last_pulled_at=None)
            self.kept[name] = ImageDetail(record, "# It", tags_mutable=True, size=1234, created_at=NOW, version=1)

    async def list(
        self, registry: Registry, search: str, order: ImageOrder, after: Place | None, limit: int
    ) -> Sequence[ImageRecord]:
        fitting = [each.image for each in self.kept.values() if search.lower() in each.image.name]
        return [each for each in fitting if after is None or each.id > after.id][:limit]

    async def get(self, registry: Registry, repository: RepositoryName) -> ImageDetail:
        if str(repository) not in self.kept:
            raise RepositoryUnknown(f"there is no image {repository}")
        return self.kept[str(repository)]

    async def update(
        self,
        actor: Actor,
        registry: Registry,
        repository: RepositoryName,
        change: ImageChange,
        expected_version: int | None,
    ) -> ImageDetail:
        before = await self.get(registry, repository)
        if expected_version not in {None, before.version}:
            raise ChangedMeanwhile("it was changed")
        after = replace(
            before,
            image=replace(before.image, short_description=change.get("short_description", "")),
            description=change.get("description", before.description),
            tags_mutable=change.get("tags_mutable", before.tags_mutable),
            untagged_days=change.get("untagged_days", before.untagged_days),
            version=before.version + 1,
        )
        self.kept[str(repository)] = after
        return after

    async def delete(self, actor: Actor, registry: Registry, repository: RepositoryName) -> None:
        await self.get(registry, repository)
        del self.kept[str(repository)]
        self._note(actor, DeletedKind.IMAGE, repository)

    async def delete_reference(
        self, actor: Actor, registry: Registry, repository: RepositoryName, reference: Reference
    ) -> None:
        await self.get(registry, repository)
        if reference == CHILD:
            raise StillReferenced("an index lists this manifest")
        if reference not in {DIGEST, Tag("latest"), Tag("v1")}:
            raise ManifestUnknown(f"there is no {reference}")
        if isinstance(reference, Tag):
            self._note(actor, DeletedKind.TAG, repository, str(reference), str(DIGEST))
        else:
            self._note(actor, DeletedKind.MANIFEST, repository, None, str(DIGEST))

    async def deleted(self, registry: Registry, before: int | None, limit: int) -> Sequence[Restorable]:
        fitting = [each for each in reversed(self.gone) if before is None or each.id < before]
        return [Restorable(each, NOW) for each in fitting[:limit]]

    async def restore(self, actor: Actor, registry: Registry, deletion_id: int) -> Restored:
        found = next((each for each in self.gone if each.id == deletion_id), None)
        if found is None:
            raise NothingKnown("there is nothing")
        if found.deleted_by == "viewer":
            raise CannotRestore("a blob is gone")
        self.gone.remove(found)
        outcomes = {DeletedKind.IMAGE: RestoreOutcome.JOINED, DeletedKind.TAG: RestoreOutcome.UNTAGGED}
        outcome = outcomes.get(found.kind, RestoreOutcome.RESTORED)
        left_out = () if outcome is RestoreOutcome.RESTORED else ("latest",)
        return Restored(outcome, found.kind, found.image, found.tag, found.digest, left_out)

    def _note(
        self,
        actor: Actor,
        kind: DeletedKind,
        repository: RepositoryName,
        tag: str | None = None,
        digest: str | None = None,
    ) -> None:
        self.gone.append(Deletion(len(self.gone) + 1, kind, str(repository), tag, digest, NOW, actor.account))

    async def tags(
        self,
        registry: Registry,
        repository: RepositoryName,
        search: str,
        order: TagOrder,
        after: Place | None,
        limit: int,
    ) -> Sequence[TagRecord]:
        await self.get(registry, repository)
        tag = TagRecord(
            1,
            "latest",
            1,
            str(DIGEST),
            OCI_MANIFEST,
            "image",
            ("linux/arm64",),
            99,
            NOW,
            "root",
            3,
            5,
            last_pulled_at=NOW,
        )
        tags = [tag, replace(tag, id=2, name="v1", last_pulled_at=None)]
        return [each for each in tags if search in each.name and (after is None or each.id > after.id)][:limit]

    async def manifests(
        self, registry: Registry, repository: RepositoryName, before: int | None, limit: int, *, untagged: bool
    ) -> Sequence[ManifestFigures]:
        await self.get(registry, repository)
        tags = () if untagged else ("latest",)
        figures = ManifestFigures(2, str(DIGEST), OCI_MANIFEST, "image", ("linux/arm64",), 99, NOW, None, tags, 3, NOW)
        return [each for each in (figures, replace(figures, manifest_id=1)) if before in {None, 2}][:limit]

    async def manifest(self, registry: Registry, repository: RepositoryName, digest: Digest) -> ManifestDetail:
        if digest != DIGEST:
            raise ManifestUnknown(f"there is no manifest {digest}")
        (figures,) = await self.manifests(registry, repository, None, 1, untagged=False)
        referrer = Referrer(str(Digest.of(b"signature")), OCI_MANIFEST, 10, "x/signature", b'{"by":"me"}')
        return ManifestDetail(figures, Manifest.parse(RAW, ""), ImageConfig.parse(CONFIG), [referrer])

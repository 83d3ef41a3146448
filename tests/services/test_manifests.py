"""Manifests and what they refer to: no image is ever half there."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import orjson
import pytest

from gateway.db.repositories import ensure_repository
from gateway.errors import (
    BlobUnknown,
    DigestMismatch,
    ManifestBlobsUnknown,
    ManifestUnknown,
    RepositoryUnknown,
    StillReferenced,
    TooManyTags,
)
from gateway.model.digest import Digest
from gateway.model.manifest import OCI_INDEX, OCI_MANIFEST
from gateway.model.names import RepositoryName, Tag

from .conftest import ACTOR, REPOSITORY, Process, StartProcess, body

CONFIG, LAYER = b"{}", b"layer"


def descriptor(content: bytes, media_type: str) -> dict[str, object]:
    return {"mediaType": media_type, "digest": str(Digest.of(content)), "size": len(content)}


def image(note: str = "", **fields: object) -> bytes:
    """An image manifest over CONFIG and LAYER."""
    document = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": descriptor(CONFIG, "application/vnd.oci.image.config.v1+json"),
        "layers": [descriptor(LAYER, "application/vnd.oci.image.layer.v1.tar")],
        "annotations": {"note": note},
    }
    return orjson.dumps(document | fields)


def index(*children: bytes) -> bytes:
    manifests = [descriptor(child, OCI_MANIFEST) for child in children]
    return orjson.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": manifests})


async def push_blobs(process: Process, *blobs: bytes) -> None:
    for blob in blobs:
        session = await process.push.start(process.registry, REPOSITORY)
        await process.push.close(process.registry, REPOSITORY, session, body(blob), Digest.of(blob))


async def push_manifest(process: Process, raw: bytes, *tags: str, digest: Digest | None = None) -> Digest:
    names = [Tag.parse(tag) for tag in tags]
    return (
        await process.manifests.put(process.registry, REPOSITORY, raw, "", digest=digest, tags=names, actor=ACTOR)
    ).digest


async def test_a_manifest_comes_back_byte_for_byte(process: Process) -> None:
    """By tag and by digest a manifest is what was pushed, spaces included."""
    await push_blobs(process, CONFIG, LAYER)
    raw = image() + b" \n"

    digest = await push_manifest(process, raw, "one", "two")

    for reference in (digest, Tag("one"), Tag("two")):
        found = await process.manifests.find(process.registry, REPOSITORY, reference)
        assert (found.digest, found.media_type, found.size) == (digest, OCI_MANIFEST, len(raw))
        assert await process.manifests.content(found) == raw


async def test_a_manifest_needs_what_it_refers_to(process: Process) -> None:
    """A push that misses blobs names each of them once, and moves no tag."""
    await push_blobs(process, CONFIG, LAYER)
    before = await push_manifest(process, image(), "latest")
    missing = [
        descriptor(b"gone", "x/y"),
        descriptor(LAYER, "x/y"),
        descriptor(b"gone", "x/y"),
        descriptor(b"too", "x/y"),
    ]

    with pytest.raises(ManifestBlobsUnknown) as refused:
        await push_manifest(process, image(layers=missing), "latest")

    assert refused.value.digests == (str(Digest.of(b"gone")), str(Digest.of(b"too")))
    assert (await process.manifests.find(process.registry, REPOSITORY, Tag("latest"))).digest == before


async def test_a_digest_in_the_address_is_verified(process: Process) -> None:
    """Bytes pushed under a digest must have it."""
    await push_blobs(process, CONFIG, LAYER)

    with pytest.raises(DigestMismatch):
        await push_manifest(process, image() + b"  ", digest=Digest.of(image()))
    assert await push_manifest(process, image(), digest=Digest.of(image(), "sha512")) == Digest.of(image(), "sha512")


async def test_too_many_tags_are_refused(process: Process) -> None:
    """One push sets a bounded number of tags."""
    await push_blobs(process, CONFIG, LAYER)

    with pytest.raises(TooManyTags):
        await push_manifest(process, image(), *(f"tag{number}" for number in range(51)))
    await push_manifest(process, image(), *(f"tag{number}" for number in range(50)))


async def test_a_blob_in_use_cannot_be_deleted(process: Process) -> None:
    """The blob of a living manifest stays; with the manifest gone it can go, and a new push brings it back."""
    await push_blobs(process, CONFIG, LAYER)
    digest = await push_manifest(process, image(), "latest")

    with pytest.raises(StillReferenced, match=str(digest)):
        await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)
    await process.manifests.delete(process.registry, REPOSITORY, digest, ACTOR)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)

    with pytest.raises(BlobUnknown):
        await process.pull.find(process.registry, REPOSITORY, Digest.of(LAYER))
    with pytest.raises(ManifestBlobsUnknown):
        await push_manifest(process, image())
    await push_blobs(process, LAYER)
    assert await push_manifest(process, image(), "latest") == digest


async def test_a_child_of_an_index_cannot_be_deleted(process: Process) -> None:
    """An index keeps its children, and lets them go when it goes."""
    await push_blobs(process, CONFIG, LAYER)
    child = await push_manifest(process, image())
    parent = await push_manifest(process, index(image()), "multi")

    with pytest.raises(StillReferenced, match=str(parent)):
        await process.manifests.delete(process.registry, REPOSITORY, child, ACTOR)
    await process.manifests.delete(process.registry, REPOSITORY, parent, ACTOR)
    await process.manifests.delete(process.registry, REPOSITORY, child, ACTOR)

    with pytest.raises(ManifestUnknown):
        await process.manifests.find(process.registry, REPOSITORY, child)


async def test_deleting_a_manifest_takes_its_tags(process: Process) -> None:
    """A deleted manifest leaves no tag; a deleted tag leaves its manifest and the other tags."""
    await push_blobs(process, CONFIG, LAYER)
    first, second = await push_manifest(process, image("1"), "a", "b"), await push_manifest(process, image("2"), "c")

    await process.manifests.delete(process.registry, REPOSITORY, Tag("a"), ACTOR)
    assert (await process.manifests.tags(process.registry, REPOSITORY, "", None)).names == ["b", "c"]
    await process.manifests.delete(process.registry, REPOSITORY, first, ACTOR)

    assert (await process.manifests.tags(process.registry, REPOSITORY, "", None)).names == ["c"]
    assert (await process.manifests.find(process.registry, REPOSITORY, Tag("c"))).digest == second
    for reference in (first, Tag("a"), Tag("b")):
        with pytest.raises(ManifestUnknown):
            await process.manifests.delete(process.registry, REPOSITORY, reference, ACTOR)


async def test_pages_of_tags_meet(process: Process) -> None:
    """Page after page, every tag comes once, in ASCII order; a page of none has no next."""
    await push_blobs(process, CONFIG, LAYER)
    names = ["B", "a", "a-b", "a.b", "a_b", "b", "0"]
    await push_manifest(process, image(), *names)

    first = await process.manifests.tags(process.registry, REPOSITORY, "", 3)
    rest = await process.manifests.tags(process.registry, REPOSITORY, first.names[-1], 4)

    assert first.names + rest.names == sorted(names)
    assert (first.more, rest.more) == (True, False)
    assert not (await process.manifests.tags(process.registry, REPOSITORY, "", 0)).more
    with pytest.raises(RepositoryUnknown):
        await process.manifests.tags(process.registry, RepositoryName("unknown"), "", None)


async def test_a_repository_is_listed_with_its_first_manifest(process: Process) -> None:
    """Blobs alone do not make a repository that people see."""
    await push_blobs(process, CONFIG, LAYER)
    assert (await process.manifests.repositories(process.registry, "", None)).names == []

    await push_manifest(process, image())

    assert (await process.manifests.repositories(process.registry, "", None)).names == [str(REPOSITORY)]


async def test_referrers_follow_their_manifests(process: Process) -> None:
    """A manifest with a subject is listed at once, filtered by type, and unlisted when deleted."""
    await push_blobs(process, CONFIG, LAYER)
    subject = Digest.of(b"not pushed")
    field = descriptor(b"not pushed", OCI_MANIFEST)
    one = await push_manifest(process, image("\0", subject=field, artifactType="application/x.one"))
    two = await push_manifest(process, image("2", subject=field))

    async def listed(*types: str) -> set[str]:
        found, more = await process.manifests.referrers(process.registry, REPOSITORY, subject, types, "")
        assert not more
        return {referrer.digest for referrer in found}

    assert await listed() == {str(one), str(two)}
    assert await listed("application/x.one") == {str(one)}
    assert await listed("application/x.one", "application/vnd.oci.image.config.v1+json") == {str(one), str(two)}
    await process.manifests.delete(process.registry, REPOSITORY, one, ACTOR)
    assert await listed() == {str(two)}


async def test_deleting_and_referring_at_once(start_process: StartProcess) -> None:
    """A blob that is deleted while a manifest is pushed: one of the two is refused, in every interleaving."""
    first, second = await start_process("first"), await start_process("second")
    outcomes = set()
    for number in range(30):
        await push_blobs(first, CONFIG, LAYER)
        raw = image(str(number))
        pushed, deleted = await asyncio.gather(
            push_manifest(first, raw),
            second.pull.delete(second.registry, REPOSITORY, Digest.of(LAYER), ACTOR),
            return_exceptions=True,
        )
        outcomes.add((type(pushed), type(deleted)))
        if isinstance(pushed, Digest):
            await first.pull.find(first.registry, REPOSITORY, Digest.of(LAYER))
            await first.manifests.delete(first.registry, REPOSITORY, pushed, ACTOR)

    assert outcomes <= {(Digest, StillReferenced), (ManifestBlobsUnknown, type(None))}


async def test_a_tag_pushed_by_many_points_at_one_whole_manifest(process: Process) -> None:
    """Pushes of one tag at once all succeed, and readers see one of the manifests at any time."""
    await push_blobs(process, CONFIG, LAYER)
    images = [image(str(number)) for number in range(20)]
    await push_manifest(process, images[0], "latest")

    async def read() -> bytes:
        found = await process.manifests.find(process.registry, REPOSITORY, Tag("latest"))
        return await process.manifests.content(found)

    work = [push_manifest(process, raw, "latest", "other") for raw in images]
    reads = [read() for _ in range(40)]
    results = await asyncio.gather(*work, *reads)

    assert {Digest.of(raw) for raw in images} == set(results[:20])
    assert set(results[20:]) <= set(images)


async def test_a_blob_that_comes_and_goes_during_a_push(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what a push has locked counts: a blob that appears behind its locks can be deleted, and is not there."""
    await push_blobs(process, CONFIG)

    async def push_and_delete_later(*arguments: Any) -> int:
        monkeypatch.undo()
        repository_id = await ensure_repository(*arguments)
        await push_blobs(process, LAYER)
        await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ACTOR)
        return repository_id

    monkeypatch.setattr("gateway.db.manifests.ensure_repository", push_and_delete_later)
    with pytest.raises(ManifestBlobsUnknown):
        await push_manifest(process, image(), "half")

    with pytest.raises(ManifestUnknown):
        await process.manifests.find(process.registry, REPOSITORY, Tag("half"))


async def test_a_list_of_large_referrers_is_bounded(process: Process) -> None:
    """A page of referrers is read up to a number of bytes, however large their annotations are; the rest follows."""
    await push_blobs(process, CONFIG, LAYER)
    subject = descriptor(b"not pushed", OCI_MANIFEST)
    pushed = {str(await push_manifest(process, image("x" * 1_500_000 + str(n), subject=subject))) for n in range(5)}

    found, _ = await process.manifests.referrers(process.registry, REPOSITORY, Digest.of(b"not pushed"), (), "")
    rest, _ = await process.manifests.referrers(
        process.registry, REPOSITORY, Digest.of(b"not pushed"), (), found[-1].digest
    )

    assert len(found) == 3
    assert {referrer.digest for referrer in [*found, *rest]} == pushed


LONG = "a note that does not fit into a row of the database and is therefore kept in memory once it was read" * 40
LOOSE_TYPES = (OCI_MANIFEST, "application/vnd.docker.distribution.manifest.v2+json")


async def pull(process: Process, reference: Tag | Digest) -> bytes:
    return await process.manifests.content(await process.manifests.find(process.registry, REPOSITORY, reference))


async def test_other_processes_see_a_moved_tag_at_once(start_process: StartProcess) -> None:
    """A process that has a manifest in memory serves the one that the tag points at now."""
    here, there = await start_process("here"), await start_process("there")
    await push_blobs(here, CONFIG, LAYER)
    for number in range(20):
        raw = image(f"{number}{LONG}")
        await push_manifest(there, raw, "latest")

        assert await pull(here, Tag("latest")) == raw


async def test_other_processes_see_deletions_at_once(start_process: StartProcess) -> None:
    """A tag, a manifest and a blob are gone everywhere when they are gone, though bytes stay in memory."""
    here, there = await start_process("here"), await start_process("there")
    await push_blobs(here, CONFIG, LAYER)
    digest = await push_manifest(here, image(LONG), "one", "two")
    for reference in (Tag("one"), Tag("two"), digest):
        assert await pull(here, reference) == await pull(there, reference) == image(LONG)
    await here.pull.find(here.registry, REPOSITORY, Digest.of(LAYER))

    await there.manifests.delete(there.registry, REPOSITORY, Tag("one"), ACTOR)
    with pytest.raises(ManifestUnknown):
        await pull(here, Tag("one"))
    await there.manifests.delete(there.registry, REPOSITORY, digest, ACTOR)
    for reference in (Tag("two"), digest):
        with pytest.raises(ManifestUnknown):
            await pull(here, reference)
    await there.pull.delete(there.registry, REPOSITORY, Digest.of(LAYER), ACTOR)
    with pytest.raises(BlobUnknown):
        await here.pull.find(here.registry, REPOSITORY, Digest.of(LAYER))


async def test_the_media_type_is_never_from_memory(start_process: StartProcess) -> None:
    """The same bytes pushed again as another type are served as that type, by every process."""
    here, there = await start_process("here"), await start_process("there")
    await push_blobs(here, CONFIG, LAYER)
    document = orjson.loads(image(LONG))
    del document["mediaType"]
    raw = orjson.dumps(document)
    for media_type in LOOSE_TYPES:
        await there.manifests.put(
            there.registry, REPOSITORY, raw, media_type, digest=None, tags=[Tag("latest")], actor=ACTOR
        )

        assert await pull(here, Tag("latest")) == raw
        found = await here.manifests.find(here.registry, REPOSITORY, Tag("latest"))
        assert found.media_type == media_type


async def test_a_manifest_deleted_while_it_is_pulled_arrives_whole(process: Process) -> None:
    """Who found a manifest gets its bytes; only when its row is purged in between they are unknown."""
    await push_blobs(process, CONFIG, LAYER)
    digest = await push_manifest(process, image(LONG), "latest")
    found = await process.manifests.find(process.registry, REPOSITORY, Tag("latest"))
    await process.manifests.delete(process.registry, REPOSITORY, digest, ACTOR)

    assert await process.manifests.content(found) == image(LONG)

    with pytest.raises(ManifestUnknown):
        await process.manifests.content(replace(found, id=found.id + 1, digest=Digest.of(b"purged")))

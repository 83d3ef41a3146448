"""Deleting and bringing back: nothing is lost for some days, and nothing that lives is taken away."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson
import pytest

from gateway.db.deletions import Deletions
from gateway.db.images import Images as ImageRows
from gateway.db.repositories import ensure_repository
from gateway.errors import CannotRestore, ManifestBlobsUnknown, ManifestUnknown, NothingKnown, RepositoryUnknown
from gateway.model.access import Actor
from gateway.model.digest import Digest
from gateway.model.images import DeletedKind, ImageOrder, RestoreOutcome
from gateway.model.manifest import OCI_INDEX
from gateway.model.names import RepositoryName, Tag

from .conftest import ACTOR, REPOSITORY, Process, StartProcess
from .test_images import images_of
from .test_manifests import CONFIG, LAYER, descriptor, image, index, push_blobs, push_manifest

if TYPE_CHECKING:
    from datetime import datetime

    from gateway.model.names import Reference
    from gateway.ports.images import Deletion, Restored

ALICE = Actor(None, "alice", "SWALICE", "10.0.0.1")


async def push(process: Process, note: str, *tags: str) -> Digest:
    """Push an image of CONFIG and LAYER that differs by its note."""
    await push_blobs(process, CONFIG, LAYER)
    return await push_manifest(process, image(note), *tags, digest=Digest.of(image(note)))


async def delete(process: Process, reference: Reference | None = None) -> None:
    """Delete a tag, a manifest, or the whole image."""
    if reference is None:
        await images_of(process).delete(ALICE, process.registry, REPOSITORY)
    else:
        await process.manifests.delete(process.registry, REPOSITORY, reference, ALICE)


async def deleted(process: Process) -> list[Deletion]:
    found = await images_of(process).deleted(process.registry, None, 100)
    return [each.deletion for each in found]


async def restore(process: Process, deletion: Deletion | None = None) -> Restored:
    """Bring back a deletion, by default the latest."""
    wanted = deletion or (await deleted(process))[0]
    return await images_of(process).restore(ACTOR, process.registry, wanted.id)


async def living(process: Process) -> dict[str, str]:
    """What each tag points at, as a puller sees it."""
    page = await process.manifests.tags(process.registry, REPOSITORY, "", None)
    found = {name: await process.manifests.find(process.registry, REPOSITORY, Tag(name)) for name in page.names}
    for each in found.values():
        assert await process.manifests.find(process.registry, REPOSITORY, each.digest) is not None
        assert Digest.of(await process.manifests.content(each)) == each.digest
    return {name: str(each.digest) for name, each in found.items()}


async def is_there(process: Process, digest: Digest) -> bool:
    try:
        await process.manifests.find(process.registry, REPOSITORY, digest)
    except ManifestUnknown:
        return False
    return True


async def audit(process: Process) -> list[tuple[str, str, str]]:
    rows = await process.database.fetch("SELECT account, action, object FROM audit_log ORDER BY id")
    return [(row["account"], row["action"], row["object"]) for row in rows if row["action"] != "manifest.push"]


async def changed_at(process: Process) -> datetime:
    return (await images_of(process).get(process.registry, REPOSITORY)).image.changed_at


async def test_a_tag_comes_back(process: Process) -> None:
    """Where it pointed; the deletion is listed until then, with who did it."""
    digest = await push(process, "1", "v1", "other")
    await delete(process, Tag("v1"))
    (listed,) = await deleted(process)

    came_back = await restore(process)

    assert (listed.kind, listed.image, listed.tag, listed.digest) == (DeletedKind.TAG, "team/app", "v1", str(digest))
    assert listed.deleted_by == "alice"
    assert (came_back.outcome, came_back.tag, came_back.left_out) == (RestoreOutcome.RESTORED, "v1", ())
    assert await living(process) == {"v1": str(digest), "other": str(digest)}
    assert await deleted(process) == []
    assert await audit(process) == [
        ("alice", "tag.delete", "team/app:v1"),
        ("open", "tag.restore", "team/app:v1"),
    ]


async def test_a_tag_whose_name_is_taken_comes_back_untagged(process: Process) -> None:
    """What the living tag points at is left alone."""
    old = await push(process, "old", "v1")
    await delete(process, Tag("v1"))
    await delete(process, old)
    new = await push(process, "new", "v1")
    of_manifest, of_tag = await deleted(process)

    came_back = await restore(process, of_tag)

    assert (came_back.outcome, came_back.left_out) == (RestoreOutcome.UNTAGGED, ("v1",))
    assert await living(process) == {"v1": str(new)}
    assert await is_there(process, old)
    assert await deleted(process) == [of_manifest]


async def test_a_tag_of_a_deleted_manifest_revives_it(process: Process) -> None:
    """Even if that was deleted later and by itself."""
    digest = await push(process, "1", "v1")
    await delete(process, Tag("v1"))
    await delete(process, digest)
    of_manifest, of_tag = await deleted(process)

    await restore(process, of_tag)
    await restore(process, of_manifest)

    assert await living(process) == {"v1": str(digest)}


async def test_a_manifest_comes_back_with_its_tags(process: Process) -> None:
    """Those whose names are free; the others are named."""
    digest = await push(process, "1", "a", "b")
    await delete(process, digest)
    new = await push(process, "2", "b")

    came_back = await restore(process)

    assert (came_back.outcome, came_back.left_out) == (RestoreOutcome.RESTORED, ("b",))
    assert await living(process) == {"a": str(digest), "b": str(new)}
    assert [each[1] for each in await audit(process)] == ["manifest.delete", "manifest.restore"]


async def test_a_manifest_that_was_pushed_again_is_one(process: Process) -> None:
    """Its former tags point at the living one."""
    digest = await push(process, "1", "a")
    await delete(process, digest)
    await push(process, "1", "b")

    await restore(process)

    assert await living(process) == {"a": str(digest), "b": str(digest)}
    rows = await process.database.fetch("SELECT FROM manifests WHERE deleted_at IS NULL")
    assert len(rows) == 1


async def test_an_index_brings_back_what_it_lists(process: Process) -> None:
    """Its images, if they were deleted after it, and their blobs; also through an index of indexes."""
    children = [await push(process, note) for note in "12"]
    inner = await push_manifest(process, index(image("1"), image("2")), digest=Digest.of(index(image("1"), image("2"))))
    outer = orjson.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [descriptor(index(image("1"), image("2")), OCI_INDEX)],
        }
    )
    top = await push_manifest(process, outer, "multi")
    for digest in (top, inner, *children):
        await delete(process, digest)
    for blob in (CONFIG, LAYER):
        await process.pull.delete(process.registry, REPOSITORY, Digest.of(blob), ALICE)
    of_top = (await deleted(process))[-1]

    await restore(process, of_top)

    assert await living(process) == {"multi": str(top)}
    assert all([await is_there(process, digest) for digest in (inner, *children)])
    assert await process.content(Digest.of(LAYER)) == LAYER
    unreferenced = await process.database.fetch("SELECT FROM repository_blobs WHERE unreferenced_since IS NOT NULL")
    assert unreferenced == []


@pytest.mark.parametrize("reference", [Tag("v1"), Digest.of(image("1")), None], ids=["tag", "manifest", "image"])
async def test_what_needs_a_blob_that_is_gone_is_refused(process: Process, reference: Reference | None) -> None:
    """The refusal names the blob, and nothing has changed."""
    digest = await push(process, "1", "v1")
    await delete(process, reference)
    if reference == Tag("v1"):
        await delete(process, digest)
    gone = Digest.of(LAYER)
    await process.database.execute("DELETE FROM repository_blobs WHERE digest = $1", str(gone))
    deletions = await deleted(process)

    with pytest.raises(CannotRestore, match=str(gone)):
        await restore(process, deletions[-1])

    assert await deleted(process) == deletions
    assert not await is_there(process, digest)


async def test_a_layer_that_was_never_pushed_is_not_missed(process: Process) -> None:
    """Foreign layers have addresses of their own."""
    foreign = {
        **descriptor(b"elsewhere", "application/vnd.oci.image.layer.nondistributable.v1.tar"),
        "urls": ["https://example.org/layer"],
    }
    await push_blobs(process, CONFIG)
    await push_manifest(process, image(layers=[foreign]), "v1")
    await delete(process)

    await restore(process)

    assert list(await living(process)) == ["v1"]


async def test_an_image_is_deleted_with_everything(process: Process) -> None:
    """Its name is free: what is pushed then knows nothing of before."""
    await push(process, "1", "v1")
    shown = images_of(process)
    await shown.update(ACTOR, process.registry, REPOSITORY, {"description": "old", "tags_mutable": False}, None)

    await delete(process)

    with pytest.raises(RepositoryUnknown):
        await shown.get(process.registry, REPOSITORY)
    with pytest.raises(RepositoryUnknown):
        await delete(process)
    assert await shown.list(process.registry, "", ImageOrder.NAME, None, 10) == []
    assert (await process.manifests.repositories(process.registry, "", None)).names == []
    assert not await is_there(process, Digest.of(image("1")))
    await push(process, "2", "v1")
    detail = await shown.get(process.registry, REPOSITORY)
    assert (detail.description, detail.tags_mutable, detail.image.tags) == ("", True, 1)
    assert [each[1:] for each in await audit(process)] == [
        ("image.update", "team/app"),
        ("image.delete", "team/app"),
    ]


async def test_an_image_comes_back(process: Process) -> None:
    """With descriptions, settings, tags, manifests, and what was deleted from it before."""
    one, two = await push(process, "1", "v1"), await push(process, "2", "v2")
    shown = images_of(process)
    await shown.update(ACTOR, process.registry, REPOSITORY, {"description": "mine", "tags_mutable": False}, None)
    await delete(process, Tag("v2"))
    await delete(process)
    assert [each.kind for each in await deleted(process)] == [DeletedKind.IMAGE]

    came_back = await restore(process)

    assert (came_back.outcome, came_back.image, came_back.left_out) == (RestoreOutcome.RESTORED, "team/app", ())
    assert await living(process) == {"v1": str(one)}
    detail = await shown.get(process.registry, REPOSITORY)
    assert (detail.description, detail.tags_mutable) == ("mine", False)
    assert [each.tag for each in await deleted(process)] == ["v2"]
    await restore(process)
    assert await living(process) == {"v1": str(one), "v2": str(two)}


async def test_an_image_whose_name_is_taken_joins_the_living_one(process: Process) -> None:
    """Same manifests merge, tags of the living image win, and pulls add up."""
    both, old = await push(process, "both", "both", "mine"), await push(process, "old", "v1")
    await push(process, "undone", "undone")
    await delete(process, Tag("undone"))
    await process.database.execute(
        "UPDATE repository_pulls SET pulls = 3; INSERT INTO pull_history "
        "SELECT id, '2026-01-01', 1, 1, 0, 3 FROM repositories"
    )
    await delete(process)
    await push(process, "both", "new")
    new = await push(process, "new", "v1")
    await process.database.execute(
        "UPDATE repository_pulls SET pulls = 4 WHERE pulls = 0; INSERT INTO pull_history "
        "SELECT id, '2026-01-01', 1, 1, 0, 4 FROM repositories WHERE deleted_at IS NULL"
    )

    came_back = await restore(process)

    assert (came_back.outcome, came_back.left_out) == (RestoreOutcome.JOINED, ("v1",))
    assert await living(process) == {"both": str(both), "mine": str(both), "new": str(both), "v1": str(new)}
    assert await is_there(process, old)
    assert await process.content(Digest.of(LAYER)) == LAYER
    detail = await images_of(process).get(process.registry, REPOSITORY)
    assert (detail.image.pulls, detail.image.tags, detail.size) == (7, 4, len(CONFIG) + len(LAYER))
    history = await process.database.fetch("SELECT pulls FROM pull_history")
    assert [row["pulls"] for row in history] == [7]
    blobs = await process.database.fetch("SELECT repository_id, unreferenced_since FROM repository_blobs")
    assert len(blobs) == 2
    assert {row["unreferenced_since"] for row in blobs} == {None}
    # What had been deleted from it can be brought back where it is now.
    assert [each.tag for each in await deleted(process)] == ["undone"]
    assert (await restore(process)).outcome is RestoreOutcome.RESTORED
    assert "undone" in await living(process)


async def test_what_was_deleted_from_a_deleted_image_waits_for_it(process: Process) -> None:
    """It has nowhere to come back to, even if there is a new image of this name."""
    await push(process, "1", "v1")
    await delete(process, Tag("v1"))
    (of_tag,) = await deleted(process)
    await delete(process)
    await push(process, "2", "v2")

    with pytest.raises(CannotRestore, match="restore the image first"):
        await restore(process, of_tag)


async def test_only_recent_deletions_of_the_registry_come_back_and_once(process: Process) -> None:
    """After restore_days it is too late."""
    await push(process, "1", "v1", "v2", "v3")
    for tag in ("v1", "v2", "v3"):
        await delete(process, Tag(tag))
    third, second, first = await deleted(process)
    await process.database.execute(
        "UPDATE deletions SET deleted_at = now() - interval '7 days 1 second' WHERE id = $1", first.id
    )
    shown, elsewhere = images_of(process), replace(process.registry, id=process.registry.id + 1)

    assert await deleted(process) == [third, second]
    assert [each.deletion for each in await shown.deleted(process.registry, third.id, 1)] == [second]
    assert await shown.deleted(elsewhere, None, 10) == []
    for registry, deletion in (
        (process.registry, first),
        (elsewhere, second),
        (process.registry, replace(first, id=0)),
    ):
        with pytest.raises(NothingKnown):
            await shown.restore(ACTOR, registry, deletion.id)
    await restore(process, third)
    with pytest.raises(NothingKnown):
        await restore(process, third)


async def test_a_deletion_is_undone_once_however_many_try(start_process: StartProcess) -> None:
    """The others are told that there is nothing to restore."""
    processes = [await start_process("first"), await start_process("second")]
    digest = await push(processes[0], "1", "v1")
    await delete(processes[0])
    (of_image,) = await deleted(processes[0])

    results = await asyncio.gather(
        *(restore(processes[number % 2], of_image) for number in range(6)), return_exceptions=True
    )

    assert sorted(type(each).__name__ for each in results) == ["NothingKnown"] * 5 + ["Restored"]
    assert await living(processes[0]) == {"v1": str(digest)}


async def test_pushes_deletions_and_restorations_at_once(start_process: StartProcess) -> None:
    """Whoever comes first: no push that was answered is lost, and all that lives is whole."""
    process, other = await start_process("first"), await start_process("second")
    await push(process, "0", "t0")

    async def delete_and_restore() -> None:
        for _ in range(3):
            await delete(other)
            await push(other, "between", "between")
            await restore(other)

    await asyncio.gather(delete_and_restore(), *(push_again(process, number) for number in range(1, 6)))
    for deletion in await deleted(process):
        await restore(process, deletion)

    assert set(await living(process)) == {"between", *(f"t{number}" for number in range(6))}


async def push_again(process: Process, number: int) -> None:
    """Push as clients do, who send again what the registry says is not there."""
    for _ in range(20):
        with suppress(ManifestBlobsUnknown):
            await push(process, str(number), f"t{number}")
            return
    pytest.fail("the push never came through")


async def test_every_change_moves_changed_at(process: Process) -> None:
    """A push, a new description, a deletion, a restoration; not a push of what is there."""
    await push(process, "1", "v1")
    times = [await changed_at(process)]
    for change in (
        push(process, "2"),
        push(process, "2", "v2"),
        images_of(process).update(ACTOR, process.registry, REPOSITORY, {"short_description": "x"}, None),
        delete(process, Tag("v2")),
        restore(process),
        delete(process, Digest.of(image("2"))),
        restore(process),
    ):
        await change
        times.append(await changed_at(process))
    await push(process, "2")

    assert times == sorted(set(times))
    assert await changed_at(process) == times[-1]


async def test_blobs_of_a_deleted_image_are_not_to_be_had(process: Process) -> None:
    """Not by name, and not as the source of a mount; restored, they are what they were."""
    await push(process, "1", "v1")
    await delete(process)

    mounted = await process.push.mount(process.registry, RepositoryName("team/else"), Digest.of(LAYER), None)

    assert mounted is False
    await restore(process)
    assert await process.content(Digest.of(LAYER)) == LAYER


async def test_names_of_other_images_do_not_matter(process: Process) -> None:
    """An image of another name is never joined."""
    digest = await push(process, "1", "v1")
    rows = ImageRows(process.database)
    await delete(process)
    await process.database.execute(
        "INSERT INTO repositories (registry_id, name) VALUES ($1, 'team/apple')", process.registry.id
    )

    assert (await restore(process)).outcome is RestoreOutcome.RESTORED
    assert await living(process) == {"v1": str(digest)}
    assert (await rows.fetch_image(process.registry, RepositoryName("team/apple"))).image.tags == 0
    assert await Deletions(process.database).list_deletions(process.registry, 7, None, 10) == []


async def waits_for_a_lock(process: Process) -> None:
    """Return once a transaction waits for another one."""
    waiting: list[object] = []
    while not waiting:
        waiting = list(
            await process.database.fetch(
                "SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            )
        )


async def test_an_image_is_not_deleted_under_a_push(
    start_process: StartProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion waits for a push that has begun, and takes along what it has pushed."""
    process, other = await start_process("first"), await start_process("second")
    await push(process, "1", "v1")
    deletion: list[asyncio.Task[None]] = []

    async def delete_meanwhile(*arguments: Any) -> int:
        repository_id = await ensure_repository(*arguments)
        deletion.append(asyncio.create_task(delete(other)))
        await waits_for_a_lock(other)
        return repository_id

    with monkeypatch.context() as patch:
        patch.setattr("gateway.db.manifests.ensure_repository", delete_meanwhile)
        digest = await push_manifest(process, image("2"), "v2")
    await deletion[0]

    assert not await is_there(process, digest)
    assert [each.kind for each in await deleted(process)] == [DeletedKind.IMAGE]
    await restore(process)
    assert set(await living(process)) == {"v1", "v2"}


async def test_a_name_that_is_taken_at_this_very_moment(process: Process) -> None:
    """An image that appears while another of its name comes back is joined."""
    digest = await push(process, "1", "v1")
    await delete(process)

    async with process.database.connection() as connection:
        transaction = connection.transaction()
        await transaction.start()
        await ensure_repository(connection, process.registry, REPOSITORY)
        restoring = asyncio.create_task(restore(process))
        await waits_for_a_lock(process)
        await transaction.commit()

    assert (await restoring).outcome is RestoreOutcome.JOINED
    assert await living(process) == {"v1": str(digest)}

"""Manifests without a tag: kept for ever, unless their image says otherwise; what something needs is kept even then."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

from gateway.db.collection import Collection
from gateway.db.manifests import mark_referenced
from gateway.model.collection import Collected, Keeping
from gateway.model.digest import Digest
from gateway.model.manifest import OCI_MANIFEST
from gateway.model.names import Tag

from .conftest import ACTOR, REPOSITORY, Process
from .test_collection import KEEPING, NOTHING, collector
from .test_estimating import reasons, round_as_estimated
from .test_images import images_of
from .test_manifests import CONFIG, LAYER, descriptor, image, index, push_blobs, push_manifest
from .test_restoring import audit, delete, deleted, is_there, living, push, restore, waits_for_a_lock


async def opt_in(process: Process, days: int | None = 30) -> None:
    await images_of(process).update(ACTOR, process.registry, REPOSITORY, {"untagged_days": days}, None)


async def pass_days(process: Process, days: int) -> None:
    """Let manifests be older, and their last pulls and losses of tags longer ago."""
    for table, column in (
        *(("manifests", "created_at"), ("manifest_pulls", "last_pulled_at")),
        *(("tag_losses", "lost_at"), ("repositories", "untagged_from")),
    ):
        await process.database.execute(f"UPDATE {table} SET {column} = {column} - make_interval(days => $1)", days)


async def pull(process: Process, digest: Digest) -> None:
    await process.database.execute(
        "INSERT INTO manifest_pulls SELECT id, 1, now() FROM manifests WHERE digest = $1", str(digest)
    )


async def test_they_are_kept_unless_their_image_says_otherwise(process: Process) -> None:
    """The days are counted from the push; what went is a deletion like any other, by the system."""
    tagged, untagged = await push(process, "1", "v1"), await push(process, "2")
    await pass_days(process, 1000)
    assert await collector(process).collect() == Collected()
    await opt_in(process, 1001)
    assert await collector(process).collect() == Collected()
    await opt_in(process, 1000)

    assert await collector(process).estimate([process.registry]) == Collected(untagged=1)
    assert await collector(process).collect() == Collected(untagged=1)

    assert await living(process) == {"v1": str(tagged)}
    assert not await is_there(process, untagged)
    (deletion,) = await deleted(process)
    assert (deletion.digest, deletion.deleted_by) == (str(untagged), "system")
    assert ("system", "manifest.delete", f"team/app@{untagged}") in await audit(process)
    await opt_in(process, None)
    await restore(process)
    assert await collector(process).collect() == Collected()
    assert await is_there(process, untagged)


async def moved(process: Process, _: Digest) -> None:
    await push(process, "2", "v1")


async def deleted_tag(process: Process, _: Digest) -> None:
    await delete(process, Tag("v1"))


async def pushed_again(process: Process, _: Digest) -> None:
    assert await push(process, "1")


@pytest.mark.parametrize("happen", [moved, deleted_tag, pull, pushed_again])
async def test_the_latest_counts(process: Process, happen: Any) -> None:
    """The loss of the last tag, by a push or a deletion, the last pull, or the last push: an index may be to follow."""
    digest = await push(process, "1", "v1")
    await opt_in(process)
    await pass_days(process, 100)
    if happen in {pull, pushed_again}:
        await delete(process, Tag("v1"))
        await pass_days(process, 100)
    await happen(process, digest)
    await pass_days(process, 29)
    assert await collector(process).collect() == Collected()
    assert await is_there(process, digest)
    await pass_days(process, 1)

    assert (await collector(process).collect()).untagged == 1
    assert not await is_there(process, digest)


async def test_a_push_with_a_tag_notes_no_loss(process: Process) -> None:
    """Two that take one tag from each other's manifests would both have noted theirs, and wait for each other."""
    for _ in range(2):
        await push(process, "1", "v1")
    assert await process.database.fetch("SELECT FROM tag_losses") == []


async def test_what_a_kept_manifest_needs_is_kept(process: Process) -> None:
    """The images of an index, and what is about an image; when that goes they go with it, and come back with it."""
    await push_blobs(process, CONFIG, LAYER)
    first, second = image("1"), image("2")
    signature = image("sig", subject=descriptor(index(first, second), OCI_MANIFEST))
    for raw in (first, second):
        await push_manifest(process, raw, digest=Digest.of(raw))
    await push_manifest(process, index(first, second), "v1")
    await push_manifest(process, signature, digest=Digest.of(signature))
    await opt_in(process)
    await pass_days(process, 100)
    assert await collector(process).collect() == Collected()

    await delete(process, Tag("v1"))
    await pass_days(process, 30)
    assert (await collector(process).collect()).untagged == 4

    for each in await deleted(process):
        if each.digest == str(Digest.of(index(first, second))):
            await restore(process, each)
    for raw in (first, second):
        assert await is_there(process, Digest.of(raw))


@pytest.mark.parametrize("keeping", [KEEPING, NOTHING], ids=["as configured", "nothing is kept"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_round_deletes_what_was_estimated(process: Process, seed: int, keeping: Keeping) -> None:
    """Whatever lists or is about what: with an index go its images, and with nothing kept also what they needed."""
    dice = random.Random(seed)
    await push_blobs(process, CONFIG, LAYER, *(str(number).encode() for number in range(12)))
    pushed: list[bytes] = []
    for number in range(12):
        raw = image(str(number), layers=[descriptor(str(number).encode(), "x/y")])
        if number % 4 == 2:
            raw = index(*dice.sample(pushed, 2))
        elif number % 4 == 3:
            raw = image(str(number), subject=descriptor(dice.choice(pushed), OCI_MANIFEST))
        pushed.append(raw)
        await push_manifest(process, raw, *dice.choice([("v1",), (), ()]), digest=Digest.of(raw))
        await pass_days(process, dice.choice([0, 20]))
    top = index(*pushed[:2])
    await push_manifest(process, top, digest=Digest.of(top))
    await opt_in(process)
    await pass_days(process, 20)

    for days in (0, 20, 20):
        await pass_days(process, days)
        await round_as_estimated(process, keeping)

    assert not await is_there(process, Digest.of(top))


async def test_one_that_was_brought_back_is_kept_as_long_again(process: Process) -> None:
    """Whoever restores it has the time to tag it."""
    digest = await push(process, "1")
    await opt_in(process)
    await pass_days(process, 30)
    assert (await collector(process).collect()).untagged == 1
    await restore(process)

    await pass_days(process, 29)
    assert await collector(process).collect() == Collected()
    assert await is_there(process, digest)
    await pass_days(process, 1)
    assert (await collector(process).collect()).untagged == 1


async def test_a_manifest_that_is_being_tagged_stays(process: Process, monkeypatch: pytest.MonkeyPatch) -> None:
    """The round waits for the push, and finds the tag."""
    digest = await push(process, "1")
    await opt_in(process)
    await pass_days(process, 100)
    rounds: list[asyncio.Task[Collected]] = []

    async def round_before(*arguments: Any) -> None:
        rounds.append(asyncio.create_task(collector(process).collect()))
        await waits_for_a_lock(process)
        await mark_referenced(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("gateway.db.manifests.mark_referenced", round_before)
        await push_manifest(process, image("1"), "late")

    assert await rounds[0] == Collected()
    assert await living(process) == {"late": str(digest)}


async def test_why_one_is_kept(process: Process) -> None:
    """For a while, until a date; or for ever."""
    digest = await push(process, "1")
    assert [each.until for each in await reasons(process, digest)] == [None]
    await opt_in(process)

    (reason,) = await reasons(process, digest)

    row = await process.database.fetchrow("SELECT created_at + interval '30 days' FROM manifests")
    assert row is not None
    assert reason.until == row[0]
    assert reason.chain[0].kind == "untagged"


async def test_it_is_looked_for_in_living_images_only(process: Process) -> None:
    """A deleted image keeps what it had, so that it comes back whole."""
    await push(process, "1")
    await opt_in(process)
    await pass_days(process, 100)
    await delete(process)

    assert await Collection(process.database, "test").delete_untagged([process.registry]) == 0

"""Changes of content enter the audit log in the transaction that makes them, with who made them."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest
from asyncpg import CheckViolationError

from gateway.db.audit import AuditLog
from gateway.errors import ManifestBlobsUnknown, ManifestUnknown, StillReferenced
from gateway.model.access import Actor
from gateway.model.digest import Digest
from gateway.model.names import Tag
from gateway.ports.audit import AuditFilter, AuditRecord

from .conftest import REPOSITORY, Process, StartProcess
from .test_manifests import CONFIG, LAYER, descriptor, image, push_blobs

ALICE = Actor(None, "alice", "SWALICE", "10.0.0.1")
BOB = Actor(None, "bob", "SWBOB", "10.0.0.2")


async def push(process: Process, raw: bytes, *tags: str, actor: Actor = ALICE) -> Digest:
    names = [Tag.parse(tag) for tag in tags]
    digest = None if tags else Digest.of(raw)
    return (
        await process.manifests.put(process.registry, REPOSITORY, raw, "", digest=digest, tags=names, actor=actor)
    ).digest


async def lines(process: Process) -> list[AuditRecord]:
    """All lines, the oldest first."""
    return list(reversed(await AuditLog(process.database).list(AuditFilter(), None, 1000)))


def tags_of(text: str | None) -> object:
    return None if text is None else orjson.loads(text)["tags"]


async def test_a_push_says_from_what_to_what_its_tags_moved(process: Process) -> None:
    """The line names who, from where, the manifest, and where each tag pointed before and points now."""
    await push_blobs(process, CONFIG, LAYER)

    first = await push(process, image("1"), "v1", "latest")
    second = await push(process, image("2"), "latest", "v2", actor=BOB)
    one, two = await lines(process)

    assert (one.action, one.object, one.registry, one.result) == (
        "manifest.push",
        f"team/app@{first}",
        "default",
        "done",
    )
    assert (one.account, one.access_key_id, one.address) == ("alice", "SWALICE", "10.0.0.1")
    assert tags_of(one.before) == {"latest": None, "v1": None}
    assert tags_of(one.after) == {"latest": str(first), "v1": str(first)}
    assert (two.account, two.object) == ("bob", f"team/app@{second}")
    assert tags_of(two.before) == {"latest": str(first), "v2": None}
    assert tags_of(two.after) == {"latest": str(second), "v2": str(second)}


async def test_pushes_that_race_for_a_tag_leave_an_unbroken_chain(start_process: StartProcess) -> None:
    """However they meet, each line's before is the after of another one, and nothing is missing in between."""
    process, other = await start_process("first"), await start_process("second")
    # With nothing in common that pushes lock: only the tag is left to meet at.
    configs = [f'{{"number": {n}}}'.encode() for n in range(12)]
    await push_blobs(process, *configs)
    images = [image(config=descriptor(config, "application/json"), layers=[]) for config in configs]

    await asyncio.gather(*(push((process, other)[n % 2], raw, "latest") for n, raw in enumerate(images)))
    moves = {(each.before or "", each.after or "") for each in await lines(process)}
    follows = {orjson.loads(old)["tags"]["latest"]: orjson.loads(new)["tags"]["latest"] for old, new in moves}
    chain, at = [], follows.get(None)
    while at is not None:
        chain.append(at)
        at = follows.get(at)
    current = await process.manifests.find(process.registry, REPOSITORY, Tag("latest"))

    assert len(chain) == 12
    assert chain[-1] == str(current.digest)


async def test_a_push_that_changes_nothing_is_no_change(process: Process) -> None:
    """Pushing by digest what is there already adds no line; pushing a tag again does, since it says who has it."""
    await push_blobs(process, CONFIG, LAYER)
    await push(process, image())
    await push(process, image(), actor=BOB)

    assert [each.account for each in await lines(process)] == ["alice"]

    await push(process, image(), "v1", actor=BOB)

    assert [each.account for each in await lines(process)] == ["alice", "bob"]
    rows = await process.database.fetch(
        "SELECT manifests.pushed_by AS manifest, tags.pushed_by AS tag FROM tags JOIN manifests ON manifest_id ="
        " manifests.id"
    )
    assert [(row["manifest"], row["tag"]) for row in rows] == [("alice", "bob")]


async def test_deletes_say_what_was_there(process: Process) -> None:
    """A tag's line names the digest it had, a manifest's the tags that went with it, and a blob's the blob."""
    await push_blobs(process, CONFIG, LAYER)
    digest = await push(process, image(), "a", "b", "c")

    await process.manifests.delete(process.registry, REPOSITORY, Tag("b"), ALICE)
    await process.manifests.delete(process.registry, REPOSITORY, digest, BOB)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), BOB)
    _, tag, manifest, blob = await lines(process)

    assert (tag.account, tag.action, tag.object) == ("alice", "tag.delete", "team/app:b")
    assert orjson.loads(tag.before or "") == {"digest": str(digest)}
    assert (manifest.account, manifest.action, manifest.object) == ("bob", "manifest.delete", f"team/app@{digest}")
    assert orjson.loads(manifest.before or "") == {"tags": ["a", "c"]}
    assert (blob.account, blob.action, blob.object) == ("bob", "blob.delete", f"team/app@{Digest.of(LAYER)}")
    assert {each.registry for each in (tag, manifest, blob)} == {"default"}


async def test_what_is_refused_leaves_no_line(process: Process) -> None:
    """A push or delete that was rolled back was no change."""
    await push_blobs(process, CONFIG, LAYER)
    await push(process, image(), "v1")
    before = await lines(process)

    with pytest.raises(ManifestBlobsUnknown):
        await push(process, image(layers=[]).replace(str(Digest.of(CONFIG)).encode(), b"sha256:" + b"0" * 64), "v2")
    with pytest.raises(ManifestUnknown):
        await process.manifests.delete(process.registry, REPOSITORY, Tag("missing"), ALICE)
    with pytest.raises(StillReferenced):
        await process.pull.delete(process.registry, REPOSITORY, Digest.of(LAYER), ALICE)

    assert await lines(process) == before


async def test_without_its_line_there_is_no_change(process: Process) -> None:
    """A line that the log refuses takes the change back with it."""
    await push_blobs(process, CONFIG, LAYER, b"free")
    digest = await push(process, image(), "v1")
    await process.database.execute("ALTER TABLE audit_log ADD CONSTRAINT closed CHECK (account <> 'mallory')")
    mallory = replace(ALICE, account="mallory")

    for change in (
        push(process, image("2"), "v1", actor=mallory),
        process.manifests.delete(process.registry, REPOSITORY, Tag("v1"), mallory),
        process.manifests.delete(process.registry, REPOSITORY, digest, mallory),
        process.pull.delete(process.registry, REPOSITORY, Digest.of(b"free"), mallory),
    ):
        with pytest.raises(CheckViolationError, match="closed"):
            await change

    assert (await process.manifests.find(process.registry, REPOSITORY, Tag("v1"))).digest == digest
    assert await process.pull.find(process.registry, REPOSITORY, Digest.of(b"free"))

"""What a round would collect, and why something is kept."""

from __future__ import annotations

import random
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from gateway.db.collection import Collection
from gateway.db.explaining import Explaining
from gateway.errors import CannotRestore, ManifestUnknown, RepositoryUnknown
from gateway.model.collection import Collected, Keeping
from gateway.model.digest import Digest
from gateway.model.names import Tag

from .conftest import ACTOR, REPOSITORY, Process
from .test_collection import KEEPING, NOTHING, OTHER, age, collector
from .test_manifests import CONFIG, LAYER, descriptor, image, index, push_blobs, push_manifest
from .test_restoring import delete, deleted, push, restore

if TYPE_CHECKING:
    from gateway.model.collection import Reason


async def reasons(process: Process, digest: Digest, keeping: Keeping = KEEPING) -> list[Reason]:
    registries = await Collection(process.database, "test").list_registries()
    return await Explaining(process.database, keeping).explain(registries, digest)


async def chains(process: Process, digest: Digest) -> list[list[str]]:
    """Kinds and names of each chain, in short."""
    return [
        [f"{link.kind} {link.name if link.kind == 'tag' else link.name[:15]}" for link in each.chain]
        for each in await reasons(process, digest)
    ]


def short(kind: str, content: bytes) -> str:
    return f"{kind} {str(Digest.of(content))[:15]}"


async def do_something(process: Process, dice: random.Random) -> None:
    """Change the registry somehow."""
    number = str(dice.randrange(6))
    match dice.randrange(8):
        case 0:
            await push_blobs(process, number.encode())
        case 1 | 2:
            layers = [descriptor(str(each).encode(), "x/y") for each in dice.sample(range(6), 2)]
            await push_blobs(process, CONFIG, *(str(each).encode() for each in range(6)))
            raw = image(number, layers=layers)
            await push_manifest(process, raw, f"v{number}", digest=Digest.of(raw))
        case 3:
            await delete(process, Tag(f"v{number}"))
        case 4:
            found = await process.manifests.find(process.registry, REPOSITORY, Tag(f"v{number}"))
            await delete(process, found.digest)
        case 5:
            if listed := await deleted(process):
                await restore(process, dice.choice(listed))
        case 6:
            await process.push.mount(process.registry, OTHER, Digest.of(number.encode()), REPOSITORY)
        case 7:
            await (delete(process) if dice.random() < 0.2 else age(process, dice.choice((0.6, 3))))


@pytest.mark.parametrize("seed", range(4))
async def test_a_round_does_what_was_estimated(process: Process, seed: int) -> None:
    """Whatever has happened before; no manifest loses a blob, and in the end nothing is left."""
    dice = random.Random(seed)
    total = Collected()
    for step in range(60):
        with suppress(ManifestUnknown, RepositoryUnknown, CannotRestore):
            await do_something(process, dice)
        if step % 6 == 5:
            total += await round_as_estimated(process, KEEPING)
            assert await process.database.fetch(MISSING) == []
    await push(process, "last", "v1")
    await delete(process)

    total += await round_as_estimated(process, NOTHING)

    assert total.manifests
    assert total.repository_blobs
    for table in ("manifests", "tags", "repository_blobs", "blobs", "deletions"):
        assert await process.database.fetch(f"SELECT FROM {table}") == []


async def round_as_estimated(process: Process, keeping: Keeping) -> Collected:
    made = collector(process, keeping=keeping)
    estimated = await made.estimate([process.registry])
    assert await made.collect() == estimated
    return estimated


# Content that a manifest needs, deleted or not, and that its repository does not hold in any way.
MISSING = """
SELECT FROM manifest_references AS needed
WHERE NOT EXISTS (
    SELECT FROM repository_blobs AS blob
    WHERE blob.repository_id = needed.repository_id AND blob.digest = needed.child_digest
)
"""


async def test_a_tag_keeps_everything_below_it(process: Process) -> None:
    """Through the index that it points at, down to a layer."""
    await push_blobs(process, CONFIG, LAYER)
    await push_manifest(process, image(), digest=Digest.of(image()))
    await push_manifest(process, index(image()), "v1")

    above = ["tag v1", short("index", index(image())), short("image", image())]
    assert await chains(process, Digest.of(image())) == [above]
    assert await chains(process, Digest.of(LAYER)) == [[*above, short("blob", LAYER)]]
    assert [each.until for each in await reasons(process, Digest.of(LAYER))] == [None]


async def test_a_signature_is_kept_by_what_it_signs(process: Process) -> None:
    """The manifest that it is about."""
    await push(process, "1", "v1")
    signature = image("signature", subject=descriptor(image("1"), "application/vnd.oci.image.manifest.v1+json"))
    await push_manifest(process, signature, digest=Digest.of(signature))

    ((top, subject, own),) = await chains(process, Digest.of(signature))

    assert (top, subject) == ("tag v1", short("image", image("1")))
    assert own.endswith(str(Digest.of(signature))[:15])


async def test_other_reasons(process: Process) -> None:
    """No tag, a deletion that can be undone, a date, and nothing at all."""
    untagged = await push(process, "1")
    ((first, *_),) = await chains(process, untagged)
    assert first.startswith("untagged ")

    await delete(process, untagged)
    (reason,) = await reasons(process, Digest.of(LAYER))
    row = await process.database.fetchrow("SELECT deleted_at FROM manifests")
    assert row is not None
    assert reason.chain[0].name.startswith("manifest deleted by alice, number ")
    assert (reason.repository, reason.until) == ("team/app", row[0] + KEEPING.restore)

    await push_blobs(process, b"alone")
    (reason,) = await reasons(process, Digest.of(b"alone"))
    row = await process.database.fetchrow("SELECT max(unreferenced_since) FROM repository_blobs")
    assert row is not None
    assert (reason.chain[0].kind, reason.until) == ("grace", row[0] + KEEPING.grace)
    await process.pull.delete(process.registry, REPOSITORY, Digest.of(b"alone"), ACTOR)
    (reason,) = await reasons(process, Digest.of(b"alone"))
    assert reason.chain[0].kind == "deletion"

    assert await reasons(process, Digest.of(b"never seen")) == []

"""Any two changes that meet: one stops behind each of its statements, the other runs until it ends or has to wait.

Whatever comes first, both have kept their word afterwards, nothing is half there, and nobody had to be given up by
Postgres because the two waited for each other. A lock or a condition that is missing anywhere is noticed at the
statement behind which it was needed; nothing here is left to chance.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from faults.scene import (
    ACTOR,
    APP,
    DIGESTS,
    EXPIRED,
    GONE,
    MANIFESTS,
    OTHER,
    RESTING,
    STORAGE,
    Scene,
    clear,
    new_brought,
    new_namesakes,
    new_scene,
)
from gateway.db.blobs import Blobs
from gateway.db.catalogue_replay import _settle_one
from gateway.db.collection import Collection
from gateway.db.deletions import Deletions
from gateway.db.manifests import Manifests
from gateway.db.owners import Owner
from gateway.db.surveys import Surveys
from gateway.db.sweeping import Sweeping
from gateway.db.uploads import Uploads
from gateway.errors import CannotRestore, ClientError, LeaseLost
from gateway.model.collection import Keeping, Stage
from gateway.model.names import Tag
from gateway.ports.storage import Segment, Stored
from support.databases import Server, fresh_database
from support.stopping import Stop, ends_or_waits, make_stoppable

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
    from uuid import UUID

    from gateway.db.pool import Database
    from gateway.model.names import RepositoryName

pytestmark = pytest.mark.timeout(1200)  # many short meetings, on machines that do other things as well

_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)
# What was deleted can be restored for a day longer than it is kept: it may be brought back while it is collected.
_KEEPING = Keeping(grace=timedelta(days=1), restore=timedelta(days=5))
_DAYS = 7


@dataclass(frozen=True)
class Change:
    """Something that the registry does."""

    make: Callable[[Scene], Awaitable[object]]
    """Raises, or returns False or None where there was nothing to be had, when it has not come about."""
    gives: tuple[str, ...] = ()
    """What there must be once it has come about, whatever else has happened meanwhile."""
    takes: tuple[str, ...] = ()
    """What may be gone as soon as it has begun: beginnings of names."""


def push(name: str, *tags: str, needs: Sequence[str], repository: RepositoryName = APP) -> Change:
    async def make(scene: Scene) -> object:
        await Manifests(scene.database).put_manifest(
            scene.registry, repository, MANIFESTS[name], DIGESTS[name], [Tag(tag) for tag in tags], ACTOR
        )
        return True

    gives = f"{repository}: manifest {name}", *(f"{repository}: tag {tag}" for tag in tags), *needs
    return Change(make, gives)


def publish(name: str, repository: RepositoryName) -> Change:
    async def make(scene: Scene) -> object:
        blob = scene.uploaded(name, repository)
        await uploads(scene).publish_upload(scene.registry, repository, scene.uploads[name, repository], 1, blob)
        return True

    return Change(make, (f"{repository}: blob {name}",))


def mount(source: RepositoryName | None) -> Change:
    async def make(scene: Scene) -> object:
        return await Blobs(scene.database).mount_blob(scene.registry, OTHER, DIGESTS["loose"], source)

    return Change(make, ("other: blob loose",))


def delete_blob(name: str, repository: RepositoryName = APP) -> Change:
    async def make(scene: Scene) -> object:
        await Blobs(scene.database).delete_blob(scene.registry, repository, DIGESTS[name], ACTOR)
        return True

    return Change(make, takes=(f"{repository}: blob {name}",))


def delete_manifest(name: str, *tags: str) -> Change:
    async def make(scene: Scene) -> object:
        await Manifests(scene.database).delete_manifest(scene.registry, APP, DIGESTS[name], ACTOR)
        return True

    return Change(make, takes=(f"app: manifest {name}", *(f"app: tag {tag}" for tag in tags)))


def delete_image(repository: RepositoryName) -> Change:
    async def make(scene: Scene) -> object:
        await Deletions(scene.database).delete_image(ACTOR, scene.registry, repository)
        return True

    return Change(make, takes=tuple(f"{repository}: {kind}" for kind in ("manifest", "tag", "blob")))


def restore(deletion: str, *gives: str) -> Change:
    async def make(scene: Scene) -> object:
        return await Deletions(scene.database).restore(ACTOR, scene.registry, scene.deletions[deletion], _DAYS)

    return Change(make, gives)


async def join(scene: Scene) -> object:
    """Restore an image whose name is taken: what it needs is there at any time, if only one looks at the right one."""
    try:
        return await CONTENTS["an image is restored"].make(scene)
    except CannotRestore as error:
        raise AssertionError("something is said to be gone that is not") from error


async def settle(scene: Scene) -> object:
    """Find out what has no references in an image that was brought back from the bucket."""
    query = "SELECT id FROM repositories WHERE registry_id = $1 AND name = $2"
    row = await scene.database.fetchrow(query, scene.registry.id, str(APP))
    assert row is not None
    await scene.database.transact(partial(_settle_one, row["id"]))
    return True


async def delete_tag(scene: Scene) -> object:
    await Manifests(scene.database).delete_tag(scene.registry, APP, Tag("one"), ACTOR)
    return True


async def promise(scene: Scene) -> object:
    await Blobs(scene.database).promise_blob(scene.registry, APP, DIGESTS["loose"])
    return True


async def withdraw(scene: Scene) -> object:
    return await Surveys(scene.database).withdraw_blob(ACTOR, scene.key("loose"))


async def collect(scene: Scene) -> object:
    index = Collection(scene.database, STORAGE)
    for stage in Stage:
        await index.collect(stage, [scene.registry], _KEEPING, _EARLIEST, 100)
    return True


async def collect_partly(scene: Scene) -> object:
    """Leave one deleted manifest, which needs what another one needs as well."""
    index = Collection(scene.database, STORAGE)
    for stage, most in ((Stage.DELETIONS, 100), (Stage.MANIFESTS, 2)):
        await index.collect(stage, [scene.registry], _KEEPING, _EARLIEST, most)
    return True


async def delete_untagged(scene: Scene) -> object:
    return await Collection(scene.database, STORAGE).delete_untagged([scene.registry])


def of_upload(
    make: Callable[[Uploads, Scene, UUID], Awaitable[object]], upload: tuple[str, RepositoryName] = RESTING
) -> Callable[[Scene], Awaitable[object]]:
    async def done(scene: Scene) -> object:
        return await make(uploads(scene), scene, scene.uploads[upload]) is not False

    return done


async def acquire(index: Uploads, _scene: Scene, session: UUID) -> object:
    return await index.acquire_upload(session, adopt_progress=True) is not None


async def cancel(index: Uploads, scene: Scene, session: UUID) -> None:
    await index.cancel_upload(scene.registry, OTHER, session, None)


async def discard(index: Uploads, _scene: Scene, session: UUID) -> None:
    await index.discard_upload(session, 1)


async def begin_target(index: Uploads, scene: Scene, session: UUID) -> None:
    await index.new_target(session, 1, scene.key(uuid4().hex))


async def begin_segment(index: Uploads, scene: Scene, session: UUID) -> None:
    await index.new_segment(session, 1, scene.key(uuid4().hex))


async def answer(index: Uploads, scene: Scene, session: UUID) -> None:
    tail = Segment(scene.key(str(session)), 0, 3)
    await index.commit_checkpoint(session, 1, Stored(tail=(tail,)), None)


async def sweep(scene: Scene) -> object:
    return await Sweeping(scene.database, STORAGE).end_expired(scene.registry, 100)


def uploads(scene: Scene) -> Uploads:
    return Uploads(scene.database, Owner("here", "1.1"))


CONTENTS = {
    "an image is pushed": push("three", "one", "three", needs=["app: blob loose"]),
    "an index is pushed": push("index", "index", needs=["app: manifest one", "app: manifest bare"]),
    "an image is tagged": push("one", "again", needs=["app: blob layer"]),
    "an image without a tag is tagged": push("bare", "late", needs=["app: blob layer"]),
    "a tag is deleted": Change(delete_tag, takes=("app: tag one",)),
    "a manifest is deleted": delete_manifest("one", "one", "again"),
    "a blob is deleted": delete_blob("loose"),
    "a blob of a deleted manifest is deleted": delete_blob("spare"),
    "an image is deleted": delete_image(APP),
    "a tag is restored": restore("early", "app: manifest two", "app: tag early", "app: blob spare"),
    "a manifest is restored": restore("app", "app: manifest two", "app: tag two", "app: blob spare"),
    "an image is restored": restore("gone", "gone: manifest four", "gone: tag four", "gone: blob layer"),
    "a blob is promised": Change(promise, ("app: blob loose",)),
    "a blob is mounted": mount(APP),
    "a blob is mounted from anywhere": mount(None),
    "a known blob is uploaded": publish("loose", APP),
    "a blob of another repository is uploaded": publish("loose", OTHER),
    "a blob is uploaded where an image was deleted": publish("layer", GONE),
    "a withdrawn blob is uploaded": publish("broken", APP),
    "a withdrawn blob is uploaded elsewhere": publish("broken", OTHER),
    "a blob is withdrawn": Change(withdraw, takes=("app: blob loose", "other: blob loose")),
    "what nothing needs is collected": Change(collect),
    "what nothing needs is collected in part": Change(collect_partly),
    "what has no tag is deleted": Change(delete_untagged),
}
# A deleted image joins the living one of its name, and what else happens to that one.
JOINING = Change(join, CONTENTS["an image is restored"].gives)
NAMESAKES = {
    "the living image is deleted": delete_image(GONE),
    "an image is pushed": push("one", "one", needs=["gone: blob layer"], repository=GONE),
    "a blob is deleted": delete_blob("layer", GONE),
    "a blob is uploaded": publish("layer", GONE),
    "what nothing needs is collected": Change(collect),
}
UPLOADS = {
    "an upload is finished": publish(*RESTING),
    "an upload is finished when its time is over": publish(*EXPIRED),
    "an upload is taken over": Change(of_upload(acquire), ("other: upload fresh",)),
    "an upload is cancelled": Change(of_upload(cancel), takes=("other: upload fresh",)),
    "an upload is given up": Change(of_upload(discard), takes=("other: upload fresh",)),
    "an upload begins an object": Change(of_upload(begin_target)),
    "an upload begins a segment": Change(of_upload(begin_segment)),
    "an upload begins a segment when its time is over": Change(of_upload(begin_segment, EXPIRED)),
    "a chunk is answered": Change(of_upload(answer)),
    "uploads are swept": Change(sweep),
}


@pytest.fixture
async def database(embedded_server: Server, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    """A database on which nobody tries again who has lost a deadlock."""
    monkeypatch.setattr("gateway.db.pool._ATTEMPTS", 1)
    make_stoppable(monkeypatch)
    async with fresh_database(embedded_server) as database:
        yield database


@pytest.mark.parametrize("first", CONTENTS)
async def test_contents(database: Database, soak: float, first: str) -> None:
    """Pushes, deletions, restorations and collection."""
    for second, other in CONTENTS.items():
        if soak or is_telling(CONTENTS[first], other):
            await meet(database, CONTENTS[first], other, f"{first}, {second}")


@pytest.mark.parametrize("other", NAMESAKES)
async def test_namesakes(database: Database, other: str) -> None:
    """What happens while two images become one."""
    await meet(database, JOINING, NAMESAKES[other], f"two images become one, {other}", new_namesakes)
    await meet(database, NAMESAKES[other], JOINING, f"{other}, two images become one", new_namesakes)


@pytest.mark.parametrize("other", ["an image is pushed", "an image is tagged", "what nothing needs is collected"])
async def test_settling(database: Database, other: str) -> None:
    """What comes or goes while an image is settled is neither taken for unreferenced nor kept for ever."""
    await meet(database, Change(settle), CONTENTS[other], f"an image is settled, {other}", new_brought)
    await meet(database, CONTENTS[other], Change(settle), f"{other}, an image is settled", new_brought)


@pytest.mark.parametrize("first", UPLOADS)
async def test_uploads(database: Database, first: str) -> None:
    """What those do that hold a lease, or held one, or wait until it is over."""
    for second, other in UPLOADS.items():
        await meet(database, UPLOADS[first], other, f"{first}, {second}")


def is_telling(first: Change, second: Change) -> bool:
    """Tell whether two changes want the same thing, or the one what the other takes away, be it in two repositories."""
    if not all(change.gives or change.takes for change in (first, second)):
        return True  # whatever is found by itself
    gives, takes, gives_too, takes_too = (
        tuple(thing.partition(": ")[2] for thing in things)
        for things in (first.gives, first.takes, second.gives, second.takes)
    )
    return any(thing in gives_too or thing.startswith(takes_too) for thing in gives) or any(
        thing.startswith(takes) for thing in gives_too
    )


async def meet(
    database: Database,
    first: Change,
    second: Change,
    names: str,
    make_scene: Callable[[Database], Awaitable[Scene]] = new_scene,
) -> None:
    """Have one change stop behind each of its statements, and the other one come in between."""
    await clear(database)
    for number in count(1):
        scene, stop = await make_scene(database), Stop(number)
        stopped = stop.start(outcome(first, scene))
        if not await stop.reached_by(stopped):
            assert await stopped, f"it does not come about: {names}"
            return
        between = asyncio.create_task(outcome(second, scene))
        await ends_or_waits(database, between)
        stop.let_go()
        try:
            came_about = await asyncio.gather(stopped, between)
            await check(scene, list(zip((first, second), came_about, strict=True)))
        except BaseException as error:
            error.add_note(f"{names} behind {stop.statement}")
            raise


async def outcome(change: Change, scene: Scene) -> bool:
    """Make a change; tell whether it has come about."""
    try:
        return bool(await change.make(scene))
    except (ClientError, LeaseLost):
        return False


async def check(scene: Scene, changes: list[tuple[Change, bool]]) -> None:
    """See that everybody has kept their word, and that nothing is wrong."""
    assert await scene.wrong() == []
    promised = {thing for change, came_about in changes if came_about for thing in change.gives}
    taken = tuple(thing for change, _ in changes for thing in change.takes)
    assert {thing for thing in promised if not thing.startswith(taken)} <= await scene.things()

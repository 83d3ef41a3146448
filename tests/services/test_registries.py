"""Registries as people manage them, on both storages: made, set, deleted, taken over; and whose a bucket is."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, Any, cast

import pytest

from gateway.db.adoptions import Adoptions
from gateway.db.catalogue import Catalogue
from gateway.db.catalogue_replay import CatalogueReplays
from gateway.db.objects import Objects
from gateway.db.registries import RegistryRows, ensure_default_registry
from gateway.db.surveys import Surveys
from gateway.errors import AlreadyTaken, ChangedMeanwhile, NothingKnown, UploadUnknown, ValueRefused
from gateway.model.digest import Digest
from gateway.model.endpoints import Delivery, DeliveryRule
from gateway.model.networks import Networks
from gateway.model.ranges import ByteRange
from gateway.ports.buckets import MARKER_KEY, BucketUse
from gateway.ports.catalogue import say_nothing
from gateway.ports.directory import RegistryChange
from gateway.ports.metadata import Registry
from gateway.ports.storage import Location
from gateway.services.adoption import Adoption
from gateway.services.catalogue import CatalogueGuard, CatalogueWriter
from gateway.services.catalogue_reading import CatalogueReader
from gateway.services.directory import Directory
from gateway.services.losses import Losses
from gateway.services.markers import Marker, Markers, State
from gateway.services.reconciliation import Reconciliation
from gateway.services.registries import Registries
from gateway.services.removal import Remover
from services.conftest import ACTOR, REPOSITORY, body

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from uuid import UUID

    from gateway.db.pool import Database
    from gateway.ports.buckets import BucketKeeper
    from services.conftest import Process, StartProcess, Storage
    from support.seaweed import SeaweedFS

CONTENT = b"the content of a blob"
DIGEST = Digest.of(CONTENT)

_numbers = count(1)


@pytest.fixture
def new_bucket(storage: Storage, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[], str]]:
    """Return a function that makes an empty bucket."""
    is_s3 = storage.buckets.name.startswith("s3:")
    seaweed: SeaweedFS | None = request.getfixturevalue("seaweed") if is_s3 else None
    made: list[str] = []

    def make() -> str:
        made.append(f"registries-{next(_numbers)}")
        if seaweed is not None:
            seaweed.create_bucket(made[-1])
        else:
            (tmp_path / made[-1]).mkdir()
        return made[-1]

    yield make
    for name in made:
        if seaweed is not None:
            seaweed.delete_bucket(name)


def managing(
    database: Database,
    storage: Storage,
    installation: str = "ours",
    keeper: BucketKeeper | None = None,
    delivery: Delivery = Delivery.PROXY,
) -> Registries:
    """Return what manages registries, as one process of an installation has it."""
    markers = Markers(keeper or storage.buckets, installation)
    rows, index = RegistryRows(database), Catalogue(database, storage.buckets.name)
    writer = CatalogueWriter(index, storage.port, markers, CatalogueGuard(index, storage.port))
    reader, replays = CatalogueReader(storage.port), CatalogueReplays(database)
    losses = Losses(Surveys(database), storage.port)
    adoption = Adoption(rows, Adoptions(database), replays, reader, writer, losses, say_nothing)
    return Registries(
        rows,
        keeper or storage.buckets,
        markers,
        writer,
        adoption,
        Reconciliation(rows, index, replays, reader, writer, markers, losses, say_nothing),
        delivery=delivery,
        reserved=["console"],
    )


@pytest.fixture
def registries(database: Database, storage: Storage) -> Registries:
    return managing(database, storage)


async def marker(storage: Storage, bucket: str) -> Marker:
    content = await storage.buckets.read_marker(bucket)
    assert content is not None
    return Marker.parse(content)


async def mark(storage: Storage, bucket: str, found: Marker) -> None:
    before = await storage.buckets.read_marker(bucket)
    assert await storage.buckets.write_marker(bucket, found.content(), instead=before)


class Kept:
    """A storage's buckets as they are, to be varied."""

    def __init__(self, keeper: BucketKeeper) -> None:
        self._keeper = keeper

    def __getattr__(self, name: str) -> Any:
        return getattr(self._keeper, name)


# --- making --------------------------------------------------------------------------------------


async def test_a_registry_is_made_on_its_bucket(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str], database: Database
) -> None:
    """It has a random id and a random private host, its bucket is marked, and the audit log says who made it."""
    bucket = new_bucket()

    made = await registries.create(ACTOR, "team", bucket)

    assert (made.name, made.registry.bucket, made.public_endpoint, made.public_pull) == ("team", bucket, True, False)
    assert len(made.private_label) == 26
    assert "10.0.0.0/8" in made.private_networks.texts()
    assert await registries.get("team") == made
    assert list(await registries.list()) == [made]
    assert await marker(storage, bucket) == Marker("ours", made.registry.public_id, 1, State.LIVING)
    (line,) = await database.fetch("SELECT action, account, object, result FROM audit_log")
    assert tuple(line) == ("registry.create", ACTOR.account, "team", "done")


@pytest.mark.parametrize("name", ["ab", "9lives", "UPPER", "ends-", "a" * 31, "under_score", "console", "ümlaut", ""])
async def test_names_that_cannot_be(registries: Registries, new_bucket: Callable[[], str], name: str) -> None:
    """A name is a host's label, and none that is a host already."""
    with pytest.raises(ValueRefused) as refused:
        await registries.create(ACTOR, name, new_bucket())

    assert refused.value.field == "name"


async def test_a_name_and_a_bucket_are_taken_once(registries: Registries, new_bucket: Callable[[], str]) -> None:
    """One bucket, one registry."""
    bucket = new_bucket()
    await registries.create(ACTOR, "team", bucket)

    with pytest.raises(AlreadyTaken, match="registry team"):
        await registries.create(ACTOR, "team", new_bucket())
    with pytest.raises(AlreadyTaken, match=f"bucket {bucket}"):
        await registries.create(ACTOR, "other", bucket)


async def test_of_two_that_want_a_bucket_one_gets_it(
    database: Database, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """And the marker names that one."""
    bucket = new_bucket()
    outcomes = await asyncio.gather(
        *(managing(database, storage).create(ACTOR, name, bucket) for name in ("one", "two", "three")),
        return_exceptions=True,
    )

    (made,) = [each for each in outcomes if not isinstance(each, BaseException)]
    assert all(isinstance(each, AlreadyTaken) for each in outcomes if each is not made)
    assert (await marker(storage, bucket)).registry == made.registry.public_id


async def test_a_bucket_that_does_not_do_is_refused_with_the_reason(registries: Registries, storage: Storage) -> None:
    """Nothing is made."""
    bucket = "no-such-bucket" if storage.buckets.name.startswith("s3:") else "../elsewhere"
    with pytest.raises(ValueRefused, match="cannot hold a registry") as refused:
        await registries.create(ACTOR, "team", bucket)

    assert refused.value.field == "bucket"
    assert list(await registries.list()) == []


async def test_buckets_that_can_be_chosen(registries: Registries, new_bucket: Callable[[], str]) -> None:
    """With the registries that have them."""
    taken, free = new_bucket(), new_bucket()
    await registries.create(ACTOR, "team", taken)

    found = await registries.buckets()

    assert BucketUse(taken, "team") in found
    assert BucketUse(free, None) in found


class Overtaken(Kept):
    """A storage's buckets, where another installation is always faster with its marker."""

    async def write_marker(self, bucket: str, content: bytes, *, instead: bytes | None) -> bool:
        theirs = Marker("theirs", Marker.parse(content).registry, 1, State.LIVING)
        return not await self._keeper.write_marker(bucket, theirs.content(), instead=instead)


async def test_another_installation_that_marks_the_bucket_first(
    database: Database, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """No registry stays that does not have its bucket."""
    keeper = cast("BucketKeeper", Overtaken(storage.buckets))
    registries = managing(database, storage, keeper=keeper)

    with pytest.raises(AlreadyTaken, match="another installation"):
        await registries.create(ACTOR, "team", new_bucket())

    assert list(await registries.list()) == []


# --- setting -------------------------------------------------------------------------------------


async def test_settings_are_changed_one_by_one(
    registries: Registries, new_bucket: Callable[[], str], database: Database
) -> None:
    """What is left out stays; the version counts; the log says what was and what became of it."""
    made = await registries.create(ACTOR, "team", new_bucket())
    rule = DeliveryRule.parse("10.1.0.0/16=proxy")
    change = RegistryChange(
        public_endpoint=False, public_networks=Networks.parse(["192.0.2.0/24"]), delivery_rules=(rule,)
    )

    changed = await registries.update(ACTOR, "team", change, made.version)

    assert changed.version == made.version + 1
    assert (changed.public_endpoint, changed.public_pull) == (False, False)
    assert changed.public_networks.texts() == ["192.0.2.0/24"]
    assert changed.delivery_rules == (rule,)
    assert changed.private_networks == made.private_networks
    assert await registries.get("team") == changed
    line = await database.fetchrow("SELECT before, after FROM audit_log WHERE action = 'registry.update'")
    assert line is not None
    assert json.loads(line["before"])["public_endpoint"] is True
    assert json.loads(line["after"]) == {
        "public_endpoint": False,
        "public_networks": ["192.0.2.0/24"],
        "delivery_rules": ["10.1.0.0/16=proxy"],
    }


async def test_two_people_do_not_overwrite_each_other(registries: Registries, new_bucket: Callable[[], str]) -> None:
    """Whoever has read another version is told so."""
    made = await registries.create(ACTOR, "team", new_bucket())
    await registries.update(ACTOR, "team", RegistryChange(public_pull=True), made.version)

    with pytest.raises(ChangedMeanwhile):
        await registries.update(ACTOR, "team", RegistryChange(public_pull=False), made.version)

    assert (await registries.get("team")).public_pull


async def test_what_does_not_exist(registries: Registries) -> None:
    """Is not there for anything."""
    for attempt in (
        registries.get("absent"),
        registries.delete(ACTOR, "absent"),
        registries.update(ACTOR, "absent", RegistryChange(public_pull=True), None),
        registries.update(ACTOR, "absent", RegistryChange(public_delivery=None), None),
    ):
        with pytest.raises(NothingKnown):
            await attempt


async def test_changes_hold_at_once_where_they_are_heard_of(
    registries: Registries, database: Database, new_bucket: Callable[[], str]
) -> None:
    """Directories remember nothing that was announced to have changed."""
    made = await registries.create(ACTOR, "team", new_bucket())
    directory, heard = Directory(RegistryRows(database)), asyncio.Event()

    def forget(_: str) -> None:
        directory.forget()
        heard.set()

    listener = await database.listen({"slipway_changes": forget})
    assert await directory.by_name("team") == made
    assert await directory.by_private_label(made.private_label) == made

    changed = await registries.update(ACTOR, "team", RegistryChange(public_pull=True), None)
    await heard.wait()

    assert await directory.by_name("team") == changed
    assert await directory.by_private_label(made.private_label) == changed
    await listener.aclose()


class Restricted(Kept):
    """A storage's buckets, as if their policies let certain addresses in only."""

    async def is_restricted(self, bucket: str) -> bool:
        return bool(bucket)


async def test_a_bucket_for_certain_addresses_is_served_by_proxy(
    database: Database, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """Whatever the configuration says, and nobody can set it otherwise."""
    keeper = cast("BucketKeeper", Restricted(storage.buckets))
    registries = managing(database, storage, keeper=keeper, delivery=Delivery.REDIRECT)

    made = await registries.create(ACTOR, "team", new_bucket())

    assert (made.public_delivery, made.private_delivery) == (Delivery.PROXY, Delivery.PROXY)
    for change in (
        RegistryChange(public_delivery=Delivery.REDIRECT),
        RegistryChange(private_delivery=None),
        RegistryChange(delivery_rules=(DeliveryRule.parse("10.0.0.0/8=redirect-private"),)),
    ):
        with pytest.raises(ValueRefused, match="by proxy"):
            await registries.update(ACTOR, "team", change, None)
    await registries.update(ACTOR, "team", RegistryChange(public_pull=True, public_delivery=Delivery.PROXY), None)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("public_delivery", Delivery.REDIRECT),
        ("private_delivery", Delivery.REDIRECT),
        ("delivery_rules", (DeliveryRule.parse("10.0.0.0/8=redirect-private"),)),
    ],
)
async def test_clients_are_sent_to_s3_only(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str], field: str, value: Any
) -> None:
    """Nobody can fetch a file from a folder; that it is served by proxy, or as configured, may be said there too."""
    await registries.create(ACTOR, "team", new_bucket())
    allowed = RegistryChange(public_delivery=Delivery.PROXY, private_delivery=None)
    before = await registries.update(ACTOR, "team", allowed, None)
    change = cast("RegistryChange", {field: value})

    if storage.buckets.name.startswith("s3:"):
        assert getattr(await registries.update(ACTOR, "team", change, None), field) == value
    else:
        with pytest.raises(ValueRefused, match="choose proxy") as refused:
            await registries.update(ACTOR, "team", change, None)
        assert refused.value.field == field
        assert await registries.get("team") == before


# --- deleting and taking over --------------------------------------------------------------------


async def filled(start_process: StartProcess, registries: Registries, bucket: str) -> tuple[Process, UUID]:
    """Make a registry with a blob and an upload that goes on; return a process that serves it, and the session."""
    made = await registries.create(ACTOR, "team", bucket)
    process = await start_process("first")
    process.registry = made.registry
    await process.push.upload(made.registry, REPOSITORY, body(CONTENT), DIGEST)
    session_id = await process.push.start(made.registry, REPOSITORY)
    await process.push.append(made.registry, REPOSITORY, session_id, body(b"begun"))
    return process, session_id


async def test_deleting_leaves_the_objects_and_ends_the_uploads(
    start_process: StartProcess,
    registries: Registries,
    database: Database,
    storage: Storage,
    new_bucket: Callable[[], str],
) -> None:
    """Name and bucket are free; the blob lies where it lay, of the upload nothing is left."""
    bucket = new_bucket()
    process, session_id = await filled(start_process, registries, bucket)
    blob = await process.pull.find(process.registry, REPOSITORY, DIGEST)
    await database.execute("INSERT INTO accounts (name) VALUES ('someone')")
    await database.execute(
        "INSERT INTO policies (account_id, role, registry_id) SELECT id, 'viewer', $1 FROM accounts",
        process.registry.id,
    )

    await registries.delete(ACTOR, "team")

    with pytest.raises(NothingKnown):
        await registries.get("team")
    with pytest.raises(UploadUnknown):
        await process.push.status(process.registry, REPOSITORY, session_id, adopt=False)
    assert await database.fetch("SELECT FROM policies") == []
    await Remover(Objects(database, storage.buckets.name), storage.port, Markers(storage.buckets, "ours")).remove_all()
    assert [state for state, _ in await process.objects()].count("live") == 1
    states = await database.fetch("SELECT state, removed_at FROM objects WHERE state <> 'live'")
    assert states
    assert all(row["state"] == "removing" and row["removed_at"] for row in states)
    async with process.storage.port.open(_location(process, blob.key), _whole(CONTENT)):
        pass
    assert (await marker(storage, bucket)).state is State.DELETED
    again = await registries.create(ACTOR, "team", new_bucket())
    assert again.registry.public_id != process.registry.public_id


async def test_taking_over_brings_the_images_back(
    start_process: StartProcess, registries: Registries, new_bucket: Callable[[], str], storage: Storage
) -> None:
    """What a deleted registry of this installation has left is there again, under another name, set as it was."""
    bucket = new_bucket()
    process, _ = await filled(start_process, registries, bucket)
    await registries.update(ACTOR, "team", RegistryChange(public_pull=True), None)
    await registries.delete(ACTOR, "team")

    taken = await registries.create(ACTOR, "heirs", bucket, adopt=True)

    assert taken.registry.public_id == process.registry.public_id
    assert taken.registry.generation == 2
    assert taken.public_pull
    assert await marker(storage, bucket) == Marker("ours", taken.registry.public_id, 2, State.LIVING)
    process.registry = taken.registry
    assert await process.content(DIGEST) == CONTENT


async def test_a_new_registry_does_not_hide_what_a_deleted_one_has_left(
    start_process: StartProcess, registries: Registries, new_bucket: Callable[[], str], storage: Storage
) -> None:
    """Whoever forgets to ask for the images is told, and can still have them."""
    bucket = new_bucket()
    process, _ = await filled(start_process, registries, bucket)
    await registries.delete(ACTOR, "team")
    left = await marker(storage, bucket)

    with pytest.raises(AlreadyTaken, match="--adopt"):
        await registries.create(ACTOR, "heirs", bucket)

    assert await marker(storage, bucket) == left
    process.registry = (await registries.create(ACTOR, "heirs", bucket, adopt=True)).registry
    assert await process.content(DIGEST) == CONTENT


async def test_a_registry_of_before_there_were_catalogues(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """Nobody knows which images its objects are: nothing is made that would look as if it had none."""
    bucket = new_bucket()
    await mark(storage, bucket, Marker("theirs", "c" * 32, 3, State.DELETED))

    with pytest.raises(NothingKnown, match="no catalogue"):
        await registries.create(ACTOR, "team", bucket, adopt=True)

    assert list(await registries.list()) == []
    assert await marker(storage, bucket) == Marker("theirs", "c" * 32, 3, State.DELETED)


async def test_nothing_to_take_over(registries: Registries, new_bucket: Callable[[], str]) -> None:
    """A bucket in which there never was a registry."""
    with pytest.raises(NothingKnown, match="left anything"):
        await registries.create(ACTOR, "team", new_bucket(), adopt=True)


async def test_the_default_registry_is_not_deleted(registries: Registries, database: Database) -> None:
    """The next start would make another one."""
    await ensure_default_registry(database, "test", "default")

    with pytest.raises(ValueRefused, match="default_registry"):
        await registries.delete(ACTOR, "default")


# --- markers -------------------------------------------------------------------------------------


@pytest.mark.parametrize("adopt", [False, True])
async def test_a_bucket_of_another_installation_is_refused(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str], adopt: bool
) -> None:
    """As long as its registry lives; the marker stays."""
    bucket = new_bucket()
    theirs = Marker("theirs", "c" * 32, 1, State.LIVING)
    await mark(storage, bucket, theirs)

    with pytest.raises(AlreadyTaken, match="another installation"):
        await registries.create(ACTOR, "team", bucket, adopt=adopt)

    assert await marker(storage, bucket) == theirs
    assert list(await registries.list()) == []


async def test_a_marker_of_our_own_that_no_registry_has(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """A process has died before it could write it anew: the bucket is free."""
    bucket = new_bucket()
    await mark(storage, bucket, Marker("ours", "c" * 32, 1, State.LIVING))

    made = await registries.create(ACTOR, "team", bucket)

    assert (await marker(storage, bucket)).registry == made.registry.public_id


@pytest.mark.parametrize("left", [None, Marker("gone", "c" * 32, 1, State.DELETED)], ids=["new", "left"])
async def test_two_installations_that_want_a_bucket_at_once(
    storage: Storage, new_bucket: Callable[[], str], left: Marker | None
) -> None:
    """Both have seen that it is free before one of them marks it: the later one has to take another."""
    bucket = new_bucket()
    if left is not None:
        await mark(storage, bucket, left)
    quick, slow = Registry(1, "a" * 32, bucket), Registry(1, "b" * 32, bucket)
    late = Late(storage.buckets)
    losing = asyncio.create_task(Markers(late, "slow").claim(slow))
    await late.looked.wait()
    await Markers(storage.buckets, "quick").claim(quick)
    late.may_write.set()

    with pytest.raises(AlreadyTaken):
        await losing
    assert await marker(storage, bucket) == Marker("quick", quick.public_id, 1, State.LIVING)


class Late(Kept):
    """A storage's buckets, for somebody who takes his time between looking and writing."""

    def __init__(self, keeper: BucketKeeper) -> None:
        super().__init__(keeper)
        self.looked = asyncio.Event()
        self.may_write = asyncio.Event()

    async def write_marker(self, bucket: str, content: bytes, *, instead: bytes | None) -> bool:
        self.looked.set()
        await self.may_write.wait()
        return bool(await self._keeper.write_marker(bucket, content, instead=instead))


@pytest.mark.parametrize("content", [b"", b"no JSON", b"[]", b"{}", b'{"installation":1}'])
async def test_something_else_in_the_markers_place(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str], content: bytes
) -> None:
    """Whatever it is, it is not overwritten."""
    bucket = new_bucket()
    assert await storage.buckets.write_marker(bucket, content, instead=None)

    with pytest.raises(ValueRefused, match=MARKER_KEY):
        await registries.create(ACTOR, "team", bucket)

    assert await storage.buckets.read_marker(bucket) == content


async def test_nothing_is_removed_where_somebody_else_has_taken_over(
    start_process: StartProcess,
    registries: Registries,
    database: Database,
    storage: Storage,
    new_bucket: Callable[[], str],
) -> None:
    """What is left of the registry is another installation's to decide about."""
    bucket = new_bucket()
    process, _ = await filled(start_process, registries, bucket)
    await registries.delete(ACTOR, "team")
    theirs = Marker("theirs", process.registry.public_id, 2, State.LIVING)
    await mark(storage, bucket, theirs)
    kept = [key for state, key in await process.objects() if state == "removing"]

    await Remover(Objects(database, storage.buckets.name), storage.port, Markers(storage.buckets, "ours")).remove_all()

    assert kept
    for key in kept:
        assert await storage.port.stat(_location(process, key)) is not None
    assert [state for state, _ in await process.objects()] == ["live"]


async def test_a_registry_that_is_being_taken_over_is_ours(
    registries: Registries, storage: Storage, new_bucket: Callable[[], str]
) -> None:
    """Its marker is written last: what is to be removed is not forgotten meanwhile, and its catalogue is written."""
    made = await registries.create(ACTOR, "team", new_bucket())
    await registries.delete(ACTOR, "team")

    later = replace(made.registry, generation=made.registry.generation + 1)

    assert await Markers(storage.buckets, "ours").may_remove(later)
    assert await Markers(storage.buckets, "ours").may_remove(made.registry)
    assert not await Markers(storage.buckets, "theirs").may_remove(made.registry)


def _location(process: Process, key: str) -> Location:
    return Location(process.registry.bucket, key)


def _whole(content: bytes) -> ByteRange:
    return ByteRange(0, len(content))

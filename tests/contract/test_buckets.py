"""Buckets as such, on both storages: what a check finds, and markers."""

from __future__ import annotations

import asyncio
import json
from itertools import count
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from contract.uploads import BUCKET
from contract.watched import settings
from gateway.errors import BucketMissing, StorageUnavailable
from gateway.model.endpoints import Endpoint
from gateway.model.findings import Severity
from gateway.ports.storage import Location
from gateway.storage.file_buckets import FileBuckets
from gateway.storage.s3 import S3Storage
from gateway.storage.s3_buckets import S3Buckets, clock_findings
from support.faults import Fault

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from contract.watched import WatchedFiles, WatchedS3
    from gateway.ports.buckets import BucketKeeper
    from support.faults import FaultyS3
    from support.seaweed import SeaweedFS

_numbers = count(1)


@pytest.fixture
def new_bucket(seaweed: SeaweedFS) -> Iterator[Callable[[], str]]:
    """Return a function that makes a bucket which nobody else uses, on S3."""
    made: list[str] = []

    def make() -> str:
        made.append(f"buckets-{next(_numbers)}")
        seaweed.create_bucket(made[-1])
        return made[-1]

    yield make
    for name in made:
        seaweed.delete_bucket(name)


@pytest.fixture(params=["filesystem", "s3"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> BucketKeeper:
    if request.param == "filesystem":
        return FileBuckets(tmp_path, request.getfixturevalue("files"))
    return S3Buckets(request.getfixturevalue("s3"))


@pytest.fixture
def bucket(keeper: BucketKeeper, new_bucket: Callable[[], str], tmp_path: Path) -> str:
    """A bucket that is empty."""
    if isinstance(keeper, S3Buckets):
        return new_bucket()
    (tmp_path / "empty").mkdir()
    return "empty"


# --- checks --------------------------------------------------------------------------------------


async def test_a_fit_bucket_has_no_findings_and_is_left_empty(
    keeper: BucketKeeper, bucket: str, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    """Everything is tried, and nothing stays: no object, no multipart upload."""
    assert await keeper.inspect(bucket) == []

    if isinstance(keeper, S3Buckets):
        assert left(seaweed, bucket) == []
    else:
        assert list((tmp_path / bucket).rglob("*")) == []


def left(seaweed: SeaweedFS, bucket: str) -> list[str]:
    client = seaweed.client()
    try:
        objects = client.list_objects_v2(Bucket=bucket).get("Contents", [])
        uploads = client.list_multipart_uploads(Bucket=bucket).get("Uploads", [])
    finally:
        client.close()
    return [entry["Key"] for entry in [*objects, *uploads]]


async def test_a_bucket_that_does_not_exist(s3: WatchedS3) -> None:
    """On S3 a bucket is not made by us."""
    (only,) = await S3Buckets(s3).inspect("no-such-bucket")

    assert only.severity is Severity.ERROR
    assert "no bucket no-such-bucket" in only.reason


async def test_a_folder_that_cannot_be_used(files: WatchedFiles, tmp_path: Path) -> None:
    """A file in its place, or a name that leaves the root."""
    (tmp_path / "occupied").write_text("a file")
    keeper = FileBuckets(tmp_path, files)

    for name in ("occupied", "../elsewhere", "UPPER"):
        (only,) = await keeper.inspect(name)
        assert only.severity is Severity.ERROR


@pytest.mark.parametrize(
    ("operation", "what"),
    [
        ("PutObject", "storing an object"),
        ("GetObject", "reading a range"),
        ("CreateMultipartUpload", "storing in parts"),
        ("UploadPart", "storing in parts"),
        ("CompleteMultipartUpload", "storing in parts"),
        ("DeleteObject", "deleting an object"),
    ],
)
async def test_each_thing_that_does_not_work_is_named(
    shaky: WatchedS3, proxy: FaultyS3, operation: str, what: str
) -> None:
    """Whatever the service refuses makes the bucket unfit, with its own words as the reason."""
    proxy.fail(operation, Fault.DENIED, times=20)

    found = await S3Buckets(shaky).inspect(BUCKET)

    assert what in [each.what for each in found if each.severity is Severity.ERROR]
    assert all(each.reason and each.mend for each in found)


async def test_a_service_that_takes_whatever_parts_it_is_told(shaky: WatchedS3, proxy: FaultyS3) -> None:
    """One that does not look at ETags, or completes another object than was listed, is found out."""
    proxy.fail("CompleteMultipartUpload", Fault.NOTHING_WITH_200, times=2)

    found = await S3Buckets(shaky).inspect(BUCKET)

    assert {each.what for each in found} == {"storing in parts", "a part with another ETag"}


@pytest.mark.parametrize(("skew", "severity"), [(0, None), (-59, None), (61, "warning"), (-301, "error")])
def test_clocks(skew: float, severity: str | None) -> None:
    """Signatures hold for minutes, whoever is behind."""
    assert [each.severity for each in clock_findings(skew)] == ([severity] if severity else [])


async def test_lifecycle_rules_are_read(s3: WatchedS3, seaweed: SeaweedFS, new_bucket: Callable[[], str]) -> None:
    """A rule that deletes objects makes the bucket unfit."""
    bucket = new_bucket()
    rule = {"ID": "old", "Status": "Enabled", "Filter": {"Prefix": ""}, "Expiration": {"Days": 30}}
    set_up(seaweed, "put_bucket_lifecycle_configuration", bucket, LifecycleConfiguration={"Rules": [rule]})

    found = await S3Buckets(s3).inspect(bucket)

    assert [(each.severity, each.what) for each in found] == [(Severity.ERROR, "lifecycle rule old")]


async def test_versioning_is_read(s3: WatchedS3, seaweed: SeaweedFS, new_bucket: Callable[[], str]) -> None:
    """It costs, and that is all."""
    bucket = new_bucket()
    set_up(seaweed, "put_bucket_versioning", bucket, VersioningConfiguration={"Status": "Enabled"})

    found = await S3Buckets(s3).inspect(bucket)

    assert [(each.severity, each.what) for each in found] == [(Severity.WARNING, "versioning")]


async def test_object_lock_is_read(s3: WatchedS3, seaweed: SeaweedFS) -> None:
    """A bucket that can lock objects is refused."""
    client = seaweed.client()
    try:
        client.create_bucket(Bucket="locked", ObjectLockEnabledForBucket=True)
    finally:
        client.close()

    found = await S3Buckets(s3).inspect("locked")
    seaweed.delete_bucket("locked")

    assert (Severity.ERROR, "object lock") in [(each.severity, each.what) for each in found]


async def test_a_bucket_for_certain_addresses(s3: WatchedS3, seaweed: SeaweedFS, new_bucket: Callable[[], str]) -> None:
    """Clients cannot be sent there."""
    bucket = new_bucket()
    keeper = S3Buckets(s3)
    assert not await keeper.is_restricted(bucket)
    statement = {
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:GetObject",
        "Resource": f"arn:aws:s3:::{bucket}/*",
        "Condition": {"NotIpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    }
    policy = {"Version": "2012-10-17", "Statement": [statement]}
    set_up(seaweed, "put_bucket_policy", bucket, Policy=json.dumps(policy))

    assert await keeper.is_restricted(bucket)


def set_up(seaweed: SeaweedFS, operation: str, bucket: str, **parameters: Any) -> None:
    client = seaweed.client()
    try:
        getattr(client, operation)(Bucket=bucket, **parameters)
    finally:
        client.close()


async def test_buckets_are_listed(keeper: BucketKeeper, bucket: str) -> None:
    """What can be chosen."""
    assert bucket in await keeper.list_buckets()


async def test_whether_the_storage_can_be_reached(keeper: BucketKeeper) -> None:
    """Without any bucket."""
    await keeper.check_reachable()


async def test_a_service_that_refuses_can_be_reached(shaky: WatchedS3, proxy: FaultyS3) -> None:
    """What matters is that it answers; one that says that it cannot is away."""
    keeper = S3Buckets(shaky)
    proxy.fail("ListBuckets", Fault.DENIED)
    await keeper.check_reachable()
    assert proxy.reached.is_set()

    proxy.fail("ListBuckets", Fault.INTERNAL_ERROR, times=20)
    with pytest.raises(StorageUnavailable):
        await keeper.check_reachable()


async def test_a_folder_that_is_not_there_cannot_be_reached(files: WatchedFiles, tmp_path: Path) -> None:
    """Neither the folder nor the one that it would be made in."""
    with pytest.raises(StorageUnavailable):
        await FileBuckets(tmp_path / "gone" / "buckets", files).check_reachable()


# --- markers -------------------------------------------------------------------------------------


async def test_a_bucket_that_is_away_is_not_one_without_a_marker(keeper: BucketKeeper) -> None:
    """Or it could be marked anew, or what lies in it be taken for removed."""
    with pytest.raises(BucketMissing):
        await keeper.read_marker("no-such-bucket")


async def test_a_marker_is_written_once_and_rewritten(keeper: BucketKeeper, bucket: str) -> None:
    """One that has appeared meanwhile is left alone; whoever knows of it may replace it."""
    assert await keeper.read_marker(bucket) is None
    assert not await keeper.write_marker(bucket, b"zeroth", instead=b"gone")
    assert await keeper.read_marker(bucket) is None
    assert await keeper.write_marker(bucket, b"first", instead=None)
    assert not await keeper.write_marker(bucket, b"second", instead=None)
    assert not await keeper.write_marker(bucket, b"second", instead=b"zeroth")
    assert await keeper.read_marker(bucket) == b"first"

    assert await keeper.write_marker(bucket, b"third", instead=b"first")

    assert await keeper.read_marker(bucket) == b"third"


async def test_another_process_has_written_the_same_marker(keeper: BucketKeeper, bucket: str) -> None:
    """Two gateways of an installation may start for the first time at once: neither has lost the bucket."""
    assert await keeper.write_marker(bucket, b"ours", instead=None)

    assert await keeper.write_marker(bucket, b"ours", instead=None)


@pytest.mark.parametrize("first", [None, b"first"])
async def test_one_of_many_writes_the_marker(keeper: BucketKeeper, bucket: str, first: bytes | None) -> None:
    """All have seen the same one, or none, and each wants another one there."""
    if first is not None:
        assert await keeper.write_marker(bucket, first, instead=None)
    wanted = [f"of {number}".encode() for number in range(20)]

    won = await asyncio.gather(*(keeper.write_marker(bucket, each, instead=first) for each in wanted))

    found = await keeper.read_marker(bucket)
    assert [each for each, has_won in zip(wanted, won, strict=True) if has_won] == [found]


@pytest.mark.parametrize("first", [None, b"first"])
async def test_a_service_without_conditions(
    shaky: WatchedS3, proxy: FaultyS3, new_bucket: Callable[[], str], first: bytes | None
) -> None:
    """The marker is written all the same, and read back."""
    keeper = S3Buckets(shaky)
    bucket = new_bucket()
    if first is not None:
        assert await keeper.write_marker(bucket, first, instead=None)
    proxy.fail("PutObject", Fault.NOT_IMPLEMENTED)

    assert await keeper.write_marker(bucket, b"marker", instead=first)
    assert proxy.reached.is_set()


# --- addresses -----------------------------------------------------------------------------------


async def test_each_endpoint_has_its_own_address(seaweed: SeaweedFS) -> None:
    """Signed for the host that the client will ask, on which the signature depends."""
    port = urlsplit(seaweed.endpoint_url).port
    changes = {"public_endpoint_url": f"http://localhost:{port}"}
    async with S3Storage(settings(seaweed, seaweed.endpoint_url, **changes)) as storage:
        hosts = [
            urlsplit(await storage.presign(Location(BUCKET, "key"), endpoint) or "").netloc for endpoint in Endpoint
        ]
        found = await S3Buckets(storage).inspect(BUCKET)

    assert hosts == [f"localhost:{port}", f"127.0.0.1:{port}"]
    assert found == []

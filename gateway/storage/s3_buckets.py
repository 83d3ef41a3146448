"""Buckets of an S3 service: which there are, whether one is fit for a registry, and whose it is."""

from __future__ import annotations

import time
from contextlib import suppress
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

from gateway.errors import ConfigurationError, StorageUnavailable
from gateway.model.findings import Finding, Severity
from gateway.ports.buckets import MARKER_KEY
from gateway.ports.storage import Location
from gateway.storage.answers import NO_OBJECT, NO_SUCH_CALL, Refused, domain_error, exactly
from gateway.storage.bucket_settings import (
    acl_findings,
    lifecycle_findings,
    object_lock_findings,
    policy_findings,
    restricts_addresses,
    versioning_findings,
)
from gateway.storage.bucket_trial import BucketTrial

if TYPE_CHECKING:
    from gateway.storage.s3 import S3Storage

_NOTHING_SET = frozenset(
    {
        "NoSuchLifecycleConfiguration",
        "NoSuchBucketPolicy",
        "ObjectLockConfigurationNotFoundError",
        "ObjectLockConfigurationNotFound",
        *NO_SUCH_CALL,
    }
)
_CONDITION_FAILED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
_NO_CONDITIONS = frozenset({"NotImplemented", "InvalidArgument", "InvalidRequest", "501", "400"})
_SKEW_TO_WARN_OF, _SKEW_TO_REFUSE = 60.0, 300.0


class S3Buckets:
    """A BucketKeeper of one S3 service."""

    def __init__(self, storage: S3Storage) -> None:
        self._storage = storage

    @property
    def name(self) -> str:
        """What tells this storage from others."""
        return self._storage.name

    @property
    def can_redirect(self) -> bool:
        """Return True: addresses are signed for whoever reaches the service."""
        return True

    async def check_reachable(self) -> None:
        """Ask for what needs no bucket; a refusal is an answer as well."""
        with suppress(Refused):
            await self._storage.ask("list_buckets")

    async def list_buckets(self) -> list[str]:
        """Return the buckets of the account, none where it may not list them."""
        try:
            answer = await self._storage.ask("list_buckets")
        except Refused:
            return []
        return [str(each["Name"]) for each in answer.get("Buckets", [])]

    async def inspect(self, bucket: str, *, make: bool = True) -> list[Finding]:
        """Look at the bucket's settings and try it out."""
        try:
            await self._storage.check_bucket(bucket, make=make)
        except ConfigurationError as error:
            return [Finding(Severity.ERROR, "bucket", str(error), "mend it as it says, or take another bucket")]
        return [
            *await self._clock(bucket),
            *await self._settings(bucket),
            *await BucketTrial(self._storage, bucket).run(),
        ]

    async def is_restricted(self, bucket: str) -> bool:
        """Whether the bucket's policy, as far as it may be read, lets certain addresses in only."""
        answer, _ = await self._setting(bucket, "get_bucket_policy", "")
        return bool(answer) and restricts_addresses(answer["Policy"])

    async def read_marker(self, bucket: str) -> bytes | None:
        """Return the content of the marker."""
        content, _ = await self._read(bucket)
        return content

    async def write_marker(self, bucket: str, content: bytes, *, instead: bytes | None) -> bool:
        """Write the marker, on a condition where the service knows conditions, and see what is there then."""
        current, etag = await self._read(bucket)
        if current != instead:
            return current == content
        condition = {"IfNoneMatch": "*"} if current is None else {"IfMatch": etag}
        marker = {"Bucket": bucket, "Key": MARKER_KEY, "Body": content, "ContentType": "application/json"}
        try:
            await self._put_if(condition, marker)
        except Refused as error:
            if error.code not in _CONDITION_FAILED:
                raise domain_error(error.code, f"the bucket {bucket} cannot be marked as ours: {error}") from error
        return await self.read_marker(bucket) == content

    async def _put_if(self, condition: dict[str, str], marker: dict[str, Any]) -> None:
        try:
            await self._storage.ask("put_object", **marker, **condition)
        except Refused as error:
            if error.code not in _NO_CONDITIONS:
                raise
            await self._storage.ask("put_object", **marker)

    async def _read(self, bucket: str) -> tuple[bytes | None, str]:
        """Return the marker and its ETag, by one call: it may change at any time."""
        try:
            answer = await self._storage.ask("get_object", Bucket=bucket, Key=MARKER_KEY)
        except Refused as error:
            if error.code in NO_OBJECT:
                return None, ""
            raise domain_error(error.code, f"reading {MARKER_KEY} failed: {error}") from error
        except ConfigurationError as error:
            raise StorageUnavailable(str(error)) from error
        async with answer["Body"] as body:
            chunks = exactly(body.iter_chunks(), answer["ContentLength"], Location(bucket, MARKER_KEY))
            return b"".join([chunk async for chunk in chunks]), answer["ETag"]

    async def _clock(self, bucket: str) -> list[Finding]:
        before = time.time()
        try:
            answer = await self._storage.ask("head_bucket", Bucket=bucket)
        except Refused:
            return []
        date = answer["ResponseMetadata"]["HTTPHeaders"].get("date")
        if date is None:
            return []
        return clock_findings(parsedate_to_datetime(date).timestamp() - (before + time.time()) / 2)

    async def _settings(self, bucket: str) -> list[Finding]:
        lifecycle, found = await self._setting(
            bucket, "get_bucket_lifecycle_configuration", "lifecycle rules may delete objects that images need"
        )
        rules = lifecycle.get("Rules", [])
        lock, more = await self._setting(bucket, "get_object_lock_configuration", "object lock may keep objects")
        policy, _ = await self._setting(bucket, "get_bucket_policy", "")
        versioning, _ = await self._setting(bucket, "get_bucket_versioning", "")
        acl, _ = await self._setting(bucket, "get_bucket_acl", "")
        return [
            *(*found, *more),
            *object_lock_findings(lock),
            *lifecycle_findings(rules),
            *versioning_findings(versioning, rules),
            *(policy_findings(policy["Policy"]) if policy else []),
            *acl_findings(acl),
        ]

    async def _setting(self, bucket: str, operation: str, danger: str) -> tuple[dict[str, Any], list[Finding]]:
        """Ask for a setting, and warn where it may not be read although there is a ``danger``."""
        try:
            return await self._storage.ask(operation, Bucket=bucket), []
        except Refused as error:
            if error.code in _NOTHING_SET or not danger:
                return {}, []
            what = operation.removeprefix("get_").replace("_", " ")
            reason = f"it cannot be read ({error}), and {danger}"
            return {}, [Finding(Severity.WARNING, what, reason, f"look for yourself, or allow {operation} to our key")]


def clock_findings(skew: float) -> list[Finding]:
    """Judge by how many seconds the service's clock is ahead of ours."""
    if abs(skew) < _SKEW_TO_WARN_OF:
        return []
    severity = Severity.WARNING if abs(skew) < _SKEW_TO_REFUSE else Severity.ERROR
    reason = f"the storage's clock and ours differ by {abs(skew):.0f} s, and signatures hold for a few minutes only"
    return [Finding(severity, "clock", reason, "synchronise this machine's clock, with chrony or systemd-timesyncd")]

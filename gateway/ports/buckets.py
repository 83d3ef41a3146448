"""The port of buckets as such: which there are, whether one is fit for a registry, and whose it is.

All methods raise StorageUnavailable when the storage cannot be reached or refuses for a passing reason.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from gateway.model.findings import Finding

MARKER_KEY = "slipway/registry.json"
"""The one key of a bucket whose object is ever rewritten."""


@dataclass(frozen=True, slots=True)
class BucketUse:
    """A bucket that can be seen."""

    bucket: str
    registry: str | None
    """Name of the registry that has it."""


class BucketKeeper(Protocol):
    """The buckets of one storage."""

    @property
    def name(self) -> str:
        """What tells this storage from others, in the database."""
        ...

    @property
    def can_redirect(self) -> bool:
        """Whether there are addresses that clients can be sent to for a blob."""
        ...

    async def check_reachable(self) -> None:
        """Return if the storage answers at all, whatever it says of our rights; this is asked all the time."""
        ...

    async def list_buckets(self) -> list[str]:
        """Return the buckets that can be chosen; none where they may not be listed."""
        ...

    async def inspect(self, bucket: str, *, make: bool = True) -> list[Finding]:
        """Try everything that a registry needs of a bucket, with objects of our own that are removed again.

        For ``make`` see BlobStorage.check_bucket.
        """
        ...

    async def is_restricted(self, bucket: str) -> bool:
        """Whether the bucket answers to certain addresses only, so that clients cannot be sent there."""
        ...

    async def read_marker(self, bucket: str) -> bytes | None:
        """Return the content of the marker, None without one; raises BucketMissing when there is no bucket."""
        ...

    async def write_marker(self, bucket: str, content: bytes, *, instead: bytes | None) -> bool:
        """Write the marker in place of what was read before, None if there was none.

        False if it is not there afterwards: another one has appeared since, which is left alone where the storage
        can do so.
        """
        ...

"""Markers: the object in each bucket that says whose the bucket is, so that two installations never share one."""

from __future__ import annotations

import time
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Self

import orjson

from gateway.errors import AlreadyTaken, ValueRefused
from gateway.ports.buckets import MARKER_KEY

if TYPE_CHECKING:
    from gateway.ports.buckets import BucketKeeper
    from gateway.ports.metadata import Registry

_SECONDS_BETWEEN_LOOKS = 60.0


class State(StrEnum):
    """What has become of a registry."""

    LIVING = "living"
    DELETED = "deleted"


@dataclass(frozen=True, slots=True)
class Marker:
    """Whose a bucket is."""

    installation: str
    registry: str
    """The registry's public id, which stands in the keys of its objects."""
    generation: int
    """Counts how often the registry was taken over from the bucket."""
    state: State

    @classmethod
    def parse(cls, content: bytes) -> Self:
        """Read a marker; raises ValueError."""
        try:
            match orjson.loads(content):
                case {
                    "installation": str(installation),
                    "registry": str(registry),
                    "generation": int(generation),
                    "state": str(state),
                }:
                    return cls(installation, registry, generation, State(state))
        except ValueError as error:
            raise ValueError(f"{MARKER_KEY} is no marker of a registry") from error
        raise ValueError(f"{MARKER_KEY} is no marker of a registry")

    def content(self) -> bytes:
        """Write it down."""
        values = {
            "installation": self.installation,
            "registry": self.registry,
            "generation": self.generation,
            "state": self.state,
        }
        return orjson.dumps(values, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


class Markers:
    """The markers of one installation's buckets."""

    def __init__(self, keeper: BucketKeeper, installation: str) -> None:
        self._keeper = keeper
        self._installation = installation
        self._looked: dict[tuple[int, int], tuple[float, bool]] = {}

    async def look(self, bucket: str) -> Marker | None:
        """Return a bucket's marker; raises ValueRefused when something else lies in its place."""
        return _parsed(bucket, await self._keeper.read_marker(bucket))

    def is_foreign(self, marker: Marker | None, *, lost: str | None = None) -> bool:
        """Whether a bucket belongs to a living registry of another installation.

        ``lost`` is one that is gone for good, so that its markers count for nothing.
        """
        if marker is None or marker.state is not State.LIVING:
            return False
        return marker.installation not in {self._installation, lost}

    def is_of(self, marker: Marker | None, registry: Registry) -> bool:
        """Whether a marker says that the bucket is this registry's."""
        return marker == self._marker(registry, State.LIVING)

    def is_ours(self, marker: Marker) -> bool:
        """Whether this installation has written a marker."""
        return marker.installation == self._installation

    async def claim(self, registry: Registry, *, lost: str | None = None) -> None:
        """Mark a bucket as that of a living registry of ours; raises AlreadyTaken, or ValueRefused (see ``look``).

        See ``is_foreign`` for ``lost``.
        """
        found = await self._keeper.read_marker(registry.bucket)
        current, wanted = _parsed(registry.bucket, found), self._marker(registry, State.LIVING)
        if self.is_of(current, registry):
            return
        if self.is_foreign(current, lost=lost) or (current and _is_later(current, wanted)):
            raise AlreadyTaken(taken_by_another(registry.bucket, current))
        if not await self._keeper.write_marker(registry.bucket, wanted.content(), instead=found):
            raise AlreadyTaken(taken_by_another(registry.bucket, None))

    async def release(self, registry: Registry) -> None:
        """Mark a bucket as free, unless it is somebody else's by now."""
        found = await self._keeper.read_marker(registry.bucket)
        if self.is_of(_parsed(registry.bucket, found), registry):
            gone = self._marker(registry, State.DELETED)
            await self._keeper.write_marker(registry.bucket, gone.content(), instead=found)

    async def may_remove(self, registry: Registry) -> bool:
        """Whether objects under a registry's keys are ours to delete: nobody has taken it over since.

        One that we take over is ours before its marker, which is written last, says so. What was seen holds for a
        minute.
        """
        key = registry.id, registry.generation
        now = time.monotonic()
        looked = self._looked.get(key)
        if looked is None or now - looked[0] > _SECONDS_BETWEEN_LOOKS:
            current = await self.look(registry.bucket)
            ours = self._marker(registry, State.LIVING)
            looked = self._looked[key] = now, current is None or not _is_later(current, ours)
        return looked[1]

    async def objection(self, registry: Registry) -> str | None:
        """Say that somebody has taken a registry over since; see ports.collection.Guard."""
        return None if await self.may_remove(registry) else "another installation has taken the registry over"

    def _marker(self, registry: Registry, state: State) -> Marker:
        return Marker(self._installation, registry.public_id, registry.generation, state)


def _parsed(bucket: str, content: bytes | None) -> Marker | None:
    try:
        return None if content is None else Marker.parse(content)
    except ValueError as error:
        raise ValueRefused(f"the bucket {bucket} cannot be used: {error}", "bucket") from error


def taken_by_another(bucket: str, marker: Marker | None) -> str:
    """Say why a bucket cannot be had, and what to do if that is wrong."""
    if marker is None:
        return f"the bucket {bucket} belongs to a registry of another installation: take another bucket"
    return (
        f"the bucket {bucket} belongs to a registry of another installation: take another bucket, or, if that "
        f"installation is gone for good, take its images over with `slipway registry create NAME --bucket {bucket} "
        f"--from-lost-installation {marker.installation}`"
    )


def _is_later(current: Marker, wanted: Marker) -> bool:
    """Whether somebody has taken the registry over since."""
    if current.registry != wanted.registry:
        return False
    is_rival = current.generation == wanted.generation and current.installation != wanted.installation
    return is_rival or current.generation > wanted.generation

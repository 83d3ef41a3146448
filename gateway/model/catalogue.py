"""The catalogue in a bucket: what a segment is, and how it is written down.

A segment is an object of gzipped lines of JSON. The first line is its header, every other one a record: the kind of an
entity, its id, and what it is (null: it is gone). Records say what an entity was when the segment was drawn, so that of
several the last counts. Ids are those of rows, and mean the same as long as the lineage is the same.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import asdict, dataclass
from enum import StrEnum
from gzip import compress
from typing import TYPE_CHECKING, NamedTuple, Self

import orjson

from gateway.model.keys import folder_of

if TYPE_CHECKING:
    from collections.abc import Iterable

FORMAT = 1
LARGEST_SEGMENT = 64 * 1024 * 1024
"""Bytes of a segment, when unpacked, beyond which it is none of ours."""
_GZIP = 16 + zlib.MAX_WBITS
_KEY = re.compile(r"slipway/([0-9a-f]{32})/catalogue/([0-9]{1,9})/([0-9]{16})-[0-9a-f]{32}")


class Kind(StrEnum):
    """What is in a catalogue, each kind behind those that it refers to."""

    REGISTRY = "registry"
    REPOSITORY = "repository"
    DELETION = "deletion"
    BLOB = "blob"
    MANIFEST = "manifest"
    TAG = "tag"
    REPOSITORY_BLOB = "repository_blob"


class Record(NamedTuple):
    """What an entity was."""

    kind: Kind
    id: int
    state: str | None
    """A JSON object; None when there is no such entity any more."""


@dataclass(frozen=True, slots=True)
class Header:
    """Where a segment stands in its catalogue."""

    registry: str
    """Public id."""
    generation: int
    lineage: int
    seq: int
    """Number within the catalogue, from 1."""
    previous: str | None
    """Key of the segment before."""
    base: str | None
    """Key of the segment at which a reader begins; None while there is no whole series yet."""
    written_at: str


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment that was read."""

    header: Header
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True, order=True)
class SegmentKey:
    """What the key of a segment tells; ordered as the segments are."""

    generation: int
    seq: int
    key: str

    @classmethod
    def parse(cls, key: str, registry: str) -> Self | None:
        """Read a key; None when it is not one of this registry's segments."""
        match = _KEY.fullmatch(key)
        if match is None or match[1] != registry:
            return None
        return cls(int(match[2]), int(match[3]), key)


def catalogue_prefix(registry: str, generation: int | None = None) -> str:
    """Return what the keys of a registry's segments begin with, of one generation or of all."""
    whole = f"{folder_of(registry)}catalogue/"
    return whole if generation is None else f"{whole}{generation}/"


def segment_key(registry: str, generation: int, seq: int, random: str) -> str:
    """Return the key of a segment; ``random`` has 32 hexadecimal digits."""
    return f"{catalogue_prefix(registry, generation)}{seq:016}-{random}"


def encode(header: Header, records: Iterable[Record]) -> bytes:
    """Write a segment down."""
    body = [f'["{each.kind}",{each.id},{each.state or "null"}]' for each in records]
    first = orjson.dumps({"format": FORMAT, "records": len(body), **asdict(header)}).decode()
    return compress("\n".join([first, *body, ""]).encode("utf-8"), mtime=0)


def decode(content: bytes) -> Segment:
    """Read a segment; raises ValueError with what is wrong with it."""
    # Not splitlines: texts may contain other characters that end a line.
    first, *lines = _unpacked(content).removesuffix(b"\n").split(b"\n")
    header, count = _header(_parsed(first))
    records = tuple(_record(_parsed(line)) for line in lines)
    if len(records) != count:
        raise ValueError(f"it has {len(records)} records instead of {count}")
    return Segment(header, records)


def _header(found: object) -> tuple[Header, int]:
    """Read the first line; return the number of records as well."""
    match found:
        case {"format": int(version)} if version != FORMAT:
            raise ValueError(f"it is of format {version}, and this version of the program reads format {FORMAT}")
        case {
            "format": int(),
            "records": int(count),
            "registry": str(registry),
            "generation": int(generation),
            "lineage": int(lineage),
            "seq": int(seq),
            "previous": (str() | None) as previous,
            "base": (str() | None) as base,
            "written_at": str(written_at),
        }:
            return Header(registry, generation, lineage, seq, previous, base, written_at), count
    raise ValueError("its first line is not that of a segment")


def _unpacked(content: bytes) -> bytes:
    unpacking = zlib.decompressobj(_GZIP)
    try:
        text = unpacking.decompress(content, LARGEST_SEGMENT)
    except zlib.error as error:
        raise ValueError(f"it cannot be unpacked: {error}") from error
    if not unpacking.eof:
        raise ValueError("it is cut off, or larger than any segment")
    return text


def _parsed(line: bytes) -> object:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        raise ValueError(f"it is not JSON: {error}") from error


def _record(line: object) -> Record:
    match line:
        case [str(kind), int(entity_id), dict() | None as state]:
            return Record(Kind(kind), entity_id, None if state is None else orjson.dumps(state).decode())
    raise ValueError("a record is not one")

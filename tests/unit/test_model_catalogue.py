"""Segments of a catalogue: what is written is read, and what is damaged is not believed."""

from __future__ import annotations

import gzip
from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as some

from gateway.model.catalogue import (
    LARGEST_SEGMENT,
    Header,
    Kind,
    Record,
    Segment,
    SegmentKey,
    catalogue_prefix,
    decode,
    encode,
    segment_key,
)

REGISTRY = "7" * 32
HEADER = Header(REGISTRY, 3, 1, 12, "before", "base", "2026-01-01T00:00:00+00:00")
RECORDS = (Record(Kind.TAG, 5, '{"name":"v1"}'), Record(Kind.BLOB, 6, None))


@given(some.lists(some.text(), max_size=5))
def test_what_is_written_is_read(texts: list[str]) -> None:
    """Whatever characters people use, line ends of all kinds included."""
    records = tuple(
        Record(Kind.MANIFEST, each, orjson.dumps({"raw": text}).decode()) for each, text in enumerate(texts)
    )

    assert decode(encode(HEADER, records)) == Segment(HEADER, records)


def test_people_can_read_it_with_zcat() -> None:
    """It is gzip, and lines of JSON."""
    first, *lines = gzip.decompress(encode(HEADER, RECORDS)).splitlines()

    assert orjson.loads(first)["seq"] == 12
    assert [orjson.loads(line) for line in lines] == [["tag", 5, {"name": "v1"}], ["blob", 6, None]]


def test_the_same_is_written_alike() -> None:
    """A segment is stored again with the same bytes."""
    assert encode(HEADER, RECORDS) == encode(replace(HEADER), RECORDS)


def _packed(*lines: object) -> bytes:
    return gzip.compress(b"\n".join(map(orjson.dumps, lines)) + b"\n")


WHOLE = encode(HEADER, RECORDS)
FIRST = orjson.loads(gzip.decompress(WHOLE).splitlines()[0])
TAG = ["tag", 5, {}]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no gzip",
        WHOLE[:-1],
        WHOLE[: len(WHOLE) // 2],
        WHOLE[:20] + bytes([WHOLE[20] ^ 1]) + WHOLE[21:],
        gzip.compress(b""),
        gzip.compress(b"not json\n"),
        gzip.compress(bytes(LARGEST_SEGMENT + 1)),
        _packed([]),
        _packed(FIRST | {"format": 2}, TAG, TAG),
        _packed({name: FIRST[name] for name in FIRST if name != "seq"}, TAG, TAG),
        _packed(FIRST | {"seq": "12"}, TAG, TAG),
        _packed(FIRST, TAG),
        _packed(FIRST, TAG, TAG, TAG),
        _packed(FIRST, TAG, ["unheard", 5, {}]),
        _packed(FIRST, TAG, ["tag", "5", {}]),
        _packed(FIRST, TAG, ["tag", 5, "text"]),
        _packed(FIRST, TAG, {}),
    ],
    ids=range(18),
)
def test_what_is_damaged_is_refused(content: bytes) -> None:
    """Cut off, changed, of a later version, or somebody else's."""
    with pytest.raises(ValueError, match=r"."):
        decode(content)


def test_keys_are_ordered_as_segments_are() -> None:
    """By generation and number, however many digits the generation has."""
    keys = [segment_key(REGISTRY, generation, seq, "a" * 32) for generation, seq in [(10, 3), (9, 12), (9, 2)]]

    found = sorted(parsed for key in keys if (parsed := SegmentKey.parse(key, REGISTRY)))

    assert [(each.generation, each.seq) for each in found] == [(9, 2), (9, 12), (10, 3)]
    assert all(each.key.startswith(catalogue_prefix(REGISTRY, each.generation)) for each in found)


@pytest.mark.parametrize(
    "key",
    [
        segment_key("8" * 32, 1, 1, "a" * 32),
        f"slipway/{REGISTRY}/objects/{'a' * 32}",
        f"slipway/{REGISTRY}/catalogue/1/.{1:016}-{'a' * 32}-{'b' * 16}",
        f"slipway/{REGISTRY}/catalogue/1/{1:015}-{'a' * 32}",
        segment_key(REGISTRY, 1, 1, "a" * 32) + "x",
    ],
)
def test_other_keys_are_no_segments(key: str) -> None:
    """Those of other registries, of blobs, of drafts."""
    assert SegmentKey.parse(key, REGISTRY) is None

"""Ranges of requests and of chunks (protocol 1.6 and 1.7), against models written in another way."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gateway.errors import RangesInvalid, RangeUnsatisfiable
from gateway.model.ranges import ByteRange, parse_chunk_range, parse_ranges

SIZES = st.integers(1, 60)
NUMBERS = st.integers(0, 80)
SPACES = st.sampled_from(["", " ", "  ", "\t"])


@st.composite
def specs(draw: st.DrawFn) -> tuple[int | None, int | None]:
    """Draw one range as the client means it: first and last byte, one of which may be left out."""
    first = draw(st.none() | NUMBERS)
    return first, draw(NUMBERS if first is None else st.none() | NUMBERS)


def naive(first: int | None, last: int | None, size: int) -> list[int]:
    """List the numbers of the bytes that a range stands for."""
    everything = range(size)
    if first is None:
        assert last is not None
        return list(everything)[-last:] if last else []
    return [number for number in everything if number >= first and (last is None or number <= last)]


def written(first: int | None, last: int | None) -> str:
    return f"{'' if first is None else first}-{'' if last is None else last}"


@given(asked=st.lists(specs(), min_size=1, max_size=6), size=SIZES, data=st.data())
def test_ranges_are_those_of_a_naive_model(
    asked: list[tuple[int | None, int | None]], size: int, data: st.DataObject
) -> None:
    """Every range gives exactly its bytes, in order, unmerged; empty ones drop out; too many bytes are refused."""
    pieces = [data.draw(SPACES) + written(*spec) + data.draw(SPACES) for spec in asked]
    header = "bytes=" + ",".join(pieces)
    wanted = [numbers for spec in asked if (numbers := naive(*spec, size))]
    if not wanted:
        with pytest.raises(RangeUnsatisfiable) as unsatisfiable:
            parse_ranges(header, size)
        assert unsatisfiable.value.size == size
    elif len(wanted) > 1 and sum(map(len, wanted)) > size:
        with pytest.raises(RangesInvalid):
            parse_ranges(header, size)
    else:
        found = parse_ranges(header, size)
        assert found is not None
        assert [list(range(each.start, each.stop)) for each in found] == wanted


@given(header=st.text(), size=st.integers(0, 100))
@example("bytes=\u0660-\u0665", 10)
@example("bytes=0-5\n", 10)
@example("bytes=" + "9" * 10_000 + "-", 10)
@example("bytes=" + "-" * 10_000, 10)
@example("bytes=" + "," * 10_000, 10)
def test_any_text_is_ranges_or_nothing(header: str, size: int) -> None:
    """No header raises anything but the two domain errors, and what comes out lies within the content."""
    try:
        found = parse_ranges(header, size)
    except (RangesInvalid, RangeUnsatisfiable):
        return
    for each in found or []:
        assert 0 <= each.start < each.stop <= size


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=abc",
        "items=0-1",
        "bytes=0-1;2-3",
        "bytes=0-1,x",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=\u0661-\u0662",
        "bytes=1.5-2",
        "bytes=0x1-0x2",
        "0-1",
        "bytes 0-1",
    ],
)
def test_garbage_is_ignored(header: str) -> None:
    """What is no range of bytes counts as no header at all."""
    assert parse_ranges(header, 2048) is None


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-5", "bytes=5-9", "bytes=0-0,1-1"])
def test_empty_content_has_no_ranges(header: str) -> None:
    """On empty content every range is ignored, for clients expect 200."""
    assert parse_ranges(header, 0) is None


@pytest.mark.parametrize(("count", "allowed"), [(1, True), (1024, True), (1025, False), (5000, False)])
def test_number_of_ranges(count: int, *, allowed: bool) -> None:
    """1,024 ranges are served, more are refused, whether or not they have a byte."""
    header = "bytes=" + ",".join(f"{2 * number}-{2 * number}" for number in range(count))
    if allowed:
        assert len(parse_ranges(header, 100_000) or []) == count
    else:
        with pytest.raises(RangesInvalid):
            parse_ranges(header, 100_000)
        with pytest.raises(RangesInvalid):
            parse_ranges(header, 1)


@given(size=SIZES, cuts=st.lists(st.integers(1, 59), unique=True))
def test_content_range_names_first_and_last_byte(size: int, cuts: list[int]) -> None:
    """A part's Content-Range has inclusive numbers and the size of the whole."""
    borders = [0, *sorted(cut for cut in cuts if cut < size), size]
    for start, stop in itertools.pairwise(borders):
        part = ByteRange(start, stop)
        assert part.content_range(size) == f"bytes {start}-{stop - 1}/{size}"
        assert part.length == stop - start


@given(first=st.integers(0, 10**18), length=st.integers(1, 10**15), total=st.none() | st.integers(0, 10**18))
def test_chunk_range_is_read_in_both_forms(first: int, length: int, total: int | None) -> None:
    """``a-b`` is what clients send; ``bytes a-b/c`` means the same."""
    last = first + length - 1
    expected = ByteRange(first, first + length)
    assert parse_chunk_range(f"{first}-{last}") == expected
    assert parse_chunk_range(f" {first}-{last} ") == expected
    assert parse_chunk_range(f"bytes {first}-{last}/{'*' if total is None else total}") == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "5",
        "-",
        "5-",
        "-5",
        "9-0",
        "a-b",
        "0-5-9",
        "bytes=0-5",
        "0 - 5",
        "0-5,6-9",
        "+0-5",
        "0x0-0x5",
        "1.0-2.0",
        "\u0660-\u0665",
        "0-" + "9" * 40,
        "bytes */5",
        "items 0-5/6",
        "0-5/x",
    ],
)
def test_chunk_range_that_cannot_be_read(header: str) -> None:
    """Anything else, or an end before the start, is none."""
    assert parse_chunk_range(header) is None


@given(header=st.text())
def test_any_text_is_a_chunk_range_or_none(header: str) -> None:
    """No header raises; what comes out has at least one byte."""
    found = parse_chunk_range(header)
    assert found is None or 0 <= found.start < found.stop

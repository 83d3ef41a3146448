"""Protocol 1.6, the range table, and edge cases 14 to 16: a blob of 2,048 bytes asked for in pieces."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from .content import BLOB, noise, sha256
from .rows import Case, Names, blob, play, row, story, table
from .wire import Address, Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable

_GET = "/v2/{shelf}/blobs/{blob}"
_ETAG = '"{blob}"'
_HEADERS = {"Docker-Content-Digest": "{blob}", "Accept-Ranges": "bytes", "ETag": _ETAG}


def parts_of(answer: Answer) -> list[tuple[str, bytes]]:
    """Take a multipart/byteranges body apart: the Content-Range and the bytes of each part."""
    match = re.fullmatch(r'multipart/byteranges; ?boundary="?([\w\'()+,./:=?-]{1,70})"?', answer["Content-Type"])
    assert match, str(answer)
    boundary = match[1].encode()
    body = answer.body if answer.body.startswith(b"\r\n") else b"\r\n" + answer.body
    opening, *pieces = body.split(b"\r\n--" + boundary)
    assert opening == b"", f"bytes before the first part: {opening[:100]!r}"
    assert pieces.pop().strip(b"\r\n \t") == b"--", "the closing boundary is missing"
    parts = []
    for piece in pieces:
        fields, _, content = piece.partition(b"\r\n\r\n")
        names = dict(line.split(": ", 1) for line in fields.decode("ascii").strip().split("\r\n"))
        found = {name.lower(): value for name, value in names.items()}
        assert found["content-type"] == "application/octet-stream"
        parts.append((found["content-range"], content))
    return parts


def in_parts(*spans: tuple[int, int], content: bytes = BLOB) -> Callable[[Answer], None]:
    """Expect one part for each span, in this order, each with its Content-Range."""

    def check(answer: Answer) -> None:
        wanted = [(f"bytes {a}-{b}/{len(content)}", content[a : b + 1]) for a, b in spans]
        assert parts_of(answer) == wanted

    return check


SINGLE = [
    row(
        f"1.6 Range: {asked} gives {first} to {last}",
        "GET",
        _GET,
        206,
        headers={"Range": asked},
        has={
            **_HEADERS,
            "Content-Range": f"bytes {first}-{last}/2048",
            "Content-Length": str(last - first + 1),
            "Content-Type": "application/octet-stream",
        },
        body_is=BLOB[first : last + 1],
    )
    for asked, first, last in [
        ("bytes=500-1499", 500, 1499),
        ("bytes=500-", 500, 2047),
        ("bytes=-500", 1548, 2047),
        ("bytes=2000-5000", 2000, 2047),
        ("bytes=1024-2048", 1024, 2047),
        ("bytes=-9999", 0, 2047),
        ("bytes=-5", 2043, 2047),
        ("bytes=0-", 0, 2047),
        ("bytes=0-0", 0, 0),
        ("bytes=2047-2047", 2047, 2047),
        ("bytes=2047-", 2047, 2047),
        ("bytes=0-2047", 0, 2047),
        ("bytes=-2048", 0, 2047),
        ("bytes=-1", 2047, 2047),
        ("bytes=0-9223372036854775807", 0, 2047),
        ("bytes=000500-0001499", 500, 1499),
        ("BYTES=500-1499", 500, 1499),
    ]
]

UNSATISFIABLE = [
    row(
        f"1.6 Range: {asked} is 416",
        "GET",
        _GET,
        416,
        headers={"Range": asked},
        has={"Content-Range": "bytes */2048"},
    )
    for asked in (
        "bytes=500-0",
        "bytes=5-2",
        "bytes=5000-10000",
        "bytes=2048-",
        "bytes=2048-2048",
        "bytes=-0",
        "bytes=9000-9999,5000-6000",
        "bytes=9223372036854775807-",
    )
]

IGNORED = [
    row(
        f"1.6 Range: {asked} is ignored",
        "GET",
        _GET,
        200,
        headers={"Range": asked},
        has={"Content-Range": None, "Content-Length": "2048"},
        body_is=BLOB,
    )
    for asked in (
        "items=0-1",
        "lines=0-1",
        "bytes=abc",
        "bytes=",
        "bytes",
        "bytes=-",
        "bytes=--5",
        "bytes=1-2-3",
        "bytes=0x0-0x5",
        "bytes=1.0-2.0",
        "bytes=+0-5",
        "bytes=0-5;6-7",
        "bytes=a-b,0-5",
        "bytes:0-5",
        "0-5",
        "",
        "garbage",
    )
] + [
    row(
        "1.6 numbers beyond 64 bits: the end is clamped, or the header is ignored",
        "GET",
        _GET,
        (200, 206),
        headers={"Range": f"bytes=0-{'9' * 30}"},
        body_is=BLOB,
    ),
    row(
        "1.6 a start beyond 64 bits: nothing there, or ignored",
        "GET",
        _GET,
        (200, 416),
        headers={"Range": f"bytes={'9' * 30}-"},
    ),
    row(
        "1.6 digits of another alphabet are garbage",
        "GET",
        _GET,
        (200, 400),
        headers={"Range": "bytes=\u0660-\u0665"},
    ),
]

SEVERAL = [
    row(
        f"1.6 Range: {asked}: one part for each, in order, not merged",
        "GET",
        _GET,
        206,
        headers={"Range": asked},
        has={**_HEADERS, "Content-Range": None},
        check=in_parts(*spans),
    )
    for asked, spans in [
        ("bytes=0-0,10-20", [(0, 0), (10, 20)]),
        ("bytes=0-0,5-9", [(0, 0), (5, 9)]),
        ("bytes=10-20,0-0", [(10, 20), (0, 0)]),
        ("bytes=0-9,10-19", [(0, 9), (10, 19)]),
        ("bytes=0-9,5-14", [(0, 9), (5, 14)]),
        ("bytes=0-9,0-9", [(0, 9), (0, 9)]),
        ("bytes=0-0, 100-199 ,-5", [(0, 0), (100, 199), (2043, 2047)]),
        ("bytes=1-1,2000-9999,2047-", [(1, 1), (2000, 2047), (2047, 2047)]),
    ]
] + [
    row(
        "1.6 one range of two lies beyond the end: the other is served",
        "GET",
        _GET,
        206,
        headers={"Range": "bytes=0-9,5000-6000"},
        check=lambda answer: in_parts((0, 9))(answer) if "multipart" in answer["Content-Type"] else None,
    ),
    row("1.6 ranges that together exceed the blob are 400", "GET", _GET, 400, headers={"Range": "bytes=0-,0-"}),
    row("1.6 the same by a little", "GET", _GET, 400, headers={"Range": "bytes=0-2047,5-5"}),
    row(
        "1.6 ranges that together are as large as the blob",
        "GET",
        _GET,
        206,
        headers={"Range": "bytes=1024-,0-1023"},
        check=in_parts((1024, 2047), (0, 1023)),
    ),
]

OTHERS = [
    row(
        "1.6 Range on HEAD is ignored (5.16)",
        "HEAD",
        _GET,
        200,
        headers={"Range": "bytes=0-9"},
        has={"Content-Length": "2048"},
    ),
    row(
        "1.6 even one that lies outside",
        "HEAD",
        _GET,
        200,
        headers={"Range": "bytes=9999-"},
        has={"Content-Length": "2048"},
    ),
    row("1.6 and several", "HEAD", _GET, 200, headers={"Range": "bytes=0-1,3-4"}, has={"Content-Length": "2048"}),
    *(
        row(
            f"1.6 Range: {asked} on the empty blob gives 200",
            "GET",
            "/v2/{shelf}/blobs/{empty}",
            200,
            headers={"Range": asked},
            has={"Content-Length": "0", "Content-Range": None},
        )
        for asked in ("bytes=0-", "bytes=0-0", "bytes=-5", "bytes=0-1,2-3")
    ),
    row(
        "1.6 If-Range that matches",
        "GET",
        _GET,
        206,
        headers={"Range": "bytes=0-9", "If-Range": _ETAG},
        body_is=BLOB[:10],
    ),
    row(
        "5.16 If-Range that misses",
        "GET",
        _GET,
        200,
        headers={"Range": "bytes=0-9", "If-Range": '"other"'},
        body_is=BLOB,
    ),
    row(
        "1.6 If-Range with a weak tag never matches (RFC 9110 13.1.5)",
        "GET",
        _GET,
        200,
        headers={"Range": "bytes=0-9", "If-Range": "W/" + _ETAG},
        body_is=BLOB,
    ),
    row(
        "1.6 If-Range with a date never matches",
        "GET",
        _GET,
        200,
        headers={"Range": "bytes=0-9", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"},
        body_is=BLOB,
    ),
    row(
        "1.6 If-Range that misses saves from 416",
        "GET",
        _GET,
        200,
        headers={"Range": "bytes=9999-", "If-Range": '"other"'},
        body_is=BLOB,
    ),
    row(
        "1.6 If-None-Match comes before Range", "GET", _GET, 304, headers={"Range": "bytes=0-9", "If-None-Match": _ETAG}
    ),
    row(
        "1.6 Range of an absent blob",
        "GET",
        "/v2/{shelf}/blobs/{missing}",
        404,
        headers={"Range": "bytes=0-9"},
        code="BLOB_UNKNOWN",
    ),
    row(
        "1.6 Range by sha512",
        "GET",
        "/v2/{shelf}/blobs/{blob512}",
        206,
        headers={"Range": "bytes=0-9"},
        has={"Docker-Content-Digest": "{blob512}"},
        body_is=BLOB[:10],
    ),
    row(
        "1.8 Range on a manifest is ignored", "GET", "/v2/{shelf}/manifests/latest", 200, headers={"Range": "bytes=0-9"}
    ),
]

LARGE = noise(10 * 2**20, seed=4)
LARGE_PATH = f"/v2/{{repo}}/blobs/{sha256(LARGE)}"


def _spread(count: int) -> list[tuple[int, int]]:
    """Spread spans of 100 bytes over the large blob, as zstd:chunked clients ask for changed files."""
    step = len(LARGE) // count
    return [(place * step, place * step + 99) for place in range(count)]


def _header(spans: list[tuple[int, int]]) -> str:
    return "bytes=" + ",".join(f"{a}-{b}" for a, b in spans)


@table(*SINGLE, *UNSATISFIABLE, *IGNORED, *OTHERS)
async def test_range(registry: Address, names: Names, case: Case) -> None:
    """A range is honoured, refused or ignored exactly as the conformance suite and resuming clients expect."""
    await play(registry, names, case)


@table(*SEVERAL)
async def test_several_ranges(registry: Address, names: Names, case: Case) -> None:
    """Several ranges give one part each; podman's partial pulls count them."""
    await play(registry, names, case)


@pytest.mark.parametrize("count", [2, 100, 1024])
async def test_many_ranges(registry: Address, names: Names, count: int) -> None:
    """Up to 1,024 ranges in one header of some 20 KB are served from a blob of several parts."""
    spans = _spread(count)
    await play(registry, names, story("1.6 given a large blob", *blob(LARGE)))
    case = row(
        f"1.6 {count} ranges",
        "GET",
        LARGE_PATH,
        206,
        headers={"Range": _header(spans)},
        check=in_parts(*spans, content=LARGE),
    )
    await play(registry, names, case)


async def test_too_many_ranges(registry: Address, names: Names) -> None:
    """More than 1,024 ranges are 400, so that podman halves their number, never 431 or a reset."""
    await play(registry, names, story("1.6 given a large blob", *blob(LARGE)))
    for count in (1025, 2000):
        case = row(f"1.6 {count} ranges", "GET", LARGE_PATH, 400, headers={"Range": _header(_spread(count))})
        await play(registry, names, case)


@pytest.mark.parametrize(
    ("first", "last"),
    [(2**20 - 5, 2**20 + 5), (8 * 2**20 - 1, 8 * 2**20), (8 * 2**20, 8 * 2**20), (1, 10 * 2**20 - 2), (0, 8 * 2**20)],
)
async def test_range_over_parts(registry: Address, names: Names, first: int, last: int) -> None:
    """A range over the seams of stored parts has every byte once."""
    asked = {"Range": f"bytes={first}-{last}"}
    expected = {"Content-Range": f"bytes {first}-{last}/{len(LARGE)}"}
    case = row("1.6 seam", "GET", LARGE_PATH, 206, headers=asked, has=expected, body_is=LARGE[first : last + 1])
    await play(registry, names, story("1.6 given a large blob", *blob(LARGE)))
    await play(registry, names, case)


async def test_resume(registry: Address, names: Names) -> None:
    """A pull continued by ``bytes=N-`` and regclient's ``bytes=N-<size>`` joins to the whole blob (5.15)."""
    path = f"/v2/{names['shelf']}/blobs/{names['blob']}"
    start = await ask(registry, "GET", path, headers={"Range": "bytes=0-699"})
    docker = await ask(registry, "GET", path, headers={"Range": "bytes=700-"})
    regclient = await ask(registry, "GET", path, headers={"Range": "bytes=700-2048"})

    assert docker["Content-Range"] == regclient["Content-Range"] == "bytes 700-2047/2048"
    assert start.body + docker.body == start.body + regclient.body == BLOB

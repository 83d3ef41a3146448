"""Protocol 1.7, PATCH: chunks in every dialect, and chunks that do not fit (edge cases 29 and 30)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .content import noise, sha256
from .rows import Case, Names, Step, play, start, story, table
from .uploads import at, commit, patch, refused, status
from .wire import Bare, Body, Chunked

if TYPE_CHECKING:
    from .wire import Address

CHUNKS = [
    story(
        "1.7 streamed PATCH without a length, then another, each after the other",
        start(),
        patch(b"hello", has=at(4)),
        patch(b" world", has=at(10)),
        status(10),
        commit(sha256(b"hello world")),
    ),
    story(
        "1.7 PATCH with a length and no Content-Range appends",
        start(),
        Step("PATCH", "{location}", 202, body=b"hello", has=at(4)),
        Step("PATCH", "{location}", 202, body=b" world", has=at(10)),
        commit(sha256(b"hello world")),
    ),
    story(
        "1.7 chunked PATCH with Content-Range",
        start(),
        patch(b"hello", "0-4", has=at(4)),
        patch(b" world", "5-10", has=at(10)),
        commit(sha256(b"hello world")),
    ),
    story(
        "1.7 Content-Range and Transfer-Encoding: chunked together",
        start(),
        Step("PATCH", "{location}", 202, headers={"Content-Range": "0-4"}, body=Chunked.of(b"hel", b"lo"), has=at(4)),
        commit(sha256(b"hello")),
    ),
    story(
        "1.7 ranged and streamed chunks may be mixed",
        start(),
        patch(b"hello", has=at(4)),
        patch(b" world", "5-10", has=at(10)),
        patch(b"!", has=at(11)),
        commit(sha256(b"hello world!")),
    ),
    *(
        story(
            f"1.7 any Content-Type is taken: {kind}",
            start(),
            Step("PATCH", "{location}", 202, headers={"Content-Type": kind} if kind else {}, body=b"hello", has=at(4)),
            commit(sha256(b"hello")),
        )
        for kind in (
            "",
            "application/json",
            "multipart/form-data; boundary=x",
            "application/x-www-form-urlencoded",
            "nonsense",
        )
    ),
    story(
        "1.7 empty PATCH, chunked or with length 0: nothing changes, Range is 0-0",
        start(),
        patch(b"", has=at(0)),
        Step("PATCH", "{location}", 202, has=at(0)),
        Step("PATCH", "{location}", 202, body=Bare(), has=at(0)),
        patch(b"hello", has=at(4)),
        patch(b"", has=at(4)),
        commit(sha256(b"hello")),
    ),
    story(
        "1.7 one byte is 0-0 as well, and goes on at 1",
        start(),
        patch(b"h", "0-0", has=at(0)),
        patch(b"i", "1-1", has=at(1)),
        commit(sha256(b"hi")),
    ),
    story(
        "1.4 the address of the POST goes on working after others were given",
        start(),
        patch(b"hello", has=at(4)),
        patch(b" world", path="{first}", has=at(10)),
        status(10, "{first}"),
        commit(sha256(b"hello world"), path="{first}"),
    ),
    story(
        "1.7 chunks that cross the size of a part, in pieces that fit none",
        start(),
        *(
            patch(
                noise(3_000_000, seed=n),
                f"{n * 3_000_000}-{n * 3_000_000 + 2_999_999}",
                has=at(n * 3_000_000 + 2_999_999),
            )
            for n in range(4)
        ),
        commit(sha256(b"".join(noise(3_000_000, seed=n) for n in range(4)))),
    ),
]

OUT_OF_ORDER = [
    story(
        "1.7 gap, overlap and replay are 416, the session goes on (5.29)",
        start(),
        refused(b"world", "5-9", 0),
        status(0),
        patch(b"hello", "0-4", has=at(4)),
        refused(b"hello", "0-4", 4, "{first}"),
        refused(b"world", "7-11", 4),
        refused(b"o wor", "4-8", 4),
        status(4),
        patch(b"world", "5-9", has=at(9)),
        refused(b"world", "5-9", 9),
        commit(sha256(b"helloworld")),
    ),
    *(
        story(
            f"5.29 Content-Range: {span} cannot be read: 416, nothing is kept",
            start(),
            patch(b"hello", has=at(4)),
            refused(b"world", span, 4),
            status(4),
            patch(b"!", has=at(5)),
            commit(sha256(b"hello!")),
        )
        for span in (
            "5",
            "9-0",
            "5-",
            "-5",
            "abc",
            "5-9-13",
            "0x5-0x9",
            "bytes=5-9",
            "5 - 9",
            "-5--9",
            "9" * 40 + "-" + "9" * 40,
        )
    ),
    story(
        "5.29 the lenient form bytes a-b/c may be taken or refused, but not misread",
        start(),
        Step("PATCH", "{location}", (202, 416), headers={"Content-Range": "bytes 0-9/10"}, body=b"0123456789"),
        Step("PATCH", "{location}", 416, headers={"Content-Range": "bytes 12-13/14"}, body=b"ab"),
        Step("GET", "{location}", 204, has={"Range": re.compile("0-[09]")}),
    ),
]

WRONG_BODIES: list[tuple[str, Body]] = [
    ("Content-Length 50", b"x" * 50),
    ("Content-Length 101", b"x" * 101),
    ("Content-Length 0", b""),
    ("60 chunked bytes", Chunked.of(b"x" * 60)),
    ("0 chunked bytes", Chunked.of()),
    ("150 chunked bytes", Chunked.of(b"x" * 100, b"x" * 50)),
]

WRONG_SIZE = [
    *(
        story(
            f"5.30 Content-Range 5-104 with {what}: 400, nothing is kept",
            start(),
            patch(b"hello", has=at(4)),
            Step("PATCH", "{location}", 400, headers={"Content-Range": "5-104"}, body=body, code="SIZE_INVALID"),
            status(4),
            patch(b"!", "5-5", has=at(5)),
            commit(sha256(b"hello!")),
        )
        for what, body in WRONG_BODIES
    ),
    story(
        "5.30 far more chunked bytes than announced",
        start(),
        Step(
            "PATCH",
            "{location}",
            400,
            headers={"Content-Range": "0-9"},
            body=Chunked.of(*[bytes(2**18)] * 40),
            code="SIZE_INVALID",
        ),
        status(0),
        commit(sha256(b"small"), b"small"),
    ),
]


@table(*CHUNKS)
async def test_chunks(registry: Address, names: Names, case: Case) -> None:
    """Chunks are appended, in whichever of the dialects, and each answer says where the session stands."""
    await play(registry, names, case)


@table(*OUT_OF_ORDER, *WRONG_SIZE)
async def test_wrong_chunk(registry: Address, names: Names, case: Case) -> None:
    """A chunk that does not fit leaves nothing behind, and the session goes on."""
    await play(registry, names, case)

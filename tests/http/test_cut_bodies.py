"""Edge cases 31, 32 and 39, architecture 3: bodies that break off, and requests that meet on one session."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from .content import IMAGE, OCI_MANIFEST, noise, sha256, sha512
from .rows import Names, play, pushed, story
from .uploads import ENDS, cut_request, offset_of, running_request
from .wire import Address, Chunked, ask, connect

if TYPE_CHECKING:
    from collections.abc import Callable

    from .uploads import End

CONTENT = noise(3_000_000, seed=51)
SENT = 1_234_567
_ENDS = pytest.mark.parametrize("end", ENDS)
_FRAMINGS = pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])


async def start_upload(address: Address, repo: str, begin: bytes = b"") -> str:
    """Open a session that holds some bytes, and return its address."""
    location = (await ask(address, "POST", f"/v2/{repo}/blobs/uploads/"))["Location"]
    if begin:
        answer = await ask(address, "PATCH", location, body=begin)
        assert answer["Range"] == f"0-{len(begin) - 1}"
    return location


async def commit(address: Address, location: str, content: bytes, body: bytes = b"") -> None:
    """Close a session and see that the blob is exactly this content."""
    answer = await ask(address, "PUT", f"{location}?digest={sha256(content)}", body=body)
    assert answer.status == 201, str(answer)
    assert (await ask(address, "GET", answer["Location"])).body == content


@_ENDS
@_FRAMINGS
@pytest.mark.parametrize("begin", [b"", b"begin"], ids=["fresh", "continued"])
async def test_same_patch_again(registry: Address, repo: str, end: End, begin: bytes, *, chunked: bool) -> None:
    """After a cut PATCH without Content-Range the same request can be sent again at once, and nothing is doubled."""
    location = await start_upload(registry, repo, begin)
    await cut_request(registry, "PATCH", location, CONTENT, SENT, end, chunked=chunked)

    again = await ask(registry, "PATCH", location, body=Chunked.of(CONTENT) if chunked else CONTENT)
    assert (again.status, again["Range"]) == (202, f"0-{len(begin + CONTENT) - 1}")
    await commit(registry, location, begin + CONTENT)


@_ENDS
@_FRAMINGS
async def test_continue_where_get_says(registry: Address, repo: str, end: End, *, chunked: bool) -> None:
    """After a cut, GET reports an offset from which a ranged PATCH can go on; it lies within what was sent."""
    location = await start_upload(registry, repo, b"begin")
    await cut_request(registry, "PATCH", location, CONTENT, SENT, end, chunked=chunked)

    offset = offset_of(await ask(registry, "GET", location))
    assert 5 <= offset <= 5 + SENT
    rest = (b"begin" + CONTENT)[offset:]
    headers = {"Content-Range": f"{offset}-{4 + len(CONTENT)}"}
    answer = await ask(registry, "PATCH", location, headers=headers, body=rest)
    assert (answer.status, answer["Range"]) == (202, f"0-{4 + len(CONTENT)}")
    await commit(registry, location, b"begin" + CONTENT)


async def test_ranged_from_either_checkpoint(registry: Address, repo: str) -> None:
    """After a cut, a ranged PATCH may also start over at the last answered offset."""
    location = await start_upload(registry, repo, b"begin")
    await cut_request(
        registry, "PATCH", location, CONTENT, SENT, "reset", headers={"Content-Range": f"5-{4 + len(CONTENT)}"}
    )

    headers = {"Content-Range": f"5-{4 + len(CONTENT)}"}
    answer = await ask(registry, "PATCH", location, headers=headers, body=CONTENT)
    assert (answer.status, answer["Range"]) == (202, f"0-{4 + len(CONTENT)}")
    await commit(registry, location, b"begin" + CONTENT)


async def test_head_reports_what_was_answered(registry: Address, repo: str) -> None:
    """HEAD reports the last answered offset, before and after the cut is noticed, and changes nothing."""
    location = await start_upload(registry, repo, b"begin")
    await cut_request(registry, "PATCH", location, CONTENT, SENT, "reset")

    for _ in range(20):
        assert (await ask(registry, "HEAD", location))["Range"] == "0-4"
    await commit(registry, location, b"begin" + CONTENT, CONTENT)


async def test_get_makes_progress_binding(registry: Address, repo: str) -> None:
    """What GET has reported stays: a body without Content-Range is appended there."""
    location = await start_upload(registry, repo)
    content = noise(20 * 2**20, seed=52)
    await cut_request(registry, "PATCH", location, content, 18 * 2**20, "reset")

    offset = 0
    async with asyncio.timeout(15):
        while not offset:  # the registry has to notice the cut first
            offset = offset_of(await ask(registry, "GET", location))
    assert offset <= 18 * 2**20
    assert offset_of(await ask(registry, "HEAD", location)) == offset
    answer = await ask(registry, "PATCH", location, body=Chunked.of(content[offset:]))
    assert answer["Range"] == f"0-{len(content) - 1}"
    await commit(registry, location, content)


@_ENDS
@_FRAMINGS
async def test_cut_commit(registry: Address, repo: str, end: End, *, chunked: bool) -> None:
    """A PUT that breaks off publishes nothing, and the same PUT can be sent again (5.39: CL > body then close)."""
    location = await start_upload(registry, repo)
    target = f"{location}?digest={sha256(CONTENT)}"
    await cut_request(registry, "PUT", target, CONTENT, SENT, end, chunked=chunked)

    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{sha256(CONTENT)}")).status == 404
    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{sha256(CONTENT[:SENT])}")).status == 404
    await commit(registry, location, CONTENT, CONTENT)


@pytest.mark.parametrize("of", [sha256, sha512])
async def test_cut_body_with_its_own_digest(registry: Address, repo: str, of: Callable[[bytes], str]) -> None:
    """A cut body is not taken for a complete one, even where the digest is that of the part which came."""
    location = await start_upload(registry, repo)
    digest = of(CONTENT[:SENT])
    await cut_request(registry, "PUT", f"{location}?digest={digest}", CONTENT, SENT, "half-close")
    await cut_request(registry, "PUT", f"{location}?digest={digest}", CONTENT, SENT, "half-close", chunked=True)
    single = f"/v2/{repo}/blobs/uploads/?digest={digest}"
    await cut_request(registry, "POST", single, CONTENT, SENT, "half-close", chunked=True)

    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{digest}")).status == 404


@_ENDS
@_FRAMINGS
async def test_cut_single_post(registry: Address, repo: str, end: End, *, chunked: bool) -> None:
    """A POST with a blob that breaks off stores nothing, and can be sent again."""
    target = f"/v2/{repo}/blobs/uploads/?digest={sha256(CONTENT)}"
    await cut_request(registry, "POST", target, CONTENT, SENT, end, chunked=chunked)

    assert (await ask(registry, "HEAD", f"/v2/{repo}/blobs/{sha256(CONTENT)}")).status == 404
    assert (await ask(registry, "POST", target, body=CONTENT)).status == 201
    assert (await ask(registry, "GET", f"/v2/{repo}/blobs/{sha256(CONTENT)}")).body == CONTENT


@_ENDS
@_FRAMINGS
async def test_cut_manifest(registry: Address, names: Names, repo: str, end: End, *, chunked: bool) -> None:
    """A manifest that breaks off is not stored, and its tag does not move."""
    await play(registry, names, story("given", *pushed("v1")))
    whole = IMAGE + b"\n" * 100
    await cut_request(
        registry,
        "PUT",
        f"/v2/{repo}/manifests/v1",
        whole,
        len(IMAGE),
        end,
        chunked=chunked,
        headers={"Content-Type": OCI_MANIFEST},
    )

    answer = await ask(registry, "GET", f"/v2/{repo}/manifests/v1")
    assert answer.body == IMAGE
    headers = {"Content-Type": OCI_MANIFEST}
    assert (await ask(registry, "PUT", f"/v2/{repo}/manifests/v1", headers=headers, body=whole)).status == 201


async def test_cut_again_and_again(registry: Address, repo: str) -> None:
    """A client whose connection breaks every time gets through piece by piece."""
    location = await start_upload(registry, repo)
    offset = 0
    for _ in range(5):
        headers = {"Content-Range": f"{offset}-{len(CONTENT) - 1}"}
        await cut_request(registry, "PATCH", location, CONTENT[offset:], 400_000, "reset", headers=headers)
        found = offset_of(await ask(registry, "GET", location))
        assert offset <= found <= offset + 400_000
        offset = found
    headers = {"Content-Range": f"{offset}-{len(CONTENT) - 1}"}
    assert (await ask(registry, "PATCH", location, headers=headers, body=CONTENT[offset:])).status == 202
    await commit(registry, location, CONTENT)


# --- two requests on one session -----------------------------------------------------------------


async def test_chunk_that_does_not_fit_meets_a_running_one(registry: Address, repo: str) -> None:
    """While a PATCH runs, a ranged one that does not fit is 416 at once, and the running one goes on (5.32)."""
    location = await start_upload(registry, repo, b"begin")
    async with connect(registry) as running:
        await running_request(running, "PATCH", location, len(CONTENT))
        await running.send(CONTENT[:SENT])
        async with asyncio.timeout(30):
            answer = await ask(registry, "PATCH", location, headers={"Content-Range": "77-81"}, body=b"wrong")
        assert (answer.status, answer["Range"], answer.codes()) == (416, "0-4", ["BLOB_UPLOAD_INVALID"])
        await running.send(CONTENT[SENT:])
        finished = await running.answer("PATCH")

    assert (finished.status, finished["Range"]) == (202, f"0-{4 + len(CONTENT)}")
    await commit(registry, location, b"begin" + CONTENT)


async def test_status_of_a_running_chunk(registry: Address, repo: str) -> None:
    """While a PATCH runs, GET and HEAD report the last answered offset and do not disturb it."""
    location = await start_upload(registry, repo, b"begin")
    async with connect(registry) as running:
        await running_request(running, "PATCH", location, len(CONTENT), chunked=True)
        await running.send(Chunked.of(CONTENT).encoded()[:SENT])
        for method in ("GET", "HEAD", "GET"):
            answer = await ask(registry, method, location)
            assert (answer.status, answer["Range"]) == (204, "0-4")
        await running.send(Chunked.of(CONTENT).encoded()[SENT:])
        assert (await running.answer("PATCH"))["Range"] == f"0-{4 + len(CONTENT)}"

    await commit(registry, location, b"begin" + CONTENT)


@_FRAMINGS
async def test_take_over(registry: Address, repo: str, *, chunked: bool) -> None:
    """A PATCH without Content-Range takes over from a running one, which answers 416 with Location and Range."""
    location = await start_upload(registry, repo, b"begin")
    async with connect(registry) as running:
        await running_request(running, "PATCH", location, len(CONTENT), chunked=chunked)
        await running.send(Chunked.of(b"x" * SENT).encoded()[:SENT] if chunked else b"x" * SENT)
        taken = await ask(registry, "PATCH", location, body=CONTENT)
        assert (taken.status, taken["Range"]) == (202, f"0-{4 + len(CONTENT)}")
        stopped = await running.answer("PATCH")

    assert stopped.status == 416, str(stopped)
    assert stopped.codes() == ["BLOB_UPLOAD_INVALID"]
    assert re.fullmatch("0-[0-9]+", stopped["Range"])
    assert stopped["Location"].partition("?")[0] == location.partition("?")[0]
    await commit(registry, location, b"begin" + CONTENT)


async def test_commit_takes_over(registry: Address, repo: str) -> None:
    """A PUT of the whole blob takes over from a PATCH that hangs, as a client does that starts again."""
    location = await start_upload(registry, repo)
    async with connect(registry) as running:
        await running_request(running, "PATCH", location, len(CONTENT))
        await running.send(CONTENT[:SENT])
        await commit(registry, location, CONTENT, CONTENT)


async def test_cancel_of_a_running_chunk(registry: Address, repo: str) -> None:
    """DELETE ends a session although a PATCH runs on it; that one cannot succeed any more."""
    location = await start_upload(registry, repo)
    async with connect(registry) as running:
        await running_request(running, "PATCH", location, len(CONTENT))
        await running.send(CONTENT[:SENT])
        assert (await ask(registry, "DELETE", location)).status == 204
        await running.send(CONTENT[SENT:])
        stopped = await running.answer("PATCH")

    assert stopped.status in {404, 416}, str(stopped)
    assert (await ask(registry, "GET", location)).status == 404
    assert (await ask(registry, "PUT", f"{location}?digest={sha256(CONTENT)}")).status == 404


@pytest.mark.parametrize("size", [50_000, 10 * 2**20])
async def test_bytes_never_interleave(registry: Address, repo: str, size: int) -> None:
    """Of PATCHes at the same time each is appended whole or not at all (5.32)."""
    location = await start_upload(registry, repo)
    contents = [noise(size, seed=seed) for seed in (61, 62, 63)]
    answers = await asyncio.gather(*(ask(registry, "PATCH", location, body=content) for content in contents))

    assert {answer.status for answer in answers} <= {202, 416}
    kept = [
        (offset_of(answer), content) for answer, content in zip(answers, contents, strict=True) if answer.status == 202
    ]
    whole = b"".join(content for _, content in sorted(kept))
    assert [place for place, _ in sorted(kept)] == [size * (n + 1) for n in range(len(kept))]
    await commit(registry, location, whole)

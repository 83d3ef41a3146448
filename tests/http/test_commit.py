"""Protocol 1.7, PUT: closing a session (edge cases 33 to 37)."""

from __future__ import annotations

import asyncio
from collections import Counter
from typing import TYPE_CHECKING

import pytest

from .content import BLOB, noise, sha256, sha512
from .rows import Case, Names, Step, play, start, story, table
from .uploads import LOST, at, commit, patch, status
from .wire import Address, Bare, Body, Chunked, ask

if TYPE_CHECKING:
    from collections.abc import Callable

HELLO = sha256(b"hello")
_BAD = "DIGEST_INVALID"
_PUT = "{location}?digest="


def there(content: bytes, digest: str) -> list[Step]:
    """Expect a blob to be readable right now, whole and by HEAD."""
    path = f"/v2/{{repo}}/blobs/{digest}"
    expected = {"Content-Length": str(len(content)), "Docker-Content-Digest": digest}
    return [Step("HEAD", path, 200, has=expected), Step("GET", path, 200, has=expected, body_is=content)]


def absent(*digests: str) -> list[Step]:
    """Expect that the repository has none of these blobs."""
    return [Step("HEAD", f"/v2/{{repo}}/blobs/{digest}", 404) for digest in digests]


def closing(digest: str, body: Body = b"", **headers: str) -> Step:
    """Close a session, and expect 201 with exactly the headers of 1.7."""
    return Step(
        "PUT",
        _PUT + digest,
        201,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        body=body,
        has={"Location": f"/v2/{{repo}}/blobs/{digest}", "Docker-Content-Digest": digest, "Content-Length": "0"},
        body_is=b"",
    )


BODIES: list[tuple[str, list[Step], Body, dict[str, str]]] = [
    ("an empty body after PATCH", [patch(BLOB)], b"", {}),
    ("no length at all after PATCH", [patch(BLOB)], Bare(), {}),
    ("an empty chunked body after PATCH", [patch(BLOB)], Chunked.of(), {}),
    ("the whole blob with a length", [], BLOB, {}),
    ("the whole blob, chunked", [], Chunked.of(BLOB[:1000], BLOB[1000:]), {}),
    ("the whole blob with a Content-Range", [], BLOB, {"Content-Range": "0-2047"}),
    (
        "the last chunk with a Content-Range",
        [patch(BLOB[:2000], "0-1999")],
        BLOB[2000:],
        {"Content-Range": "2000-2047"},
    ),
    ("the last chunk without one", [patch(BLOB[:2000])], BLOB[2000:], {}),
    ("the last chunk, chunked", [patch(BLOB[:1]), patch(BLOB[1:9])], Chunked.of(BLOB[9:]), {}),
    ("the whole blob although chunks came before", [patch(BLOB[:700])], BLOB, {}),
    ("any Content-Type", [], BLOB, {"Content-Type": "application/json"}),
    ("no Content-Type", [], BLOB, {}),
]

WAYS = [
    story(
        f"1.7 PUT with {what}, by {algorithm}",
        start(),
        *before,
        Step(
            "PUT",
            _PUT + digest,
            201,
            headers=headers,
            body=body,
            has={"Location": f"/v2/{{repo}}/blobs/{digest}", "Docker-Content-Digest": digest, "Content-Length": "0"},
        ),
        *there(BLOB, digest),
    )
    for algorithm, digest in [("sha256", sha256(BLOB)), ("sha512", sha512(BLOB))]
    for what, before, body, headers in BODIES
]

EMPTY_BODIES: list[tuple[str, list[Step], Body]] = [
    ("PUT with length 0", [], b""),
    ("PUT without a length", [], Bare()),
    ("PUT, chunked", [], Chunked.of()),
    ("empty PATCH, then PUT", [patch(b"")], b""),
    ("empty PATCH, then chunked PUT", [patch(b"")], Chunked.of()),
    ("PATCH with length 0, then PUT", [Step("PATCH", "{location}", 202)], b""),
]

EMPTY = [
    story(f"5.37 the empty blob by {what}, {digest[:6]}", start(), *before, closing(digest, body), *there(b"", digest))
    for digest in (sha256(b""), sha512(b""))
    for what, before, body in EMPTY_BODIES
]

OTHER_WAYS = [
    story(
        "1.7 a session opened for sha512 takes a sha256 digest all the same",
        Step("POST", "/v2/{repo}/blobs/uploads/?digest-algorithm=sha512", 202),
        patch(b"hello"),
        closing(HELLO),
    ),
    story(
        "1.7 a session opened for sha512 and closed by sha512",
        Step("POST", "/v2/{repo}/blobs/uploads/?digest-algorithm=sha512", 202),
        patch(b"hel"),
        closing(sha512(b"hello"), b"lo"),
        *there(b"hello", sha512(b"hello")),
    ),
    story(
        "1.7 a blob that is there already is 201 again",
        start(),
        closing(HELLO, b"hello"),
        start(),
        closing(HELLO, b"hello"),
    ),
    story(
        "1.4 further parameters and another order do not matter",
        start(),
        patch(b"hello"),
        Step("PUT", f"{{location}}?_state=x&digest={HELLO}&zzz=1", 201),
    ),
    story("1.4 the first address closes the session", start(), patch(b"hello"), commit(HELLO, path="{first}")),
    story(
        "1.7 the same digest twice is that digest",
        start(),
        Step("PUT", f"{_PUT}{HELLO}&digest={HELLO}", 201, body=b"hello"),
    ),
    story(
        "1.7 two digests that are both right",
        start(),
        Step("PUT", f"{_PUT}{HELLO}&digest={sha512(b'hello')}", (201, 400), body=b"hello", code=_BAD),
    ),
    story(
        "1.7 two digests of which one is wrong",
        start(),
        Step("PUT", f"{_PUT}{HELLO}&digest={{missing}}", 400, body=b"hello", code=_BAD),
        *absent("{missing}", HELLO),
    ),
    story(
        "1.4 Location of the 201 can be followed at once, by every style (C2)",
        start(),
        patch(b"hello", "0-4"),
        closing(HELLO),
        *there(b"hello", HELLO),
    ),
]

KEPT = [
    *(
        story(
            f"5.33 PUT {what}: 400, the session stays usable",
            start(),
            patch(b"hello", has=at(4)),
            Step("PUT", "{location}" + query, 400, code=_BAD),
            status(4),
            closing(HELLO),
        )
        for what, query in [
            ("without digest", ""),
            ("with an empty digest", "?digest="),
            ("with md5", "?digest=md5:5d41402abc4b2a76b9719d911017c592"),
            ("with a word", "?digest=foo"),
            ("with upper case digits", "?digest=sha256:" + "A" * 64),
            ("with 63 digits", "?digest=sha256:" + "a" * 63),
            ("with a space last", "?digest=" + HELLO + "%20"),
            ("with a newline last", "?digest=" + HELLO + "%0A"),
            ("with one good and one bad digest", f"?digest={HELLO}&digest=foo"),
        ]
    ),
    story(
        "5.33 PUT with a body and no digest keeps nothing of the body",
        start(),
        Step("PUT", "{location}", 400, body=b"hello", code=_BAD),
        status(0),
        closing(HELLO, b"hello"),
    ),
    story(
        "1.7 PUT whose Content-Range does not fit: 416, the session survives with its bytes (C2)",
        start(),
        patch(b"hello", "0-4"),
        Step(
            "PUT",
            _PUT + sha256(b"helloworld"),
            416,
            headers={"Content-Range": "7-11"},
            body=b"world",
            has={"Location": at(4)["Location"], "Range": "0-4", "Docker-Upload-UUID": at(4)["Docker-Upload-UUID"]},
            code="BLOB_UPLOAD_INVALID",
        ),
        status(4),
        closing(sha256(b"helloworld"), b"world", Content_Range="5-9"),
    ),
    story(
        "1.7 PUT whose Content-Range cannot be read: 416, the session survives",
        start(),
        patch(b"hello"),
        Step("PUT", _PUT + HELLO, 416, headers={"Content-Range": "x"}, body=b"w", has={"Range": "0-4"}),
        closing(HELLO),
    ),
    story(
        "5.30 PUT whose Content-Range and length differ: 400, nothing of it is kept",
        start(),
        patch(b"hello"),
        Step("PUT", _PUT + HELLO, 400, headers={"Content-Range": "5-104"}, body=b"x" * 50, code="SIZE_INVALID"),
        status(4),
        closing(HELLO),
    ),
]

LONGER = BLOB + b"and more than the digest says"
BAD_DIGEST = [
    story(
        f"3.1 bad digest, {what}: 400, and no blob under either digest", *steps, *absent(sha256(BLOB), sha256(LONGER))
    )
    for what, steps in [
        ("post only", [Step("POST", "/v2/{repo}/blobs/uploads/?digest={blob}", 400, body=LONGER, code=_BAD)]),
        ("post and put", [start(), Step("PUT", _PUT + "{blob}", 400, body=LONGER, code=_BAD)]),
        ("post and chunked put", [start(), Step("PUT", _PUT + "{blob}", 400, body=Chunked.of(LONGER), code=_BAD)]),
        ("chunked", [start(), patch(LONGER, f"0-{len(LONGER) - 1}"), Step("PUT", _PUT + "{blob}", 400, code=_BAD)]),
        (
            "chunked and put",
            [
                start(),
                patch(BLOB, "0-2047"),
                Step(
                    "PUT",
                    _PUT + "{blob}",
                    400,
                    headers={"Content-Range": f"2048-{len(LONGER) - 1}"},
                    body=LONGER[2048:],
                    code=_BAD,
                ),
            ],
        ),
        ("stream", [start(), patch(LONGER), Step("PUT", _PUT + "{blob}", 400, code=_BAD)]),
        ("shorter", [start(), Step("PUT", _PUT + sha256(LONGER), 400, body=BLOB, code=_BAD)]),
        ("sha512", [start(), Step("PUT", _PUT + "{blob512}", 400, body=LONGER, code=_BAD), *absent("{blob512}")]),
        ("empty", [start(), Step("PUT", _PUT + "{blob}", 400, code=_BAD)]),
    ]
]

OVER = [
    story(
        "5.34 after a wrong digest the session is gone, or takes the right one",
        start(),
        Step("PUT", _PUT + "{missing}", 400, body=b"hello", code=_BAD),
        *absent("{missing}", HELLO),
        Step("PUT", _PUT + HELLO, (404, 201), body=b"hello", code=LOST),
    ),
    story(
        "5.35 PUT twice: 201 again, with the same headers",
        start(),
        patch(b"hello"),
        closing(HELLO),
        Step(
            "PUT",
            "{first}?digest=" + HELLO,
            201,
            has={"Docker-Content-Digest": HELLO, "Location": f"/v2/{{repo}}/blobs/{HELLO}"},
        ),
        *there(b"hello", HELLO),
    ),
    story("5.35 PUT twice with its body", start(), closing(HELLO, b"hello"), closing(HELLO, b"hello")),
    story(
        "5.35 PUT twice, chunked", start(), closing(HELLO, Chunked.of(b"hello")), closing(HELLO, Chunked.of(b"hello"))
    ),
    story(
        "1.7 PUT again with another digest is 404",
        start(),
        closing(HELLO, b"hello"),
        Step("PUT", _PUT + "{missing}", 404, body=b"hello", code=LOST),
    ),
    story(
        "5.35 everything else after the commit is 404",
        start(),
        closing(HELLO, b"hello"),
        Step("PATCH", "{location}", 404, body=b"x", code=LOST),
        Step("GET", "{location}", 404, code=LOST),
        Step("HEAD", "{location}", 404),
        Step("DELETE", "{location}", 404, code=LOST),
        *there(b"hello", HELLO),
    ),
    story(
        "5.35 PUT after DELETE is 404",
        start(),
        Step("DELETE", "{location}", 204),
        Step("PUT", _PUT + HELLO, 404, code=LOST),
    ),
]


@table(*WAYS, *EMPTY, *OTHER_WAYS)
async def test_commit(registry: Address, names: Names, case: Case) -> None:
    """Every dialect of closing a session is 201, and the blob can be read at once."""
    await play(registry, names, case)


@table(*KEPT)
async def test_session_is_kept(registry: Address, names: Names, case: Case) -> None:
    """A commit that is wrong in its head takes nothing away from the session."""
    await play(registry, names, case)


@table(*BAD_DIGEST)
async def test_bad_digest(registry: Address, names: Names, case: Case) -> None:
    """Content that does not have its digest is never published, in any dialect."""
    await play(registry, names, case)


@table(*OVER)
async def test_over(registry: Address, names: Names, case: Case) -> None:
    """A finished session answers its own commit once more and is unknown otherwise."""
    await play(registry, names, case)


async def _open(address: Address, repo: str) -> str:
    return (await ask(address, "POST", f"/v2/{repo}/blobs/uploads/"))["Location"]


async def test_two_commits_of_one_session(registry: Address, repo: str) -> None:
    """Of two simultaneous commits one wins; the other is 404, 409, or 201 through the tombstone."""
    content = noise(300_000, seed=21)
    location = await _open(registry, repo)
    target = f"{location}{'&' if '?' in location else '?'}digest={sha256(content)}"
    answers = await asyncio.gather(*(ask(registry, "PUT", target, body=content) for _ in range(2)))

    counts = Counter(answer.status for answer in answers)
    assert counts[201] >= 1, counts
    assert set(counts) <= {201, 404, 409, 416}, counts
    assert (await ask(registry, "GET", f"/v2/{repo}/blobs/{sha256(content)}")).body == content


@pytest.mark.parametrize("size", [5_000, 9 * 2**20])
@pytest.mark.parametrize("of", [sha256, sha512])
async def test_two_sessions_of_one_digest(registry: Address, repo: str, size: int, of: Callable[[bytes], str]) -> None:
    """Sessions that push the same digest at the same time all get 201, in one repository and in several."""
    content = noise(size, seed=22)
    names = [repo, repo, f"{repo}/two", f"{repo}/three"]
    locations = [await _open(registry, name) for name in names]
    targets = [f"{location}{'&' if '?' in location else '?'}digest={of(content)}" for location in locations]
    answers = await asyncio.gather(*(ask(registry, "PUT", target, body=content) for target in targets))

    assert [answer.status for answer in answers] == [201] * 4
    for name in names:
        assert (await ask(registry, "GET", f"/v2/{name}/blobs/{of(content)}")).body == content


async def test_fifty_uploads_at_once(registry: Address, repo: str) -> None:
    """A client that pushes fifty blobs at the same time is served (4.5)."""

    async def push(seed: int) -> int:
        content = noise(50_000, seed=seed)
        location = await _open(registry, repo)
        return (await ask(registry, "PUT", f"{location}?digest={sha256(content)}", body=content)).status

    assert await asyncio.gather(*(push(seed) for seed in range(100, 150))) == [201] * 50

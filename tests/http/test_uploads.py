"""Protocol 1.7: opening an upload session, sending chunks, asking for its state, cancelling it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .content import BLOB, NEVER_PUSHED, sha256, sha512
from .rows import Case, Names, Step, play, row, start, story, table
from .uploads import LOST, OPENED, UNKNOWN_SESSION, at, patch, status
from .wire import Bare, Body, Chunked, ask

if TYPE_CHECKING:
    from .wire import Address

_POST = "/v2/{repo}/blobs/uploads/"
POSTS = [
    row("1.7 POST opens a session", "POST", _POST, 202, has=OPENED, body_is=b""),
    row("1.7 POST without any length", "POST", _POST, 202, body=Bare(), has=OPENED),
    row("1.7 POST with an empty chunked body", "POST", _POST, 202, body=Chunked.of(), has=OPENED),
    row(
        "1.7 POST as JSON without a body, as ggcr does",
        "POST",
        _POST,
        202,
        headers={"Content-Type": "application/json"},
        has=OPENED,
    ),
    row("1.7 POST digest-algorithm=sha256", "POST", _POST + "?digest-algorithm=sha256", 202, has=OPENED),
    row("1.7 POST digest-algorithm=sha512", "POST", _POST + "?digest-algorithm=sha512", 202, has=OPENED),
    row("1.7 POST digest-algorithm=md5", "POST", _POST + "?digest-algorithm=md5", 400, code="DIGEST_INVALID"),
    row("1.7 POST digest-algorithm=SHA256", "POST", _POST + "?digest-algorithm=SHA256", 400, code="DIGEST_INVALID"),
    row("1.2 POST with unknown parameters", "POST", _POST + "?origin=x&n=1&state=", 202, has=OPENED),
    story(
        "1.7 an open session makes no repository",
        start(),
        patch(b"hello"),
        Step("GET", "/v2/{repo}/tags/list", 404, code="NAME_UNKNOWN"),
    ),
]

ONE_POST: list[tuple[str, bytes, Body]] = [
    ("with a length", BLOB, BLOB),
    ("chunked", BLOB, Chunked.of(BLOB[:5], BLOB[5:])),
    ("empty and chunked", b"", Chunked.of()),
    ("empty with length 0", b"", b""),
]
SINGLE_POST = [
    *(
        story(
            f"1.7 the whole blob in the POST, {how}, by {algorithm}",
            Step(
                "POST",
                f"{_POST}?digest={digest}",
                201,
                body=body,
                has={
                    "Location": f"/v2/{{repo}}/blobs/{digest}",
                    "Docker-Content-Digest": digest,
                    "Content-Length": "0",
                },
            ),
            Step("GET", f"/v2/{{repo}}/blobs/{digest}", 200, body_is=content),
        )
        for algorithm, of in [("sha256", sha256), ("sha512", sha512)]
        for how, content, body in ONE_POST
        for digest in [of(content)]
    ),
    story(
        "1.7 POST whose digest is not that of the body: 400, nothing stored",
        Step("POST", _POST + "?digest={missing}", 400, body=BLOB, code="DIGEST_INVALID"),
        Step("HEAD", "/v2/{repo}/blobs/{missing}", 404),
        Step("HEAD", "/v2/{repo}/blobs/{blob}", 404),
    ),
    row(
        "1.7 the same, chunked",
        "POST",
        _POST + "?digest={blob}",
        400,
        body=Chunked.of(BLOB, b"x"),
        code="DIGEST_INVALID",
    ),
    row("1.7 POST with digest and no body opens a session", "POST", _POST + "?digest={blob}", 202, has=OPENED),
    row("1.7 POST with a digest of bad syntax", "POST", _POST + "?digest=foo", 400, body=BLOB, code="DIGEST_INVALID"),
    row(
        "1.7 POST with an unsupported algorithm", "POST", _POST + "?digest=md5:0", 400, body=BLOB, code="DIGEST_INVALID"
    ),
]

STATES = [
    story(
        "1.7 GET of a session: 204, no body, no Content-Type, also with a stray digest",
        start(),
        status(0),
        patch(b"hello"),
        status(4),
        status(4, "{first}"),
        status(4, "{location}?digest={missing}"),
        status(4, "{location}?digest=foo"),
        Step("HEAD", "{location}", 204, has={**at(4), "Content-Length": None}),
    ),
    story(
        "1.7 DELETE cancels: 204, later requests are 404",
        *(
            start(),
            patch(b"hello"),
            Step("DELETE", "{location}", 204, body_is=b""),
            Step("GET", "{location}", 404, code=LOST),
            Step("HEAD", "{location}", 404),
            Step("PATCH", "{location}", 404, body=b"x", code=LOST),
            Step("PUT", "{location}?digest=" + sha256(b"hello"), 404, code=LOST),
            Step("DELETE", "{location}", 404, code=LOST),
            Step("HEAD", "/v2/{repo}/blobs/" + sha256(b"hello"), 404),
        ),
    ),
    *(
        row(
            f"1.7 {method} of an unknown session",
            method,
            f"{UNKNOWN_SESSION}?digest={NEVER_PUSHED}",
            404,
            body=body,
            code=LOST,
        )
        for method, body in [
            ("GET", b""),
            ("HEAD", b""),
            ("PATCH", b"x"),
            ("PATCH", Chunked.of(b"x")),
            ("PUT", b""),
            ("PUT", b"x"),
            ("PUT", Chunked.of(b"x" * 100_000)),
            ("DELETE", b""),
        ]
    ),
    *(
        row(
            f"5.6 {method} of the id {what}",
            method,
            f"/v2/{{repo}}/blobs/uploads/{name}?digest={NEVER_PUSHED}",
            404,
            code=LOST,
        )
        for method in ("GET", "PATCH", "PUT", "DELETE")
        for what, name in [
            ("not-a-uuid", "not-a-uuid"),
            ("of 10 KB", "a" * 10_240),
            ("in upper case", "0B8E2B0C-6A49-4A5E-9D63-0F3C2F0A1111"),
            ("with NUL", "0b8e2b0c-6a49-4a5e-9d63-0f3c2f0a111%00"),
            ("with UTF-8", "%C3%A9"),
            ("with a quote", "x'%20OR%20'1'='1"),
        ]
    ),
    row("5.6 GET of the id ../../x", "GET", "/v2/{repo}/blobs/uploads/../../x", (404, 400)),
    row("5.6 GET of the id ../../x with escaped slashes", "GET", "/v2/{repo}/blobs/uploads/..%2F..%2Fx", (404, 400)),
    row("5.6 PATCH of the id ../../x", "PATCH", "/v2/{repo}/blobs/uploads/..%2F..%2Fx", (404, 400), body=b"x"),
]


@table(*POSTS)
async def test_open(registry: Address, names: Names, case: Case) -> None:
    """POST opens a session with exactly 202 and everything that clients need next."""
    await play(registry, names, case)


@table(*SINGLE_POST)
async def test_single_post(registry: Address, names: Names, case: Case) -> None:
    """One POST with a digest and all bytes pushes a blob, or stores nothing."""
    await play(registry, names, case)


@table(*STATES)
async def test_state(registry: Address, names: Names, case: Case) -> None:
    """The state of a session can be asked for at any time; what is over is unknown."""
    await play(registry, names, case)


async def test_sessions_are_distinct(registry: Address, repo: str) -> None:
    """Every POST opens a session of its own, whose id is the last component of its address."""
    answers = [await ask(registry, "POST", f"/v2/{repo}/blobs/uploads/") for _ in range(5)]

    ids = [answer["Location"].partition("?")[0].rpartition("/")[2] for answer in answers]
    assert ids == [answer["Docker-Upload-UUID"] for answer in answers]
    assert len(set(ids)) == 5


async def test_session_of_another_repository(registry: Address, repo: str) -> None:
    """A session is unknown under another repository's name, and is not harmed by the attempt (5.36)."""
    location = (await ask(registry, "POST", f"/v2/{repo}/blobs/uploads/"))["Location"].partition("?")[0]
    await ask(registry, "PATCH", location, body=b"hello")
    foreign = location.replace(repo, f"{repo}/other")
    digest = sha256(b"hello")
    for method, body in [("GET", b""), ("PATCH", b"x"), ("PUT", b""), ("DELETE", b"")]:
        answer = await ask(registry, method, f"{foreign}?digest={digest}", body=body)
        assert (answer.status, answer.codes()) == (404, ["BLOB_UPLOAD_UNKNOWN"]), method

    assert (await ask(registry, "GET", location))["Range"] == "0-4"
    assert (await ask(registry, "PUT", f"{location}?digest={digest}")).status == 201
    assert (await ask(registry, "HEAD", f"/v2/{repo}/other/blobs/{digest}")).status == 404

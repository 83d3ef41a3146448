"""The upload session as a state machine: random requests over real sockets against a model of a few lines.

The model knows the bytes of the last answered request (*committed*, architecture 3), and after a
cut body the bytes that the registry may have kept beyond them (*cut*): GET decides how many.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from .content import noise, sha256, sha512
from .uploads import ENDS, cut_request, offset_of
from .wire import Address, Chunked, ask

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from .uploads import End
    from .wire import Answer, Body

# Sizes around nothing, buffers of 64 and 256 KiB, and a part of 8 MiB (rarely, for they take time).
_SIZES = st.sampled_from([0, 2, 5, 100, 65_536, 262_143, 262_145, 1_000_000]) | st.integers(2, 400_000)
_LARGE = st.sampled_from([2, 300_000, 1_000_000, 8 * 2**20 - 1, 8 * 2**20 + 5, 9_000_000])
# What breaks off is always the beginning of this: a client sends the same again, and a request that was
# cut before the registry saw it leaves the progress of the one before it.
STREAM = noise(9_000_000, seed=7)
_SEEDS = st.integers(0, 1000)
_LIMIT = 40_000_000


class SessionMachine(RuleBasedStateMachine):
    """One upload session, its model, and the requests that a client may send in any order."""

    registry: Address
    loop: asyncio.AbstractEventLoop

    def __init__(self) -> None:
        super().__init__()
        self.content = b""
        self.cut: bytes = b""
        self.closed: str | None = None
        self.digest = ""

    def run(self, work: Coroutine[Any, Any, Answer]) -> Answer:
        return self.loop.run_until_complete(work)

    def send(self, method: str, query: str = "", *, body: Body = b"", headers: dict[str, str] | None = None) -> Answer:
        return self.run(ask(self.registry, method, self.location + query, headers=headers or {}, body=body))

    def expect_state(self, answer: Answer, status: int) -> None:
        """Check status, and that the answer says where the session stands."""
        assert answer.status == status, str(answer)
        assert offset_of(answer) == self.shown, f"the session stands at {self.shown}: {answer}"
        assert answer["Docker-Upload-UUID"] in answer["Location"]

    @property
    def shown(self) -> int:
        """The offset as Range can tell it: one byte looks like none (protocol 6.3)."""
        return len(self.content) if len(self.content) != 1 else 0

    @initialize(repository=st.sampled_from(["machine/a", "machine/b"]))
    def open(self, repository: str) -> None:
        """POST opens a session."""
        self.repository = repository
        answer = self.run(ask(self.registry, "POST", f"/v2/{repository}/blobs/uploads/"))
        assert answer.status == 202
        self.location = answer["Location"]

    # --- chunks --------------------------------------------------------------------------------

    def is_open(self) -> bool:
        return self.closed is None and len(self.content) < _LIMIT

    @precondition(is_open)
    @rule(size=_SIZES | _LARGE, seed=_SEEDS, chunked=st.booleans())
    def patch_streamed(self, size: int, seed: int, *, chunked: bool) -> None:
        """A body without Content-Range starts at the committed offset, whatever was cut before."""
        piece = noise(size, seed)
        self.content, self.cut = self.content + piece, b""
        self.expect_state(self.send("PATCH", body=Chunked.of(piece) if chunked else piece), 202)

    @precondition(is_open)
    @rule(size=_SIZES.filter(bool), seed=_SEEDS)
    def patch_ranged(self, size: int, seed: int) -> None:
        """A chunk that starts where the session stands is taken."""
        piece = noise(size, seed)
        start = len(self.content)
        self.content, self.cut = self.content + piece, b""
        headers = {"Content-Range": f"{start}-{start + size - 1}"}
        self.expect_state(self.send("PATCH", body=piece, headers=headers), 202)

    @precondition(is_open)
    @rule(distance=st.integers(-50, 2_000_000), size=st.integers(1, 1000), method=st.sampled_from(["PATCH", "PUT"]))
    def out_of_order(self, distance: int, size: int, method: str) -> None:
        """A chunk that starts anywhere else is 416 and changes nothing; after a cut GET has to be asked first."""
        start = len(self.content) + distance
        if start < 0 or distance == 0 or self.cut:
            return
        headers = {"Content-Range": f"{start}-{start + size - 1}"}
        query = f"?digest={sha256(b'x')}" if method == "PUT" else ""
        answer = self.send(method, query, body=bytes(size), headers=headers)
        self.expect_state(answer, 416)
        assert answer.codes() == ["BLOB_UPLOAD_INVALID"]

    @precondition(is_open)
    @rule(announced=st.integers(1, 1000), size=st.integers(0, 1500), chunked=st.booleans())
    def wrong_size(self, announced: int, size: int, *, chunked: bool) -> None:
        """A chunk of another size than its Content-Range says is 400, and nothing of it is kept."""
        if size == announced:
            return
        headers = {"Content-Range": f"{len(self.content)}-{len(self.content) + announced - 1}"}
        answer = self.send("PATCH", body=Chunked.of(bytes(size)) if chunked else bytes(size), headers=headers)
        assert (answer.status, answer.codes()) == (400, ["SIZE_INVALID"])

    @precondition(is_open)
    @rule(
        size=st.integers(10, 600_000) | _LARGE.filter(lambda n: n > 10),
        share=st.floats(0.01, 0.99),
        end=st.sampled_from(ENDS),
        chunked=st.booleans(),
        ranged=st.booleans(),
    )
    def cut_in_the_middle(self, size: int, share: float, end: End, *, chunked: bool, ranged: bool) -> None:
        """A body that breaks off commits nothing; a beginning of it may be kept as progress."""
        piece = STREAM[:size]
        sent = max(2, int(size * share))
        start = len(self.content)
        headers = {"Content-Range": f"{start}-{start + size - 1}"} if ranged else {}
        work = cut_request(self.registry, "PATCH", self.location, piece, sent, end, chunked=chunked, headers=headers)
        self.loop.run_until_complete(work)
        self.cut = max(self.cut, piece[:sent], key=len)

    # --- questions -----------------------------------------------------------------------------

    @precondition(is_open)
    @rule(query=st.sampled_from(["", "?digest=foo"]))
    def get(self, query: str) -> None:
        """GET reports an offset that holds from then on: the committed one, or one within what was cut."""
        answer = self.send("GET", query)
        assert answer.status == 204
        offset = offset_of(answer)
        if not self.cut:
            assert offset == self.shown
        elif offset != self.shown:
            assert len(self.content) < offset <= len(self.content) + len(self.cut)
            self.content += self.cut[: offset - len(self.content)]
            # What GET has made binding is all there is; the rest of the cut body is gone.
            self.cut = b""

    @invariant()
    def head(self) -> None:
        """HEAD reports the committed offset at any time and changes nothing."""
        if hasattr(self, "location") and self.closed is None:
            self.expect_state(self.send("HEAD"), 204)

    # --- the end -------------------------------------------------------------------------------

    @precondition(is_open)
    @rule(query=st.sampled_from(["", "?digest=", "?digest=foo", "?digest=md5:0"]))
    def close_without_digest(self, query: str) -> None:
        """A commit without a digest of use is 400 and keeps the session."""
        answer = self.send("PUT", query)
        assert (answer.status, answer.codes()) == (400, ["DIGEST_INVALID"])

    @precondition(is_open)
    @rule(size=_SIZES, seed=_SEEDS, by=st.sampled_from([sha256, sha512]), whole=st.booleans())
    def close(self, size: int, seed: int, by: Any, *, whole: bool) -> None:
        """The right digest publishes exactly the committed bytes and the last body, or the whole blob sent again."""
        piece = noise(size, seed)
        content = self.content + piece
        self.digest = by(content)
        answer = self.send("PUT", f"?digest={self.digest}", body=content if whole else piece)
        assert (answer.status, answer["Docker-Content-Digest"]) == (201, self.digest), str(answer)
        found = self.run(ask(self.registry, "GET", answer["Location"]))
        assert found.body == content
        self.closed = "committed"

    @precondition(is_open)
    @rule(size=_SIZES, seed=_SEEDS)
    def close_wrongly(self, size: int, seed: int) -> None:
        """A wrong digest is 400 and publishes nothing; the session ends."""
        piece = noise(size, seed)
        wrong = sha256(b"no content of this machine " + bytes([seed % 256]))
        answer = self.send("PUT", f"?digest={wrong}", body=piece)
        assert (answer.status, answer.codes()) == (400, ["DIGEST_INVALID"])
        missing = self.run(ask(self.registry, "HEAD", f"/v2/{self.repository}/blobs/{wrong}"))
        assert missing.status == 404
        self.closed = "failed"

    @precondition(is_open)
    @rule()
    def cancel(self) -> None:
        """DELETE ends the session."""
        assert self.send("DELETE").status == 204
        self.closed = "cancelled"

    @precondition(lambda self: self.closed is not None)
    @rule(method=st.sampled_from(["GET", "PATCH", "DELETE"]))
    def afterwards(self, method: str) -> None:
        """A session that is over is unknown."""
        answer = self.send(method, body=b"x" if method == "PATCH" else b"")
        assert (answer.status, answer.codes()) == (404, ["BLOB_UPLOAD_UNKNOWN"])

    @precondition(lambda self: self.closed is not None)
    @rule(body=st.sampled_from([b"", b"anything"]))
    def close_again(self, body: bytes) -> None:
        """The commit that succeeded is answered again; any other is unknown."""
        digest = self.digest or sha256(b"")
        answer = self.send("PUT", f"?digest={digest}", body=body)
        assert answer.status == (201 if self.closed == "committed" else 404), str(answer)


@pytest.mark.timeout(180)
def test_session(registry: Address) -> None:
    """Whatever a client sends in whatever order, the session keeps what it answered and nothing else."""
    loop = asyncio.new_event_loop()
    machine = type("Machine", (SessionMachine,), {"registry": registry, "loop": loop})
    try:
        run_state_machine_as_test(
            machine,
            settings=settings(
                max_examples=100,
                stateful_step_count=15,
                deadline=None,
                database=None,
                suppress_health_check=list(HealthCheck),
            ),
        )
    finally:
        loop.close()

"""What clients do, step by step, each of which may be begun again after the registry has died under it."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Protocol
from urllib.parse import quote

from e2e.images import Image, Index
from e2e.wire import ACCEPT, OCI_INDEX, OCI_MANIFEST, sha256
from faults.installations import let_time_pass

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from e2e.wire import Wire
    from faults.crashing import Mortal

Facts = dict[str, bytes | None]
"""What GET brings from each address; None is not found."""


class Step(Protocol):
    """Something that a client does."""

    @property
    def changes(self) -> Facts:
        """What is another fact afterwards; until the answer has come, each of them may be still as it was."""
        ...

    def take(self, registry: Mortal) -> None:
        """Do it, or go on with it, as clients do that have lost an answer."""
        ...


def look(wire: Wire, address: str) -> bytes | None:
    """Get what is at an address."""
    answer = wire.request("GET", address, headers={"Accept": ACCEPT})
    assert answer.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}, f"{address}: {answer}"
    return answer.body if answer.status == HTTPStatus.OK else None


def blob_at(repository: str, content: bytes) -> str:
    """Return the address of a blob."""
    return f"/v2/{repository}/blobs/{sha256(content)}"


def needed(facts: Mapping[str, bytes | None]) -> Facts:
    """Return what is left once blobs that no manifest refers to are collected."""
    kept: set[str] = set()
    for address, content in facts.items():
        repository, kind, _ = address.rsplit("/", 2)
        if kind == "manifests" and content is not None:
            manifest = json.loads(content)
            descriptors = [*manifest.get("layers", ()), *([manifest["config"]] if "config" in manifest else ())]
            kept |= {f"{repository}/blobs/{descriptor['digest']}" for descriptor in descriptors}
    return {
        address: content if address in kept or "/manifests/" in address else None for address, content in facts.items()
    }


def clean(registry: Mortal) -> None:
    """Let time pass, and all be done that is done then."""
    # What loses its last reference in a round is collected in the next one; objects are deleted twice.
    for _ in range(3):
        let_time_pass(registry.database_url)
        for work in ("sweep", "collect", "remove"):
            registry.order(work)
    registry.order("catalogue")


@dataclass
class _Once:
    """A request that, when its answer was lost, may find next time that there is nothing left to do."""

    _was_sent: bool = field(default=False, init=False)

    def _send(self, wire: Wire, method: str, address: str, expected: HTTPStatus) -> None:
        allowed = {expected, HTTPStatus.NOT_FOUND} if self._was_sent else {expected}
        self._was_sent = True
        answer = wire.request(method, address, b"")
        assert answer.status in allowed, answer


@dataclass
class PushInChunks:
    """An upload in several requests; the last chunk comes with the closing PUT."""

    repository: str
    content: bytes
    ends: Sequence[int]
    """Where the chunks end that are sent by PATCH."""
    _session: str | None = field(default=None, init=False)
    _acknowledged: int = field(default=0, init=False)

    @property
    def changes(self) -> Facts:
        return {blob_at(self.repository, self.content): self.content}

    def take(self, registry: Mortal) -> None:
        wire = registry.wire
        stored = self._resume(wire)
        for number, end in enumerate(self.ends):
            if stored < end:
                stored = self._append(wire, stored, end, is_ranged=number % 2 == 0)
        self._close(wire, stored)

    def _resume(self, wire: Wire) -> int:
        """Open a session, or ask the one that there is; what was acknowledged it must still have."""
        if self._session is not None:
            answer = wire.request("GET", self._session)
            if answer.status == HTTPStatus.NO_CONTENT:
                assert answer.stored >= self._acknowledged
                return answer.stored
            # It is over: then it was finished with all that was sent, and says so once more.
            assert answer.status == HTTPStatus.NOT_FOUND, answer
            return len(self.content)
        self._session = wire.start_upload(self.repository)
        return 0

    def _append(self, wire: Wire, start: int, end: int, *, is_ranged: bool) -> int:
        assert self._session is not None
        if is_ranged:
            answer = wire.append(self._session, start, self.content[start:end])
        else:
            answer = wire.request("PATCH", self._session, self.content[start:end])
        assert (answer.status, answer.stored) == (HTTPStatus.ACCEPTED, end), answer
        self._acknowledged = end
        return end

    def _close(self, wire: Wire, stored: int) -> None:
        target = f"{self._session}?digest={sha256(self.content)}"
        answer = wire.request("PUT", target, self.content[stored:], {"Content-Type": "application/octet-stream"})
        assert answer.status == HTTPStatus.CREATED, answer


@dataclass
class PushWhole:
    """An upload in one request."""

    repository: str
    content: bytes

    @property
    def changes(self) -> Facts:
        return {blob_at(self.repository, self.content): self.content}

    def take(self, registry: Mortal) -> None:
        target = f"/v2/{self.repository}/blobs/uploads/?digest={sha256(self.content)}"
        answer = registry.wire.request("POST", target, self.content, {"Content-Type": "application/octet-stream"})
        assert answer.status == HTTPStatus.CREATED, answer


@dataclass
class PushTwice:
    """An upload whose closing PUT brings the whole blob once more, behind what the session holds already."""

    repository: str
    content: bytes

    @property
    def changes(self) -> Facts:
        return {blob_at(self.repository, self.content): self.content}

    def take(self, registry: Mortal) -> None:
        wire = registry.wire
        session = wire.start_upload(self.repository)
        assert wire.append(session, 0, self.content).status == HTTPStatus.ACCEPTED
        answer = wire.request("PUT", f"{session}?digest={sha256(self.content)}", self.content)
        assert answer.status == HTTPStatus.CREATED, answer


@dataclass
class GiveUp(_Once):
    """An upload that is cancelled."""

    repository: str
    content: bytes
    _session: str | None = field(default=None, init=False)
    _is_cancelling: bool = field(default=False, init=False)

    @property
    def changes(self) -> Facts:
        return {}

    def take(self, registry: Mortal) -> None:
        if not self._is_cancelling:
            self._session = registry.wire.start_upload(self.repository)
            assert registry.wire.append(self._session, 0, self.content).status == HTTPStatus.ACCEPTED
            self._is_cancelling = True
        assert self._session is not None
        self._send(registry.wire, "DELETE", self._session, HTTPStatus.NO_CONTENT)


@dataclass
class Mount:
    """A blob that another repository has."""

    repository: str
    content: bytes
    source: str

    @property
    def changes(self) -> Facts:
        return {blob_at(self.repository, self.content): self.content}

    def take(self, registry: Mortal) -> None:
        target = f"/v2/{self.repository}/blobs/uploads/?mount={sha256(self.content)}&from={self.source}"
        assert registry.wire.request("POST", target, b"").status == HTTPStatus.CREATED


@dataclass
class PutManifest:
    """A manifest under a tag."""

    repository: str
    image: Image | Index
    tag: str

    @property
    def changes(self) -> Facts:
        base = f"/v2/{self.repository}/manifests"
        return dict.fromkeys([f"{base}/{self.tag}", f"{base}/{self.image.digest}"], self.image.manifest)

    def take(self, registry: Mortal) -> None:
        kind = OCI_MANIFEST if isinstance(self.image, Image) else OCI_INDEX
        target = f"/v2/{self.repository}/manifests/{self.tag}"
        answer = registry.wire.request("PUT", target, self.image.manifest, {"Content-Type": kind})
        assert answer.status == HTTPStatus.CREATED, answer


@dataclass
class Delete(_Once):
    """A deletion, by which several addresses may be lost."""

    addresses: Sequence[str]
    """The first of them is deleted."""

    @property
    def changes(self) -> Facts:
        return dict.fromkeys(self.addresses)

    def take(self, registry: Mortal) -> None:
        self._send(registry.wire, "DELETE", self.addresses[0], HTTPStatus.ACCEPTED)


@dataclass
class DeleteImage(_Once):
    """An image with all that is in it, by the management API."""

    repository: str
    changes: Facts

    def take(self, registry: Mortal) -> None:
        name = quote(self.repository, safe="")
        self._send(registry.wire, "DELETE", f"/api/registries/default/images/{name}", HTTPStatus.NO_CONTENT)


@dataclass
class Restore(_Once):
    """The last deletion is undone."""

    changes: Facts
    _deletion: int | None = field(default=None, init=False)

    def take(self, registry: Mortal) -> None:
        base = "/api/registries/default/deleted"
        if self._deletion is None:
            self._deletion = json.loads(registry.wire.request("GET", base).body)["items"][0]["id"]
        self._send(registry.wire, "POST", f"{base}/{self._deletion}/restore", HTTPStatus.OK)


@dataclass
class Abandon:
    """An upload that nobody goes on with."""

    repository: str
    content: bytes
    ends: Sequence[int]

    @property
    def changes(self) -> Facts:
        return {}

    def take(self, registry: Mortal) -> None:
        session = registry.wire.start_upload(self.repository)
        start = 0
        for end in self.ends:
            assert registry.wire.append(session, start, self.content[start:end]).status == HTTPStatus.ACCEPTED
            start = end


@dataclass
class Order:
    """A round of what goes on beside the requests."""

    what: str
    changes: Facts = field(default_factory=dict)

    def take(self, registry: Mortal) -> None:
        registry.order(self.what)


@dataclass
class Wait:
    """Until everything has expired."""

    changes: Facts = field(default_factory=dict, init=False)

    def take(self, registry: Mortal) -> None:
        let_time_pass(registry.database_url)

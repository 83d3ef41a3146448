"""A small client of the registry's HTTP interface: the tests' own eyes, independent of the real clients."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, suppress
from dataclasses import dataclass
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Mapping
    from http.client import HTTPMessage

ANSWER_SECONDS = 60.0
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_INDEX = "application/vnd.oci.image.index.v1+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
ACCEPT = f"{OCI_MANIFEST}, {OCI_INDEX}, {DOCKER_MANIFEST}, {DOCKER_LIST}"


def sha256(content: bytes) -> str:
    """Return the digest of bytes as registries write it."""
    return "sha256:" + hashlib.sha256(content).hexdigest()


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, headers and the whole body of an answer."""

    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def location(self) -> str:
        """The path and query that Location names; whether it also names a host is left to the server."""
        target = urlsplit(self.headers["Location"])
        return target.path + (f"?{target.query}" if target.query else "")

    @property
    def stored(self) -> int:
        """The number of bytes that the Range header of an upload session states; 0-0 is read as none."""
        first, _, last = self.headers["Range"].partition("-")
        assert first == "0", f"Range {self.headers['Range']} does not start at 0"
        return int(last) + 1 if last != "0" else 0


class Wire:
    """Requests to one registry, each on a connection of its own."""

    def __init__(self, address: str, headers: Mapping[str, str] | None = None) -> None:
        """Prepare requests to an address; the headers are sent with each of them."""
        self.address = address
        self.headers = dict(headers or {})

    def connect(self) -> HTTPConnection:
        """Open a connection for a request that is sent piece by piece."""
        return HTTPConnection(self.address, timeout=ANSWER_SECONDS)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """Send one request and read its answer; redirects are handed back."""
        with closing(self.connect()) as connection:
            with suppress(BrokenPipeError, ConnectionResetError):  # an answer may come before the body is sent
                connection.request(method, path, body=body, headers=self.headers | dict(headers or {}))
            with connection.getresponse() as response:
                return Answer(response.status, response.headers, response.read())

    def blob(self, repository: str, digest: str) -> bytes:
        """Fetch a blob, over a redirect if need be, and check its digest and length."""
        answer = self.request("GET", f"/v2/{repository}/blobs/{digest}")
        if answer.status == 307:
            storage = Wire(urlsplit(answer.headers["Location"]).netloc)
            answer = storage.request("GET", answer.location)
        assert answer.status == 200, f"{repository} {digest}: {answer.status} {answer.body[:500]!r}"
        assert sha256(answer.body) == digest
        assert int(answer.headers["Content-Length"]) == len(answer.body)
        return answer.body

    def has_blob(self, repository: str, digest: str) -> bool:
        """Ask by HEAD whether a blob is visible in a repository."""
        status = self.request("HEAD", f"/v2/{repository}/blobs/{digest}").status
        assert status in {200, 404, 307}, f"{repository} {digest}: {status}"
        return status != 404

    def manifest(self, repository: str, reference: str) -> bytes:
        """Fetch a manifest by tag or digest and check that its bytes are those of the stated digest."""
        answer = self.request("GET", f"/v2/{repository}/manifests/{reference}", headers={"Accept": ACCEPT})
        assert answer.status == 200, f"{repository} {reference}: {answer.status} {answer.body[:500]!r}"
        digest = sha256(answer.body)
        assert answer.headers["Docker-Content-Digest"] == digest
        assert reference == digest or not reference.startswith("sha256:")
        return answer.body

    def verify(self, repository: str, reference: str) -> str:
        """Read an image or index with all its blobs and children, check every byte, return its digest."""
        body = self.manifest(repository, reference)
        manifest: dict[str, Any] = json.loads(body)
        for child in manifest.get("manifests", []):
            self.verify(repository, child["digest"])
        for descriptor in [manifest["config"], *manifest["layers"]] if "layers" in manifest else []:
            assert len(self.blob(repository, descriptor["digest"])) == descriptor["size"]
        return sha256(body)

    def start_upload(self, repository: str) -> str:
        """Open an upload session and return its path."""
        answer = self.request("POST", f"/v2/{repository}/blobs/uploads/", headers={"Content-Length": "0"})
        assert answer.status == 202, answer.body
        return answer.location

    def append(self, session: str, start: int, content: bytes) -> Answer:
        """Send a chunk that starts at an offset."""
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Range": f"{start}-{start + len(content) - 1}",
        }
        return self.request("PATCH", session, content, headers)

    def finish(self, session: str, digest: str) -> Answer:
        """Close an upload session with an empty PUT."""
        separator = "&" if "?" in session else "?"
        return self.request("PUT", f"{session}{separator}digest={digest}", headers={"Content-Length": "0"})

    def push_blob(self, repository: str, content: bytes) -> str:
        """Push a blob in one PATCH and an empty PUT, expect 201, return its digest."""
        digest = sha256(content)
        patched = self.append(self.start_upload(repository), 0, content)
        assert patched.status == 202, patched.body
        answer = self.finish(patched.location, digest)
        assert answer.status == 201, answer.body
        assert answer.headers["Docker-Content-Digest"] == digest
        return digest

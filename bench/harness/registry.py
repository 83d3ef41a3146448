"""What clients ask of a registry, by the specification and nothing else."""

from __future__ import annotations

import hashlib
import json
import time
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlsplit

from bench.harness.http import Connection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from bench.harness.content import Content
    from bench.harness.http import Bytes, Head
    from bench.harness.login import Login

Framing = Literal["chunked", "length"]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar"
_BINARY = {"Content-Type": "application/octet-stream"}


class Client:
    """One client of a registry, on one connection."""

    def __init__(self, url: str, login: Login | None = None) -> None:
        """Connect to the registry at an address."""
        self._connection = Connection(url)
        self._login = login
        self._elsewhere: dict[str, Connection] = {}

    def push(self, repository: str, content: Content, framing: Framing, rate: float | None = None) -> None:
        """Push a blob as docker does: POST, one PATCH with everything, PUT; ``rate`` in bytes per second."""
        chunked = framing == "chunked"
        pieces: Iterable[Bytes] = content.chunks() if chunked else content.blocks()
        frame = {"Transfer-Encoding": "chunked"} if chunked else {"Content-Length": str(content.size)}
        body = pieces if rate is None else _slowed(pieces, rate)
        location = self.begin(repository)
        location = _target(self._ask("PATCH", location, 202, _BINARY | frame, body).headers["location"])
        self._ask("PUT", _with_digest(location, content.digest), 201, {"Content-Length": "0"})

    def push_at_once(self, repository: str, content: Content) -> None:
        """Push a blob by POST and one PUT that carries the content."""
        location = _with_digest(self.begin(repository), content.digest)
        self._ask("PUT", location, 201, _BINARY | {"Content-Length": str(content.size)}, content.blocks())

    def begin(self, repository: str) -> str:
        """Start an upload and return where it goes on."""
        answer = self._ask("POST", f"/v2/{repository}/blobs/uploads/", 202, {"Content-Length": "0"})
        return _target(answer.headers["location"])

    def pull(self, repository: str, content: Content) -> None:
        """Pull a blob, from the storage if the registry says so, and compare every byte."""
        self.pull_from(f"/v2/{repository}/blobs/{content.digest}", content)

    def pull_from(self, target: str, content: Content) -> None:
        """Pull content from any address on this host and compare every byte."""
        connection = self._connection
        head = connection.request("GET", target, self._with_login(target))
        if head.status in {302, 307}:
            connection.body()
            location = head.headers["location"]
            parts = urlsplit(location)
            connection = self._connection_to(parts.netloc)
            head = connection.request("GET", f"{parts.path}?{parts.query}")
        _expect(connection, head, 200, f"GET {target}")
        if int(head.headers["content-length"]) != content.size:
            raise ValueError(f"GET {target} has {head.headers['content-length']} bytes instead of {content.size}")
        content.check(connection.receive_into)
        connection.finish()

    def pull_bytes(self, target: str) -> bytes:
        """Return the body at an address on this host, checked by the digest that the server names."""
        connection = self._connection
        head = connection.request("GET", target, self._with_login(target, {"Accept": MANIFEST_TYPE}))
        _expect(connection, head, 200, f"GET {target}")
        body = connection.body()
        if head.headers["docker-content-digest"] != f"sha256:{hashlib.sha256(body).hexdigest()}":
            raise ValueError(f"GET {target} gives other content than it says")
        return body

    def redirection(self, target: str) -> str:
        """Return where a GET of a blob is sent to."""
        head = self._connection.request("GET", target, self._with_login(target))
        _expect(self._connection, head, 307, f"GET {target}")
        self._connection.body()
        return head.headers["location"]

    def put_manifest(self, repository: str, reference: str, raw: bytes) -> None:
        """Push a manifest under a tag or digest."""
        headers = {"Content-Type": MANIFEST_TYPE, "Content-Length": str(len(raw))}
        self._ask("PUT", f"/v2/{repository}/manifests/{reference}", 201, headers, [raw])

    def _ask(self, method: str, target: str, status: int, headers: dict[str, str], body: Iterable[Bytes] = ()) -> Head:
        head = self._connection.request(method, target, self._with_login(target, headers), body)
        _expect(self._connection, head, status, f"{method} {target}")
        self._connection.body()
        return head

    def _with_login(self, target: str, headers: Mapping[str, str] | None = None) -> dict[str, str]:
        login = {"Authorization": self._login.authorization(target)} if self._login else {}
        return {**(headers or {}), **login}

    def _connection_to(self, host: str) -> Connection:
        if host not in self._elsewhere:
            self._elsewhere[host] = Connection(f"http://{host}")
        return self._elsewhere[host]


def image_manifest(config: Content, layers: Iterable[Content], note: str = "") -> bytes:
    """Return a manifest of an image; ``note`` makes it different from others."""
    document = {
        "schemaVersion": 2,
        "mediaType": MANIFEST_TYPE,
        "config": {"mediaType": _CONFIG_TYPE, "digest": config.digest, "size": config.size},
        "layers": [{"mediaType": _LAYER_TYPE, "digest": each.digest, "size": each.size} for each in layers],
        "annotations": {"bench": note},
    }
    return json.dumps(document).encode()


def digest_of(raw: bytes) -> str:
    """Return the sha256 digest of bytes."""
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _expect(connection: Connection, head: Head, status: int, what: str) -> None:
    if head.status != status:
        raise ValueError(f"{what} was answered with {head.status}: {connection.body()[:500]!r}")


def _target(location: str) -> str:
    """Return path and query of a Location, which may be absolute."""
    parts = urlsplit(location)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _with_digest(target: str, digest: str) -> str:
    return f"{target}{'&' if '?' in target else '?'}digest={digest}"


def _slowed(pieces: Iterable[Bytes], rate: float) -> Iterator[Bytes]:
    """Hand out small pieces, none before its time."""
    step = 64 * 1024
    begin = time.monotonic()
    sent = 0
    for piece in pieces:
        view = memoryview(piece)
        for start in range(0, len(view), step):
            small = view[start : start + step]
            time.sleep(max(0.0, begin + sent / rate - time.monotonic()))
            yield small
            sent += len(small)

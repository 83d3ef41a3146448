"""Many clients push, mount, delete, restore and collect the same few digests on two processes, at random.

The model knows which manifests must be there: pushed or restored, and no deletion of them has begun since. What such a
manifest refers to must be there as well, at any time. In the end everything else is gone, and its objects with it.
"""

from __future__ import annotations

import json
import random
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING
from urllib.parse import quote

import asyncpg
import pytest

from e2e.images import Image, image_of, index_of, layer_of
from e2e.wire import ACCEPT, OCI_INDEX, OCI_MANIFEST, Wire, sha256
from faults.crashing import Mortal, mortal
from faults.installations import let_time_pass, new_installation
from faults.steps import clean
from gateway.config import Address
from support.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.images import Index
    from support.databases import Server
    from support.seaweed import SeaweedFS

pytestmark = pytest.mark.timeout(7200)  # for a soak; whatever is waited for has a limit of its own
_SECONDS = 15.0
_CLIENTS = 6
_REPOSITORIES = ("race/a", "race/b")
_LAYERS = [layer_of({"file": bytes([number]) * 2000}) for number in range(3)]
_IMAGES = [image_of([_LAYERS[first], _LAYERS[second]]) for first in range(3) for second in range(first)]
_INDEXES = [index_of("race", ("amd64", "arm64"))]
_MANIFESTS: list[Image | Index] = [*_IMAGES, *_INDEXES]
_BLOBS = sorted({blob for image in _IMAGES for blob in image.blobs()[1:]})

Key = tuple[str, str]
"""A repository, and the digest of a manifest."""


@dataclass
class Model:
    """What must be there."""

    certain: set[Key] = field(default_factory=set)
    _epochs: dict[Key, int] = field(default_factory=dict)
    _deleting: dict[Key, int] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def epoch(self, key: Key) -> int | None:
        """Return what counts the deletions of a manifest, None while there is one under way."""
        with self._lock:
            return None if self._deleting.get(key) else self._epochs.get(key, 0)

    def came(self, key: Key, epoch: int | None) -> None:
        """Note that a manifest has come, if none has deleted it since the epoch."""
        with self._lock:
            if epoch is not None and not self._deleting.get(key) and self._epochs.get(key, 0) == epoch:
                self.certain.add(key)

    def must_be(self, key: Key, epoch: int | None) -> bool:
        """Tell whether a manifest was there all the time since the epoch."""
        with self._lock:
            return key in self.certain and epoch is not None and self._epochs.get(key, 0) == epoch

    @contextmanager
    def deleting(self, keys: list[Key]) -> Iterator[None]:
        """Note that manifests may go at any moment of the context."""
        with self._lock:
            for key in keys:
                self.certain.discard(key)
                self._epochs[key] = self._epochs.get(key, 0) + 1
                self._deleting[key] = self._deleting.get(key, 0) + 1
        try:
            yield
        finally:
            with self._lock:
                for key in keys:
                    self._deleting[key] -= 1

    def choose(self, chance: random.Random) -> Key | None:
        """Return a manifest that must be there."""
        with self._lock:
            return chance.choice(sorted(self.certain)) if self.certain else None


class Client:
    """A client that does anything, on either process."""

    def __init__(self, addresses: list[str], model: Model, seed: int) -> None:
        self._wires = [Wire(address) for address in addresses]
        self._model = model
        self._chance = random.Random(seed)
        self.seen = 0

    def act(self) -> None:
        """Do something."""
        actions: list[tuple[Callable[[], None], int]] = [
            (self.push, 8),
            (self.look, 10),
            (self.mount, 3),
            (self.delete_manifest, 3),
            (self.delete_blob, 5),
            (self.delete_image, 1),
            (self.restore, 3),
        ]
        self._chance.choices([action for action, _ in actions], [weight for _, weight in actions])[0]()

    @property
    def wire(self) -> Wire:
        """Either process."""
        return self._chance.choice(self._wires)

    @property
    def repository(self) -> str:
        """Any of them."""
        return self._chance.choice(_REPOSITORIES)

    def push(self) -> None:
        """Push an image, as clients do: what the registry says that it has is not sent again."""
        repository, manifest = self.repository, self._chance.choice(_MANIFESTS)
        for image in manifest.images if not isinstance(manifest, Image) else ():
            if not self._push(repository, image):
                return
        self._push(repository, manifest)

    def _push(self, repository: str, manifest: Image | Index) -> bool:
        key = repository, manifest.digest
        epoch = self._model.epoch(key)
        for blob in manifest.blobs()[1:] if isinstance(manifest, Image) else ():
            # Some remember what they have pushed before, and do not ask.
            if self._chance.random() < 0.7 and not self.wire.has_blob(repository, sha256(blob)):
                self._push_blob(repository, blob)
        reference = self._chance.choice([manifest.digest, "one", "two"])
        kind = OCI_MANIFEST if isinstance(manifest, Image) else OCI_INDEX
        target = f"/v2/{repository}/manifests/{reference}"
        answer = self.wire.request("PUT", target, manifest.manifest, {"Content-Type": kind})
        if answer.status == HTTPStatus.CREATED:
            self._model.came(key, epoch)
            return True
        # What it needs was collected, or deleted, in between.
        assert answer.status == HTTPStatus.BAD_REQUEST, answer
        assert b"MANIFEST_BLOB_UNKNOWN" in answer.body
        return False

    def _push_blob(self, repository: str, content: bytes) -> None:
        target = f"/v2/{repository}/blobs/uploads/"
        kind = {"Content-Type": "application/octet-stream"}
        if self._chance.random() < 0.5:
            answer = self.wire.request("POST", f"{target}?digest={sha256(content)}", content, kind)
        else:
            session = self.wire.start_upload(repository)
            cut = self._chance.randrange(1, len(content))
            assert self.wire.request("PATCH", session, content[:cut], kind).status == HTTPStatus.ACCEPTED
            if self._chance.random() < 0.1:
                return  # it is left to the sweeper
            answer = self.wire.request("PUT", f"{session}?digest={sha256(content)}", content[cut:], kind)
        assert answer.status == HTTPStatus.CREATED, answer

    def look(self) -> None:
        """See that a manifest that must be there is there, with all that it refers to."""
        key = self._model.choose(self._chance)
        if key is not None:
            self.check(key)

    def check(self, key: Key) -> None:
        """See that a manifest is there with all that it refers to, unless it is deleted meanwhile."""
        epoch = self._model.epoch(key)
        repository, digest = key
        base = f"/v2/{repository}"
        found = self._get(key, epoch, f"{base}/manifests/{digest}", digest)
        document = json.loads(found) if found is not None else {}
        for descriptor in [*document.get("layers", ()), *([document["config"]] if "config" in document else [])]:
            self._get(key, epoch, f"{base}/blobs/{descriptor['digest']}", descriptor["digest"])
        for child in document.get("manifests", ()):
            self._get(key, epoch, f"{base}/manifests/{child['digest']}", child["digest"])

    def _get(self, key: Key, epoch: int | None, address: str, digest: str) -> bytes | None:
        answer = self.wire.request("GET", address, headers={"Accept": ACCEPT})
        if answer.status == HTTPStatus.OK:
            assert sha256(answer.body) == digest, address
            self.seen += 1
            return answer.body
        assert answer.status == HTTPStatus.NOT_FOUND, f"{address}: {answer}"
        assert not self._model.must_be(key, epoch), f"{address} has disappeared, which {key} needs"
        return None

    def mount(self) -> None:
        """Mount a blob from anywhere."""
        source = self._chance.choice([f"&from={self.repository}", ""])
        digest = sha256(self._chance.choice(_BLOBS))
        target = f"/v2/{self.repository}/blobs/uploads/?mount={digest}{source}"
        assert self.wire.request("POST", target, b"").status in {HTTPStatus.CREATED, HTTPStatus.ACCEPTED}

    def delete_manifest(self) -> None:
        """Delete a manifest."""
        repository, manifest = self.repository, self._chance.choice(_MANIFESTS)
        with self._model.deleting([(repository, manifest.digest)]):
            self._delete(f"/v2/{repository}/manifests/{manifest.digest}", HTTPStatus.ACCEPTED)

    def delete_blob(self) -> None:
        """Delete a blob; one that is needed is not deleted."""
        self._delete(f"/v2/{self.repository}/blobs/{sha256(self._chance.choice(_BLOBS))}", HTTPStatus.ACCEPTED)

    def delete_image(self) -> None:
        """Delete a repository with all that is in it."""
        repository = self.repository
        every = [*_MANIFESTS, *(image for index in _INDEXES for image in index.images)]
        with self._model.deleting([(repository, each.digest) for each in every]):
            self._delete(f"/api/registries/default/images/{quote(repository, safe='')}", HTTPStatus.NO_CONTENT)

    def _delete(self, address: str, done: HTTPStatus) -> None:
        answer = self.wire.request("DELETE", address, b"")
        assert answer.status in {done, HTTPStatus.NOT_FOUND, HTTPStatus.METHOD_NOT_ALLOWED}, answer

    def restore(self) -> None:
        """Undo a deletion."""
        base = "/api/registries/default/deleted"
        found = json.loads(self.wire.request("GET", base).body)["items"]
        if not found:
            return
        deletion = self._chance.choice(found)
        key = deletion["image"], deletion["digest"]
        epoch = self._model.epoch(key)
        answer = self.wire.request("POST", f"{base}/{deletion['id']}/restore", b"")
        assert answer.status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND, HTTPStatus.CONFLICT}, answer
        if answer.status == HTTPStatus.OK and deletion["kind"] in {"manifest", "tag"}:
            self._model.came(key, epoch)


@contextmanager
def racing(clients: list[Client]) -> Iterator[list[BaseException]]:
    """Let clients act as long as the context lasts; the list gets what they find to be wrong."""
    stopped = threading.Event()
    wrong: list[BaseException] = []

    def work(client: Client) -> None:
        try:
            while not stopped.is_set() and not wrong:
                client.act()
        except BaseException as error:  # noqa: BLE001 - raised again below
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    for thread in threads:
        thread.start()
    try:
        yield wrong
    finally:
        stopped.set()
        for thread in threads:
            thread.join()
    if wrong:
        raise BaseExceptionGroup("clients", wrong)


@pytest.mark.parametrize("storage", ["filesystem", "s3"])
def test_everybody_at_once(
    request: pytest.FixtureRequest, embedded_server: Server, tmp_path: Path, soak: float, seed: int, storage: str
) -> None:
    """Nothing that somebody was promised ever goes, and nothing that nobody needs stays."""
    seaweed: SeaweedFS | None = request.getfixturevalue("seaweed") if storage == "s3" else None
    model, chance = Model(), random.Random(seed)
    with new_installation(embedded_server, tmp_path / "installation", seaweed) as installation:
        # One of them collects what was unreferenced for a moment.
        other = replace(installation.settings, listen=Address("127.0.0.1", free_port()), grace_hours=0)
        with mortal(installation.settings) as first, mortal(other) as second:
            addresses = [str(installation.settings.listen), str(other.listen)]
            clients = [Client(addresses, model, seed * 100 + number) for number in range(_CLIENTS)]
            deadline = time.monotonic() + max(soak / 2, _SECONDS)
            with racing(clients) as wrong:
                while time.monotonic() < deadline and not wrong:
                    collect([first, second], chance)
            assert sum(client.seen for client in clients) > 100
            clean(first)
            last = Client(addresses, model, seed)
            for key in sorted(model.certain):
                last.check(key)
            first.stop()
            second.stop()
        installation.check_remains()


def collect(registries: list[Mortal], chance: random.Random) -> None:
    """Have the processes do some of what goes on beside the requests; for some of it, time has passed."""
    if chance.random() < 0.3:
        # These statements of the test's own lock rows in no order.
        with suppress(asyncpg.DeadlockDetectedError):
            let_time_pass(registries[0].database_url, of_uploads=False)
    for _ in range(5):
        chance.choice(registries).order(chance.choice(["collect", "remove", "sweep", "catalogue"]))

"""Clients that push and pull at random while something breaks, and know what was acknowledged.

A backend that is away is told by 503 and Retry-After, at once or after a bounded time, and by nothing else; a transfer
that has begun may break. Everything that comes is checked byte for byte, and nothing acknowledged may be missing.
"""

from __future__ import annotations

import random
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from http.client import HTTPException
from typing import TYPE_CHECKING

from e2e.images import Image, image_of, layer_of, noise
from e2e.wire import ACCEPT, OCI_MANIFEST, Wire, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from e2e.wire import Answer

_AT_ONCE = 4


class Away(Exception):
    """The registry has said that it cannot do this now, or broke off."""


@dataclass
class Clients:
    """Clients of one registry."""

    address: str
    seed: int
    largest: int = 20_000
    """Bytes of the largest layers."""
    kept: dict[str, bytes] = field(default_factory=dict)
    """Addresses of all that was acknowledged, with its bytes."""
    images: int = 0
    """How many images were acknowledged."""
    refused: int = 0
    """How many requests have come to nothing."""
    _stopped: threading.Event = field(default_factory=threading.Event)
    _faults: list[BaseException] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @contextmanager
    def busy(self) -> Iterator[None]:
        """Let them push and pull as long as the context lasts; raise what they have found to be wrong."""
        threads = [threading.Thread(target=self._work, args=(number,)) for number in range(_AT_ONCE)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            for thread in threads:
                thread.join()
        if self._faults:
            raise BaseExceptionGroup(f"clients with seed {self.seed}", self._faults)

    @property
    def are_well(self) -> bool:
        """Whether none of them has found anything wrong."""
        return not self._faults

    def check(self) -> None:
        """See that everything acknowledged is there, and that the registry works again."""
        wire = Wire(self.address)
        for address, content in self.kept.items():
            answer = wire.request("GET", address, headers={"Accept": ACCEPT})
            assert (answer.status, answer.body) == (HTTPStatus.OK, content), address
        assert self.kept

    def works(self) -> bool:
        """Tell whether a push goes through now."""
        with suppress(Away):
            self._push(Wire(self.address), random.Random())
            return True
        return False

    def _work(self, number: int) -> None:
        wire, chance = Wire(self.address), random.Random(self.seed * 1000 + number)
        try:
            while not self._stopped.is_set():
                with suppress(Away):
                    if self.kept and chance.random() < 0.5:
                        self._pull(wire, chance)
                    else:
                        self._push(wire, chance)
        except BaseException as error:  # noqa: BLE001 - raised again by who has started us
            self._faults.append(error)
            self._stopped.set()

    def _push(self, wire: Wire, chance: random.Random) -> None:
        image = self._image(chance)
        repository = f"load/{chance.choice('abc')}"
        for blob in image.blobs()[1:]:
            self._push_blob(wire, chance, repository, blob)
        target = f"/v2/{repository}/manifests/{image.digest}"
        answer = self.ask(wire, "PUT", target, image.manifest, {"Content-Type": OCI_MANIFEST})
        assert answer.status == HTTPStatus.CREATED, answer
        self._keep(target, image.manifest)
        self.images += 1

    def _push_blob(self, wire: Wire, chance: random.Random, repository: str, content: bytes) -> None:
        base, digest = f"/v2/{repository}/blobs", sha256(content)
        kind = {"Content-Type": "application/octet-stream"}
        if chance.random() < 0.5:
            answer = self.ask(wire, "POST", f"{base}/uploads/?digest={digest}", content, kind)
        else:
            session = self.ask(wire, "POST", f"{base}/uploads/", b"", {}).location
            cut = chance.randrange(len(content))
            answer = self.ask(wire, "PATCH", session, content[:cut], kind)
            assert answer.status == HTTPStatus.ACCEPTED, answer
            answer = self.ask(wire, "PUT", f"{session}?digest={digest}", content[cut:], kind)
        assert answer.status == HTTPStatus.CREATED, answer
        self._keep(f"{base}/{digest}", content)

    def _pull(self, wire: Wire, chance: random.Random) -> None:
        with self._lock:
            address, content = chance.choice(list(self.kept.items()))
        answer = self.ask(wire, "GET", address, None, {"Accept": ACCEPT})
        assert (answer.status, answer.body == content) == (HTTPStatus.OK, True), f"{address}: {answer}"

    def ask(self, wire: Wire, method: str, target: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        """Send a request; raise Away when the registry says in a proper way that it cannot do this now."""
        try:
            answer = wire.request(method, target, body, headers)
        except (ConnectionError, HTTPException) as error:
            self.refused += 1
            raise Away from error
        if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
            assert int(answer.headers["Retry-After"]) > 0
            self.refused += 1
            raise Away
        assert answer.status < HTTPStatus.INTERNAL_SERVER_ERROR, f"{method} {target}: {answer}"
        return answer

    def _image(self, chance: random.Random) -> Image:
        seed = f"{self.seed} {chance.random()}"
        size = chance.choice([100, chance.randrange(1000, self.largest), self.largest])
        return image_of([layer_of({"file": noise(seed, size)}, level=0)])

    def _keep(self, address: str, content: bytes) -> None:
        with self._lock:
            self.kept[address] = content

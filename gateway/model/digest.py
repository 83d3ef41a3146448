"""Digests of content (OCI image specification, descriptor.md, section Digests)."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from gateway.errors import DigestInvalid

if TYPE_CHECKING:
    from collections.abc import Iterator

_GRAMMAR = re.compile(r"[a-z0-9]+(?:[+._-][a-z0-9]+)*:[a-zA-Z0-9=_-]+")
_HEX = {"sha256": re.compile(r"[a-f0-9]{64}"), "sha512": re.compile(r"[a-f0-9]{128}")}
_LONGEST = len("sha512:") + 128

ALGORITHMS = tuple(_HEX)


@dataclass(frozen=True, slots=True, order=True)
class Digest:
    """The name of content: an algorithm and the lower-case hexadecimal hash of the bytes."""

    algorithm: str
    hex: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read a digest as clients write it, or raise DigestInvalid with what is wrong about it."""
        if len(text) > _LONGEST or not _GRAMMAR.fullmatch(text):
            raise DigestInvalid("a digest is written as algorithm:hex, for instance sha256: and 64 hexadecimal digits")
        algorithm, _, encoded = text.partition(":")
        if algorithm not in _HEX:
            raise DigestInvalid(f"digest algorithm {algorithm} is not supported; use {' or '.join(ALGORITHMS)}")
        if not _HEX[algorithm].fullmatch(encoded):
            raise DigestInvalid(f"a {algorithm} digest does not have this form; its hexadecimal digits are lower-case")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, content: bytes, algorithm: str = "sha256") -> Self:
        """Compute the digest of bytes in memory."""
        return cls(algorithm, hashlib.new(algorithm, content).hexdigest())

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.hex}"


def check_algorithm(name: str) -> str:
    """Return the name of a digest algorithm if it is one of ours, else raise DigestInvalid."""
    if name not in _HEX:
        raise DigestInvalid(f"this digest algorithm is not supported; use {' or '.join(ALGORITHMS)}")
    return name


def unique(digests: Iterator[Digest]) -> list[Digest]:
    """Drop repetitions and keep the order of first appearance."""
    return list(dict.fromkeys(digests))

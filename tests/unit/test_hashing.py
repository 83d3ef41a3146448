"""Hashes that can be carried from process to process."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.digest import Digest
from gateway.services.hashing import EXPORTABLE, length_of, new_hasher, resumed_hasher


def test_states_can_be_exported_here() -> None:
    """The machines that this suite runs on have a libcrypto that takes part; else the tests below prove nothing."""
    assert EXPORTABLE


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_a_hash_survives_any_number_of_moves(pieces: list[bytes]) -> None:
    """Exporting and importing the state between pieces of any length changes nothing."""
    hasher, done = new_hasher("sha256"), 0
    for piece in pieces:
        hasher.update(memoryview(bytearray(piece)))
        done += len(piece)
        state = hasher.state()
        assert state is not None
        assert length_of(state) == done
        resumed = resumed_hasher("sha256", done, state)
        assert resumed is not None
        hasher = resumed

    assert hasher.digest() == Digest.of(b"".join(pieces))


def test_the_state_is_the_one_that_go_marshals() -> None:
    """The format is crypto/sha256's: magic, eight words, the block, the length. Here after "abc", from FIPS 180-4."""
    hasher = new_hasher("sha256")
    hasher.update(memoryview(bytearray(b"abc")))

    initial = "6a09e667bb67ae853c6ef372a54ff53a510e527f9b05688c1f83d9ab5be0cd19"
    assert hasher.state() == b"sha\x03" + bytes.fromhex(initial) + b"abc".ljust(64, b"\0") + (3).to_bytes(8, "big")


def test_lengths_beyond_32_bits_survive() -> None:
    """A blob may be larger than 4 GiB: the length is carried in full."""
    hasher = new_hasher("sha256")
    state = hasher.state()
    assert state is not None
    long = state[:-8] + (1 << 35).to_bytes(8, "big")

    resumed = resumed_hasher("sha256", 1 << 35, long)

    assert resumed is not None
    assert resumed.state() == long


@pytest.mark.parametrize(("offset", "state"), [(5, None), (5, b"sha\x03" + bytes(104))])
def test_a_state_that_does_not_fit_is_not_used(offset: int, state: bytes | None) -> None:
    """Without the state of exactly these bytes there is no hash, and the object has to be read again."""
    assert resumed_hasher("sha256", offset, state) is None


def test_sha512_cannot_be_carried() -> None:
    """SHA-512 is computed within one request, or by reading the object."""
    hasher = new_hasher("sha512")
    hasher.update(memoryview(bytearray(b"abc")))

    assert hasher.state() is None
    assert hasher.digest() == Digest("sha512", hashlib.sha512(b"abc").hexdigest())
    assert resumed_hasher("sha512", 3, None) is None


def test_asking_for_the_digest_does_not_end_the_hash() -> None:
    """A digest can be taken on the way."""
    hasher = new_hasher("sha256")
    hasher.update(memoryview(bytearray(b"ab")))

    assert hasher.digest() == Digest.of(b"ab")
    hasher.update(memoryview(bytearray(b"c")))
    assert hasher.digest() == Digest.of(b"abc")

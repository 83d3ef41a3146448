r"""Incremental hashes whose state can be written down, so that another process can go on.

hashlib cannot export its state, so SHA-256 is driven through libcrypto's own functions, by ctypes, in the very
library that hashlib uses. They run at the same speed and release the interpreter lock. Whether that works on this
machine is tried once, when the module is loaded; where it does not, hashlib is used and no state is exported: the
digest of an upload that spans several requests is then computed by reading the finished object.

The exported state is the one that Go's crypto/sha256 marshals, 108 bytes: ``"sha\x03"``, eight words of 32 bits,
the 64 bytes of the unfinished block (zeros behind its end), and the length in bytes as a word of 64 bits, all
big-endian. It is trusted data: it is kept in the database and never comes from a client.
"""

from __future__ import annotations

import ctypes
import hashlib
import struct
from typing import Any, Protocol

from gateway.model.digest import Digest

_STATE = struct.Struct(">4s8I64sQ")
_MAGIC = b"sha\x03"
_BLOCK = 64


class Hasher(Protocol):
    """A running hash over the bytes of one blob."""

    def update(self, data: memoryview) -> None:
        """Take over more bytes."""
        ...

    def digest(self) -> Digest:
        """Return the digest of all bytes so far; more may follow."""
        ...

    def state(self) -> bytes | None:
        """Export the state; None where that is impossible."""
        ...


class _PlainHasher:
    """A hash by hashlib, which cannot be exported."""

    def __init__(self, algorithm: str) -> None:
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)

    def update(self, data: memoryview) -> None:
        self._hash.update(data)

    def digest(self) -> Digest:
        return Digest(self._algorithm, self._hash.hexdigest())

    def state(self) -> bytes | None:
        return None


class _Context(ctypes.Structure):
    """OpenSSL's SHA256_CTX, unchanged since 1.0 and still public in 3.x."""

    _fields_ = (
        ("h", ctypes.c_uint32 * 8),
        ("length_low", ctypes.c_uint32),
        ("length_high", ctypes.c_uint32),
        ("data", ctypes.c_ubyte * _BLOCK),
        ("filled", ctypes.c_uint),
        ("digest_length", ctypes.c_uint),
    )


class _Sha256:
    """SHA-256 by libcrypto, from its beginning or from an exported state."""

    library: Any = None

    def __init__(self, state: bytes | None = None) -> None:
        self._context = _Context()
        self.library.SHA256_Init(ctypes.byref(self._context))
        if state is not None:
            self._restore(state)

    def update(self, data: memoryview) -> None:
        first = ctypes.c_char.from_buffer(data) if data.nbytes else None
        if first is not None:
            self.library.SHA256_Update(ctypes.byref(self._context), ctypes.byref(first), data.nbytes)

    def digest(self) -> Digest:
        copy = _Context.from_buffer_copy(self._context)
        result = ctypes.create_string_buffer(32)
        self.library.SHA256_Final(result, ctypes.byref(copy))
        return Digest("sha256", result.raw.hex())

    def state(self) -> bytes | None:
        context = self._context
        block = bytes(context.data[: context.filled])
        length = (context.length_high << 32 | context.length_low) >> 3
        return _STATE.pack(_MAGIC, *context.h, block, length)

    def _restore(self, state: bytes) -> None:
        magic, *words, block, length = _STATE.unpack(state)
        if magic != _MAGIC:
            raise ValueError("this is not the state of a SHA-256")
        context = self._context
        context.h[:] = words
        context.length_low = (length << 3) & 0xFFFFFFFF
        context.length_high = (length << 3) >> 32
        context.filled = length % _BLOCK
        ctypes.memmove(context.data, block, context.filled)


def _load() -> bool:
    """Find libcrypto's functions through hashlib's own module, and try them; False where they cannot be used."""
    try:
        import _hashlib  # noqa: PLC0415  (absent in interpreters without OpenSSL)

        library = ctypes.CDLL(_hashlib.__file__)
        for name in ("SHA256_Init", "SHA256_Update", "SHA256_Final"):
            getattr(library, name).restype = ctypes.c_int
        library.SHA256_Update.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t)
    except (ImportError, OSError, AttributeError):
        return False
    _Sha256.library = library
    return all(_resumes_at(cut) for cut in (0, 1, 55, 63, 64, 65, 200))


def _resumes_at(cut: int) -> bool:
    sample = bytearray(range(256))
    first = _Sha256()
    first.update(memoryview(sample)[:cut])
    second = _Sha256(first.state())
    second.update(memoryview(sample)[cut:])
    return second.digest() == Digest.of(bytes(sample))


EXPORTABLE = _load()
"""Whether states of SHA-256 can be exported on this machine."""


def new_hasher(algorithm: str) -> Hasher:
    """Begin a hash."""
    return _Sha256() if algorithm == "sha256" and EXPORTABLE else _PlainHasher(algorithm)


def resumed_hasher(algorithm: str, offset: int, state: bytes | None) -> Hasher | None:
    """Go on with a hash over ``offset`` bytes from its exported state; None when nobody knows it."""
    if offset == 0:
        return new_hasher(algorithm)
    if algorithm != "sha256" or state is None or not EXPORTABLE or length_of(state) != offset:
        return None
    return _Sha256(state)


def length_of(state: bytes) -> int:
    """Return the number of bytes that a state was computed over."""
    return int(_STATE.unpack(state)[-1])

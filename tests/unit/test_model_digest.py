"""Digests (protocol 1.1): syntax, algorithms, and content."""

from __future__ import annotations

import contextlib
import hashlib
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import DigestInvalid
from gateway.model.digest import ALGORITHMS, Digest, check_algorithm, unique

_HEX = "0123456789abcdef"
_LENGTHS = {"sha256": 64, "sha512": 128}


@given(algorithm=st.sampled_from(ALGORITHMS), data=st.data())
def test_digest_is_read_as_it_is_written(algorithm: str, data: st.DataObject) -> None:
    """A supported algorithm with the right number of lower-case digits is a digest."""
    text = data.draw(st.text(_HEX, min_size=_LENGTHS[algorithm], max_size=_LENGTHS[algorithm]))
    digest = Digest.parse(f"{algorithm}:{text}")
    assert (digest.algorithm, digest.hex, str(digest)) == (algorithm, text, f"{algorithm}:{text}")


@given(content=st.binary(max_size=200))
def test_digest_of_content(content: bytes) -> None:
    """The digest of content is that of hashlib, and reads back equal."""
    assert str(Digest.of(content)) == f"sha256:{hashlib.sha256(content).hexdigest()}"
    assert str(Digest.of(content, "sha512")) == f"sha512:{hashlib.sha512(content).hexdigest()}"
    assert Digest.parse(str(Digest.of(content))) == Digest.of(content)


@given(algorithm=st.sampled_from(ALGORITHMS), length=st.integers(0, 200))
def test_number_of_digits(algorithm: str, length: int) -> None:
    """Any other number of digits is refused."""
    text = f"{algorithm}:{'a' * length}"
    if length == _LENGTHS[algorithm]:
        assert str(Digest.parse(text)) == text
    else:
        with pytest.raises(DigestInvalid):
            Digest.parse(text)


@given(place=st.integers(0, 63), character=st.characters().filter(lambda one: one not in _HEX))
def test_strange_digit(place: int, character: str) -> None:
    """One digit that is not a lower-case hexadecimal one spoils a digest: upper case, other alphabets, controls."""
    digits = "a" * place + character + "a" * (63 - place)
    with pytest.raises(DigestInvalid):
        Digest.parse(f"sha256:{digits}")


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":",
        "sha256:",
        "a" * 64,
        ":" + "a" * 64,
        "sha256:" + "a" * 64 + "\n",
        "\nsha256:" + "a" * 64,
        " sha256:" + "a" * 64,
        "sha256:" + "a" * 64 + " ",
        "SHA256:" + "a" * 64,
        "sha-256:" + "a" * 64,
        "sha256::" + "a" * 63,
        "sha256:sha256:" + "a" * 64,
        "sha256=" + "a" * 64,
        "sha256:" + "A" * 64,
        "sha256:" + "\u0661" * 64,
        "sha256:baddigeststring",
        "sha256:" + "a" * 10**7,
        "a" * 10**7 + ":b",
        "../../x:y",
    ],
)
def test_bad_syntax(text: str) -> None:
    """Whatever is not an algorithm, a colon and the digits is refused, however long."""
    with pytest.raises(DigestInvalid):
        Digest.parse(text)


@pytest.mark.parametrize("algorithm", ["md5", "sha1", "sha384", "blake3", "sha256+b64", "multihash"])
def test_unsupported_algorithm(algorithm: str) -> None:
    """A well-formed digest of another algorithm is refused, and the refusal says which are supported."""
    with pytest.raises(DigestInvalid, match="sha256"):
        Digest.parse(f"{algorithm}:{'a' * 64}")
    with pytest.raises(DigestInvalid):
        check_algorithm(algorithm)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_supported_algorithm(algorithm: str) -> None:
    """sha256 and sha512 are supported."""
    assert check_algorithm(algorithm) == algorithm


@pytest.mark.parametrize("algorithm", ["", "SHA256", "sha256 ", "sha256\n", "shake_128"])
def test_name_that_is_no_algorithm(algorithm: str) -> None:
    """Nothing else is, however alike."""
    with pytest.raises(DigestInvalid):
        check_algorithm(algorithm)


@given(text=st.text(max_size=80) | st.text(string.printable, max_size=150))
def test_any_text(text: str) -> None:
    """No text raises anything but DigestInvalid, and what is read writes back the same."""
    with contextlib.suppress(DigestInvalid):
        assert str(Digest.parse(text)) == text


@given(contents=st.lists(st.binary(max_size=2)))
def test_unique(contents: list[bytes]) -> None:
    """Repetitions drop out, the order of first appearance stays."""
    digests = [Digest.of(content) for content in contents]
    found = unique(iter(digests))
    assert sorted(found) == sorted(set(digests))
    assert found == sorted(set(digests), key=digests.index)

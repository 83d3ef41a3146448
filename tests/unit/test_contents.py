"""The cache of contents: bounded in bytes, and what was used last stays."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from gateway.model.digest import Digest
from gateway.services.contents import ContentCache


def content(number: int, size: int = 1000) -> tuple[Digest, bytes]:
    raw = str(number).encode().ljust(size, b".")
    return Digest.of(raw), raw


def test_what_was_used_last_stays() -> None:
    """The content that was not asked for longest makes room."""
    cache = ContentCache(4300)  # three entries
    entries = [content(number) for number in range(4)]
    for digest, raw in entries[:3]:
        cache.add(digest, raw)

    assert cache.get(entries[0][0]) == entries[0][1]
    cache.add(*entries[3])

    assert [cache.get(digest) is not None for digest, _ in entries] == [True, False, True, True]


def test_what_is_larger_than_the_cache_is_not_kept() -> None:
    """One large content does not drive out all others."""
    cache = ContentCache(4300)
    cache.add(*content(1))
    cache.add(*content(2, 4300))

    assert cache.get(content(1)[0]) is not None
    assert cache.get(content(2, 4300)[0]) is None


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(2, 3000))), st.integers(0, 20_000))
def test_the_bound_is_one_of_bytes(additions: list[tuple[int, int]], capacity: int) -> None:
    """However contents come, they and what surrounds them stay within the capacity, and come back unchanged."""
    cache = ContentCache(capacity)
    added = [content(*addition) for addition in additions]
    for digest, raw in added:
        cache.add(digest, raw)
        assert cache.used <= capacity
        assert cache.get(digest) == (raw if len(raw) + 400 <= capacity else None)
    kept = {digest: cache.get(digest) for digest, _ in added}
    assert cache.used == sum(len(raw) + 400 for raw in kept.values() if raw is not None)


def test_many_small_contents_are_bounded_too() -> None:
    """Entries cost memory even when their contents are tiny."""
    cache = ContentCache(100_000)
    for _ in range(10_000):
        cache.add(*content(random.getrandbits(60), 2))

    assert cache.used <= 100_000


def test_lookups_are_counted() -> None:
    """What was here, and what was not."""
    cache = ContentCache(4300)
    cache.add(*content(1))
    for number in (1, 1, 2):
        cache.get(content(number)[0])

    assert (cache.lookups.hits, cache.lookups.misses) == (2, 1)

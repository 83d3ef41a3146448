"""Bodies that come too slowly."""

from __future__ import annotations

from gateway.transport.pace import Pace


def test_nothing_at_all() -> None:
    """A minute without a byte is too long, however much came before."""
    pace = Pace()
    pace.count(1, 10**9)
    assert pace.complaint(59) is None
    assert "no byte" in (pace.complaint(60) or "")


def test_too_slow() -> None:
    """Less than a kibibyte in a second is too slow, over a minute."""
    pace = Pace()
    for _ in range(11):
        pace.count(5, 5000)
        assert pace.complaint(0) is None
    pace.count(5, 5000)
    assert "slowly" in (pace.complaint(0) or "")


def test_just_fast_enough() -> None:
    """A kibibyte in a second is enough, and every minute counts for itself."""
    pace = Pace()
    for _ in range(100):
        pace.count(5, 5120)
        assert pace.complaint(0) is None


def test_a_long_wait_counts_once() -> None:
    """A wait that goes on over the end of a minute counts in the next one only from there on."""
    pace = Pace()
    pace.count(30, 10**6)
    assert pace.complaint(30) is None
    pace.count(40, 20_000)
    assert pace.complaint(45) is None

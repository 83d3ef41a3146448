"""Patterns of repository names: what they match, and that none takes long."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.patterns import check_pattern, matches_any

CASES = [
    ("team/app", "team/app", True),
    ("team/app", "team/apps", False),
    ("team/app", "team/ap", False),
    ("team/*", "team/app", True),
    ("team/*", "team/app/sub", False),
    ("team/*", "team", False),
    ("team/*", "teams/app", False),
    ("team/**", "team/app/sub", True),
    ("*", "app", True),
    ("*", "team/app", False),
    ("**", "team/app", True),
    ("*/app", "team/app", True),
    ("*/app", "a/team/app", False),
    ("**/app", "a/team/app", True),
    ("**/app", "app", False),
    ("team/*-test", "team/app-test", True),
    ("team/*-test", "team/app-test-2", False),
    ("team/*-test/**", "team/a-test/b-test/c", True),
    ("**a*b", "a/ab", True),
    ("team.app", "teamxapp", False),
]


@pytest.mark.parametrize(("pattern", "name", "fits"), CASES)
def test_what_a_pattern_fits(pattern: str, name: str, *, fits: bool) -> None:
    """One star stays within a component, two go across, everything else stands for itself, and for all of the name."""
    assert matches_any((check_pattern(pattern),), name) is fits


def test_one_of_several_patterns_is_enough() -> None:
    """Patterns add up; none fits nothing."""
    assert matches_any(("other", "team/*"), "team/app")
    assert not matches_any((), "team/app")


@given(
    st.lists(st.sampled_from(["a", "b", "/", "*", "**"]), min_size=1, max_size=8).map("".join),
    st.text("ab/", max_size=10),
)
def test_patterns_fit_what_the_regular_expression_fits(pattern: str, name: str) -> None:
    """The other way to say it: [^/]* for one star and .* for two."""
    pieces = {"*": "[^/]*", "**": ".*"}
    expected = "".join(pieces.get(piece) or re.escape(piece) for piece in re.split(r"(\*\*|\*)", pattern))

    assert matches_any((pattern,), name) == (re.fullmatch(expected, name) is not None)


def test_no_pattern_takes_long() -> None:
    """With eight stars a regular expression would try some 10^14 ways through this name."""
    assert not matches_any((check_pattern("**a" * 8),), "a" * 254 + "b")


@pytest.mark.parametrize(
    "text", ["", "/app", "app/", "a//b", "***", "team/***", "Team/*", "a b", "ä", "a" * 256, "*a" * 9]
)
def test_what_is_no_pattern(text: str) -> None:
    """What no name can fit, what is ambiguous, and what has too many stars is refused."""
    with pytest.raises(ValueError, match=r"pattern|stars"):
        check_pattern(text)

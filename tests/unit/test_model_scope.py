"""Scopes (protocol.md 2.3)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.model.scope import Scope, parse_scopes

READABLE = {
    "repository:a:pull": ("repository", "a", {"pull"}),
    "repository:a/b:push,pull": ("repository", "a/b", {"pull", "push"}),
    "repository:a/b:pull,push": ("repository", "a/b", {"pull", "push"}),
    "repository:a/b:pull,pull": ("repository", "a/b", {"pull"}),
    "repository:a/b:*": ("repository", "a/b", {"*"}),
    "repository:a/b:delete,*": ("repository", "a/b", {"delete", "*"}),
    "repository:a/b:dance": ("repository", "a/b", {"dance"}),
    "repository:a/b:": ("repository", "a/b", set()),
    "repository:a/b:pull,,": ("repository", "a/b", {"pull"}),
    "repository(plugin):a/b:pull": ("repository", "a/b", {"pull"}),
    "registry:catalog:*": ("registry", "catalog", {"*"}),
    "other:host:5000/a:pull": ("other", "host:5000/a", {"pull"}),
}
UNREADABLE = [
    "",
    "repository",
    "repository:a",
    "repository::pull",
    "repository:A/b:pull",
    "repository:a//b:pull",
    "repository:localhost:5000/a:pull",
    f"repository:{'a' * 256}:pull",
    "repository:a:PULL",
    "repository:a:pull;push",
    "Repository:a:pull",
    "repository(:a:pull",
    "repository:a:pull\n",
    'repository:a":pull',
    "repository:\u00e4:pull",
    ":a:pull",
]


@pytest.mark.parametrize("text", READABLE)
def test_a_scope_is_read(text: str) -> None:
    """In any order, with a class that means nothing, and with actions that nobody knows."""
    type_, name, actions = READABLE[text]

    assert Scope.parse(text) == Scope(type_, name, frozenset(actions))


@pytest.mark.parametrize("text", UNREADABLE)
def test_what_is_no_scope_is_ignored(text: str) -> None:
    """It spoils nothing that is asked for beside it."""
    assert Scope.parse(text) is None
    assert parse_scopes([f"repository:a:pull {text}", text, "repository:b:push"]) == (
        Scope("repository", "a", frozenset({"pull"})),
        Scope("repository", "b", frozenset({"push"})),
    )


def test_scopes_of_one_resource_are_merged() -> None:
    """Whether a parameter is repeated, holds several, or both; the order of the first mentions stays."""
    asked = ["repository:b:pull repository:a:pull", "repository:b:push,pull", "repository(plugin):a:delete"]

    assert [str(scope) for scope in parse_scopes(asked)] == ["repository:b:pull,push", "repository:a:pull,delete"]


def test_a_hundred_scopes_are_read() -> None:
    """More are not, since the token has to fit into a header."""
    scopes = [f"repository:r{number}:pull" for number in range(150)]

    assert len(parse_scopes([" ".join(scopes)])) == len(parse_scopes(scopes)) == 100
    assert sum(len(each.name) for each in parse_scopes(f"repository:{'a' * 200}{n}:pull" for n in range(99))) <= 4096


COMPONENT = st.from_regex(r"[a-z0-9]{1,8}", fullmatch=True)
NAME = st.lists(COMPONENT, min_size=1, max_size=3).map("/".join)
ACTIONS = st.frozensets(st.sampled_from(["pull", "push", "delete", "*", "dance"]))
SCOPE = st.builds(Scope.repository, NAME, ACTIONS)


@given(SCOPE)
def test_what_is_written_is_read_again(scope: Scope) -> None:
    """In the one order of actions that challenges have."""
    assert Scope.parse(str(scope)) == scope


@given(st.lists(SCOPE, max_size=20), st.randoms(use_true_random=False))
def test_how_scopes_are_spread_over_parameters_does_not_matter(scopes: list[Scope], random: object) -> None:
    """One parameter with all, one for each, and anything between mean the same."""
    texts = [str(scope) for scope in scopes]
    cut = getattr(random, "randint")(0, len(texts))  # noqa: B009  (hypothesis gives no type)

    together = parse_scopes([" ".join(texts)])

    assert parse_scopes(texts) == together
    assert parse_scopes([" ".join(texts[:cut]), " ".join(texts[cut:])]) == together
    assert len({(each.type, each.name) for each in together}) == len(together)
    for scope in scopes:
        assert any(each.name == scope.name and each.actions >= scope.actions for each in together)


@given(st.lists(st.text(), max_size=5))
def test_no_text_breaks_anything(values: list[str]) -> None:
    """And nothing but names of repositories gets into a token as one."""
    for scope in parse_scopes(values):
        assert Scope.parse(str(scope)) == scope

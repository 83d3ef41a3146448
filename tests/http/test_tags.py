"""Protocol 1.9: lists of tags, and edge case 40."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from .content import IMAGE, SECOND, sha256
from .rows import Case, Names, Step, manifest, play, pushed, row, story, table
from .wire import Address, Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable

TAGS = ["1.0", "1.10", "1.9", "Beta", "V2", "_x", "alpha", "beta", "v2", "v2-rc.1", "v2_a"]
_LIST = "/v2/{tags}/tags/list"


def links(last: str, count: int) -> Callable[[Answer], None]:
    """Expect a Link to the page after ``last``, written so that every client can take it apart."""

    def check(answer: Answer) -> None:
        match = re.fullmatch(r'<(/v2/[^<>;,\s]+)>; ?rel="next"', answer["Link"])
        assert match, f"1.9: Link is {answer['Link']}"
        query = parse_qs(urlsplit(match[1]).query, strict_parsing=True)
        assert query == {"n": [str(count)], "last": [last]}, str(answer)

    return check


def lists(says: str, query: str, tags: list[str], *, more: int = 0) -> Case:
    """State that a query lists exactly these tags, and a Link only if ``more`` (the page size) follow."""
    return row(
        says,
        "GET",
        _LIST + query,
        200,
        has={} if more else {"Link": None},
        json_is={"name": "{tags}", "tags": tags},
        check=links(tags[-1], more) if more else None,
    )


PAGES = [
    lists("1.9 all tags in ASCII order", "", TAGS),
    lists("1.9 n=1", "?n=1", TAGS[:1], more=1),
    lists("1.9 n=4", "?n=4", TAGS[:4], more=4),
    lists("1.9 n=10, one remains", "?n=10", TAGS[:10], more=10),
    lists("1.9 n equals their number: no Link", "?n=11", TAGS),
    lists("1.9 n is more than their number: no Link", "?n=12", TAGS),
    lists("5.40 n=0: none, and no Link", "?n=0", []),
    lists("1.9 n=0 with last", "?n=0&last=Beta", []),
    lists("5.40 n=999999999 is clamped", "?n=999999999", TAGS),
    lists("1.9 n of 30 digits is clamped", "?n=" + "9" * 30, TAGS),
    lists("1.9 last excludes itself", "?last=Beta", TAGS[4:]),
    lists("5.40 last need not exist", "?last=W", TAGS[5:]),
    lists("1.9 last before all", "?last=0", TAGS),
    lists("1.9 last after all", "?last=zzz", []),
    lists("1.9 last is the last one", "?last=v2_a", []),
    lists("1.9 an empty last", "?last=", TAGS),
    lists("1.9 last that is no tag at all", "?last=%2F%3A", TAGS),
    lists("1.9 n and last", "?n=3&last=Beta", TAGS[4:7], more=3),
    lists("1.9 in the other order", "?last=Beta&n=3", TAGS[4:7], more=3),
    lists("1.9 n and last, nothing after them", "?n=3&last=v2", TAGS[9:]),
    lists("1.2 unknown parameters are ignored", "?what=ever&n=2", TAGS[:2], more=2),
    *(
        row(f"5.40 n={value!r} is 400", "GET", f"{_LIST}?n={value}", 400, code="UNSUPPORTED")
        for value in ("-1", "abc", "1.5", "0x10", "1e3", "%D9%A3", "--1", "1%002")
    ),
    row(
        "1.9 Content-Type is JSON",
        "GET",
        _LIST,
        200,
        has={"Content-Type": re.compile("application/json(; ?charset=utf-8)?")},
    ),
    row("5.40 an unknown repository", "GET", "/v2/no/such/tags/list", 404, code="NAME_UNKNOWN"),
    row("1.9 an unknown repository, with n", "GET", "/v2/no/such/tags/list?n=5", 404, code="NAME_UNKNOWN"),
]

CHANGES = [
    story(
        "5.40 a repository whose tags are all gone has []",
        *pushed("v1"),
        Step("DELETE", "/v2/{repo}/manifests/v1", 202),
        Step("GET", "/v2/{repo}/tags/list", 200, has={"Link": None}, json_is={"name": "{repo}", "tags": []}),
    ),
    story(
        "5.40 a repository with a manifest and no tag has []",
        *pushed(sha256(IMAGE)),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": []}),
        Step("GET", "/v2/{repo}/tags/list?n=5", 200, json_is={"name": "{repo}", "tags": []}),
    ),
    story(
        "1.9 pushes and deletes are seen at once",
        *pushed("b"),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["b"]}),
        manifest("a", SECOND),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["a", "b"]}),
        Step("DELETE", "/v2/{repo}/manifests/" + sha256(IMAGE), 202),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["a"]}),
        manifest("a"),
        Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": ["a"]}),
    ),
    story(
        "1.11 a repository that has a manifest is not the one beside it",
        *pushed("v1", repo="{repo}/a"),
        Step("GET", "/v2/{repo}/tags/list", 404, code="NAME_UNKNOWN"),
        Step("GET", "/v2/{repo}/a/b/tags/list", 404, code="NAME_UNKNOWN"),
    ),
]


@pytest.fixture(scope="module")
def tagged(registry: Address, shelf: Names) -> Names:
    """The placeholders, with a repository of eleven tags as ``{tags}``."""
    names = {**shelf, "tags": "tags/many"}
    asyncio.run(play(registry, names, story("1.9 given", *pushed(*reversed(TAGS), repo="{tags}"))))
    return names


@table(*PAGES)
async def test_page(registry: Address, tagged: Names, case: Case) -> None:
    """A page has exactly the tags asked for, and a Link only if others follow."""
    await play(registry, tagged, case)


@pytest.mark.parametrize("size", [1, 2, 3, 5, 10, 11, 100])
async def test_walk(registry: Address, tagged: Names, size: int) -> None:
    """Who follows the Links sees every tag once, in order."""
    target: str | None = f"/v2/{tagged['tags']}/tags/list?n={size}"
    seen: list[str] = []
    for _ in range(len(TAGS) + 1):
        if target is None:
            break
        answer = await ask(registry, "GET", target)
        seen += answer.json()["tags"]
        link = answer.get("Link")
        target = link[1 : link.index(">")] if link else None

    assert (seen, target) == (TAGS, None)


@table(*CHANGES)
async def test_change(registry: Address, names: Names, case: Case) -> None:
    """A list says what is there now."""
    await play(registry, names, case)

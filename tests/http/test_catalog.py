"""Protocol 1.11: the list of repositories. Other tests add to it, so these only look at names of their own."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

import pytest

from .content import IMAGE, sha256
from .rows import Case, Names, Step, blob, play, pushed, row, story, table
from .wire import Address, Answer, ask

if TYPE_CHECKING:
    from collections.abc import Callable

_OURS = ["zz-catalog-1", "zz-catalog/a", "zz-catalog/a-b", "zz-catalog/a/b", "zz-catalog/b", "zz-catalog0"]


def lists(*names: str, more: bool = False) -> Callable[[Answer], None]:
    """Expect exactly these repositories, and a relative Link only if others follow."""

    def check(answer: Answer) -> None:
        assert answer.json() == {"repositories": list(names)}, str(answer)
        link = answer.get("Link")
        assert bool(link) == more, str(answer)
        if link:
            last = names[-1].replace("/", "%2F")
            assert re.fullmatch(
                rf'</v2/_catalog\?(?:n={len(names)}&last={last}|last={last}&n={len(names)})>; ?rel="next"', link
            )

    return check


PAGES = [
    row("1.11 names after last, in ASCII order", "GET", "/v2/_catalog?last=zz-catalo", 200, check=lists(*_OURS)),
    row("1.11 n and last", "GET", "/v2/_catalog?n=2&last=zz-catalo", 200, check=lists(*_OURS[:2], more=True)),
    row(
        "1.11 last with a slash, escaped",
        "GET",
        "/v2/_catalog?n=2&last=zz-catalog%2Fa",
        200,
        check=lists(*_OURS[2:4], more=True),
    ),
    row(
        "1.11 last with a slash as it is",
        "GET",
        "/v2/_catalog?n=2&last=zz-catalog/a",
        200,
        check=lists(*_OURS[2:4], more=True),
    ),
    row("1.11 the last page has no Link", "GET", "/v2/_catalog?n=2&last=zz-catalog/a/b", 200, check=lists(*_OURS[4:])),
    row("1.11 nothing after the last one", "GET", "/v2/_catalog?n=2&last=zz-catalog0", 200, check=lists()),
    row("1.11 n=1000 of ggcr", "GET", "/v2/_catalog?n=1000&last=zz-catalo", 200, check=lists(*_OURS)),
    row("1.11 an n beyond all is clamped", "GET", "/v2/_catalog?n=999999999&last=zz-catalo", 200, check=lists(*_OURS)),
    row("1.11 n=0", "GET", "/v2/_catalog?n=0", (200, 400)),
    row("1.11 n=abc", "GET", "/v2/_catalog?n=abc", 400, code="UNSUPPORTED"),
    row("1.11 n=-1", "GET", "/v2/_catalog?n=-1", 400, code="UNSUPPORTED"),
    row(
        "1.11 Content-Type",
        "GET",
        "/v2/_catalog",
        200,
        has={"Content-Type": re.compile("application/json(; ?charset=utf-8)?")},
    ),
    row("1.2 _catalog is no repository", "GET", "/v2/_catalog/tags/list", 404),
]


@pytest.fixture(scope="module")
def catalog(registry: Address, shelf: Names) -> Names:
    """Make the repositories of this file."""
    steps = [step for name in reversed(_OURS) for step in pushed("v1", repo=name)]
    asyncio.run(play(registry, shelf, story("1.11 given", *steps)))
    return shelf


@table(*PAGES)
async def test_page(registry: Address, catalog: Names, case: Case) -> None:
    """A page has exactly the names asked for, and a Link only if others follow."""
    await play(registry, catalog, case)


async def test_all(registry: Address, catalog: Names) -> None:
    """The Links from the first page on lead through every repository once, sorted."""
    target: str | None = "/v2/_catalog?n=7"
    found: list[str] = []
    while target is not None:
        answer = await ask(registry, "GET", target)
        found += answer.json()["repositories"]
        link = answer.get("Link")
        target = link[1 : link.index(">")] if link else None

    assert found == sorted(set(found))
    assert {*_OURS, catalog["shelf"]} <= set(found)


async def test_what_is_listed(registry: Address, names: Names, repo: str) -> None:
    """A repository is listed once it has a manifest; blobs alone and open sessions do not list it."""

    async def listed() -> bool:
        before = repo[:-1] + chr(ord(repo[-1]) - 1) + "~"
        answer = await ask(registry, "GET", f"/v2/_catalog?n=1&last={before}")
        return repo in answer.json()["repositories"]

    assert not await listed()
    await play(registry, names, story("given", *blob(b"only a blob")))
    assert not await listed()
    await play(registry, names, story("given", *pushed(sha256(IMAGE))))
    assert await listed()
    await play(registry, names, Case("tags do not matter", (Step("GET", "/v2/{repo}/tags/list", 200),)))

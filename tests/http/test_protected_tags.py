"""Tags that may not be moved: what clients are told, and that nothing slips through between a check and a write."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import quote

import orjson
import pytest

from .content import IMAGE, OCI_MANIFEST, SECOND, image, sha256
from .rows import Case, Names, Step, manifest, play, pushed, story, table
from .test_management import JSON, send
from .wire import ask

if TYPE_CHECKING:
    from .wire import Address, Answer

_TYPE = {"Content-Type": OCI_MANIFEST}


async def protect(registry: Address, repo: str, *, mutable: bool = False) -> None:
    """Switch tag mutability of an image off, or on again."""
    target = f"/api/registries/default/images/{quote(repo, safe='')}"
    changed = await send(registry, "PATCH", target, JSON, body=orjson.dumps({"tags_mutable": mutable}))
    assert changed.status == 200, str(changed)


async def push(registry: Address, repo: str, reference: str, content: bytes) -> Answer:
    return await ask(registry, "PUT", f"/v2/{repo}/manifests/{reference}", headers=list(_TYPE.items()), body=content)


async def digest_of(registry: Address, repo: str, tag: str) -> str | None:
    return (await ask(registry, "HEAD", f"/v2/{repo}/manifests/{tag}")).get("Docker-Content-Digest")


def says_why(answer: Answer) -> None:
    """Expect the words that clients know such a refusal by, and the tags that it is about."""
    (error,) = answer.json()["errors"]
    assert "cannot be overwritten because the repository is immutable: v1;" in error["message"]


def refused(reference: str, content: bytes = SECOND) -> Step:
    return Step("PUT", f"/v2/{{repo}}/manifests/{reference}", 403, _TYPE, body=content, code="DENIED", check=says_why)


def tags(*names: str) -> Step:
    return Step("GET", "/v2/{repo}/tags/list", 200, json_is={"name": "{repo}", "tags": list(names)})


STORIES = [
    story("another manifest under an existing tag is refused", refused("v1"), tags("v1")),
    story("the same manifest again is fine", manifest("v1"), tags("v1")),
    story("a new tag is fine, for a new manifest and for an old one", manifest("v2", SECOND), manifest("v3")),
    story("a manifest without a tag is fine", manifest(sha256(SECOND), SECOND)),
    story(
        "one refused tag refuses the whole push",
        refused(f"{sha256(SECOND)}?tag=a&tag=v1&tag=z"),
        tags("v1"),
        Step("GET", f"/v2/{{repo}}/manifests/{sha256(SECOND)}", 404, code="MANIFEST_UNKNOWN"),
    ),
    story(
        "several tags of which one is there already, at this manifest",
        Step("PUT", f"/v2/{{repo}}/manifests/{sha256(IMAGE)}?tag=a&tag=v1", 201, _TYPE, body=IMAGE),
        tags("a", "v1"),
    ),
    story(
        "a tag can be deleted, and is a new one then",
        Step("DELETE", "/v2/{repo}/manifests/v1", 202),
        manifest("v1", SECOND),
        refused("v1", IMAGE),
    ),
    story(
        "a manifest can be deleted with its tags",
        Step("DELETE", f"/v2/{{repo}}/manifests/{sha256(IMAGE)}", 202),
        manifest("v1", SECOND),
    ),
]


@table(*STORIES)
async def test_protected(registry: Address, names: Names, case: Case) -> None:
    """The image {repo} has a tag v1 of IMAGE, and its tags may not be moved."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))
    await protect(registry, names["repo"])

    await play(registry, names, case)


async def test_the_switch_holds_at_once(registry: Address, names: Names, repo: str) -> None:
    """In both directions."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))

    for mutable, content, status in (
        (False, SECOND, 403),
        (True, SECOND, 201),
        (False, IMAGE, 403),
        (True, IMAGE, 201),
    ):
        await protect(registry, repo, mutable=mutable)
        assert (await push(registry, repo, "v1", content)).status == status


async def test_one_of_many_pushes_to_a_new_tag_wins(registry: Address, names: Names, repo: str) -> None:
    """However they meet: one is there, the others are refused, and the tag stays where the first one put it."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))
    await protect(registry, repo)
    contents = [image(f"number {number}") for number in range(12)]

    for turn in range(3):
        answers = await asyncio.gather(*(push(registry, repo, f"race{turn}", each) for each in contents))

        winners = [each["Docker-Content-Digest"] for each in answers if each.status == 201]
        assert sorted(each.status for each in answers) == [201] + [403] * 11
        assert await digest_of(registry, repo, f"race{turn}") == winners[0]


async def test_nothing_moves_a_tag_after_it_was_protected(registry: Address, names: Names, repo: str) -> None:
    """Pushes run while the switch is thrown: once it is answered, the tag stands still."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))
    contents = [image(f"number {number}") for number in range(4)]
    stop = asyncio.Event()

    async def keep_pushing(content: bytes) -> None:
        while not stop.is_set():
            assert (await push(registry, repo, "v1", content)).status in {201, 403}

    pushes = [asyncio.create_task(keep_pushing(each)) for each in contents]
    seen = []
    for _ in range(5):
        await protect(registry, repo)
        before = await digest_of(registry, repo, "v1")
        answers = [await push(registry, repo, "v1", each) for each in contents]
        seen.append((before, await digest_of(registry, repo, "v1"), sorted(each.status for each in answers)))
        await protect(registry, repo, mutable=True)
    stop.set()
    await asyncio.gather(*pushes)

    for before, after, statuses in seen:
        assert before == after
        assert statuses in ([201, 403, 403, 403], [403] * 4)


@pytest.mark.parametrize("reference", ["v1", sha256(IMAGE)])
async def test_deletions_of_clients_can_be_undone(registry: Address, names: Names, repo: str, reference: str) -> None:
    """What a client deletes by the registry protocol is listed, and comes back."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))
    assert (await ask(registry, "DELETE", f"/v2/{repo}/manifests/{reference}")).status == 202
    deleted = (await send(registry, "GET", "/api/registries/default/deleted")).json()["items"]
    (number,) = [each["id"] for each in deleted if each["image"] == repo]

    restored = await send(registry, "POST", f"/api/registries/default/deleted/{number}/restore")

    assert restored.json()["outcome"] == "restored"
    assert await digest_of(registry, repo, "v1") == sha256(IMAGE)


async def test_a_deleted_image_is_gone_for_clients(registry: Address, names: Names, repo: str) -> None:
    """Until it is restored."""
    await play(registry, names, Case("the image", tuple(pushed("v1"))))
    target = f"/api/registries/default/images/{quote(repo, safe='')}"

    assert (await send(registry, "DELETE", target)).status == 204
    assert (await ask(registry, "GET", f"/v2/{repo}/manifests/v1")).codes() == ["MANIFEST_UNKNOWN"]
    assert (await ask(registry, "GET", f"/v2/{repo}/tags/list")).codes() == ["NAME_UNKNOWN"]
    deleted = (await send(registry, "GET", "/api/registries/default/deleted")).json()["items"]
    (number,) = [each["id"] for each in deleted if each["image"] == repo]
    assert (await send(registry, "POST", f"/api/registries/default/deleted/{number}/restore")).status == 200
    assert await digest_of(registry, repo, "v1") == sha256(IMAGE)
    assert (await send(registry, "GET", f"{target}/tags")).json()["items"][0]["platforms"] == ["linux/amd64"]

"""Images through the management API: forms, pages, who may do what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from gateway.admin.image_views import restored_view
from gateway.model.images import DeletedKind, RestoreOutcome
from gateway.ports.images import Restored

from .memory import MANAGER, ROBOT, ROOT, STRANGER, VIEWER
from .memory_images import CHILD, DIGEST

if TYPE_CHECKING:
    from .conftest import Api

IMAGES = "/api/registries/team/images"
WEB = f"{IMAGES}/app%2Fweb"


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("GET", IMAGES, None, (200, 200, 200, 404, 403)),
        ("GET", WEB, None, (200, 200, 200, 404, 403)),
        ("GET", f"{WEB}/tags", None, (200, 200, 200, 404, 403)),
        ("GET", f"{WEB}/manifests", None, (200, 200, 200, 404, 403)),
        ("GET", f"{WEB}/manifests/{DIGEST}", None, (200, 200, 200, 404, 403)),
        ("GET", "/api/registries/team/deleted", None, (200, 200, 200, 404, 403)),
        ("PATCH", WEB, {"description": "x"}, (200, 200, 403, 404, 403)),
        ("DELETE", f"{WEB}/tags/v1", None, (204, 204, 403, 404, 403)),
        ("DELETE", f"{WEB}/manifests/{DIGEST}", None, (204, 204, 403, 404, 403)),
        ("POST", "/api/registries/team/deleted/1/restore", None, (404, 404, 403, 404, 403)),
        ("GET", "/api/registries/other/images", None, (200, 404, 404, 404, 403)),
        ("DELETE", "/api/registries/other/images/base", None, (204, 404, 404, 404, 403)),
    ],
)
async def test_who_may_do_what(api: Api, method: str, path: str, body: Any, statuses: tuple[int, ...]) -> None:
    """A viewer sees, a manager changes; for others there is no such registry, and narrowed keys manage nothing."""
    people = (ROOT, MANAGER, VIEWER, STRANGER, ROBOT)

    assert tuple([(await api.send(method, path, body, key=who)).status for who in people]) == statuses


@pytest.mark.parametrize("sort", ["name", "changed", "pulls"])
async def test_images_come_in_pages(api: Api, sort: str) -> None:
    """Each page has the address of the next."""
    found, address = [], f"{IMAGES}?limit=1&sort={sort}"
    while address:
        reply = await api.send("GET", address)
        found += [each["name"] for each in reply.json["items"]]
        address = reply.headers["Link"].partition(">")[0][1:] if "Link" in reply.headers else ""

    assert found == ["app/api", "app/web", "base"]


@pytest.mark.parametrize("sort", ["name", "pushed", "pulled"])
async def test_tags_come_in_pages(api: Api, sort: str) -> None:
    """Also those that were never pulled."""
    first = await api.send("GET", f"{WEB}/tags?limit=1&sort={sort}")
    second = await api.send("GET", f"{WEB}/tags?limit=1&sort={sort}&cursor={first.json['next']}")

    assert [each["tag"] for reply in (first, second) for each in reply.json["items"]] == ["latest", "v1"]
    assert second.json["next"] is None
    assert first.json["items"][0]["platforms"] == ["linux/arm64"]


@pytest.mark.parametrize(
    "query", ["sort=size", "limit=0", "cursor=x", "cursor=bmFtZTp4", "search=" + "x" * 300, "sort=name&sort=name"]
)
async def test_a_list_refuses_what_it_does_not_know(api: Api, query: str) -> None:
    """Instead of guessing."""
    assert (await api.send("GET", f"{IMAGES}?{query}")).status == 422


async def test_a_cursor_is_for_one_order(api: Api) -> None:
    """The place in a list by name is none in a list by pulls; a number too large for the database is no number."""
    cursor = (await api.send("GET", f"{IMAGES}?limit=1")).json["next"]

    assert (await api.send("GET", f"{IMAGES}?limit=1&sort=pulls&cursor={cursor}")).status == 422
    assert (await api.send("GET", f"{WEB}/manifests?cursor=OTk5OTk5OTk5OTk5OTk5OTk5OTk5OTk")).status == 422


async def test_an_image_is_described(api: Api) -> None:
    """By whoever has read its latest version."""
    before = await api.send("GET", WEB)
    changed = await api.send(
        "PATCH", WEB, {"short_description": "Serves.", "tags_mutable": False}, If_Match=before.headers["ETag"]
    )
    refused = await api.send("PATCH", WEB, {"description": "late"}, If_Match=before.headers["ETag"])

    assert changed.json["short_description"] == "Serves."
    assert changed.json["tags_mutable"] is False
    assert changed.json["description"] == before.json["description"]
    assert refused.status == 412
    assert (await api.send("PATCH", WEB, {"short_description": "x" * 101})).status == 422
    for days in (30, None):
        assert (await api.send("PATCH", WEB, {"untagged_days": days})).json["untagged_days"] == days
    for wrong in (0, -1, "30", 1.5, 10**6):
        assert (await api.send("PATCH", WEB, {"untagged_days": wrong})).status == 422


async def test_a_manifest_is_shown_whole(api: Api) -> None:
    """Layers, configuration, history and referrers."""
    shown = (await api.send("GET", f"{WEB}/manifests/{DIGEST}")).json

    assert [each["size"] for each in shown["layers"]] == [5]
    assert shown["configuration"]["platform"] == "linux/arm64"
    assert shown["configuration"]["command"] == ["/bin/app"]
    assert shown["configuration"]["exposed_ports"] == ["80/tcp"]
    assert shown["configuration"]["labels"] == {"l": "v"}
    assert shown["configuration"]["history"] == [
        {"created_at": None, "created_by": "COPY", "comment": "", "is_empty": True}
    ]
    assert [each["annotations"] for each in shown["referrers"]] == [{"by": "me"}]
    assert shown["annotations"] == {"a": "b"}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", f"{IMAGES}/nowhere", 404),
        ("GET", f"{IMAGES}/NO%20NAME", 404),
        ("GET", f"{IMAGES}/nowhere/tags", 404),
        ("GET", f"{IMAGES}/nowhere/manifests", 404),
        ("GET", f"{WEB}/manifests/latest", 404),
        ("GET", f"{WEB}/manifests/{CHILD}", 404),
        ("PATCH", f"{IMAGES}/nowhere", 404),
        ("DELETE", f"{IMAGES}/nowhere", 404),
        ("DELETE", f"{WEB}/tags/no%20tag", 404),
        ("DELETE", f"{WEB}/tags/{DIGEST}", 404),
        ("DELETE", f"{WEB}/tags/nothing", 404),
        ("DELETE", f"{WEB}/manifests/latest", 404),
        ("DELETE", f"{WEB}/manifests/{CHILD}", 409),
        ("POST", "/api/registries/team/deleted/x/restore", 404),
        ("POST", "/api/registries/team/deleted/99999999999999999999/restore", 404),
    ],
)
async def test_what_is_not_there(api: Api, method: str, path: str, status: int) -> None:
    """Names that could be none are simply not found."""
    assert (await api.send(method, path, {} if method == "PATCH" else None)).status == status


async def test_what_was_deleted_comes_back(api: Api) -> None:
    """With a sentence that says how."""
    for path in (f"{WEB}/tags/latest", f"{WEB}/manifests/{DIGEST}", WEB):
        assert (await api.send("DELETE", path)).status == 204
    first = (await api.send("GET", "/api/registries/team/deleted?limit=2")).json
    second = (await api.send("GET", f"/api/registries/team/deleted?cursor={first['next']}")).json
    deleted = [*first["items"], *second["items"]]

    replies = [await api.send("POST", f"/api/registries/team/deleted/{each['id']}/restore") for each in deleted]

    assert [each["kind"] for each in deleted] == ["image", "manifest", "tag"]
    assert {each["deleted_by"] for each in deleted} == {"root"}
    assert [each.json["outcome"] for each in replies] == ["joined", "restored", "untagged"]
    assert [each.json["message"] for each in replies] == [
        (
            "There is another image app/web meanwhile: what was deleted is in it now. "
            "Left out, because there are such tags: latest."
        ),
        f"The manifest {DIGEST} of app/web is back.",
        f"The manifest {DIGEST} of app/web is back without its tag. Left out, because there are such tags: latest.",
    ]
    assert (await api.send("GET", "/api/registries/team/deleted")).json["items"] == []


def test_a_sentence_stays_one() -> None:
    """However many tags were left out."""
    names = tuple(f"t{number:02}" for number in range(12))
    restored = Restored(RestoreOutcome.JOINED, DeletedKind.IMAGE, "app", None, None, names)

    assert restored_view(restored).message.endswith(": t00, t01, t02, t03, t04, t05, t06, t07, t08, t09 and 2 more.")

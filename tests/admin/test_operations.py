"""What the operations do, and for whom."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from .memory import MANAGER, ROOT, SECRET, STRANGER, VIEWER

if TYPE_CHECKING:
    from .conftest import Api

# Who may do what with a registry (product.md 4): the statuses for root, manager of it, viewer, and a stranger to it.
WHO = (ROOT, MANAGER, VIEWER, STRANGER)


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("GET", "/api/registries/team", None, (200, 200, 200, 404)),
        ("GET", "/api/registries/other", None, (200, 404, 404, 404)),
        ("GET", "/api/registries/none", None, (404, 404, 404, 404)),
        ("PATCH", "/api/registries/team", {"public_pull": True}, (200, 200, 403, 404)),
        ("PATCH", "/api/registries/other", {"public_pull": True}, (200, 404, 404, 404)),
        ("POST", "/api/registries", {"name": "new", "bucket": "b"}, (201, 403, 403, 403)),
        ("DELETE", "/api/registries/team", None, (204, 403, 403, 404)),
        ("DELETE", "/api/registries/other", None, (204, 404, 404, 404)),
        ("POST", "/api/registries/team/reconcile", None, (200, 403, 403, 404)),
        ("DELETE", "/api/registries/other?without_catalogue=true", None, (204, 404, 404, 404)),
        ("GET", "/api/buckets", None, (200, 403, 403, 403)),
        ("POST", "/api/buckets/check", {"bucket": "b"}, (200, 403, 403, 403)),
        ("GET", "/api/audit", None, (200, 200, 403, 403)),
        ("GET", "/api/audit?registry=team", None, (200, 200, 403, 404)),
        ("GET", "/api/audit?registry=other", None, (200, 404, 404, 404)),
        ("GET", "/api/policies?registry=other", None, (200, 404, 404, 404)),
    ],
)
async def test_rights(api: Api, method: str, path: str, body: Any, statuses: tuple[int, ...]) -> None:
    """What one may not see does not exist; what one may see and not do is forbidden."""
    for key, status in reversed(list(zip(WHO, statuses, strict=True))):
        assert (await api.send(method, path, body, key=key)).status == status, key


async def test_the_hidden_and_the_missing_are_told_alike(api: Api) -> None:
    """Nobody learns of a registry by the words of a refusal."""
    hidden = await api.send("GET", "/api/registries/other", key=VIEWER)
    del api.memory.registries.kept["other"]
    missing = await api.send("GET", "/api/registries/other", key=VIEWER)

    assert hidden.body == missing.body


async def test_lists_hold_what_one_may_see(api: Api) -> None:
    """A viewer of one registry sees one."""
    assert [each["name"] for each in (await api.send("GET", "/api/registries")).json["items"]] == ["other", "team"]
    assert [each["name"] for each in (await api.send("GET", "/api/registries", key=VIEWER)).json["items"]] == ["team"]
    assert (await api.send("GET", "/api/registries", key=STRANGER)).json["items"] == []


async def test_a_manager_of_some_reads_their_audit(api: Api) -> None:
    """The services are asked for the registries that the caller manages, and for everything only by who may."""
    await api.send("GET", "/api/audit", key=MANAGER)
    await api.send("GET", "/api/audit")
    await api.send("GET", "/api/audit?registry=other")

    assert [each.registry_ids for each in api.memory.audit.wanted] == [(1,), None, (2,)]


async def test_a_registry_is_made_shown_set_and_deleted(api: Api) -> None:
    """Each answer has what is needed for the next request."""
    made = await api.send("POST", "/api/registries", {"name": "new", "bucket": "free-bucket"})
    where = made.headers["Location"]
    assert where == "/api/registries/new"
    assert made.json["public_host"] == "new.registry.example"
    assert made.json["private_host"].endswith(".internal.example")
    assert (await api.send("GET", where)).json == made.json

    change = {
        "public_endpoint": False,
        "private_networks": ["10.0.0.0/8", "192.0.2.1"],
        "public_delivery": "redirect",
        "delivery_rules": [{"network": "10.0.0.0/8", "delivery": "redirect", "storage": "private"}],
    }
    changed = await api.send("PATCH", where, change)
    assert changed.json == {
        **made.json,
        **change,
        "private_networks": ["10.0.0.0/8", "192.0.2.1/32"],
        "version": made.json["version"] + 1,
    }
    reset = await api.send("PATCH", where, {"public_delivery": None, "delivery_rules": []})
    assert (reset.json["public_delivery"], reset.json["delivery_rules"]) == (None, [])
    assert reset.json["public_endpoint"] is False, "what is left out stays"

    assert (await api.send("POST", "/api/registries", {"name": "new", "bucket": "b"})).status == 409
    assert (await api.send("DELETE", where)).status == 204
    assert (await api.send("GET", where)).status == 404


@pytest.mark.parametrize("name", ["ab", "Team", "1team", "team-", "a" * 31, "te_am", ""])
async def test_names_of_registries(api: Api, name: str) -> None:
    """A name must be able to be a host's label."""
    assert (await api.send("POST", "/api/registries", {"name": name, "bucket": "b"})).status == 422


@pytest.mark.parametrize(
    ("condition", "status"),
    [
        (None, 200),
        ("*", 200),
        ('"1"', 200),
        ('"2"', 412),
        ("1", 412),
        ('W/"1"', 412),
        ('"9999999999999999999999"', 412),
    ],
)
async def test_conditions(api: Api, condition: str | None, status: int) -> None:
    """A change applies to the version that was read."""
    tag = (await api.send("GET", "/api/registries/team")).headers["ETag"]
    headers = {} if condition is None else {"If_Match": condition}

    reply = await api.send("PATCH", "/api/registries/team", {"public_pull": True}, **headers)

    assert tag == '"1"'
    assert reply.status == status
    if status == 200:
        assert reply.headers["ETag"] == '"2"'


async def test_pages_hold_everything_once(api: Api) -> None:
    """A list is read to its end by its cursors; what comes and goes meanwhile shifts nothing."""
    for number in range(7):
        api.memory.registries.add(f"many-{number}", "b")
    names: list[str] = []
    path = "/api/registries?limit=3"
    while path:
        reply = await api.send("GET", path)
        names += [each["name"] for each in reply.json["items"]]
        api.memory.registries.kept.pop("many-0", None)
        link = reply.headers.get("Link", "")
        assert bool(link) == (reply.json["next"] is not None)
        path = link.partition(">")[0].removeprefix("<")

    assert names == [f"many-{number}" for number in range(7)] + ["other", "team"]


async def test_pages_of_the_audit_log_keep_their_filters(api: Api) -> None:
    """The newest comes first, and the link to the next page asks for the same."""
    for number in range(5):
        api.memory.audit.add(object=f"o{number}", account="a b")
    first = await api.send("GET", "/api/audit?limit=3&account=a%20b&since=2030-01-01T00:00:00Z")
    api.memory.audit.add(object="newer", account="a b")
    second = await api.send("GET", first.headers["Link"].partition(">")[0].removeprefix("<"))

    assert [each["object"] for each in first.json["items"] + second.json["items"]] == ["o4", "o3", "o2", "o1", "o0"]
    assert second.json["next"] is None
    assert api.memory.audit.wanted[0] == api.memory.audit.wanted[1]
    assert first.json["items"][0]["before"] == {"public_pull": False, "public_endpoint": True}


@pytest.mark.parametrize("cursor", ["LTE", "YQ", "OTk5OTk5OTk5OTk5OTk5OTk5OTk5OQ", "4pGg", ""])
async def test_forged_cursors(api: Api, cursor: str) -> None:
    """They are refused, never passed on."""
    assert (await api.send("GET", f"/api/audit?cursor={cursor}")).status == 422


async def test_accounts_and_policies(api: Api) -> None:
    """The life of an account."""
    made = await api.send("POST", "/api/accounts", {"name": "ci", "note": "builds"})
    assert made.headers["Location"] == "/api/accounts/ci"
    assert (await api.send("GET", "/api/accounts/ci")).json == made.json
    assert (await api.send("POST", "/api/accounts", {"name": "ci"})).status == 409
    assert (await api.send("POST", "/api/accounts", {"name": "C I"})).status == 422

    everywhere = await api.send("PUT", "/api/accounts/ci/policies/viewer")
    assert everywhere.json["registry"] is None
    assert (await api.send("PUT", "/api/accounts/ci/policies/manager?registry=team")).json["registry"] == "team"
    assert (await api.send("PUT", "/api/accounts/ci/policies/king")).status == 422
    assert len((await api.send("GET", "/api/policies?account=ci")).json["items"]) == 2
    assert (await api.send("DELETE", "/api/accounts/ci/policies/manager?registry=team")).status == 204
    assert (await api.send("DELETE", "/api/accounts/ci/policies/manager?registry=team")).status == 404
    assert (await api.send("DELETE", "/api/accounts/ci")).status == 204
    assert (await api.send("GET", "/api/accounts/ci")).status == 404


async def test_keys(api: Api) -> None:
    """The life of a key: the secret is in two answers, and in no other."""
    narrow = {"actions": ["push", "pull"], "repositories": ["ci/**"], "expires_at": "2031-01-01T00:00:00+09:00"}
    key = await api.send("POST", "/api/keys", {"account": "root", **narrow})
    where = key.headers["Location"]
    assert key.json["secret_key"] == SECRET
    assert key.json["actions"] == ["pull", "push"]
    assert "secret_key" not in (await api.send("GET", where)).json
    changed = await api.send("PATCH", where, {"disabled": True, "actions": None, "expires_at": None}, If_Match='"1"')
    assert (changed.json["disabled"], changed.json["actions"], changed.json["expires_at"]) == (True, None, None)
    assert changed.json["repositories"] == ["ci/**"]
    noted = await api.send("PATCH", where, {"note": "old"})
    assert (noted.json["note"], noted.json["disabled"]) == ("old", True), "what is left out stays"
    assert (await api.send("PATCH", where, {"disabled": False}, If_Match='"1"')).status == 412
    assert (await api.send("POST", f"{where}/rotate", {"keep_old_seconds": 60})).json["secret_key"] == f"{SECRET}60"
    assert (await api.send("POST", f"{where}/rotate", {"keep_old_seconds": -1})).status == 422
    assert [each["access_key_id"] for each in (await api.send("GET", "/api/keys?account=root")).json["items"]]
    assert (await api.send("DELETE", where)).status == 204
    assert (await api.send("GET", where)).status == 404


async def test_buckets(api: Api) -> None:
    """The list shows which are taken, and a check what is wrong."""
    buckets = (await api.send("GET", "/api/buckets")).json["items"]
    assert [(each["bucket"], each["registry"]) for each in buckets] == [
        ("free-bucket", None),
        ("other-bucket", "other"),
        ("team-bucket", "team"),
    ]
    report = await api.send("POST", "/api/buckets/check", {"bucket": "free-bucket"})
    assert report.json["findings"][0]["mend"] == "take another bucket"

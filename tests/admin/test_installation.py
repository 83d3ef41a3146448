"""The management API on a real database: accounts, policies, keys, and what the audit log keeps of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import orjson
import pytest

from gateway.admin.callers import Caller
from gateway.admin.dispatch import Management
from gateway.admin.needs import Domains, Services
from gateway.admin.requests import Request
from gateway.db.audit import AuditLog
from gateway.db.pull_reports import PullReports
from gateway.model.access import Role
from gateway.services.audit import Audit
from services.installation import LOCAL, Office, actor, open_office
from support.databases import Server, fresh_database

from .contract import check
from .memory import MemoryRegistries
from .memory_images import MemoryImages

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from gateway.model.access import AccessKey
    from gateway.services.images import Images
    from gateway.services.registries import Registries

PEOPLE = ("root", "manager of all", "manager of team", "viewer of team", "narrowed")


@dataclass
class House:
    """An installation with one key of each kind of account."""

    office: Office
    management: Management
    people: dict[str, AccessKey]

    async def ask(self, who: str | None, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        """Send a request as somebody, None for the local command line; returns status and JSON."""
        key = None if who is None else await self.office.key(self.people[who].access_key_id)
        address, _, query = path.partition("?")
        pairs = tuple((name, value) for name, _, value in (pair.partition("=") for pair in query.split("&")) if name)
        content = b"" if body is None else orjson.dumps(body)
        request = Request(method, address, pairs, "application/json", headers.get("if_match"), content)
        answer = await self.management.answer(request, Caller(LOCAL if key is None else actor(key), key))
        check(method, address, answer.status, answer.headers, answer.body)
        return int(answer.status), orjson.loads(answer.body) if answer.body else None


@pytest.fixture
async def house(embedded_server: Server) -> AsyncIterator[House]:
    """An installation with registries default and team."""
    async with fresh_database(embedded_server) as database:
        office = await open_office(database)
        registries = MemoryRegistries()
        for row in await database.fetch("SELECT name, bucket FROM registries ORDER BY id"):
            registries.add(row["name"], row["bucket"])
        audit, pulls = Audit(AuditLog(database), days=1), PullReports(database)
        images = cast("Images", MemoryImages())
        services = Services(cast("Registries", registries), office.accounts, audit, pulls, images, Domains(None, None))
        people = {
            "root": await office.root(),
            "manager of all": await office.hire("boss", (Role.MANAGER, None)),
            "manager of team": await office.hire("lead", (Role.MANAGER, "team")),
            "viewer of team": await office.hire("guest", (Role.VIEWER, "team")),
            "narrowed": await office.hire("robot", (Role.MANAGER, None), narrowed=True),
        }
        yield House(office, Management(services), people)


@pytest.mark.parametrize(
    ("method", "path", "body", "statuses"),
    [
        ("POST", "/api/accounts", {"name": "new"}, (201, 201, 403, 403, 403)),
        ("DELETE", "/api/accounts/lead", None, (204, 204, 403, 403, 403)),
        ("DELETE", "/api/accounts/boss", None, (204, 403, 403, 403, 403)),
        ("DELETE", "/api/accounts/root", None, (403, 403, 403, 403, 403)),
        ("GET", "/api/accounts/boss", None, (200, 200, 404, 404, 403)),
        ("PUT", "/api/accounts/guest/policies/viewer", None, (200, 200, 403, 403, 403)),
        ("PUT", "/api/accounts/guest/policies/manager", None, (200, 403, 403, 403, 403)),
        ("PUT", "/api/accounts/guest/policies/manager?registry=team", None, (200, 200, 403, 403, 403)),
        ("DELETE", "/api/accounts/guest/policies/viewer?registry=team", None, (204, 204, 403, 403, 403)),
        ("DELETE", "/api/accounts/boss/policies/manager", None, (204, 403, 403, 403, 403)),
        ("POST", "/api/keys", {"account": "boss"}, (201, 201, 404, 404, 403)),
        ("POST", "/api/keys", {"account": "root"}, (201, 403, 404, 404, 403)),
        ("POST", "/api/keys", {"account": "lead"}, (201, 201, 201, 404, 403)),
        ("POST", "/api/keys", {"account": "nobody"}, (404, 404, 404, 404, 403)),
        ("GET", "/api/keys", None, (200, 200, 200, 200, 403)),
        ("GET", "/api/audit", None, (200, 200, 200, 403, 403)),
        ("GET", "/api/audit?registry=team", None, (200, 200, 200, 403, 403)),
        ("GET", "/api/audit?registry=default", None, (200, 200, 404, 404, 403)),
        ("GET", "/api/registries/team", None, (200, 200, 200, 200, 403)),
        ("PATCH", "/api/registries/team", {"public_pull": True}, (200, 200, 200, 403, 403)),
    ],
)
async def test_who_may_do_what(house: House, method: str, path: str, body: Any, statuses: tuple[int, ...]) -> None:
    """The table of product.md 4, from those who may least on; what is done once cannot be done by the next again."""
    for who, status in reversed(list(zip(PEOPLE, statuses, strict=True))):
        assert (await house.ask(who, method, path, body))[0] == status, who
        if status in {201, 204} and path != "/api/keys":
            break


async def test_everybody_sees_the_own_and_administrators_see_all(house: House) -> None:
    """Lists hold what the caller may see."""
    _, of_lead = await house.ask("manager of team", "GET", "/api/keys")
    _, of_all = await house.ask("manager of all", "GET", "/api/keys")
    _, accounts = await house.ask("viewer of team", "GET", "/api/accounts")

    assert {each["account"] for each in of_lead["items"]} == {"lead"}
    assert {each["account"] for each in of_all["items"]} == {"root", "boss", "lead", "guest", "robot"}
    assert [each["name"] for each in accounts["items"]] == ["guest"]


async def test_a_managers_audit_is_that_of_the_own_registries(house: House) -> None:
    """Lines of other registries, and of none, are for administrators."""
    await house.ask(None, "PUT", "/api/accounts/guest/policies/viewer?registry=default")
    _, of_team = await house.ask("manager of team", "GET", "/api/audit")
    _, of_all = await house.ask("manager of all", "GET", "/api/audit?limit=1000")

    assert {each["registry"] for each in of_team["items"]} <= {"team"}
    assert {"default", None} <= {each["registry"] for each in of_all["items"]}


async def test_the_life_of_a_key(house: House) -> None:
    """Each step holds in the database and stands in the log, the secrets only in the answers."""
    narrow = {"actions": ["pull"], "repositories": ["ci/**"], "expires_at": "2999-01-01T00:00:00Z"}
    _, made = await house.ask("root", "POST", "/api/keys", {"account": "guest", "note": "n", **narrow})
    path = f"/api/keys/{made['access_key_id']}"
    assert await house.office.works(made["access_key_id"], made["secret_key"])

    status, changed = await house.ask("root", "PATCH", path, {"disabled": True}, if_match=f'"{made["version"]}"')
    assert (status, changed["disabled"], changed["repositories"]) == (200, True, ["ci/**"])
    assert (await house.ask("root", "PATCH", path, {"note": ""}, if_match=f'"{made["version"]}"'))[0] == 412
    _, rotated = await house.ask("root", "POST", f"{path}/rotate", {"keep_old_seconds": 60})
    assert await house.office.works(made["access_key_id"], made["secret_key"])
    assert await house.office.works(made["access_key_id"], rotated["secret_key"])
    assert (await house.ask("root", "DELETE", path))[0] == 204
    assert (await house.ask("root", "GET", path))[0] == 404

    _, log = await house.ask("root", "GET", "/api/audit?limit=4")
    assert [each["action"] for each in log["items"]] == ["key.delete", "key.rotate", "key.update", "key.create"]
    assert {each["access_key_id"] for each in log["items"]} == {house.people["root"].access_key_id}
    assert not any(secret in orjson.dumps(log).decode() for secret in (made["secret_key"], rotated["secret_key"]))


async def test_a_log_is_read_page_by_page(house: House) -> None:
    """All lines come once, the newest first, with any size of pages."""
    _, whole = await house.ask("root", "GET", "/api/audit?limit=1000")
    lines: list[Any] = []
    cursor: str | None = ""
    while cursor is not None:
        _, page = await house.ask("root", "GET", f"/api/audit?limit=3{cursor and f'&cursor={cursor}'}")
        lines += page["items"]
        cursor = page["next"]

    assert len(lines) > 9
    assert lines == whole["items"]

"""What the management API lets in: credentials, pages, bodies, addresses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from gateway.admin.parsing import LARGEST_BODY

from .conftest import basic, serving
from .memory import MANAGER, ROBOT, ROOT, SECRET, Memory

if TYPE_CHECKING:
    from .conftest import Api


@pytest.mark.parametrize(
    "authorization",
    [
        pytest.param(None, id="none"),
        pytest.param("", id="empty"),
        pytest.param("Basic", id="nothing behind the scheme"),
        pytest.param("Basic ***", id="no base64"),
        pytest.param("Basic /w==", id="no utf-8"),
        pytest.param(basic("SWROOT"), id="no colon"),
        pytest.param(basic(":"), id="nobody"),
        pytest.param(basic("SWROOT:wrong"), id="wrong secret"),
        pytest.param(basic(f"SWOTHER:{SECRET}"), id="unknown key"),
        pytest.param(f"Bearer {SECRET}", id="another scheme"),
    ],
)
async def test_without_credentials_nothing_is_told(api: Api, authorization: str | None) -> None:
    """It is 401 with a challenge, whatever the address is."""
    headers = {} if authorization is None else {"Authorization": authorization}
    for path in ("/api/registries", "/api/registries/team", "/api/registries/none", "/api/nothing"):
        reply = await api.send("GET", path, key=None, **headers)

        assert reply.status == 401
        assert reply.headers["WWW-Authenticate"].startswith('Basic realm="slipway"')
        assert SECRET.encode() not in reply.body


async def test_the_scheme_has_no_case_and_a_secret_may_have_colons(api: Api) -> None:
    """RFC 7617: the first colon ends the user's name."""
    right = basic(f"{ROOT}:{SECRET}").removeprefix("Basic ")

    assert (await api.send("GET", "/api/registries", key=None, Authorization=f"bAsIc {right}")).status == 200
    assert (await api.send("GET", "/api/registries", secret=f"{SECRET}:more")).status == 401


async def test_a_narrowed_key_manages_nothing(api: Api) -> None:
    """Even one of a manager of all registries."""
    for path in ("/api/registries", "/api/keys", "/api/audit", "/api/accounts"):
        assert (await api.send("GET", path, key=ROBOT)).status == 403


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Sec_Fetch_Site": "same-origin"}, 200),
        ({"Sec_Fetch_Site": "none"}, 200),
        ({"Sec_Fetch_Site": "same-site"}, 403),
        ({"Sec_Fetch_Site": "cross-site"}, 403),
        ({"Sec_Fetch_Site": "Cross-Site"}, 403),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Sec_Fetch_Site": "same-origin", "Origin": "https://evil.example"}, 403),
    ],
)
async def test_pages_of_other_sites_are_refused(headers: dict[str, str], status: int) -> None:
    """Browsers add credentials that they remember, and under --open none are needed."""
    for is_open in (False, True):
        async with serving(Memory(), is_open=is_open) as api:
            assert (await api.send("GET", "/api/registries", **headers)).status == status


async def test_the_own_page_is_let_in(api: Api) -> None:
    """The origin is compared as a whole."""
    assert (await api.send("GET", "/api/registries", Origin=api.url)).status == 200
    assert (await api.send("GET", "/api/registries", Origin=api.url + "1")).status == 403
    assert (await api.send("GET", "/api/registries", Origin=api.url.replace("http", "https"))).status == 403


async def test_nothing_allows_other_sites(api: Api) -> None:
    """No answer has a header that lets another site's script read it, preflights included."""
    for method in ("GET", "OPTIONS"):
        reply = await api.send(method, "/api/registries")
        assert not any(name.lower().startswith("access-control") for name in reply.headers)
        assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert reply.status == 405


async def test_open_asks_for_nothing() -> None:
    """Under --open everybody may do everything, and the log says so."""
    async with serving(Memory(), is_open=True) as api:
        reply = await api.send("POST", "/api/registries", {"name": "new", "bucket": "b"}, key=None)

        assert reply.status == 201
        (actor,) = api.memory.registries.actors
        assert (actor.account_id, actor.account, actor.access_key_id) == (None, "open", None)


async def test_who_acts_is_told(api: Api) -> None:
    """The services learn account, key and address."""
    await api.send("PATCH", "/api/registries/team", {"public_pull": True}, key=MANAGER)

    (actor,) = api.memory.registries.actors
    assert (actor.account_id, actor.account, actor.access_key_id, actor.address) == (2, "manager", MANAGER, "192.0.2.7")


@pytest.mark.parametrize(
    ("content_type", "body", "status"),
    [
        ("application/json", b'{"public_pull":true}', 200),
        ("APPLICATION/JSON; charset=utf-8", b'{"public_pull":true}', 200),
        ("text/plain", b'{"public_pull":true}', 415),
        ("application/x-www-form-urlencoded", b"public_pull=true", 415),
        ("application/json", b"", 422),
        ("application/json", b"{", 422),
        ("application/json", b"[]", 422),
        ("application/json", b'{"public_pull":"yes"}', 422),
        ("application/json", b'{"public_pull":1}', 422),
        ("application/json", b'{"public_pull":null}', 422),
        ("application/json", b'{"public_pul":true}', 422),
        ("application/json", b'{"public_networks":["10.0.0.0/33"]}', 422),
        ("application/json", b'{"public_networks":["10.0.0.1/8"]}', 422),
        ("application/json", b'{"public_delivery":"pigeon"}', 422),
        ("application/json", b'"\xff"', 422),
        ("application/json", b" " * (LARGEST_BODY + 1), 413),
    ],
)
async def test_bodies(api: Api, content_type: str, body: bytes, status: int) -> None:
    """Only JSON of exactly the right form is taken, and nothing is converted on a guess."""
    reply = await api.send("PATCH", "/api/registries/team", body, Content_Type=content_type)

    assert reply.status == status
    assert (await api.send("GET", "/api/registries/team")).json["public_pull"] is (status == 200)


async def test_every_wrong_field_is_named(api: Api) -> None:
    """A form can be mended in one go, and the sentences do not repeat what was sent."""
    wrong = {"account": 5, "note": "x" * 1001, "actions": ["fly"], "repositories": ["a//b"], "expires_at": "2030-01-01"}
    reply = await api.send("POST", "/api/keys", wrong)

    assert reply.status == 422
    assert {each["field"].split(".")[0] for each in reply.json["errors"]} == set(wrong)


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=1001", "limit=x", "limit=1&limit=2", "sort=name", "cursor=%21", "cursor=%00", "limit="]
)
async def test_queries(api: Api, query: str) -> None:
    """Unknown, repeated and impossible parameters are refused."""
    assert (await api.send("GET", f"/api/registries?{query}")).status == 422


@pytest.mark.parametrize(
    "path",
    [
        "/api",
        "/api/",
        "/api/registry",
        "/api/registries/",
        "/api/registries/team/",
        "/api/registries/%FF",
        "/api//keys",
    ],
)
async def test_addresses_that_do_not_exist(api: Api, path: str) -> None:
    """There is one spelling of each address."""
    assert (await api.send("GET", path)).status == 404


async def test_a_slash_in_a_name_is_part_of_the_name(api: Api) -> None:
    """Addresses are taken apart before they are decoded."""
    assert (await api.send("GET", "/api/registries/te%61m")).status == 200
    assert (await api.send("GET", "/api/registries/team%2Fx")).status == 404


async def test_a_nul_in_a_name_goes_no_further(api: Api) -> None:
    """Postgres could not store it: there is no such address."""
    assert "NUL" in (await api.send("GET", "/api/registries/team%00")).json["detail"]


async def test_other_methods_are_named(api: Api) -> None:
    """It is 405 with what is allowed."""
    reply = await api.send("PUT", "/api/registries/team")

    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, PATCH, DELETE"


async def test_what_backends_say_is_for_the_log(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """A database that is away is 503, a bug 500; neither says more."""
    api.memory.registries.is_down = True
    away = await api.send("GET", "/api/registries")
    api.memory.registries.is_down, api.memory.registries.is_broken = False, True
    bug = await api.send("GET", "/api/registries")

    assert (away.status, bug.status) == (503, 500)
    assert b"secret" not in away.body + bug.body
    assert away.headers["Retry-After"]
    line, traceback = caplog.records
    assert "secret-host" in line.getMessage()
    assert line.exc_info is None, "a database that is away is no riddle"
    assert traceback.exc_info is not None

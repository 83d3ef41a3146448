"""Where the console answers, and to whom it needs no signing in."""

from __future__ import annotations

import asyncio
import re
from contextlib import ExitStack
from dataclasses import replace
from secrets import token_hex
from typing import TYPE_CHECKING

import pytest

from gateway.config import Address, Settings
from support.accounts import EVERYWHERE, add_key
from support.postgres import new_database, running_postgres
from support.serving import in_the_background

from .browser import Browser
from .image_addresses import links_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.databases import Server

PATHS = ("/", "/console", "/console/", "/console/sign-in", "/console/static/console.css")


@pytest.fixture
def settings(embedded_server: Server, tmp_path: Path) -> Settings:
    """An installation of its own."""
    url = new_database(embedded_server.dsn, f"console_{token_hex(4)}")
    return Settings(listen=Address("127.0.0.1", 0), data_dir=tmp_path, database_url=url)


@pytest.fixture
def opened(settings: Settings) -> Iterator[Browser]:
    """A browser at a server that everybody may use."""
    with in_the_background(replace(settings, open=True)) as server:
        yield Browser(server.host, server.port)


@pytest.fixture
def with_domains(settings: Settings) -> Iterator[Browser]:
    """A browser at a server with domains."""
    named = replace(
        settings,
        public_domain="registry.example",
        private_domain="internal.example",
        console_host="console.example",
        host_names=("elsewhere.example",),
    )
    with in_the_background(named) as server:
        browser = Browser(server.host, server.port, name="console.example")
        browser.sign_in(asyncio.run(add_key(named.database_url or "", "manager", "manager", registry_id=EVERYWHERE)))
        yield browser


def test_the_console_is_at_its_host_alone(with_domains: Browser) -> None:
    """Not at registries, nor at addresses, nor at names of nobody."""
    assert with_domains.post("/console/new-registry", name="team", typed_bucket="team-bucket").status == 303
    settings = with_domains.get("/console/registries/team/settings").words
    private = re.search(r"[a-z0-9]{20,}\.internal\.example", settings)
    assert private is not None
    assert "docker login -u" in settings
    assert with_domains.get("/").location == "/console/"
    assert with_domains.get("/v2/").status == 404

    hosts = ("team.registry.example", private[0], "elsewhere.example", "127.0.0.1", "evil.example")
    for host in hosts:
        assert with_domains.get("/v2/", Host=host).status == (401 if host in hosts[:2] else 404)
        for path in PATHS:
            page = with_domains.get(path, Host=host)
            assert page.status == 404, (host, path)
            assert "html" not in page.headers["content-type"][0]


def test_an_empty_registry_names_its_own_host(with_domains: Browser) -> None:
    """Its private one when the public one is off."""
    with_domains.post("/console/new-registry", name="team", typed_bucket="team-bucket")
    port = {"Host": "console.example:8443"}
    images, settings = "/console/registries/team/images", "/console/registries/team/settings"
    assert "docker push team.registry.example:8443/hello:latest" in with_domains.get(images, **port).words

    with_domains.post(settings, public_networks="", private_networks="")

    page = with_domains.get(images, **port)
    assert re.search(r"docker push [a-z0-9]{20,}\.internal\.example:8443/hello:latest", page.words)
    assert "team.registry.example" not in page.words


def test_open_needs_no_signing_in(opened: Browser) -> None:
    """Every page says so, and forms of other sites are refused all the same."""
    page = opened.get("/console/")
    assert page.status == 200
    assert "started with --open" in page.words
    assert "Sign out" not in page.words
    assert opened.get("/console/sign-in").location == "/console/"

    assert opened.post("/console/accounts", form_token="", name="dana", note="").status == 303
    foreign = {"Origin": "http://evil.example"}
    assert opened.post("/console/accounts", foreign, form_token="", name="eve", note="").status == 403
    assert opened.get("/console/accounts/eve").status == 404
    assert opened.get("/console/", Host="evil.example").status == 404


def test_open_names_the_host_that_the_browser_sees(opened: Browser) -> None:
    """In the commands for a first push, without a login."""
    page = opened.get("/console/registries/default/images", Host="localhost:8080")

    assert "docker push localhost:8080/hello:latest" in page.words
    assert "docker login" not in page.words


def test_a_database_that_is_away_is_told_by_a_page(settings: Settings) -> None:
    """In the visitor's language, whoever asks: a session cannot be judged. What needs no database is there."""
    with ExitStack() as stack:
        database = stack.enter_context(ExitStack())
        url = new_database(database.enter_context(running_postgres()), "gone")
        server = stack.enter_context(in_the_background(replace(settings, database_url=url)))
        browser = Browser(server.host, server.port, language="ko")
        key = asyncio.run(add_key(url, "manager", "manager", registry_id=EVERYWHERE))
        browser.sign_in(key)
        assert browser.get("/console/").status == 200

        database.close()

        # What was known is forgotten within a second: whose session it is, and which registry answers at this address.
        for path in ("/console/nothing", "/v2/"):
            browser.wait_for(path, 503)
        for page in (browser.get("/console/"), browser.sign_in(key)):
            assert page.status == 503
            assert "데이터베이스 또는 스토리지가 응답하지 않습니다" in page.words
        style = next(each for each in links_of(page) if each.endswith(".css"))
        assert browser.get(style).status == 200
        refused = browser.get("/api/registries", Authorization=key.basic)
        assert (refused.status, refused.headers["content-type"]) == (503, ["application/problem+json"])

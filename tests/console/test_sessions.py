"""Signing in, staying signed in, and forms that nobody else can send."""

from __future__ import annotations

import asyncio
import re
import time
from datetime import timedelta
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest

from gateway.console.sessions import Sessions
from support.accounts import Key, add_key

if TYPE_CHECKING:
    from .browser import Browser
    from .conftest import Office


class Keys:
    """Keys as processes share them."""

    def __init__(self, *peppers: int) -> None:
        self._peppers = peppers

    def derived(self, purpose: str) -> dict[int, bytes]:
        return {each: f"{each} {purpose}".encode() for each in self._peppers}


def test_every_process_reads_the_cookie() -> None:
    """Also one that knows a newer key."""
    cookie = Sessions(Keys(1)).begin("SWKEY")

    session = Sessions(Keys(1, 2)).read(cookie)

    assert session is not None
    assert session.access_key_id == "SWKEY"


@pytest.mark.parametrize("place", range(5))
def test_a_changed_cookie_is_none(place: int) -> None:
    """Whichever part of it was changed."""
    sessions = Sessions(Keys(1, 2))
    parts = sessions.begin("SWKEY").split(".")
    parts[place] = {0: "1", 1: "SWROOT", 2: "9999999999"}.get(place, "A" * len(parts[place]))

    assert sessions.read(".".join(parts)) is None


@pytest.mark.parametrize(
    "cookie", ["", ".", "....", "1.2.3.4.5", "x.SWKEY.1.n.s", "9" * 5000 + ".a.1.n.s", "\udcff.a.1.n.s"]
)
def test_nonsense_is_none(cookie: str) -> None:
    """And no error."""
    assert Sessions(Keys(1)).read(cookie) is None


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, without anybody's doing."""
    sessions = Sessions(Keys(1))
    monkeypatch.setattr("gateway.console.sessions.LIFETIME", timedelta(0))

    assert sessions.read(sessions.begin("SWKEY")) is None


def test_who_has_not_signed_in_is_asked_to(office: Office) -> None:
    """On every page."""
    stranger = office.browser()

    for path in ("/console/", "/console/keys", "/console/registries/default/settings", "/console/nothing"):
        page = stranger.get(path)
        assert (page.status, page.location) == (303, "/console/sign-in")
    assert stranger.get("/").location == "/console/"
    assert "Sign in" in stranger.get("/console/sign-in").words


def test_signing_in_and_out(office: Office) -> None:
    """The cookie is for this server alone, and out of reach of scripts."""
    browser = office.browser()
    answer = browser.sign_in(office.keys["viewer"])

    (cookie,) = answer.headers["set-cookie"]
    assert answer.location == "/console/"
    assert {"HttpOnly", "Path=/", "SameSite=Strict"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "viewer" in browser.get("/console/").words
    assert browser.post("/console/sign-out").status == 303
    assert browser.get("/console/").status == 303


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (Key("SWNOSUCHKEY", "slw_wrong"), "the access key id or the secret key is wrong"),
        (Key("", ""), "the access key id or the secret key is wrong"),
        ("robot", "narrowed to pulling and pushing"),
    ],
)
def test_a_refused_sign_in_says_why(office: Office, key: Key | str, words: str) -> None:
    """And keeps the id that was typed."""
    browser = office.browser()
    wanted = office.keys[key] if isinstance(key, str) else key

    page = browser.sign_in(wanted)

    assert page.status in {401, 403}
    assert words in page.words
    assert page.values("access_key_id") == [wanted.id]
    assert wanted.secret == "" or wanted.secret not in page.text
    assert not browser.cookies


def test_a_disabled_key_ends_its_sessions(office: Office) -> None:
    """At once, or within a second where the word is lost."""
    key = asyncio.run(add_key(office.database_url, "leaver", "viewer"))
    browser = office.browser()
    browser.sign_in(key)
    assert browser.get("/console/").status == 200

    manager = office.browser("manager")
    manager.post(f"/console/keys/{key.id}", disabled="yes", note="", repositories="", expires_on="")

    # A second at most, if the notification is late.
    deadline = time.monotonic() + 5
    while browser.get("/console/").status == 200 and time.monotonic() < deadline:
        pass
    assert browser.get("/console/").status == 303


@pytest.mark.parametrize("token", ["", "wrong", None])
def test_forms_need_their_token(office: Office, manager: Browser, token: str | None) -> None:
    """That of another session is none."""
    other = office.browser("manager")
    sent = token if token is not None else other.get("/console/keys").values("form_token")[0]

    page = manager.post("/console/accounts", name="forged", note="", form_token=sent)

    assert page.status == 403
    assert "another session" in page.words
    assert manager.get("/console/accounts/forged").status == 404


@pytest.mark.parametrize("header", [("Origin", "http://evil.example"), ("Sec-Fetch-Site", "cross-site")])
def test_forms_of_other_sites_are_refused(manager: Browser, header: tuple[str, str]) -> None:
    """Even with the right token."""
    page = manager.post("/console/accounts", dict([header]), name="foreign", note="")

    assert page.status == 403
    assert manager.get("/console/accounts/foreign").status == 404


def test_every_answer_has_its_policy(manager: Browser) -> None:
    """Pages, errors, redirects and files."""
    style = re.search(r'href="(/console/static/console\.[0-9a-f]+\.css)"', manager.get("/console/").text)
    assert style is not None
    for path in ("/", "/console/", "/console/nothing", style[1]):
        headers = manager.get(path).headers
        assert headers["content-security-policy"][0].startswith("default-src 'none'; script-src 'self';")
        assert headers["x-content-type-options"] == ["nosniff"]
    assert "immutable" in manager.get(style[1]).headers["cache-control"][0]
    assert manager.get("/console/").headers["cache-control"] == ["no-store"]


def test_templates_have_no_inline_code() -> None:
    """The policy would forbid it."""
    templates = [each for each in (files("gateway.console") / "templates").iterdir() if each.name.endswith(".html")]
    assert templates
    for each in templates:
        text = each.read_text("utf-8")
        assert not re.search(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", text), each.name


def test_the_first_page_is_small(office: Office) -> None:
    """All that it needs, without compression."""
    browser = office.browser()
    page = browser.get("/console/sign-in").text
    addresses = set(re.findall(r'(?:src|href)="(/console/static/[^"]+)"', page))
    total = len(page.encode()) + sum(len(browser.get(each).text.encode()) for each in addresses)

    assert len(addresses) == 4
    assert total < 100 * 1024
    assert not re.search(r'(?:src|href)="https?:', page)


def test_the_language_is_chosen(office: Office) -> None:
    """By the browser, and by hand for good."""
    browser = office.browser(language="fr;q=0.9, ko-KR;q=0.8, en;q=0.1")
    assert "로그인" in browser.get("/console/sign-in").words

    chosen = browser.send("POST", "/console/language", "language=en&back=/console/sign-in")

    assert chosen.location == "/console/sign-in"
    assert "Sign in" in browser.get("/console/sign-in").words
    assert browser.send("POST", "/console/language", "language=en&back=//evil.example").location == "/console/"


def test_hosts_of_nobody_have_no_console(office: Office) -> None:
    """A name that points here is not enough."""
    assert office.browser().get("/console/sign-in", Host="evil.example").status == 404

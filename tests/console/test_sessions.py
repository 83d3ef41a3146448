"""Signing in, staying signed in, and forms that nobody else can send."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import pytest

from gateway.console.sessions import Sessions
from gateway.model.access import AccessKey, Account, SecretHash
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


def access_key(*secrets: tuple[bytes, datetime | None]) -> AccessKey:
    """A key with these secrets: what is kept of each, and when it ends."""
    kept = tuple(SecretHash("hmac-sha256", 1, value, ends) for value, ends in secrets)
    return AccessKey(1, "SWKEY", Account(1, "dana", is_root=False), kept)


KEY = access_key((b"first", None))


def test_every_process_reads_the_cookie() -> None:
    """Also one that knows a newer key; the forms are the same on all."""
    cookie = Sessions(Keys(1)).begin(KEY)

    session = Sessions(Keys(1, 2)).read(cookie)

    assert session is not None
    assert session.access_key_id == "SWKEY"
    assert session == Sessions(Keys(1)).read(cookie)


@pytest.mark.parametrize(
    ("later", "goes_on"),
    [
        ([(b"first", None)], True),
        ([(b"second", None), (b"first", datetime.now(UTC) + timedelta(hours=1))], True),
        ([(b"second", None), (b"first", datetime.now(UTC) - timedelta(hours=1))], False),
        ([(b"second", None)], False),
        ([], False),
    ],
)
def test_a_session_ends_with_its_secret(later: list[tuple[bytes, datetime | None]], *, goes_on: bool) -> None:
    """Not before: a secret that was replaced may go on working for a while."""
    session = Sessions(Keys(1)).read(Sessions(Keys(1)).begin(KEY))

    assert session is not None
    assert session.may_go_on(access_key(*later)) is goes_on


def test_a_session_that_began_with_either_secret_ends_with_the_old_one() -> None:
    """Which one was shown is not asked, and the old one may have leaked."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    session = Sessions(Keys(1)).read(Sessions(Keys(1)).begin(access_key((b"new", None), (b"old", ends))))

    assert session is not None
    assert not session.may_go_on(access_key((b"new", None)))


@pytest.mark.parametrize("place", range(6))
def test_a_changed_cookie_is_none(place: int) -> None:
    """Whichever part of it was changed."""
    sessions = Sessions(Keys(1, 2))
    parts = sessions.begin(KEY).split(".")
    parts[place] = {0: "1", 1: "SWROOT", 3: "9999999999"}.get(place, "A" * len(parts[place]))

    assert sessions.read(".".join(parts)) is None


@pytest.mark.parametrize(
    "cookie", ["", ".", ".....", "1.2.3.4.5.6", "x.SWKEY.m.1.n.s", "9" * 5000 + ".a.m.1.n.s", "\udcff.a.m.1.n.s"]
)
def test_nonsense_is_none(cookie: str) -> None:
    """And no error."""
    assert Sessions(Keys(1)).read(cookie) is None


def test_a_session_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, without anybody's doing."""
    sessions = Sessions(Keys(1))
    monkeypatch.setattr("gateway.console.sessions.LIFETIME", timedelta(0))

    assert sessions.read(sessions.begin(KEY)) is None


def test_who_has_not_signed_in_is_asked_to(office: Office) -> None:
    """On every page."""
    stranger = office.browser()

    for path in ("/console/", "/console/keys", "/console/registries/default/settings", "/console/nothing"):
        page = stranger.get(path)
        assert page.status == 303
        assert page.location.partition("?")[0] == "/console/sign-in"
        assert stranger.post(path, form_token="").location == "/console/sign-in"
    assert stranger.get("/").location == "/console/"
    assert "Sign in" in stranger.get("/console/sign-in").words


def test_signing_in_and_out(office: Office) -> None:
    """The cookie is for this server alone, and out of reach of scripts."""
    browser = office.browser()
    answer = browser.sign_in(office.keys["viewer"])

    (cookie,) = answer.headers["set-cookie"]
    assert answer.location == "/console/"
    assert {"HttpOnly", "Path=/", "SameSite=Lax"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    assert "viewer" in browser.get("/console/").words
    assert browser.post("/console/sign-out").status == 303
    assert browser.get("/console/").status == 303


def test_behind_tls_the_cookie_is_sent_there_alone(office: Office) -> None:
    """And no other host of the domain can have set it."""
    tls = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "192.0.2.7"}
    key = office.keys["viewer"]
    fields = urlencode({"access_key_id": key.id, "secret_key": key.secret})
    browser = office.browser()

    (cookie,) = browser.send("POST", "/console/sign-in", fields, tls).headers["set-cookie"]

    assert cookie.startswith("__Host-slipway_session=")
    assert {"HttpOnly", "Path=/", "SameSite=Lax", "Secure"} <= set(cookie.split("; "))
    assert browser.get("/console/", **tls).status == 200
    assert browser.get("/console/").status == 303


@pytest.mark.parametrize(
    ("wanted", "shown"),
    [
        ("/console/audit?action=login&result=refused", None),
        ("/console/registries/default/images", None),
        ("//evil.example/console/", "/console/"),
        ("https://evil.example/console/", "/console/"),
        ("/v2/", "/console/"),
        ("/console/\r\nX-Other: 1", "/console/"),
    ],
)
def test_signing_in_leads_to_the_page_that_was_asked_for(office: Office, wanted: str, shown: str | None) -> None:
    """And to no page of another site."""
    browser = office.browser()
    if shown is None:
        asked = browser.get(wanted).location
        assert browser.get(asked).values("next") == [wanted]
    key = office.keys["viewer"]

    answer = browser.post("/console/sign-in", form_token="", access_key_id=key.id, secret_key=key.secret, next=wanted)

    assert answer.location == (shown or wanted)


@pytest.mark.parametrize(
    ("key", "words"),
    [
        (Key("SWNOSUCHKEY", "slw_wrong"), "The access key id or the secret key is wrong"),
        (Key("", ""), "The access key id or the secret key is wrong"),
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

    browser.wait_for("/console/", 303)


@pytest.mark.parametrize(("hours", "status"), [("0", 303), ("1", 200)])
def test_a_new_secret_ends_sessions_of_the_old_one(office: Office, hours: str, status: int) -> None:
    """As soon as the old one does not work any more."""
    key = asyncio.run(add_key(office.database_url, f"rotated-{hours}", "viewer"))
    thief = office.browser()
    thief.sign_in(key)
    owner = office.browser()
    owner.sign_in(key)

    assert owner.post(f"/console/keys/{key.id}/rotate", keep_old_hours=hours).status == 200

    thief.wait_for("/console/", status)


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
